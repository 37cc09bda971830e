"""Trains what is not kept yet, in the order given, as long as the time lasts; for every part of the study."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraloom.data import TextData
from loraloom.recipe import Configuration, Recipe
from study.machine import described
from study.outcomes import Kept
from study.training import Trainer

RUNS = Path("runs/study")
ALL_ROWS = "all"
"""The name of the training rows that are there, all of them."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial to train: the key of its configuration, which holds its seed, and the name of its training rows."""

    key: str
    configuration: Configuration
    rows: str = ALL_ROWS

    @property
    def seed(self) -> int:
        return self.configuration.train.seed


def key_of(configuration: Configuration, base: Configuration, rows: str = ALL_ROWS) -> str:
    """The fields in which a configuration differs from `base`, but for the seed: the same for equal configurations."""
    written, own = base.model_dump(), configuration.model_dump()
    parts = [] if rows == ALL_ROWS else [f"rows={rows}"]
    for section, fields in own.items():
        for name, value in fields.items():
            if value != written[section][name] and (section, name) != ("train", "seed"):
                parts.append(f"{section}.{name}={_written(value)}")
    return " ".join(parts) or "contest"


def make_trainer(recipe: Recipe, rows: Mapping[str, TextData], runs: Path) -> tuple[Trainer, dict[str, Any]]:
    """What trains on sets of rows, and what is said of it in a file of its trials.

    Folders of trials are apart for each encoder and each set of rows.
    """
    data = rows[ALL_ROWS]
    backbone = recipe.configuration({}).backbone
    folder = runs / f"{Path(backbone.model).name}-{data.fingerprint[:8]}-{len(data.train)}"
    trainer = Trainer(recipe, rows, folder)
    return trainer, {
        "revision": trainer.place(ALL_ROWS).revision(backbone),
        "data": data.fingerprint,
        "rows": {name: len(own.train) for name, own in rows.items()},
        "classes": list(data.labels),
        **described(),
    }


def header_of(encoder: str, data: TextData, common: Mapping[str, Any]) -> dict[str, Any]:
    """The first line of a file of trials that are compared on the validation rows."""
    return {"encoder": encoder, **common, "labels": "".join(map(str, data.validation.labels))}


def train(trials: Iterable[Trial], trainer: Trainer, kept: Kept, seconds: float | None) -> bool:
    """Trains what is missing or failed; returns whether all is there. None is begun that would not end in the time.

    What a trial will take is told by the trials before it: their seconds for a row.
    """
    start, pace, here = time.monotonic(), 0.0, described()
    for trial in trials:
        if kept.accuracy(trial.key, trial.seed) is not None:
            continue
        used = time.monotonic() - start
        work = trainer.train_rows(trial.configuration, trial.rows) * float(trial.configuration.train.num_train_epochs)
        if seconds is not None and used + pace * work > seconds:
            print(f"{used:.0f} s are used; the next trial, {trial.key}, would not end in {seconds:.0f}", flush=True)
            return False
        trained = trainer.train(trial.key, trial.configuration, trial.rows)
        pace = (time.monotonic() - start - used) / work
        kept.add(replace(trained, machine=here["machine"], git_revision=here["git_revision"]))
        said = trained.reason if trained.accuracy is None else f"{trained.accuracy:.4f} in {trained.seconds:.1f} s"
        print(f"{time.monotonic() - start:6.0f} s  {trial.key}, seed {trial.seed}: {said}", flush=True)
    return True


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
