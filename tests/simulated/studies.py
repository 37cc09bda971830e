"""Studies whose truth is known: configurations with planted effects and noise, unbalanced and chosen ones too."""

from __future__ import annotations

import itertools
import json
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from loraloom.intervals import Floats
from loraloom.recipe import Configuration, Recipe, read_recipe
from loraloom.report.effects.observations import Table
from loraloom.report.reading import RunRead
from loraloom.study.record import Counts, Result, Score, TrialRecord

Generator = np.random.Generator
Truth = Callable[[Mapping[str, Any]], float]
"""The accuracy that a configuration has but for its noise."""
LEVEL = 0.7
"""About which all accuracies lie, so that no noise takes one over 1."""

GRID: dict[str, tuple[Any, ...]] = {
    "lora.r": (2, 4, 8),
    "lora.lora_alpha": (8, 16),
    "lora.bias": ("none", "lora_only"),
    "train.optim": ("adam", "adamw", "muon"),
}
SPACE: dict[str, tuple[Any, ...]] = {
    "lora.r": (2, 4, 8, 16),
    "lora.lora_alpha": (8, 16, 32),
    "lora.lora_dropout": (0.0, 0.1),
    "lora.bias": ("none", "lora_only"),
    "train.optim": ("adam", "adamw", "muon"),
    "train.num_train_epochs": (1, 2, 4),
    "train.lr_scheduler_type": ("constant", "linear", "cosine"),
    "train.per_device_train_batch_size": (8, 16, 32),
}
NOISE = 0.004


def nothing(_: Mapping[str, Any]) -> float:
    """No axis does anything."""
    return LEVEL


def grid(axes: Mapping[str, tuple[Any, ...]] = GRID) -> list[dict[str, Any]]:
    """All points of `axes`, each value as often as each other; of `GRID`, 36."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def drawn(generator: Generator, number: int, *, skewed: bool = False) -> list[dict[str, Any]]:
    """Points of `SPACE` and a rate, by chance; `skewed` takes an axis's first value six times as often as its last."""
    points = []
    for _ in range(number):
        point: dict[str, Any] = {
            name: values[bisect(_chances(len(values), skewed), generator.random())] for name, values in SPACE.items()
        }
        point["train.learning_rate"] = float(10 ** generator.uniform(-4, -2))
        points.append(point)
    return points


@cache
def _chances(number: int, skewed: bool) -> list[float]:
    """The chance of each of `number` values and those before it, added up as `Generator.choice` does, at each call."""
    odds = np.geomspace(6.0, 1.0, number) if skewed else np.ones(number)
    summed = (odds / odds.sum()).cumsum()
    return [float(each) for each in summed / summed[-1]]


def chosen(generator: Generator, number: int, truth: Truth) -> tuple[list[dict[str, Any]], Floats]:
    """A search that learns, as TPE does: two of three points are a neighbour of one of the best so far."""
    points: list[dict[str, Any]] = []
    values: list[float] = []
    for index in range(number):
        fresh = drawn(generator, 1)[0]
        if index >= 10 and generator.random() < 2 / 3:
            best = np.argsort(values)[-max(1, index // 5) :]
            parent = points[int(generator.choice(best))]
            fresh = {name: value if generator.random() < 0.3 else parent[name] for name, value in fresh.items()}
            fresh["train.learning_rate"] = float(
                np.clip(parent["train.learning_rate"] * np.exp(generator.normal(0, 0.4)), 1e-4, 1e-2)
            )
        points.append(fresh)
        values.append(truth(fresh) + float(generator.normal(0, NOISE)))
    return points, np.array(values)


def alike(generator: Generator, points: Sequence[Mapping[str, Any]]) -> Floats:
    """The same noise everywhere."""
    return generator.normal(0, NOISE, len(points))


def unlike(generator: Generator, points: Sequence[Mapping[str, Any]]) -> Floats:
    """Muon scatters eight times as wide as the others, and rank 2 three times."""
    wide = [(8 if point["train.optim"] == "muon" else 1) * (3 if point["lora.r"] == 2 else 1) for point in points]
    return np.asarray(generator.normal(0, NOISE, len(points)) * wide, dtype=np.float64)


def diverging(generator: Generator, points: Sequence[Mapping[str, Any]]) -> Floats:
    """One training in twelve comes to nothing."""
    lost = generator.random(len(points)) < 1 / 12
    return np.where(lost, -generator.uniform(0.2, 0.7, len(points)), generator.normal(0, NOISE, len(points)))


def table(points: Sequence[Mapping[str, Any]], metric: Floats, block: Sequence[int] | None = None) -> Table:
    axes = {name: tuple(point[name] for point in points) for name in points[0]}
    return Table(
        axes={name: values for name, values in axes.items() if any(value != values[0] for value in values)},
        metric=metric,
        seeds=(1,) * len(points),
        block=np.zeros(len(points), dtype=np.int64) if block is None else np.asarray(block, dtype=np.int64),
    )


def study(points: Sequence[Mapping[str, Any]], truth: Truth, noise: Floats) -> Table:
    return table(points, np.array([truth(point) for point in points]) + noise)


def coarse(generator: Generator, points: Sequence[Mapping[str, Any]], rows: int = 200) -> Table:
    """All have the same accuracy but for one row of validation, which three in ten have wrong, by chance."""
    lower = np.where(generator.random(len(points)) < 0.3, -1 / rows, 0.0)
    return replace(study(points, nothing, lower), rounding=1 / (12 * rows * rows))


# Searches that promote by results

LARGE = {**GRID, "lora.lora_dropout": (0.0, 0.1, 0.2)}
FEW, ALL = 400, 1200
SCATTER, LUCK = 0.006, 0.004
ROWS_HELP = 0.03


def halved(
    generator: Generator, truth: Truth, *, scatter: Callable[[Mapping[str, Any]], float], hyperband: bool = False
) -> RunRead:
    """A search of `LARGE` by successive halving on rows: the best third of the rung go on to all rows.

    A configuration has a quality of its own beside `truth`, as wide as `scatter` says, which both rungs see with
    `LUCK`. With `hyperband`, every fourth begins on all rows, whatever it would have reached.
    """
    points = grid(LARGE)
    quality = np.array([truth(p) + scatter(p) * float(generator.normal()) for p in points])
    few, whole = (quality + generator.normal(0, LUCK, len(points)) for _ in range(2))
    begun = generator.random(len(points)) < (1 / 4 if hyperband else 0)
    promoted = ~begun & (few >= np.sort(few[~begun])[-(len(points) // 3)])
    records = [_record(p, value, FEW) for p, value, skip in zip(points, few, begun, strict=True) if not skip]
    records += [
        _record(p, value + ROWS_HELP, ALL) for p, value, on in zip(points, whole, begun | promoted, strict=True) if on
    ]
    numbered = tuple(record.model_copy(update={"number": n}) for n, record in enumerate(records))
    return RunRead(Path("run"), _recipe(), numbered, {}, 0, None, ())


def latest(run: RunRead) -> Table:
    """What a naive reader would take: each configuration's last result, promoted or not."""
    last = {json.dumps(record.point, sort_keys=True): record for record in run.records}
    found = list(last.values())
    return table([r.point for r in found], np.array([r.result.validation.accuracy for r in found if r.result]))


@cache
def _recipe() -> Recipe:
    sections: dict[str, dict[str, Any]] = {}
    for name, values in LARGE.items():
        section, leaf = name.split(".")
        sections.setdefault(section, {})[leaf] = list(values)
    return read_recipe({"data": {"dataset": "demo"}, "backbone": {"model": "demo"}, **sections})


@cache
def _configuration(key: str) -> Configuration:
    return _recipe().configuration(json.loads(key))


def _record(point: Mapping[str, Any], accuracy: float, rows: int) -> TrialRecord:
    score = Score(examples=1000, accuracy=accuracy, macro_f1=accuracy, loss=0.2)
    return TrialRecord.model_construct(
        number=0,
        state="complete",
        reason=None,
        configuration=_configuration(json.dumps(point, sort_keys=True)),
        point=dict(point),
        seed=42,
        train_rows=rows,
        epochs=1.0,
        labels=("a", "b"),
        label_codes=("0", "1"),
        counts=Counts(trainable=1, lora=1, bias=0, head=0, frozen=1),
        engine="loom",
        dtype="fp32",
        result=Result(validation=score),
        timings=None,
    )
