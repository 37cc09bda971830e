"""Which configurations the ledger has trials of: a function of the ledger, of which it reads what has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from loraloom.study.ledger import Entry, Ledger


class Tried:
    """The trials of each configuration, but for rejected ones."""

    def __init__(self, ledger: Ledger, seeds: int) -> None:
        self._ledger, self._seeds = ledger, seeds
        self._read = 0
        self._unended: set[int] = set()
        self._by_key: dict[str, list[int]] = {}
        self._lacking: dict[str, int] = {}

    def update(self) -> bool:
        """Reads what has changed; returns whether a configuration is no longer tried, its only trial being rejected."""
        ended = [entry for number in self._unended if (entry := self._ledger.entry(number)).state not in _UNENDED]
        self._unended.difference_update(entry.number for entry in ended)
        before = len(self._by_key)
        for entry in ended:
            self._note(entry)
        fewer = len(self._by_key) < before
        for entry in self._ledger.entries(since=self._read):
            self._note(entry)
        self._read = self._ledger.count
        return fewer

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, params: Mapping[str, Any]) -> bool:
        return _key(params) in self._by_key

    def lacking(self) -> tuple[dict[str, Any], int] | None:
        """The configuration first tried of those whose trials all succeeded and lack a seed: its point, the seed."""
        if not self._lacking:
            return None
        key = min(self._lacking, key=self._lacking.__getitem__)
        return json.loads(key), len(self._by_key[key])

    def _note(self, entry: Entry) -> None:
        key = _key(entry.params)
        numbers = self._by_key.setdefault(key, [])
        if entry.state in _UNENDED:
            self._unended.add(entry.number)
        if entry.state in ("rejected", "waiting"):
            numbers[:] = [number for number in numbers if number != entry.number]
        elif entry.number not in numbers:
            numbers.append(entry.number)
        self._lacking.pop(key, None)
        if not numbers:
            del self._by_key[key]
        elif len(numbers) < self._seeds and all(self._ledger.entry(n).state == "complete" for n in numbers):
            self._lacking[key] = numbers[0]


_UNENDED = ("running", "waiting")


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(params.items())))
