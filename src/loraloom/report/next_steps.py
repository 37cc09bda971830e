"""What to try next: one to three commands, each with the reason that this run gives for it; none where it gives none.

The order is that of what they promise: all rows where the winner saw a part, more configurations where the time was the
limit, a higher rank where the highest won, more seeds where one alone decides between equals, and the experiment that
would tell effects. A higher cap is never advised: who sets one has to keep it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from loraloom.recipe import Choices
from loraloom.report.answer import Answer, quoted
from loraloom.report.effects.advice import Advice, points_of
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.reading import Run
from loraloom.report.stated import as_mapping
from loraloom.report.wording import count, duration, plural

MOST = 3
ROOM = 0.5
"""Of the cap: a winner below it has room for twice its adapter."""


@dataclass(frozen=True, slots=True)
class Step:
    """A reason, and the command that it is for."""

    sentence: str
    command: str


def next_steps(run: Run, board: Leaderboard, found: Answer, to_tell_effects: Advice | None) -> tuple[Step, ...]:
    """Of a run that has its winner; before that, there is but to go on."""
    if run.best is None or found.winner is None:
        return ()
    steps = itertools.chain(
        _more_time(run, found),
        _higher_rank(run, board, found),
        _more_seeds(run, board, found),
        _effects(to_tell_effects),
    )
    return tuple(itertools.islice(steps, MOST))


def _more_time(run: Run, found: Answer) -> Iterator[Step]:
    seconds = run.recipe.budget.max_seconds
    if seconds is None or run.best is None:
        return
    seen, rows = run.best.record.train_rows, as_mapping(as_mapping(run.recipe.provenance.get("data")).get("rows"))
    every, asked = rows.get("train"), run.recipe.data.max_train_samples
    if seen and isinstance(every, int) and seen < (every := min(every, asked or every)):
        wanted = 10 * math.ceil(seconds * every / seen / 10)
        yield Step(
            f"All rows: the winner was trained on {count(seen)} of {count(every)}, which is what {duration(seconds)} "
            f"had time for. A search of all would take about {duration(wanted)}.",
            _search(run, "longer", f"budget.max_seconds={wanted}"),
        )
        return
    ends = [end for end in (points_of(run.recipe), run.recipe.search.n_trials) if end is not None]
    if run.recipe.axes and all(found.configurations < end for end in ends):
        tried = plural(found.configurations, "configuration")
        of = f" of {min(ends):,}" if ends else ""
        yield Step(
            f"More configurations: {duration(seconds)} had time for {tried}{of}. "
            "As much time again tries others; another winner is tested on the same rows.",
            f"loraloom resume {quoted(str(run.path))}",
        )


def _higher_rank(run: Run, board: Leaderboard, found: Answer) -> Iterator[Step]:
    axis, winner, row = run.recipe.axes.get("lora.r"), found.winner, board.winner
    if axis is None or winner is None or row is None or row.rank != 1 or board.smallest_in_noise:
        return
    highest = max(axis.values) if isinstance(axis, Choices) else axis.high
    room = winner.cap_percent is None or winner.cap_percent < 100 * ROOM
    if run.best and run.best.record.configuration.lora.r == highest and room:
        share = f", and takes {winner.cap_percent:.0f} % of the cap" if winner.cap_percent is not None else ""
        yield Step(
            f"A higher rank: the winner has the highest that was searched, {highest}{share}.",
            _search(run, "rank", f"'lora.r=[{highest}, {2 * highest}]'"),
        )


def _more_seeds(run: Run, board: Leaderboard, found: Answer) -> Iterator[Step]:
    row, near = board.winner, len(board.in_noise)
    if row is not None and row.seeds == 1 and near and run.recipe.search.seeds == 1:
        others = "another configuration" if near == 1 else f"{near:,} other configurations"
        yield Step(
            f"More seeds: by one seed {others} can't be told from the winner; three say how far chance moves each.",
            _search(run, "seeds", "search.seeds=3"),
        )


def _effects(to_tell: Advice | None) -> Iterator[Step]:
    if to_tell and to_tell.command:
        yield Step(f"What each field does: {to_tell.sentence}", to_tell.command)


def _search(run: Run, name: str, setting: str) -> str:
    recipe, out = quoted(f"{run.path}/recipe.yaml"), quoted(f"{run.path}-{name}")
    return f"loraloom search {recipe} --out {out} --set {setting}"
