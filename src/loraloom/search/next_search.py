"""What comes after a search: its recipe searched again with other settings, or what more time would do.

The terminal and the report tell it in their own words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Any

from loraloom.errors import RunError, shell_options, shell_path
from loraloom.recipe import Recipe
from loraloom.recipe.fields import MOST_SEEDS, Metric
from loraloom.search.costs import CAUTION
from loraloom.search.passes import most_passes
from loraloom.search.plan import CLOCKED_SHARE
from loraloom.search.space import may_be_clocked
from loraloom.study.choice import is_better_mixed, to_mix
from loraloom.study.commands import known_commands, last_placement, python_options, resume_command, rows_again
from loraloom.study.durable import is_whole
from loraloom.study.integrity import RECIPE
from loraloom.study.leaderboard import configuration_key, standing
from loraloom.study.provenance import dropped_points, rows_of, unbeaten
from loraloom.study.record import TrialRecord, read_record
from loraloom.study.run import PLAN, SOUP
from loraloom.study.sealed import read_sealed

SEEDS = 3
"""As many are advised where the winner has one."""
_MOST_COUNTED = 100_000
_NEARLY = 0.9
"""Of a pass: for the rest of it nobody begins anew."""


@dataclass(frozen=True, slots=True)
class AllRows:
    """The winner was trained on `seen` of `every` row in the time it `had`; a search of all would take `seconds`."""

    seen: int
    every: int
    seconds: int
    had: float

    def command(self, run: Path, recipe: Recipe) -> str:
        return search_command(run, recipe, "longer", f"budget.max_seconds={self.seconds}")


@dataclass(frozen=True, slots=True)
class MoreConfigurations:
    """`tried` were tried in the time it `had`, of `most` (None: without end); a resume of `seconds` tries others."""

    tried: int
    most: int | None
    seconds: float
    had: float

    def command(self, run: Path, recipe: Recipe) -> str:
        longer = {} if recipe.budget.max_seconds == self.seconds else {"max_seconds": math.ceil(self.seconds)}
        return resume_command(run, recipe, {**longer, **last_placement(run)})


def seeds_of(winner: TrialRecord, records: Sequence[TrialRecord], metric: Metric) -> int:
    """How many finished trials a run's winner has, itself among them, that differ by their seeds alone.

    Those that have collapsed are left out, as in the mean of all.
    """
    key = configuration_key(winner)
    seeds = [record for record in records if record.state == "complete" and configuration_key(record) == key]
    return len(to_mix(standing(seeds, metric))) if seeds else 0


def is_to_be_mixed(run: Path, winner: TrialRecord, seeds: int) -> bool:
    """Whether the winner of a run of few rows has several `seeds` that were not mixed yet, for which time lacked.

    A soup of an earlier winner, or one that can't be read, is none of this one's.
    """
    if winner.is_soup or not is_better_mixed(winner, seeds):
        return False
    if any(winner.number in one.unmixed and len(one.unmixed) == seeds for one in known_commands(run)):
        return False  # their mean is not kept
    if not is_whole(run / SOUP):
        return True
    try:
        return configuration_key(read_record(run / SOUP)) != configuration_key(winner)
    except RunError:
        return True


def more_passes(winner: TrialRecord, recipe: Recipe) -> float | None:
    """Passes over so few rows that a search under a clock would make, where the recipe asked for few.

    None where they are not so many more, or a limit on the time left no room for twice as many, or the winner is shown
    to beat a constant answer as it is.
    """
    given, rows = winner.configuration.train.num_train_epochs, winner.train_rows or 0
    chosen = recipe.search.epochs == "clock" or "train.num_train_epochs" in recipe.axes
    limit = recipe.budget.max_seconds
    had_room = limit is None or (may_be_clocked(recipe) and 2 * winner.whole_seconds <= CLOCKED_SHARE * limit)
    if chosen or not had_room or not rows or not unbeaten(winner, recipe):
        return None
    most = most_passes(rows)
    return most if 2 * given <= most else None


def passes_command(run: Path, recipe: Recipe, most: float) -> str:
    """The command of a search with `more_passes`: so many, or under a limit on the time as many as it allows."""
    setting = f"train.num_train_epochs={most:g}" if recipe.budget.max_seconds is None else "search.epochs=clock"
    return search_command(run, recipe, "passes", setting)


def _time_had(run: Path, recipe: Recipe) -> float | None:
    """The seconds that a run's commands had, or else its recipe's; None where nothing limited them.

    One that was done had all that it was allowed: what it has used grows while its report is written.
    """
    commands = known_commands(run)
    if recipe.budget.max_seconds is None and not any(command.allowed_seconds for command in commands):
        return None
    had = (one.allowed_seconds if one.ended == "done" and one.allowed_seconds else one.seconds for one in commands)
    return sum(seconds or 0.0 for seconds in had) or recipe.budget.max_seconds


def more_time(
    run: Path, recipe: Recipe, winner: TrialRecord, records: Sequence[TrialRecord]
) -> AllRows | MoreConfigurations | None:
    """What a run with these `records` could do with more time; None where it had no deadline, or did all."""
    had, seen = _time_had(run, recipe), _rows_seen(winner, recipe)
    if had is None:
        return None
    every, asked = rows_of(recipe).get("train"), recipe.data.max_train_samples
    every = None if every is None else min(every, asked or every)
    most = max((_rows_seen(record, recipe) or 0 for record in records if record.result is not None), default=0)
    if seen and every is not None and max(seen, most) < every and not fell_behind(winner, records):
        learnt = _rows_seen(winner, recipe, whole=1.0) or seen
        return AllRows(learnt, every, 10 * math.ceil(_seconds_of(every / learnt, winner, records, had) / 10), had)
    configurations, tried = _most(run, recipe), len({record.point_key for record in records})
    if recipe.axes and (configurations is None or tried < configurations):
        again = recipe.budget.max_seconds or had
        # What had all the time leaves none for another of as many passes, which may be dearer.
        alone = tried == 1 and any(record.whole_seconds > again / 2 for record in records)
        return MoreConfigurations(tried, configurations, (1 + alone) * again, had)
    return None


def fell_behind(winner: TrialRecord, records: Sequence[TrialRecord]) -> bool:
    """Whether the winner's configuration failed on more rows, or came to less there though no clock cut it short.

    It is not for want of time then that it has no more. Another that failed there says nothing of it.
    """
    own = (one for one in records if one.point_key == winner.point_key and one.state != "pruned")
    further = (one for one in own if (one.train_rows or 0) > (winner.train_rows or 0))
    return any(one.state == "failed" or not one.cut_short for one in further)


def time_of_seeds(
    run: Path, recipe: Recipe, records: Sequence[TrialRecord], longer: AllRows | MoreConfigurations | None
) -> int | None:
    """The seconds of a search that gives each configuration `SEEDS`; None where those that it had suffice.

    In the same time it would try fewer configurations, in fewer passes, or but one seed. `longer`: what more time does.
    """
    had = _time_had(run, recipe)
    took = min(_trained(records), _used(run))  # trials may have been trained side by side
    if had is None or not (isinstance(longer, MoreConfigurations) or SEEDS * took > had):
        return None
    return math.ceil(SEEDS * had)


def to_use_the_rest(run: Path, recipe: Recipe, seeds: int) -> str | None:
    """What to set for a search that uses its time, of which this one used half at most; None where there is none left.

    More configurations, where their number was asked for and there are others; else more than the winner's `seeds`, as
    far as a recipe may have them.
    """
    had, asked = _time_had(run, recipe), recipe.search.n_trials
    if had is None or 2 * _used(run) > had:
        return None
    if asked is not None and asked < (points_of(recipe) or math.inf):
        return f"search.n_trials={2 * asked}"
    had_seeds = max(seeds, recipe.search.seeds)
    return f"search.seeds={min(2 * had_seeds, MOST_SEEDS)}" if had_seeds < MOST_SEEDS else None


def _trained(records: Sequence[TrialRecord]) -> float:
    """Seconds that all of them took."""
    return sum(record.timings.seconds for record in records if record.timings)


def _used(run: Path) -> float:
    """Seconds that a run's commands took; without end where that is not known of each."""
    return sum(math.inf if one.seconds is None else one.seconds for one in known_commands(run)) or math.inf


def _seconds_of(times: float, winner: TrialRecord, records: Sequence[TrialRecord], had: float) -> float:
    """What a search of so many `times` the rows would take: its trials that much longer, all beside them as long."""
    if winner.timings is None:
        return times * had
    training = min(had, max(_trained(records), winner.timings.seconds / CLOCKED_SHARE))
    return CAUTION * times * training + had - training


def _rows_seen(record: TrialRecord, recipe: Recipe, whole: float = _NEARLY) -> int | None:
    """Rows that a trial learnt from, where it lacked much of a `whole` pass for want of time and not by its recipe."""
    by_the_clock = recipe.search.epochs == "clock" or record.cut_short
    seen, rows = record.rows_seen, record.train_rows
    return seen if by_the_clock and seen is not None and seen < whole * (rows or 0) else rows


def _most(run: Path, recipe: Recipe) -> int | None:
    """The configurations that a search tries at most, as it planned; by its recipe where it kept no plan."""
    try:
        planned = read_sealed(run / PLAN)
    except (OSError, ValueError):
        planned = {}
    if "configurations" in planned:
        most: int | None = planned["configurations"]
        return most
    return min((end for end in (points_of(recipe), recipe.search.n_trials) if end is not None), default=None)


def points_of(recipe: Recipe) -> int | None:
    """The points of a run's axes, without those that its grid dropped; None where there is no end of them."""
    if recipe.spans_more(_MOST_COUNTED):
        return None
    named, more = dropped_points(recipe)
    return sum(1 for _ in recipe.grid()) - len(named) - more


def search_command(run: Path, recipe: Recipe, name: str, *settings: str) -> str:
    """The command that searches a run's `recipe` again, into a folder beside it; for a shell, or for its program.

    `settings` are as `--set` takes them. Rows that the run kept on request are kept again. It trains where the run's
    last command did. Epochs by a clock that was not the recipe's have as many seconds as the search had.
    """
    told = any(setting.startswith(("budget.max_seconds=", "search.epochs=")) for setting in settings)
    if recipe.search.epochs == "clock" and recipe.budget.max_seconds is None and not told:
        settings += tuple(f"budget.max_seconds={seconds}" for seconds in _allowed_seconds(run))
    beside = run if run.name else run.absolute()  # "." has no name, and what is beside it another folder
    return _again(recipe, "search", str(run / RECIPE), f"{beside}-{name}", settings, last_placement(run))


def train_command(recipe: Recipe) -> str:
    """The command that trains a configuration of a run's `recipe`, which was copied to a file, on its rows."""
    return _again(recipe, "train", "recipe.yaml", "runs/again")


def _again(
    recipe: Recipe,
    verb: str,
    file: str,
    out: str,
    settings: Sequence[str] = (),
    placement: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    leaks = bool(recipe.provenance.get("allow_leak"))
    if recipe.from_python:
        given = {**({"overrides": list(settings)} if settings else {}), **({"allow_leak": True} if leaks else {})}
        options = [*python_options({**given, **placement}), rows_again(recipe)]
        return f"loraloom.search({', '.join([repr(file), repr(out), *options])})"
    options = [*(f"--set {quote(setting)}" for setting in settings), *["--allow_leak"] * leaks]
    options += shell_options(placement)
    return " ".join([f"loraloom {verb}", shell_path(file), "--out", shell_path(out), *options])


def _allowed_seconds(run: Path) -> tuple[int, ...]:
    """What the first command that had a deadline was allowed; nothing where that is not known."""
    allowed = [command.allowed_seconds for command in known_commands(run)]
    return tuple(math.ceil(seconds) for seconds in allowed if seconds)[:1]
