"""The claims' trials: the rows that they are trained on, and the test of those that are reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loraloom.data import TextData
from study import agnews
from study.claims.design import Design
from study.claims.judging import ClaimFound
from study.outcomes import Kept, Trained, packed
from study.training import Trainer
from study.trials import ALL_ROWS, Trial


def rows_of(design: Design, data: TextData) -> dict[str, TextData]:
    """The sets of rows that a design names."""
    made = {ALL_ROWS: lambda: data, "even": lambda: agnews.even(data), "skewed": lambda: agnews.skewed(data)}
    return {name: made[name]() for name in design.trained_on}


def reported(design: Design, found: tuple[ClaimFound, ...], kept: Kept) -> dict[str, Trial]:
    """The trials of the results table, by key: the bases, and each claim's best level, with the first seed.

    The level is the best on the rows that trials were compared on; that it is the first seed is settled before, so that
    no seed is chosen.
    """
    seed = design.table.seeds[0]
    trials = {trial.key: trial for trial in map(design.base, design.table.bases)}
    for claim, own in ((claim, own) for own in found for claim in design.table.claims if claim.name == own.name):
        trial = design.compared(claim, own.best.name, seed, lambda one: kept.accuracy(one.key, one.seed))
        assert trial is not None  # a level that was found has its rate
        trials.setdefault(trial.key, trial)
    return {key: trial for key, trial in trials.items() if kept.accuracy(key, seed) is not None}


def header_of_test(encoder: str, data: TextData, common: Mapping[str, Any]) -> dict[str, Any]:
    """The first line of a file of trials with the test rows that they have right."""
    return {"encoder": encoder, **common, "labels": "".join(map(str, data.test.labels))}


def read_test_rows(trials: Mapping[str, Trial], trainer: Trainer, tested: Kept) -> None:
    """Reads the test rows for each of these trials that has not been tested: once."""
    for trial in trials.values():
        if tested.get(trial.key, trial.seed) is not None:
            continue
        correct, loss = trainer.tested(trial.key, trial.configuration, trial.rows)
        accuracy = float(correct.mean())
        tested.add(Trained(trial.key, trial.seed, "tested", accuracy=accuracy, loss=loss, correct=packed(correct)))
        print(f"tested {trial.key}: {accuracy:.4f}", flush=True)
