"""Which configurations the ledger has trials of: a function of the ledger, of which it reads what has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from loraloom.search.points import point_key
from loraloom.study.ledger import Entry, Ledger


class Tried:
    """The trials of each configuration, but for rejected ones, in the order of their first trials."""

    def __init__(self, ledger: Ledger, seeds: int) -> None:
        self._ledger, self._seeds = ledger, seeds
        self._read = 0
        self._unended: set[int] = set()
        self._lacking: dict[str, int] = {}
        self._rejected = 0
        self._changed: dict[str, None] = {}
        self.by_key: dict[str, list[Entry]] = {}
        self.counts: Counter[tuple[int | None, str, bool]] = Counter()
        """How many trials there are of such rows and state, and whether of a further seed."""
        self.removed = 0
        """How often a configuration was no longer tried."""

    def update(self) -> bool:
        """Reads what has changed; returns whether a configuration is no longer tried, its only trial being rejected."""
        ended = [entry for number in self._unended if (entry := self._ledger.entry(number)).state != "running"]
        self._unended.difference_update(entry.number for entry in ended)
        before = self.removed
        for entry in ended:
            self._note(entry)
        for entry in self._ledger.entries(since=self._read):
            self._note(entry)
        self._read = self._ledger.count
        return self.removed > before

    def take_changed(self) -> list[str]:
        """The configurations of which a trial has begun or ended since this was asked last, in the order of changes."""
        changed = [key for key in self._changed if key in self.by_key]
        self._changed.clear()
        return changed

    def __len__(self) -> int:
        return len(self.by_key)

    @property
    def proposed(self) -> int:
        """How many configurations were proposed, tried or rejected, whatever seeds and rows are trained of them."""
        return len(self.by_key) + self._rejected

    def lacking(self, *, under_way: bool = False) -> Iterator[tuple[str, int]]:
        """Configurations whose trials all succeeded and that lack a seed, in their order, and which seed.

        With `under_way` also those of which trials have not ended, and may succeed yet.
        """
        for key in sorted(self._lacking, key=self._lacking.__getitem__):
            trials = self.by_key[key]
            if under_way or all(one.state == "complete" for one in trials):
                yield key, min(set(range(self._seeds)) - {one.seed_index for one in trials})

    def _note(self, entry: Entry) -> None:
        key = point_key(entry.params)
        trials = self.by_key.setdefault(key, [])
        if entry.state == "running":
            self._unended.add(entry.number)
        place = next((place for place, one in enumerate(trials) if one.number == entry.number), None)
        if place is not None:
            self._count(trials[place], -1)
        if entry.state == "rejected":
            self._rejected += 1
            trials[:] = [one for one in trials if one.number != entry.number]
        elif place is None:
            trials.append(entry)
        else:
            trials[place] = entry
        if entry.state != "rejected":
            self._count(entry, 1)
        self._changed[key] = None
        self._lacking.pop(key, None)
        if not trials:
            del self.by_key[key], self._changed[key]  # tried again, it comes last
            self.removed += place is not None
        elif len(trials) < self._seeds and all(one.state in ("complete", "running") for one in trials):
            self._lacking[key] = trials[0].number

    def _count(self, entry: Entry, by: int) -> None:
        self.counts[entry.rows, entry.state, entry.seed_index > 0] += by
