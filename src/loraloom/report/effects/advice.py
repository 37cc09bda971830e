"""What to run to know more: as many configurations as show half a percentage point, in one command to copy.

A search of its own, by chance and without a pruner: configurations that are chosen by results, or promoted by them, say
less of an axis than as many that were drawn. Where the axes have fewer points than are needed, all of them with as many
seeds as make up for it, which helps as far as the noise is that of seeds. Where they have too few to measure noise at
all, no command would do.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import fmean

from loraloom.report.effects.analysis import MARGIN, Analysis
from loraloom.report.effects.axes import columns_of
from loraloom.report.effects.model import LEAST_FREEDOM
from loraloom.report.points import size
from loraloom.report.reading import RunRead
from loraloom.report.wording import duration, roughly
from loraloom.search.next_search import points_of, search_command
from loraloom.study.record import TrialRecord
from loraloom.wording import plural

TOO_MANY = 20
"""Times the configurations that there are: more than these are not asked for."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence and the command that it means, where there is one."""

    sentence: str
    command: str | None


def advice(run: RunRead, analysis: Analysis, each: int, *, early: bool) -> Advice | None:
    """None where every comparison that can be made has its verdict, or all that could be advised was run.

    Noise was measured on means of `each` seeds, and so many are advised of each configuration, or a multiple of them.
    `early` says that configurations were first seen on fewer rows, or sooner, than what is advised trains them.
    """
    undecided = [effect for effect in analysis.effects if effect.verdict in ("open", "few")]
    if not undecided or not run.recipe.axes:
        return None
    now = analysis.configurations
    wanted = [effect.needed for effect in undecided if effect.needed is not None]
    unknowns = max(analysis.unknowns, 1 + sum(map(columns_of, run.recipe.axes.values())))
    points, fewest = points_of(run.recipe), unknowns + int(LEAST_FREEDOM)
    if points is not None and points < fewest:
        return Advice(
            f"The axes have {plural(points, 'configuration')}, and no search of so few can tell: it takes {fewest} to "
            "measure noise at all. Give the axes more values, or add one.",
            None,
        )
    least = max(2 * now, 3 * unknowns)
    number = max([least, *wanted])
    why = f"to find a difference of {size(MARGIN)} with a power of 80 %, as noisy as these are"
    in_reach = number <= max(TOO_MANY * now, least)
    if not in_reach:
        asked = max(4 * now, least)
        shown, number = MARGIN * math.sqrt(number / asked), asked
        why = (
            f"to find a difference of {size(shown)} with a power of 80 %: {size(MARGIN)} is out of reach, as noisy as "
            "these are"
        )
    elif not wanted:
        why = "to tell the axes apart and measure noise at all"
    remarks = ""
    if early and wanted:
        remarks = (
            " Their noise is that of first results: what trains on all rows to its end is likely to scatter less, and "
            "to tell smaller differences."
        )
    if points is not None and points < number:
        times = math.ceil(number / points)
        seeds = each * times
        had = Counter(record.point_key for record in run.records if record.state == "complete")
        enough = seeds if wanted and in_reach else times  # else they would be asked for again after each such search
        if len(had) >= points and min(had.values()) >= enough:
            return None  # it was run already
        trials, sets = points * seeds, ["search.sampler=grid", "search.n_trials=null", f"search.seeds={seeds}"]
        what = f"All {points:,} configurations with {seeds:,} seeds each"
        remarks += " Seeds help as far as that noise is theirs." if wanted else ""
    else:
        trials, sets = number * each, ["search.sampler=random", f"search.n_trials={number}", f"search.seeds={each}"]
        what = f"{number:,} configurations{f' with {each:,} seeds each' if each > 1 else ''}"
    longest = _longest(run)
    took = fmean(record.whole_seconds for record in longest) if longest else None
    if longest and run.recipe.search.epochs == "clock":  # there is no clock in what is advised: as many as here
        sets += ["search.epochs=recipe", f"train.num_train_epochs={longest[0].configuration.train.num_train_epochs:g}"]
    time = f" At {duration(took)} a trial, as here, that is about {roughly(trials * took)} of training." if took else ""
    sets += ["search.pruner=none", "budget.max_seconds=null"]
    return Advice(f"{what} would do {why}.{remarks}{time}", search_command(run.place, run.recipe, "effects", *sets))


def _longest(run: RunRead) -> list[TrialRecord]:
    """The complete trials on the most rows, as far as they were timed."""
    rows = max((record.train_rows or 0 for record in run.records), default=0)
    return [r for r in run.records if r.timings and (r.train_rows or 0) == rows and r.state == "complete"]
