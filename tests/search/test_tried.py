"""The table of tried configurations is what a look at the whole ledger would give."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loraloom.search.tried import Tried
from loraloom.study.ledger import Entry, Ledger

STATES = "complete", "complete", "failed", "pruned", "rejected"


class _Pages(Ledger):
    """A ledger without a file, which counts how often entries are read."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.reads = 0

    def begin(self, r: int) -> None:
        params = {"lora.r": r, "train.bf16": True}
        same = [entry for entry in self._entries if entry.params == params and entry.state != "rejected"]
        self._entries.append(Entry(self.count, "running", params, _first_missing(same), None, None))

    def end(self, number: int, state: Any) -> None:
        self._entries[number] = replace(self._entries[number], state=state)

    def entry(self, number: int) -> Entry:
        self.reads += 1
        return super().entry(number)

    def entries(self, since: int = 0) -> tuple[Entry, ...]:
        found = super().entries(since)
        self.reads += len(found)
        return found


def _first_missing(entries: list[Entry]) -> int:
    return next(index for index in count() if all(entry.seed_index != index for entry in entries))


def _whole(ledger: Ledger, seeds: int, states: tuple[str, ...]) -> tuple[set[int], tuple[int, int] | None]:
    """The ranks that are tried, and the configuration that lacks a seed, all its trials in such states, by a walk."""
    tried: dict[int, list[Entry]] = {}
    for entry in ledger.entries():
        if entry.state != "rejected":
            tried.setdefault(entry.params["lora.r"], []).append(entry)
    for r, entries in tried.items():
        if len(entries) < seeds and all(entry.state in states for entry in entries):
            return set(tried), (r, _first_missing(entries))
    return set(tried), None


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from((*STATES, "end"))), max_size=30), st.data())
def test_it_is_what_a_walk_over_the_ledger_gives(events: list[tuple[int, str]], data: st.DataObject) -> None:
    ledger = _Pages()
    tried = Tried(ledger, seeds=3)
    for r, what in events:
        running = [entry.number for entry in ledger.entries() if entry.state == "running"]
        if what == "end" and running:
            ledger.end(data.draw(st.sampled_from(running)), data.draw(st.sampled_from(STATES)))
        else:
            ledger.begin(r)
        tried.update()
        for under_way, states in ((False, ("complete",)), (True, ("complete", "running"))):
            ranks, lacking = _whole(ledger, 3, states)
            found = tried.lacking(under_way=under_way)
            assert next(((json.loads(key)["lora.r"], seed_index) for key, seed_index in found), None) == lacking
            assert len(tried) == len(ranks)
            assert {json.loads(key)["lora.r"] for key in tried.by_key} == ranks


def test_it_says_when_a_configuration_is_no_longer_tried() -> None:
    ledger = _Pages()
    tried = Tried(ledger, seeds=1)
    ledger.begin(4)
    assert not tried.update()
    ledger.end(0, "rejected")
    assert tried.update()
    assert not tried.update()


def test_each_trial_is_read_a_fixed_number_of_times_however_many_there_are() -> None:
    reads = {}
    for trials in (100, 1000):
        ledger = _Pages()
        tried = Tried(ledger, seeds=1)
        for number in range(trials):
            ledger.begin(number)
            tried.update()
            ledger.end(number, "complete")
            tried.update()
        reads[trials] = ledger.reads
    assert reads[1000] == 10 * reads[100]
