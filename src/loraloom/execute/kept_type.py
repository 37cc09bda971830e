"""The number type that a run goes on in: a machine that is busy now would measure another for `train.bf16: auto`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from loraloom.errors import RunError
from loraloom.recipe import Recipe, Train
from loraloom.study.durable import is_whole
from loraloom.study.record import Dtype, TrialRecord, read_record
from loraloom.study.run import Run, trial_folders


def kept_type(run: Run) -> Dtype | None:
    """What was measured for the run's trials, by the first that has ended, else by a checkpoint; None before any.

    The trainer's trials say it only where there are no others: it has no fp16, and what is kept may be that. Where the
    type is an axis, checkpoints don't tell which of their trials had it measured.
    """
    folders = trial_folders(run.path)
    by_trainer: Dtype | None = None
    for folder in folders:
        record = _record(folder)
        if record is None or record.engine == "none" or record.configuration.train.number_type is not None:
            continue
        if record.engine != "trainer":
            return record.dtype
        by_trainer = by_trainer or record.dtype
    if run.recipe.values("train.bf16") != ("auto",) or True in run.recipe.values("train.fp16"):
        return by_trainer
    from loraloom.engine.checkpoint import type_begun_in  # with torch

    return next(filter(None, map(type_begun_in, folders)), by_trainer)


def another_type_here(kept: Dtype | None, recipe: Recipe, engine: str) -> str | None:
    """That this machine would take another type than a run has, in a sentence; None where it would not.

    It measures, and so is for the process that trains.
    """
    from loraloom.engine.precision import explain_dtype, without_fp16  # with torch

    if kept is None:
        return None
    no_fp16 = engine == "trainer" or "auto" not in recipe.values("train.fp16")
    here, why = explain_dtype(without_fp16(Train()) if no_fp16 else Train())
    return None if here == kept else f"the run's trials stay in {kept}; this machine would take {here}: {why}"


def _record(folder: Path) -> TrialRecord | None:
    """The record of a trial that has ended; one that is damaged is said, and put right, when the ledger is opened."""
    with suppress(RunError):
        return read_record(folder) if is_whole(folder) else None
    return None
