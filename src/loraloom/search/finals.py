"""From the rungs to the winner: who is promoted, who is a finalist, and which of the finalists' trials comes next.

Finalists are the configurations that came farthest: by the rung that they reached, then by their mean there. Each is
trained on the last rung's rows with all seeds, one seed of each before the next of any, so that a search that is cut
short has compared them alike. Functions of the ledger's entries, which `Ranks` keeps in order, and of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from loraloom.recipe import Configuration
from loraloom.recipe.fields import MORE_SEEDS
from loraloom.search.ladder import promotable
from loraloom.search.pace import Kept, Pace
from loraloom.search.plan import Plan
from loraloom.search.ranks import Ranks

WORTH = 1.1
"""Times the rows that it had before, or a trial on more, that a final which the clock cuts short must have at least."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A trial to begin: its configuration's key, its rows (None is all), and which seed."""

    key: str
    rows: int | None
    seed_index: int


def promotion(pace: Pace, ranks: Ranks, at: Callable[[str], Configuration], keep: Kept) -> Wanted | None:
    """The next promotion that leaves what is to `keep` for the finals.

    Where there is a deadline it is the highest rung's, so that the search can be ended at any moment; else the
    lowest's, and the last rung gets the finalists only: who leaves a rung is decided by all that are tried on it,
    trials under way included. Those that lead go on only where others have come up to them: the finals are open to
    them as they are.
    """
    rungs = pace.plan.rungs
    upwards = range(len(rungs) - (1 if pace.hyperband else 2))
    for rung in range(len(rungs) - 2, -1, -1) if pace.limited else upwards:
        if not pace.limited and any(rung == other for other, _ in _under_way(pace, ranks)):
            return None
        for found in ranks.results(rung):
            if all(pace.leads(place) for _, place, _ in found):
                continue
            for _, _, key in islice(found, promotable(len(found))):
                if ranks.is_above(key, rung):
                    continue
                # On the last rung it is a final, for which time is kept already.
                own = pace.seconds(at(key), rungs[rung + 1]) if rung + 2 == len(rungs) else 0.0
                if pace.allows(at(key), rungs[rung + 1], keep._replace(seconds=max(0.0, keep.seconds - own))):
                    return Wanted(key, rungs[rung + 1], 0)
    return None


class Finals:
    """The finalists at this moment, and what they still lack."""

    def __init__(self, pace: Pace, ranks: Ranks, at: Callable[[str], Configuration]) -> None:
        self._pace, self._ranks, self._at = pace, ranks, at
        self._tried = ranks.tried.by_key

    @property
    def undecided(self) -> bool:
        """Whether a trial under way on the rungs may still change who the finalists are.

        By hyperband, or where there is one rung, configurations are tried on the last too: each by its first seed.
        """
        last = len(self._pace.plan.rungs) - 1
        tries = last == 0 or self._pace.hyperband
        under_way = _under_way(self._pace, self._ranks)
        return any(rung < last or (tries and not repeated) for rung, repeated in under_way)

    @property
    def missing(self) -> Kept:
        """What the finals still take, those of finalists that are not yet found included, as many at once as can be."""
        pace, wanted = self._pace, self._pace.plan.finalists or 0
        finals = [self._at(key) for key, _ in self._missing(wanted, pace.plan.seeds)]
        unknown = self._to_find() * pace.plan.seeds
        if unknown and pace.task is not None:
            finals += unknown * [pace.task.dearest(pace.costs)]
        # The longest first: a round takes as long as its longest.
        each = sorted((pace.seconds(final, pace.plan.top) for final in finals), reverse=True)
        return pace.kept(sum(each[:: pace.slots]), finals)

    def to_come(self) -> int:
        """How many trials the finals still take, as `missing`; where there is one rung the first seeds are its own."""
        plan = self._pace.plan
        return plan.lacking(self._to_find()) + sum(1 for _ in self._missing(plan.finalists or 0, plan.seeds))

    def _to_find(self) -> int:
        """Finalists that are yet to be found, of configurations that may yet come to a result."""
        wanted, task = self._pace.plan.finalists or 0, self._pace.task
        lacking = wanted - len(self._first(wanted))
        if not lacking or task is None or task.configurations is None:
            return lacking
        without = (trials for trials in self._tried.values() if all(one.value is None for one in trials))
        under_way = sum(any(one.state == "running" for one in trials) for trials in without)
        return min(lacking, under_way + max(0, task.configurations - len(self._tried)))

    def next(self, planned: Plan) -> Wanted | None:
        """The next final; on as many rows as the time allows where it is the first and does not fit.

        Where time is left for a part of a pass, the first one has more to learn from than it had before by what was
        `planned`, or any trial on more rows than that, or there is none: a result on all rows is taken for better than
        those on fewer. How much others saw of as many rows is no matter: it leads, whatever a row of its model costs.
        """
        pace, top = self._pace, self._pace.plan.top
        for key, index in self._missing(pace.plan.finalists or 0, pace.plan.seeds):
            if pace.allows(self._at(key), top):
                return Wanted(key, top, index) if self._any_on_last() or self._is_worth_it(key, planned) else None
        return None if self._any_on_last() else self._cut_short(planned)

    def more(self) -> Wanted | None:
        """More seeds of the two that lead, then more finalists; none that merely takes less time than a better one.

        As many seeds as were asked for, where the time of the finals did for fewer. None where no final was begun: the
        first is not worth it, or does not fit.
        """
        if not self._any_on_last():
            return None
        plan, task = self._pace.plan, self._pace.task
        asked = 1 if task is None else task.recipe.search.seeds
        seeds, finalists = max(asked, plan.seeds, MORE_SEEDS), plan.finalists or 0
        missing = chain(
            self._missing(min(2, finalists), seeds),
            self._missing(finalists, seeds),
            self._missing(len(self._ranks), plan.seeds),
        )
        for key, index in islice(missing, 1):
            if self._pace.allows(self._at(key), plan.top):
                return Wanted(key, plan.top, index)
        return None

    def _missing(self, finalists: int, seeds: int) -> Iterator[tuple[str, int]]:
        """Configurations and seeds that lack a trial on the last rung, the first seed of all first."""
        plan, keys = self._pace.plan, self._first(finalists)
        for index in range(seeds):
            for key in keys:
                if not any(plan.is_last(one.rows) and one.seed_index == index for one in self._tried[key]):
                    yield key, index

    def _first(self, count: int) -> list[str]:
        """Those that came farthest, of those that can be trained here; the only one, before it has a result."""
        if not len(self._ranks):
            return self._only()[:count]
        if not self._pace.left_out:
            return self._ranks.first(count)
        ranked = self._ranks.first(len(self._ranks))
        return list(islice((key for key in ranked if self._pace.leaves_out(self._at(key)) is None), count))

    def _only(self) -> list[str]:
        """The configuration that is tried, where it is the only one, while its trials are under way: none is chosen."""
        plan, task = self._pace.plan, self._pace.task
        if task is None or task.configurations != 1:
            return []
        tried = self._tried.items()
        return [
            key for key, trials in tried if all(one.state == "running" and plan.is_last(one.rows) for one in trials)
        ]

    def _any_on_last(self) -> bool:
        counts, plan = self._ranks.tried.counts, self._pace.plan
        return any(count and state != "failed" and plan.is_last(rows) for (rows, state, _), count in counts.items())

    def _is_worth_it(self, key: str, planned: Plan) -> bool:
        plan = self._pace.plan
        whole = plan.planned(self._at(key), plan.top).train.num_train_epochs >= 1
        return whole or self._seen(plan, key, plan.top) >= WORTH * self._reached(key, planned)

    def _seen(self, plan: Plan, key: str, rows: int | None) -> float:
        """The rows that a trial sees, by its plan."""
        task, passes = self._pace.task, plan.planned(self._at(key), rows).train.num_train_epochs
        assert task is not None
        return task.rows(rows) * min(1.0, passes)

    def _reached(self, key: str, planned: Plan) -> float:
        """The most rows that a trial with a result has seen, of its own and of those on more rows than these."""
        task = self._pace.task
        assert task is not None
        own = max(task.rows(entry.rows) for entry in self._tried[key] if entry.value is not None)
        ended = ((other, one) for other, trials in self._tried.items() for one in trials if one.value is not None)
        return max(
            self._seen(planned, other, one.rows) for other, one in ended if other == key or task.rows(one.rows) > own
        )

    def _cut_short(self, planned: Plan) -> Wanted | None:
        """A final for the leader on fewer rows than planned, where it sees more on these, as `next` has it."""
        pace = self._pace
        for key in self._first(1):
            rows = pace.most_rows(self._at(key), pace.plan.top)
            under_way = any(entry.state == "running" for entry in self._tried[key])
            if not under_way and self._seen(pace.plan, key, rows) >= WORTH * self._reached(key, planned):
                return Wanted(key, rows, 0)
        return None


def _under_way(pace: Pace, ranks: Ranks) -> set[tuple[int, bool]]:
    """The rungs that trials are under way on, and whether of a further seed."""
    counts = ranks.tried.counts.items()
    return {
        (pace.plan.rung(rows), repeated) for (rows, state, repeated), count in counts if count and state == "running"
    }
