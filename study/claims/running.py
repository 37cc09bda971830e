"""Trains what a design asks for and is not kept yet, the most important first, as long as the time lasts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloom.data import TextData
from loraloom.study.provenance import describe_machine
from study import agnews
from study.claims.design import ALL_ROWS, Design, Trial
from study.outcomes import Kept
from study.training import Trainer

RUNS = Path("runs/study")


@dataclass(frozen=True, slots=True)
class Named:
    """An encoder: its place, and the name under which its results are kept."""

    model: str
    name: str


def rows_of(design: Design, data: TextData) -> dict[str, TextData]:
    """The sets of rows that a design names."""
    made = {ALL_ROWS: lambda: data, "even": lambda: agnews.even(data), "skewed": lambda: agnews.skewed(data)}
    return {name: made[name]() for name in design.trained_on}


def make_trainer(design: Design, data: TextData, model: str, runs: Path = RUNS) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and what its trials have in common; their folders are apart for each encoder and each set of rows."""
    rows = rows_of(design, data)
    folder = runs / f"{Path(model).name}-{data.fingerprint[:8]}-{len(data.train)}"
    trainer = Trainer(design.recipe, rows, folder)
    common = {
        "revision": trainer.place(ALL_ROWS).revision(design.recipe.configuration({}).backbone),
        "data": data.fingerprint,
        "rows": {name: len(own.train) for name, own in rows.items()},
        "classes": list(data.labels),
        **describe_machine(),
    }
    return trainer, common


def header_of(encoder: str, data: TextData, common: dict[str, Any]) -> dict[str, Any]:
    """The first line of a file of trials that are compared on the validation rows."""
    return {"encoder": encoder, **common, "labels": "".join(map(str, data.validation.labels))}


def train(design: Design, trainer: Trainer, kept: Kept, seconds: float | None) -> bool:
    """Trains what is missing; returns whether all is there. A trial is not begun that would not end in the time."""
    start, pace = time.monotonic(), 0.0

    def accuracy(trial: Trial) -> float | None:
        found = kept.get(trial.key, trial.seed)
        return None if found is None else found.accuracy

    for trial in design.trials(accuracy):
        if kept.get(trial.key, trial.seed) is not None:
            continue
        epochs = float(trial.configuration.train.num_train_epochs)
        used = time.monotonic() - start
        if seconds is not None and used + pace * epochs > seconds:
            print(f"{used:.0f} s are used; the next trial, {trial.key}, would not end in {seconds:.0f}", flush=True)
            return False
        trained = trainer.train(trial.key, trial.configuration, trial.rows)
        pace = (time.monotonic() - start - used) / epochs
        kept.add(trained)
        said = trained.reason if trained.accuracy is None else f"{trained.accuracy:.4f} in {trained.seconds:.1f} s"
        print(f"{time.monotonic() - start:6.0f} s  {trial.key}, seed {trial.seed}: {said}", flush=True)
    return True
