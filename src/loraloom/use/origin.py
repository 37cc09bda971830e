"""The run that an adapter's folder lies in, where it does: its data's facts, its validation rows, its doubts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loraloom.data import TextData, load_again
from loraloom.errors import LoraloomError, RecipeError, RunError, shell_path
from loraloom.study.durable import is_whole
from loraloom.study.leaderboard import configuration_key
from loraloom.study.provenance import class_rows, fingerprint_of
from loraloom.study.record import TrialRecord, read_record
from loraloom.study.run import BEST, BLEND, REFIT, SOUP, TRIALS, Run, is_run

MOST_BYTES = 50_000_000
"""Of a run's training file or folder that is read again: to check more takes longer than what asks for it."""


def run_of(adapter: Path) -> Path | None:
    """RUN, for RUN/best and its like and RUN/trials/0007; None for a folder that was taken elsewhere."""
    place = adapter.resolve()
    run = place.parent.parent if place.parent.name == TRIALS else None
    if place.name in (BEST, REFIT, SOUP, BLEND):
        run = place.parent
    return run if run is not None and is_run(run) else None


def earlier_winner(adapter: Path, record: TrialRecord) -> str | None:
    """What is said of a RUN/refit, RUN/soup or RUN/blend of a winner that the run had before; None of another.

    A refit and a blend are of one training, or one mean; a soup is of all seeds of a configuration,
    whichever of them leads.
    """
    run, kind = run_of(adapter), adapter.resolve().name
    if run is None or kind not in (REFIT, SOUP, BLEND) or not is_whole(run / BEST):
        return None
    try:
        winner = read_record(run / BEST)
    except RunError:
        return None
    if kind == SOUP and configuration_key(record) == configuration_key(winner):
        return None
    if kind != SOUP and record.is_of(winner):
        return None
    so = f"{adapter} is of {record.called}, where the winner of its run is {winner.called} by now"
    return f"{so}: loraloom {kind} {shell_path(run)} makes it anew"


def training_rows(adapter: Path, record: TrialRecord) -> Mapping[str, int] | None:
    """Training rows by class, as the adapter's run tells them, for a refit with those of validation that it was given.

    Of an adapter that was taken from its run, as it tells them itself.

    A refit leaves out validation rows that test has too: its record says how many, not of which classes. They are taken
    to have validation's shares, and those that the recipe lets be learnt of, training's.

    None where neither tells, and for a refit that was taken from its run: those are not its own rows.
    """
    run = run_of(adapter)
    if run is None:
        told = None if record.is_refitted else record.class_rows
        return None if told is None else dict(zip(record.labels, told, strict=True))
    try:
        recipe = Run(run).recipe
    except LoraloomError:
        return None
    rows = class_rows(recipe)
    train, held_out = rows.get("train", {}), rows.get("validation", {})
    if not record.is_refitted:
        return train or None
    every = sum(train.values())
    own = min(every, recipe.data.max_train_samples or every)
    of_train, of_held_out = own / max(1, every), max(0, (record.train_rows or 0) - own) / max(1, sum(held_out.values()))
    return {
        name: round(of_train * number + of_held_out * held_out.get(name, 0)) for name, number in train.items()
    } or None


def rows_of(adapter: Path) -> TextData | None:
    """The rows of the run that `adapter` lies in, read again; None where it lies in none, or they are not as they were.

    Rows that are not on this machine's disk, or are many, are not looked for.

    Raises:
        RunError: the run's recipe is damaged, or of a version that this one can't read.
    """
    run = run_of(adapter)
    if run is None:
        return None
    try:
        recipe = Run(run).recipe
    except RecipeError as error:
        raise RunError("; ".join(error.problems)) from None
    file = recipe.data.train_file
    try:
        if recipe.data.dataset != "demo" and (file is None or _bytes(Path(file)) > MOST_BYTES):
            return None
        data = load_again(recipe)
        return data if data.fingerprint == fingerprint_of(recipe) else None
    except (LoraloomError, OSError):
        return None


def _bytes(path: Path) -> int:
    """Of a file, or of a folder's files together."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
