"""What to try next: one to three commands, each with the reason that this run gives for it; none where it gives none.

The order is that of what they promise: another metric where one class is nearly all, more passes where few taught
nothing, the seeds of few rows in one adapter, all rows where the winner saw a part, more configurations where the time
was the limit, a higher rank where the highest beat a lower one by more than noise, more seeds where rows are few or one
alone decides between equals, the experiment that would tell effects, and TF-IDF beside the winner. A higher cap is
never advised: it has to be kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from loraloom.data.checks import NEARLY_ALL
from loraloom.errors import RunError
from loraloom.recipe import Choices
from loraloom.report.answer import Answer
from loraloom.report.effects.advice import Advice
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.reading import Best, RunRead
from loraloom.report.wording import count, duration, roughly
from loraloom.search.next_search import (
    SEEDS,
    AllRows,
    MoreConfigurations,
    is_to_be_mixed,
    more_passes,
    more_time,
    passes_command,
    search_command,
    seeds_of,
    time_of_seeds,
)
from loraloom.study.choice import is_better_mixed
from loraloom.study.commands import command_on
from loraloom.study.durable import is_whole
from loraloom.study.provenance import rows_of, unbeaten
from loraloom.study.record import TrialRecord, read_record
from loraloom.study.run import BLEND
from loraloom.wording import percent, plural

MOST = 3
QUICKLY_BLENDED = 20_000
"""Rows of which TF-IDF takes some ten seconds, of texts of fifty words."""
ROOM = 0.5
"""Of the cap: a winner below it has room for twice its adapter."""


@dataclass(frozen=True, slots=True)
class Step:
    """A reason, and the command that it is for."""

    sentence: str
    command: str


def next_steps(run: RunRead, board: Leaderboard, found: Answer, to_tell_effects: Advice | None) -> tuple[Step, ...]:
    """Of a run that has its winner; before that, there is but to go on."""
    if run.best is None or found.winner is None:
        return ()
    longer = more_time(run.path, run.recipe, run.best.record, run.records)
    passes = tuple(_more_passes(run, run.best.record))
    no_seeds = passes or isinstance(longer, AllRows)  # of what has learnt nothing; or there is no time for them either
    steps = itertools.chain(
        _each_class(run, run.best.record),
        passes,
        _soup(run, run.best.record),
        _more_time(run, longer),
        _higher_rank(run, board, found),
        () if no_seeds else _more_seeds(run, board, longer),
        _effects(to_tell_effects),
        _blend(run, run.best),
    )
    return tuple(itertools.islice(steps, MOST))


def _each_class(run: RunRead, winner: TrialRecord) -> Iterator[Step]:
    """Where one class is nearly all, and the winner is not shown to beat answering it always."""
    constant = unbeaten(winner, run.recipe)
    if constant and constant[1] > NEARLY_ALL and run.recipe.search.metric == "accuracy" and run.recipe.axes:
        yield Step(
            "Each class alike: the winner is not shown to beat a constant answer, by accuracy, in which rare classes "
            "hardly count. Macro-F1 counts them as much as others.",
            _search(run, "macro-f1", "search.metric=macro_f1"),
        )


def _more_passes(run: RunRead, winner: TrialRecord) -> Iterator[Step]:
    if most := more_passes(winner, run.recipe):
        given, rows = winner.configuration.train.num_train_epochs, winner.train_rows or 0
        yield Step(
            f"More passes: the winner is not shown to beat a constant answer, and train.num_train_epochs is {given:g}. "
            f"Over {count(rows)} rows a search under a clock makes up to {most:g}.",
            passes_command(run.place, run.recipe, most),
        )


def _soup(run: RunRead, winner: TrialRecord) -> Iterator[Step]:
    seeds = seeds_of(winner, run.records, run.recipe.search.metric)
    if is_to_be_mixed(run.path, winner, seeds):
        yield Step(
            f"One adapter of the winner's {seeds} seeds: of so few training rows the mean of their weights tends to be "
            "better than each of them. Nothing is trained.",
            command_on("soup", run.place, run.recipe),
        )


def _more_time(run: RunRead, longer: AllRows | MoreConfigurations | None) -> Iterator[Step]:
    match longer:
        case AllRows(seen, every, wanted, had):
            yield Step(
                f"All rows: the winner was trained on {count(seen)} of {count(every)}, in a search that had "
                f"{duration(had)}. One of all would take about {roughly(wanted)}.",
                longer.command(run.place, run.recipe),
            )
        case MoreConfigurations(tried, most, again, had):
            of = "" if most is None else f" of {most:,}"
            yield Step(
                f"More configurations: {duration(had)} had time for {plural(tried, 'configuration')}{of}. "
                f"In {duration(again)} more it tries others; another winner is tested on the same rows.",
                longer.command(run.place, run.recipe),
            )


def _higher_rank(run: RunRead, board: Leaderboard, found: Answer) -> Iterator[Step]:
    axis, winner, row = run.recipe.axes.get("lora.r"), found.winner, board.winner
    if axis is None or winner is None or row is None or row.rank != 1 or board.metric != "accuracy":
        return
    highest = max(axis.values) if isinstance(axis, Choices) else axis.high
    place = board.axes.index("lora.r")
    near = {id(other) for other in board.in_noise}
    beaten = any(other.written[place] < highest for other in board.compared if id(other) not in near)
    room = winner.of_cap is None or winner.of_cap < ROOM
    if run.best and run.best.record.configuration.lora.r == highest and beaten and not board.smallest_in_noise and room:
        share = f", and takes {percent(winner.of_cap)} of the cap" if winner.of_cap is not None else ""
        yield Step(
            f"A higher rank: the winner has the highest that was searched, {highest}{share}.",
            _search(run, "rank", f"lora.r=[{highest}, {2 * highest}]"),
        )


def _more_seeds(run: RunRead, board: Leaderboard, longer: AllRows | MoreConfigurations | None) -> Iterator[Step]:
    """Three seeds; where one had all the time already, with the time of three."""
    row, near = board.winner, len(board.in_noise)
    if row is None or row.seeds > 1 or run.recipe.search.seeds > 1:
        return
    settings, end = [f"search.seeds={SEEDS}"], "."
    if seconds := time_of_seeds(run.path, run.recipe, run.records, longer):
        settings.append(f"budget.max_seconds={seconds}")
        end = f". They take three times the time, {duration(seconds)}."
    if is_better_mixed(row.record, SEEDS):
        yield Step(
            "More seeds: of so few training rows the mean of three seeds' weights tends to be better than one of them, "
            f"and a search mixes them by itself{end}",
            _search(run, "seeds", *settings),
        )
    elif near:
        others = "another configuration" if near == 1 else f"{near:,} other configurations"
        yield Step(
            f"More seeds: by one seed {others} can't be told from the winner; three say how far chance moves each{end}",
            _search(run, "seeds", *settings),
        )


def _effects(to_tell: Advice | None) -> Iterator[Step]:
    if to_tell and to_tell.command:
        yield Step(f"What each field does: {to_tell.sentence}", to_tell.command)


def _blend(run: RunRead, best: Best) -> Iterator[Step]:
    if best.predictions and not _is_blended(run, best.record):
        takes = blending_takes(sum(rows_of(run.recipe).values()))
        yield Step(
            "The figure to beat: what TF-IDF alone has on these test rows, and what it brings as a part of the "
            f"answers, which counts in no cap. It takes {takes}, and nothing is trained of the adapter.",
            command_on("blend", run.place, run.recipe),
        )


def blending_takes(rows: int) -> str:
    """How long words are counted and weighed of so many."""
    return "seconds" if rows <= QUICKLY_BLENDED else "minutes"


def _is_blended(run: RunRead, winner: TrialRecord) -> bool:
    """Whether RUN/blend is of this winner and its test rows, not of an earlier one or fewer rows.

    Of one that can't be read the report says so.
    """
    folder = run.path / BLEND
    if not is_whole(folder):
        return False
    try:
        blend = read_record(folder)
    except RunError:
        return True
    return blend.is_of(winner) and blend.tested_rows == winner.tested_rows


def _search(run: RunRead, name: str, *settings: str) -> str:
    return search_command(run.place, run.recipe, name, *settings)
