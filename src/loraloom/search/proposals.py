"""Which trial comes next: broken trials again, then missing seeds of a configuration whose trials succeeded, new
configurations, and seeds of those whose trials are under way, or, where the plan has finalists, promotions to the next
rung, new configurations, and the finals.

Without a deadline the next trial is a function of the recipe and the ledger alone, samplers included (each proposal has
its own seed), so a resumed search proposes what it would have proposed; with one, also of the time that is left. What
is listed comes before what is drawn (`listing.py`). tpe is Bergstra et al. 2011, "Algorithms for Hyper-Parameter
Optimization", section 4, as Optuna has it: axes that are always active are drawn together (multivariate), conditional
ones each by itself. auto tries the presets first, and goes on as tpe, which learns from them. Rejected: Optuna's
`group=True`, which draws conditional axes together too; it is experimental, and was no better (docs/log.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import optuna

from loraloom.recipe import Configuration, Range, Recipe
from loraloom.search.costs import text_key
from loraloom.search.finals import Finals, Wanted, promotion
from loraloom.search.history import shown
from loraloom.search.listing import Fits, Listing
from loraloom.search.pace import NOTHING, Kept, Pace
from loraloom.search.points import distribution, point_key, point_of, value_of
from loraloom.search.ranks import Ranks
from loraloom.search.tried import Tried
from loraloom.study.ledger import Entry, Ledger

MOST_DRAWN = 1_000
"""Points drawn in a row that may be over a limit or already tried before the space counts as spent."""
MOST_LATE = 5
"""Points drawn for one trial that may take longer than there is time before the time counts as used."""
MOST_LISTED = 200
"""The same, of a grid: it is tried in a shuffled order, so that those are of all kinds."""
MOST_WARMED = 0.25
"""Of a trial's steps, for warming up, where that is left to a range: by the clock they may be few."""
STUCK_AFTER = 20
"""Points drawn in vain after which the next is drawn at random: tpe learns nothing from those."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to train: its number in the ledger, its point, and the configuration with its seed and rows."""

    number: int
    point: dict[str, Any]
    configuration: Configuration


class Proposals:
    """The trials of a search, one after another."""

    def __init__(
        self,
        recipe: Recipe,
        ledger: Ledger,
        fits: Fits,
        pace: Pace,
        rows: tuple[int | None, int | None],
    ) -> None:
        """`fits` is asked beside the pace; `rows` are for training and held out; None: many."""
        self._recipe, self._ledger, self._fits, self._pace = recipe, ledger, fits, pace
        self._distributions = {name: distribution(recipe.axes[name]) for name in recipe.ordered()}
        self._tried = Tried(ledger, recipe.search.seeds)
        self._ranks = Ranks(self._pace, self._tried)
        self.listing = Listing(recipe, self._tried, fits, self._pace, rows)
        self._spent_after: int | None = None
        self._visited = 0
        self._found: dict[str, Configuration] = {}

    @property
    def spent(self) -> bool:
        """Whether points were drawn last, and none of them was new and within the limits: more would be the same."""
        return self._spent_after == self._tried.proposed

    @property
    def has_results(self) -> bool:
        """Whether a trial was finished."""
        return any(entry.value is not None for entry in self._ledger.entries())

    @property
    def tried(self) -> int:
        """How many configurations were tried."""
        self._update()
        return len(self._tried)

    @property
    def lacks_some(self) -> bool:
        """Whether configurations are left to try, or, where each is to have all seeds, a seed of one that succeeded."""
        self._update()
        most = self.listing.configurations
        if most is None or len(self._tried) < most:
            return True
        return self._pace.plan.finalists is None and next(self._tried.lacking(), None) is not None

    @property
    def finals_to_come(self) -> int:
        """How many trials the finalists of this moment lack; where there is one rung, of their further seeds.

        0 where a plan has no finalists.
        """
        if self._pace.plan.finalists is None:
            return 0
        self._update()
        return self._finals().to_come()

    @property
    def goes_beyond(self) -> bool:
        """Whether the time that is left after all finals holds a trial more, of a further seed or finalist."""
        if not self._pace.limited or self._pace.plan.finalists is None:
            return False
        self._update()
        return self._finals().more() is not None

    def _finals(self) -> Finals:
        """Those of this moment, by what was tried at the last update."""
        self._ranks.update()
        return Finals(self._pace, self._ranks, self.at)

    def interrupted(self) -> Iterator[Proposal]:
        """Trials that were under way when the run was broken off, to be begun again; what can't be is rejected."""
        for entry, why in self._under_way():
            if why is None:
                yield self._proposal(entry)
            else:
                self._ledger.reject(entry.number, why)

    @property
    def broken_off(self) -> int:
        """How many trials that were under way when the run was broken off go on."""
        again = (self._proposal(entry) for entry, why in self._under_way() if why is None)
        return sum(self._pace.leaves_out(proposal.configuration) is None for proposal in again)

    def _under_way(self) -> Iterator[tuple[Entry, str | None]]:
        """Trials that were under way when the run was broken off, and why one is not to go on, or None."""
        running = (entry for entry in self._ledger.entries() if entry.state == "running")
        return ((entry, self._why_not_again(entry)) for entry in running)

    def _why_not_again(self, entry: Entry) -> str | None:
        """Why a trial that was under way is not to be trained, as versions that began what they drew may have left."""
        if point_of(self._recipe, entry.params) is None:
            return "broken off before its point was written"
        same = (
            other.number < entry.number and (other.seed_index, other.rows) == (entry.seed_index, entry.rows)
            for other in self._ledger.entries()
            if other.state != "rejected" and other.params == entry.params
        )
        if any(same):
            return "already tried"
        configuration = self._proposal(entry).configuration
        return self._pace.why_not(configuration) or self._fits(configuration)  # where it is left out, it waits

    def is_first_final(self, number: int) -> bool:
        """Whether a trial is on the last rung, where none has a result yet: left out, one on few rows would win."""
        last = [entry for entry in self._ledger.entries() if self._pace.plan.is_last(entry.rows)]
        return any(entry.number == number for entry in last) and all(entry.value is None for entry in last)

    def next(self) -> Proposal | None:
        """The next trial, begun in the ledger; None where the plan is done, the time is used or the space is spent.

        None also where, without a deadline, it depends on trials that are under way.
        """
        self._update()
        with self._pace.held():
            wanted = self._wanted()
            return None if wanted is None else self._begin(wanted)

    def _wanted(self) -> Wanted | None:
        if self._pace.plan.finalists is None:
            return self._repeated() or self._new(self._pace.plan.top) or self._repeated(under_way=True)
        finals = self._finals()
        wanted = self._climb(finals.missing)
        if wanted is None and (self._pace.limited or not finals.undecided):
            wanted = self._final(finals) or self._time_left_over(finals)
        return wanted

    def _final(self, finals: Finals) -> Wanted | None:
        """The next final, with the passes that use the time left; without one, the rungs keep the passes they had."""
        planned = self._pace.plan
        self._pace.fit(len(self._ranks))
        wanted = finals.next(planned)
        if wanted is None:
            self._pace.plan = planned
        return wanted

    def _update(self) -> None:
        if self._tried.update():
            self._visited = 0
        counts = self._tried.counts.items()
        self._pace.final_begun = any(
            count and state != "failed" and self._pace.plan.is_final(rows) for (rows, state, _), count in counts
        )
        self._pace.nothing_yet = not len(self._tried)

    def _repeated(self, *, under_way: bool = False) -> Wanted | None:
        """The next seed of a configuration that lacks some; `under_way` is as for `Tried.lacking`."""
        rows = self._pace.plan.top
        for key, seed_index in self._tried.lacking(under_way=under_way):
            if self._pace.allows(self.at(key), rows):
                return Wanted(key, rows, seed_index)
        return None

    def _climb(self, keep: Kept) -> Wanted | None:
        """The next trial on the rungs: a promotion, or a new configuration on its first rung.

        Promotions come first where there is a deadline, and last where there is none.
        """
        rungs = self._pace.plan.rungs

        def new() -> Wanted | None:
            return self._new(rungs[self._pace.first_rung(len(self._tried))], keep)

        def promoted() -> Wanted | None:
            return promotion(self._pace, self._ranks, self.at, keep)

        return (promoted() or new()) if self._pace.limited else (new() or promoted())

    def _time_left_over(self, finals: Finals) -> Wanted | None:
        """What a clock leaves after the finals: more seeds, more finalists, then more configurations on few rows."""
        return (finals.more() or self._climb(NOTHING)) if self._pace.limited else None

    def at(self, key: str) -> Configuration:
        """The configuration of a key, with its first seed."""
        if key not in self._found:
            self._found[key] = self._configuration(json.loads(key), 0, None)[1]
        return self._found[key]

    def _new(self, rows: int | None, keep: Kept = NOTHING) -> Wanted | None:
        most = self.listing.configurations
        if most is not None and len(self._tried) >= most:
            return None
        listed = self._first_listed(rows, keep)
        return self._sampled(rows, keep) if listed is None and self.listing.draws else listed

    def _first_listed(self, rows: int | None, keep: Kept) -> Wanted | None:
        """The first point of the grid, or of the presets, that was not tried and for which there is time."""
        listed, leading = self.listing.keys, len(self.listing.leading)
        while self._visited < len(listed) and listed[self._visited] in self._tried.by_key:
            self._visited += 1
        lead = listed[self._visited : leading]
        if len({text_key(self.at(key)) for key in lead}) > 1:
            lead = tuple(sorted(lead, key=self._is_hurried))
        others = listed[max(self._visited, leading) :]
        untried = (key for key in chain(lead, others) if key not in self._tried.by_key)
        for key in islice(untried, MOST_LISTED):
            if self._pace.allows(self.at(key), rows, keep):
                return Wanted(key, rows, 0)
        return None

    def _is_hurried(self, key: str) -> bool:
        """Whether the clock gives a configuration less than a pass over the rows: another model or length is first."""
        plan = self._pace.plan
        return plan.epochs is not None and plan.planned(self.at(key), None).train.num_train_epochs < 1

    def _sampled(self, rows: int | None, keep: Kept) -> Wanted | None:
        """A point where the sampler proposes: the first drawn that is new, within the limits, and ends in time."""
        if self.spent or not self._pace.allows_some(rows, keep):
            return None
        learns = self._recipe.search.sampler in ("tpe", "auto") and self._pace.plan.finalists is not None
        late, compared = 0, self._ranks.scores() if learns else None
        for drawn in range(MOST_DRAWN):
            if late == MOST_LATE:
                return None
            params = self._ledger.draw(
                self._distributions,
                make_sampler(self._recipe, self._tried.proposed, drawn),
                is_active=self._is_active,
                shown=partial(shown, scores=compared),
            )
            key = point_key(params)
            if key in self._tried.by_key:
                continue
            configuration = self._configuration(params, 0, None)[1]  # not kept: most may be drawn in vain
            if self.listing.why_not(configuration) is not None:
                continue
            if self._pace.allows(configuration, rows, keep):
                return Wanted(key, rows, 0)
            late += 1
        self._spent_after = self._tried.proposed
        return None

    def _begin(self, wanted: Wanted) -> Proposal:
        self._pace.final_begun |= self._pace.plan.is_final(wanted.rows)
        entry = self._ledger.ask(
            self._distributions, json.loads(wanted.key), seed_index=wanted.seed_index, rows=wanted.rows
        )
        return self._proposal(entry)

    def _is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        axes = self._recipe.axes
        return self._recipe.is_active(name, {other: value_of(axes[other], param) for other, param in params.items()})

    def _proposal(self, entry: Entry) -> Proposal:
        point, configuration = self._configuration(entry.params, entry.seed_index, entry.rows)
        return Proposal(entry.number, point, configuration)

    def _configuration(
        self, params: Mapping[str, Any], seed_index: int, rows: int | None
    ) -> tuple[dict[str, Any], Configuration]:
        point = point_of(self._recipe, params)
        assert point is not None
        base = self._recipe.configuration(point)
        train: dict[str, int] = {"seed": base.train.seed + seed_index}
        data: dict[str, int | None] = {}
        if rows is not None and self._pace.task is not None:
            validated = self._pace.task.validated(rows)
            most = base.data.max_eval_samples if validated >= self._pace.task.eval_rows else validated
            data = {"max_train_samples": rows, "max_eval_samples": most}
            # Of fewer steps as many would be a larger part: a rung shall show the schedule that the finals have.
            share = self._pace.task.rows(rows) / self._pace.task.rows(self._pace.plan.top)
            train["warmup_steps"] = int(base.train.warmup_steps * share)
        planned = self._pace.plan.planned(base.with_fields(train=train, data=data), rows)
        return point, self._that_warms_up(planned, rows)

    def _that_warms_up(self, planned: Configuration, rows: int | None) -> Configuration:
        """A configuration as it is, or with a shorter warm-up of a range, by which the rate would hardly be reached."""
        task, train = self._pace.task, planned.train
        if task is None or not isinstance(self._recipe.axes.get("train.warmup_steps"), Range):
            return planned
        batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
        most = int(MOST_WARMED * task.rows(rows) * train.num_train_epochs / batch)
        return planned.with_fields(train={"warmup_steps": most}) if train.warmup_steps > most else planned


def make_sampler(recipe: Recipe, proposed: int, drawn: int) -> optuna.samplers.BaseSampler:
    """The sampler of the configuration after `proposed` others, for which `drawn` points were drawn in vain.

    Trials of further seeds or rows don't count: which come before a new configuration hangs on how many are trained at
    once.
    """
    entropy = [recipe.train.seed, proposed, *([drawn] if drawn else [])]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if recipe.search.sampler in ("tpe", "auto") and drawn < STUCK_AFTER:
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
