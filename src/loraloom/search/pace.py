"""Whether a trial fits into the time that is left, and how many rows one could have; always yes where none is set."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from loraloom.recipe import Configuration
from loraloom.search.clock import Clock
from loraloom.search.costs import Costs, Shared, TextKey, cost_key, text_key
from loraloom.search.ladder import first_rung
from loraloom.search.plan import Plan, fitted
from loraloom.search.task import Task

LeftOut = Mapping[TextKey, str]
"""What is not tried under a deadline, since none of it could be trained when it was to be measured; and why."""


def named(left_out: LeftOut) -> str:
    """`a at data.max_length=256, b at data.max_length=128: memory did not suffice`; each reason once."""
    by_reason: dict[str, list[str]] = {}
    for (model, max_length), why in left_out.items():
        by_reason.setdefault(why, []).append(f"{model} at data.max_length={max_length}")
    return "; ".join(f"{', '.join(kinds)}: {why}" for why, kinds in by_reason.items())


class Kept(NamedTuple):
    """Time that is kept for trials to come: seconds of their own, and of what the first of them makes for all."""

    seconds: float
    shared: Mapping[Shared, float]


NOTHING = Kept(0.0, {})


@dataclass(slots=True)
class Pace:
    """The plan against the clock. `slots` is how many packs are trained at once."""

    task: Task | None = None
    plan: Plan = field(default_factory=Plan)
    clock: Clock = field(default_factory=lambda: Clock(None))
    costs: Costs = field(default_factory=Costs)
    slots: int = 1
    nothing_yet: bool = False
    """No trial was begun: the first one is, whatever seconds the planning itself took; its deadline bounds it."""
    final_begun: bool = False
    """A trial of the last rung was begun: those that are compared with it have its rows, and as many epochs."""
    longest: int | None = None
    """Tokens of the longest texts that are tried, of which a test leaves time to train; None: as long as any."""
    left_out: LeftOut = field(default_factory=dict)
    promised: float = 0.0
    """Seconds of those that were chosen to be trained together and have not begun."""
    _held: float | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it time stands still: what is planned to fill what is left has not come too late once it is asked."""
        self._held = self.clock.training_seconds_left
        try:
            yield
        finally:
            self._held = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within it trials are chosen that are trained together, which takes the sum of their times."""
        try:
            yield
        finally:
            self.promised = 0.0

    def promise(self, configuration: Configuration) -> None:
        """Takes the time of a trial that was chosen from what is left for the next."""
        rows = None if self.task is None else self.task.rung_of(configuration.data.max_train_samples)
        self.promised += self._whole_seconds(configuration, rows)

    @property
    def seconds_left(self) -> float | None:
        """Of training; None where there is no deadline."""
        left = self.clock.training_seconds_left if self._held is None else self._held
        return None if left is None else left - self.promised

    @property
    def limited(self) -> bool:
        """Whether there is a deadline."""
        return self.clock.max_seconds is not None

    def why_not(self, configuration: Configuration) -> str | None:
        """Why the time is too short for a configuration, whatever it would reach, in a sentence; else None."""
        if self.longest is None or configuration.data.max_length <= self.longest:
            return None
        return f"the test of texts of {configuration.data.max_length} tokens would take much of the time"

    def leaves_out(self, configuration: Configuration) -> str | None:
        """Why a configuration is left out, in a sentence, where it is of a kind that could not be measured."""
        kind = text_key(configuration)
        return named({kind: self.left_out[kind]}) if self.limited and kind in self.left_out else None

    @property
    def hyperband(self) -> bool:
        """Whether some configurations begin on each rung."""
        return self.task is not None and self.task.recipe.search.pruner == "hyperband"

    def first_rung(self, place: int) -> int:
        """The rung that configuration number `place` begins at."""
        if self.leads(place):
            return self.plan.leading_rung
        return first_rung(place, len(self.plan.rungs), hyperband=self.hyperband)

    def leads(self, place: int) -> bool:
        """Whether configuration number `place` is one of those that begin above all others."""
        return self.plan.leading_rung > 0 and self.task is not None and place < len(self.task.leading)

    def seconds(self, configuration: Configuration, rows: int | None) -> float:
        """What a trial on `rows` would take; 0 where nothing is known."""
        if self.task is None or not self.costs.known:
            return 0.0
        task = self.task
        return self.costs.seconds(self.plan.planned(configuration, rows), task.rows(rows), task.validated(rows))

    def fit(self, candidates: int | None = None) -> None:
        """Has the finals use the time that is left, and no more: the search before them has ended with `candidates`."""
        left = self.seconds_left
        if left is not None and self.task is not None and not self.final_begun:
            self.plan = fitted(self.plan, self.task, self.costs, left, self.slots, candidates=candidates)

    def allows(self, configuration: Configuration, rows: int | None, keep: Kept = NOTHING) -> bool:
        """Whether such a trial would end in time, with what is to `keep` left after it; no one left out.

        On the plan's most rows it would need what the first there makes for all others: that is left too. Where one
        configuration alone comes there, that is this one or the one that is kept for: what takes longer is left.
        """
        left = self.seconds_left
        if self.leaves_out(configuration) is not None:
            return False
        if left is None or self.nothing_yet:
            return True
        own = self._shared(configuration, self.plan.top)
        finals = Kept(keep.seconds, {**keep.shared, **own})
        if self.plan.finalists == 1:
            alone = Kept(min(keep.seconds, self.plan.seeds * self.seconds(configuration, self.plan.top)), own)
            finals = max(keep, alone, key=lambda one: one.seconds + sum(one.shared.values()))
        shared = {**finals.shared, **self._shared(configuration, rows)}
        return self.seconds(configuration, rows) + finals.seconds + sum(shared.values()) <= left

    def allows_some(self, rows: int | None, keep: Kept = NOTHING) -> bool:
        """Whether a trial of any kind would, of the fewest epochs."""
        return self.task is None or any(self.allows(kind, rows, keep) for kind in self.task.shortest_kinds)

    @property
    def has_time(self) -> bool:
        """Whether a trial on the plan's most rows would still end in time, of what takes longest."""
        return self.task is not None and self.allows(self.task.dearest(self.costs), self.plan.top)

    def kept(self, seconds: float, finals: Iterable[Configuration]) -> Kept:
        """What `finals` need that take so many seconds themselves."""
        shared: dict[Shared, float] = {}
        for final in {cost_key(final): final for final in finals}.values():
            shared |= self._shared(final, self.plan.top)
        return Kept(seconds, shared)

    def _whole_seconds(self, configuration: Configuration, rows: int | None) -> float:
        """What a trial on `rows` would take, with what it would make for all others."""
        return self.seconds(configuration, rows) + sum(self._shared(configuration, rows).values())

    def _shared(self, configuration: Configuration, rows: int | None) -> dict[Shared, float]:
        """What a trial on `rows` would make for all others on these rows, with its seconds."""
        task = self.task
        return {} if task is None else self.costs.shared(configuration, task.rows(rows), task.validated(rows))

    def most_rows(self, configuration: Configuration, most: int | None) -> int:
        """The rows that a trial could have that does not end in time on `most`; 0 none."""
        left, task = self.seconds_left, self.task
        assert left is not None
        assert task is not None
        takes = partial(self._whole_seconds, configuration)
        return max(0, bisect_right(range(task.rows(most)), left, key=takes) - 1)
