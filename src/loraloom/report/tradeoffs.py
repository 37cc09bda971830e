"""What accuracy costs: configurations by their parameters and by their training time, and the fronts of both.

A configuration is on a front where none is both cheaper and at least as good, by means over seeds: the set of Pareto
("Manuale di economia politica", 1906). A front of noisy means flatters, as any best of many does: so the sentences say
from which cost on a gain is still more than the noise of the best. Cost: a sort. Rejected: a front of lower ends of
intervals, which prefers whatever has more seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loraloom.intervals import Interval
from loraloom.report.leaderboard import Leaderboard, Row, describe
from loraloom.report.reading import RunRead
from loraloom.report.rounding import rounded
from loraloom.report.wording import count, duration, share
from loraloom.study.provenance import dropped_points
from loraloom.wording import percent, plural

NEAR_CAP = 0.9
"""Of the cap: a best configuration beyond it might be held back by it."""
ALIKE = 1.25
"""Times of which the longest is no more than so many times the shortest: other programs move them by as much."""


@dataclass(frozen=True, slots=True)
class Point:
    """A ranked configuration; `number` is its best trial, `metric` the mean over its seeds.

    `full` says whether it is compared by size: on as many rows as any, and to its end, where any of these was.
    """

    number: int
    rank: int
    name: str
    metric: float
    interval: Interval | None
    seeds: int
    trainable: int
    seconds: float | None
    full: bool
    winner: bool
    on_size_front: bool
    on_time_front: bool


@dataclass(frozen=True, slots=True)
class Tradeoffs:
    """`points` in the leaderboard's order, and a sentence or three on each picture."""

    points: tuple[Point, ...]
    metric_name: str
    has_intervals: bool
    cap: int | None
    on_size: str
    on_time: str

    @property
    def timed(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.seconds is not None)

    @property
    def has_front(self) -> bool:
        """Whether a front has two points, and is a line."""
        return any(sum(on) > 1 for on in zip(*((p.on_size_front, p.on_time_front) for p in self.points), strict=True))


def tradeoffs(run: RunRead, board: Leaderboard) -> Tradeoffs | None:
    """None where fewer than two configurations have a result."""
    ranked = board.ranked
    if len(ranked) < 2:
        return None
    most = max(row.reach for row in ranked)
    whole = [row for row in ranked if row.reach == most]
    full = [row for row in whole if not row.cut_short] or whole
    timed = [row for row in ranked if row.seconds is not None]
    by_size = front(full, lambda row: row.trainable)
    by_time = front(timed, lambda row: row.seconds or 0.0)
    in_full, on_size, on_time = ({id(row) for row in rows} for rows in (full, by_size, by_time))
    cap = run.recipe.budget.max_trainable_parameters
    winner = board.winner
    return Tradeoffs(
        points=tuple(
            Point(
                number=row.record.number,
                rank=row.rank or 0,
                name=describe(board.axes, row.values),
                metric=row.metric or 0.0,
                interval=row.interval if board.metric == "accuracy" else None,
                seeds=row.seeds,
                trainable=row.trainable,
                seconds=row.seconds,
                full=id(row) in in_full,
                winner=row is winner,
                on_size_front=id(row) in on_size,
                on_time_front=id(row) in on_time,
            )
            for row in ranked
        ),
        metric_name=board.metric_name,
        has_intervals=board.metric == "accuracy",
        cap=cap,
        on_size=" ".join(_on_size(board, full, by_size, cap, _held_back(run))),
        on_time=" ".join(_on_time(board, timed, by_time)),
    )


def front(rows: Sequence[Row], cost: Callable[[Row], float]) -> tuple[Row, ...]:
    """The rows than which none is both cheaper, or as cheap, and better, or as good: from the cheapest on."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: (cost(row), -(row.metric or 0.0))):
        if not kept or (row.metric or 0.0) > (kept[-1].metric or 0.0):
            kept.append(row)
    return tuple(kept)


def _reached(board: Leaderboard, row: Row) -> str:
    """The metric, as its interval allows."""
    return rounded(row.metric, row.interval if board.metric == "accuracy" else None)


def _held_back(run: RunRead) -> str:
    """What the cap kept from being tried, as a clause; what a sampler proposed in vain is not kept, and so not said."""
    dropped, more = dropped_points(run.recipe)
    if any("budget.max_trainable_parameters" in str(reason) for reason in dropped):
        return "; larger points were not tried"
    return ", which holds nothing back here" if run.recipe.search.sampler == "grid" and not more else ""


def _on_size(
    board: Leaderboard, full: Sequence[Row], found: Sequence[Row], cap: int | None, held_back: str
) -> list[str]:
    low, high = found[0], found[-1]
    if len(full) == 1:
        came = "on the most rows, and the clock cut it short" if low.cut_short else "to its end on all its rows"
        return [f"One configuration alone was trained {came}: there is nothing to compare by size."]
    of = plural(len(full), "configuration")
    if len(found) == 1:
        is_best = "one is both the smallest and the best"
        if _level(full, low):
            is_best = f"the smallest ({count(low.trainable)} parameters) is as good as any"
        said = [f"Of {of}, {is_best}: size bought no {board.metric_name} here."]
    else:
        said = [
            f"{len(found)} of {of} are on the front, from {_reached(board, low)} with {count(low.trainable)} "
            f"parameters to {_reached(board, high)} with {count(high.trainable)}."
        ]
        said += _noise(board, found, lambda row: f"{count(row.trainable)} parameters")
    said += _others(board, full, high, lambda row: f"{count(row.trainable)} parameters")
    best = "best" if high is board.winner else "leader"
    if cap:
        takes = f"The {best} takes {percent(high.trainable / cap)} of the cap"
        if high.trainable > NEAR_CAP * cap:
            said.append(f"{takes}: a higher cap might allow a better one.")
        elif len(found) > 1:
            said.append(f"{takes}{held_back}.")
    return said


def _on_time(board: Leaderboard, timed: Sequence[Row], found: Sequence[Row]) -> list[str]:
    if not found:
        return ["No trial left its time."]
    low, high = found[0], found[-1]
    of = plural(len(timed), "configuration" if len(timed) <= board.configurations else "result")
    if len(timed) == 1:
        return ["One configuration alone left its time: there is nothing to compare by it."]
    seconds = [row.seconds or 0.0 for row in timed]
    if max(seconds) <= ALIKE * min(seconds):
        span = " to ".join(dict.fromkeys(map(duration, (min(seconds), max(seconds)))))
        return [
            f"{of} took {span} a trial, too alike to tell what time buys: what else a machine does moves it as much."
        ]
    others = _others(board, timed, high, lambda row: duration(row.seconds))
    if len(found) == 1:
        is_best = "as good as any" if _level(timed, low) else "the best"
        return [
            f"Of {of}, the quickest ({duration(low.seconds)}) is {is_best}: time bought no {board.metric_name} here.",
            *others,
        ]
    return [
        f"{len(found)} of {of} are on the front, from {_reached(board, low)} in {duration(low.seconds)} to "
        f"{_reached(board, high)} in {duration(high.seconds)} a trial.",
        *_noise(board, found, lambda row: f"{duration(row.seconds)} a trial"),
        *others,
    ]


def _level(rows: Sequence[Row], row: Row) -> list[Row]:
    """The others that reached exactly as much."""
    return [other for other in rows if other is not row and other.metric == row.metric]


def _others(board: Leaderboard, rows: Sequence[Row], high: Row, words: Callable[[Row], str]) -> list[str]:
    """Who is level with a front's upper end, and what the winner costs where it is another."""
    level, best = _level(rows, high), board.winner
    winner = next((row for row in rows if row is best), high)
    said = []
    if len(level) == 1:
        who = f"The winner ({words(winner)})" if level[0] is winner else "1 other"
        said.append(f"{who} reaches the same.")
    elif level:
        among = f", the winner ({words(winner)}) among them" if any(row is winner for row in level) else ""
        said.append(f"{len(level):,} others reach the same{among}.")
    if winner is not high and not said:
        said.append(f"The winner is another, rank {winner.rank} ({words(winner)}).")
    return said


def _noise(board: Leaderboard, found: Sequence[Row], words: Callable[[Row], str]) -> list[str]:
    """From where on along a front the rest of the way up is not more than the noise of its upper end."""
    high = found[-1]
    if board.metric != "accuracy" or high.noise_floor is None:
        return []
    near = next(row for row in found if (row.accuracy or 0.0) >= high.noise_floor)
    seeds, rows = plural(high.seeds, "seed"), plural(high.examples, "validation row")
    noise = f"the noise of the upper end (down to {share(high.noise_floor)}, {seeds}, {rows})"
    if near is high:
        return [f"The last step up is more than {noise}."]
    if near is found[0]:
        return [f"All of that lies within {noise}: more is not shown to be better."]
    return [f"From {words(near)} ({_reached(board, near)}) on, all lies within {noise}."]
