"""Who came how far on the rungs: the results on each, best first, and all configurations, the farthest first.

Both are what sorting the ledger's entries would give. They are kept in order as trials begin and end, since to sort ten
thousand configurations anew for each trial took longer than all else that a trial costs beside its training.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from typing import Any

from loraloom.search.pace import Pace
from loraloom.search.plan import Plan
from loraloom.search.tried import Tried
from loraloom.study.leaderboard import mean_of
from loraloom.study.ledger import Entry

Result = tuple[float, int, str]
"""A value with its sign changed, so that the best is first, its configuration's place among all, and the key."""


class Ranks:
    """The configurations that were tried, by the rungs of the plan."""

    def __init__(self, pace: Pace, tried: Tried) -> None:
        self._pace, self.tried = pace, tried
        self._begin()

    def update(self) -> None:
        """Takes in what has changed; all anew where the rungs have, or a configuration is no longer tried."""
        if self._orders != self._orders_by:
            self._begin()
        for key in self.tried.take_changed():
            self._note(key, self.tried.by_key[key])

    @property
    def _orders(self) -> tuple[object, ...]:
        """What the order of all depends on."""
        pace, plan, task = self._pace, self._pace.plan, self._pace.task
        leading = 0 if task is None else len(task.leading)
        return plan.rungs, plan.leading_rung, leading, pace.hyperband, self.tried.removed

    def _begin(self) -> None:
        self._orders_by = self._orders
        self._places: dict[str, int] = {}
        self._reached: dict[str, int] = {}
        self._firsts: dict[str, tuple[int, int]] = {}
        self._listed: dict[str, list[tuple[list[Any], Any]]] = {}
        self._ranked: list[tuple[int, float, int, str]] = []
        self._results: tuple[dict[int, list[Result]], ...] = tuple({} for _ in self._pace.plan.rungs)
        self.tried.take_changed()
        for key, entries in self.tried.by_key.items():
            self._note(key, entries)

    def __len__(self) -> int:
        """How many are in the running: they have a result, and have not failed in a final."""
        return len(self._ranked)

    def first(self, count: int) -> list[str]:
        """Those in the running that came farthest: by the rung that they reached, then by their mean there."""
        return [key for *_, key in self._ranked[:count]]

    def scores(self) -> dict[int, float | None]:
        """How good each in the running is among those that began on its rung, 1 the best, by its first result's number.

        A value says nothing beside one on other rows; that a configuration was promoted says that it was ahead. None,
        by its first trial's number, of each whose first trial is under way.
        """
        began: defaultdict[int, list[int]] = defaultdict(list)
        for *_, key in self._ranked:
            number, rung = self._firsts[key]
            began[rung].append(number)
        found: dict[int, float | None] = {
            number: 1 - (place + 0.5) / len(alike) for alike in began.values() for place, number in enumerate(alike)
        }
        firsts = (entries[0] for entries in self.tried.by_key.values())
        return found | {first.number: None for first in firsts if first.state == "running"}

    def results(self, rung: int) -> list[list[Result]]:
        """The first result of each configuration on a rung, by the rung that they began at, those that lead at none."""
        return [found for _, found in sorted(self._results[rung].items()) if found]

    def is_above(self, key: str, rung: int) -> bool:
        """Whether a trial of it was begun on a higher rung, whatever became of it."""
        return self._reached[key] > rung

    def _note(self, key: str, entries: list[Entry]) -> None:
        for kept, item in self._listed.pop(key, ()):
            del kept[bisect_left(kept, item)]
        plan, place = self._pace.plan, self._places.setdefault(key, len(self._places))
        self._reached[key] = max(plan.rung(entry.rows) for entry in entries)
        results = {rung: values for rung in range(len(plan.rungs)) if (values := _values(plan, entries, rung))}
        bracket = 0 if self._pace.leads(place) else self._pace.first_rung(place)
        listed: list[tuple[list[Any], Any]] = [
            (self._results[rung].setdefault(bracket, []), (-values[0], place, key)) for rung, values in results.items()
        ]
        failed = any(entry.state in ("failed", "pruned") and plan.is_final(entry.rows) for entry in entries)
        if results and not failed:
            reached = max(results)
            first = next(entry.number for entry in entries if entry.value is not None)
            self._firsts[key] = first, plan.rung(entries[0].rows)
            listed.append((self._ranked, (-reached, -mean_of(results[reached]), place, key)))
        for kept, item in listed:
            insort(kept, item)
        self._listed[key] = listed


def _values(plan: Plan, entries: list[Entry], rung: int) -> list[float]:
    return [entry.value for entry in entries if entry.value is not None and plan.rung(entry.rows) == rung]
