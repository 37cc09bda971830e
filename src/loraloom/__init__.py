"""loraloom finds the most accurate LoRA text classifier that a budget allows, and shows why.

Imports neither torch nor scikit-learn: `LoraClassifier` is imported when it is first asked for.

import loraloom

winner = loraloom.search("recipe.yaml", "runs/first")
loraloom.load("runs/first/best").predict(["a text"])
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.errors import (
    AdapterError,
    BackboneError,
    BudgetError,
    DataError,
    LoraloomError,
    MissingExtraError,
    RecipeError,
    RunError,
    StoppedError,
)

# The package `loraloom.search` binds its name here when it is first imported: now, so that the function below keeps it.
importlib.import_module("loraloom.search")

if TYPE_CHECKING:
    from loraloom.estimator import LoraClassifier as LoraClassifier
    from loraloom.study.record import TrialRecord
    from loraloom.use.adapter import Classifier

    __version__: str

__all__ = [
    "AdapterError",
    "BackboneError",
    "BudgetError",
    "DataError",
    "LoraClassifier",
    "LoraloomError",
    "MissingExtraError",
    "RecipeError",
    "RunError",
    "StoppedError",
    "blend",
    "load",
    "refit",
    "resume",
    "search",
    "soup",
]


def __getattr__(name: str) -> Any:
    if name == "LoraClassifier":
        from loraloom.estimator import LoraClassifier

        return LoraClassifier
    if name == "__version__":
        from importlib.metadata import version

        return version("loraloom")
    raise AttributeError(f"module 'loraloom' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What an editor or a notebook proposes after the dot; `LoraClassifier` would be missing until it is asked for."""
    return [*__all__, "__version__"]


def search(
    recipe: Path | str | Mapping[str, Any],
    out: Path | str,
    *,
    overrides: Sequence[str] = (),
    deadline: str | datetime | None = None,
    allow_leak: bool = False,
    report: bool = True,
    workers: int | None = None,
    ray: str | None = None,
    gpus_per_pack: float | None = None,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
) -> TrialRecord:
    """Searches a recipe (a file, or a mapping of its sections) into the run folder `out`; returns the tested winner.

    It ends within `budget.max_seconds`, by `deadline` ("2026-11-25T18:00") and by the end of the SLURM job that it is
    in. Searches in several threads take turns, and waiting does not count against `max_seconds`. The global random
    generators are left as they were. Without `report` no report is written, and its time goes to training;
    `loraloom report` makes one later.

    Trials are trained here, in `workers` processes, or on the cluster at `ray`, with `gpus_per_pack` of a GPU each.
    `train`, `validation` and `test` stand for the recipe's files: each a pandas.DataFrame, a datasets.Dataset, or a
    pair of lists (texts, labels).

    Raises:
        LoraloomError: what is wrong with the recipe, the data, a model or the folder, in a sentence.
    """
    started = time.monotonic()  # importing torch counts
    from loraloom import pipeline
    from loraloom.execute.placement import Placement
    from loraloom.recipe import read_recipe

    in_memory = {"train": train, "validation": validation, "test": test}
    read, placement = read_recipe(recipe, overrides), Placement(workers, ray, gpus_per_pack)
    return pipeline.search(
        read,
        out,
        command=("loraloom.search",),
        deadline=deadline,
        started=started,
        called=True,
        allow_leak=allow_leak,
        report=report,
        placement=placement,
        **in_memory,
    )


def resume(
    out: Path | str,
    *,
    max_seconds: float | None = None,
    deadline: str | datetime | None = None,
    workers: int | None = None,
    ray: str | None = None,
    gpus_per_pack: float | None = None,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
) -> TrialRecord:
    """Goes on with a run; rows that the search was given from Python have to be given again.

    It may take `budget.max_seconds` once more, or `max_seconds` instead; `deadline` is as for `search`.

    Raises:
        LoraloomError: there is no run, another process has it, or its data or models have changed.
    """
    started = time.monotonic()
    from loraloom import pipeline
    from loraloom.execute.placement import Placement

    placement = Placement(workers, ray, gpus_per_pack)
    return pipeline.resume(
        out,
        max_seconds=max_seconds,
        deadline=deadline,
        started=started,
        called=True,
        placement=placement,
        train=train,
        validation=validation,
        test=test,
    )


def refit(out: Path | str, *, train: Any = None, validation: Any = None, test: Any = None) -> TrialRecord:
    """Trains a run's winner once more, on training and validation rows together, into RUN/refit; returns its record.

    It is tested on the test rows, which stay held out. Rows that the search was given from Python are given again.

    Raises:
        LoraloomError: there is no winner, its data or models have changed, or the training came to less.
    """
    from loraloom import refitting

    return refitting.refit(out, train=train, validation=validation, test=test)


def soup(out: Path | str, *, train: Any = None, validation: Any = None, test: Any = None) -> TrialRecord:
    """Mixes the seeds of a run's winner into one adapter of its size, RUN/soup; returns its record.

    It is the mean of their weights, judged by the validation rows and tested on the test rows. Rows that the search was
    given from Python are given again.

    Raises:
        LoraloomError: there is no winner, it has one seed, its data or models have changed, or the mean is worse.
    """
    from loraloom import souping

    return souping.soup(out, train=train, validation=validation, test=test).record


def blend(out: Path | str, *, train: Any = None, validation: Any = None, test: Any = None) -> TrialRecord:
    """Blends the scores of TF-IDF into a run's winner, as RUN/blend; returns its record.

    It is tested on the test rows. No cap of trainable parameters counts TF-IDF's weights. Rows that the search was
    given from Python are given again.

    Raises:
        LoraloomError: there is no winner, its data or models have changed, or its rows hold no words.
    """
    from loraloom import blending

    return blending.blend(out, train=train, validation=validation, test=test).record


def load(
    path: Path | str, *, revision: str | None = None, class_shares: str | Mapping[str, float] | None = None
) -> Classifier:
    """Loads a saved adapter over its backbone: a trial's folder, such as RUN/best, or owner/name on the hub.

    It has predict, predict_proba, stream, labels, card, for_class_shares and push_to_hub. `revision` is a branch, tag
    or commit of the hub's repository; a branch means the commit that it stands for now.

    `class_shares` say how common the classes are in the texts to come, where that is not as in training: "balanced", or
    a mapping of each label to its share, in any unit. It then answers as `loraloom predict --class_shares` does.

    Raises:
        LoraloomError: there is no adapter, it is damaged or not safe to load, or its backbone can't be loaded; or
            `class_shares` are none, or the adapter does not tell which it expects.
    """
    from loraloom.use.backbones import load as load_adapter

    return load_adapter(path, revision=revision, class_shares=class_shares)
