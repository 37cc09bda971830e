"""loraloom, the one under test: its default search, from a recipe of data, encoder and budget alone; no report."""

from __future__ import annotations

import time
from pathlib import Path

from study.peers.task import Answer, Task

CAP = 1_000_000
_TIMED_ROWS = 256
_ENDING = 5.0
"""Seconds kept for loading the winner, and for what is not estimated, as the adapter's own products."""


def answer(task: Task) -> Answer:
    import loraloom

    names = [task.classes[label] for label in task.labels]
    keep = _ENDING + _predicting(task)
    recipe = {
        "backbone": {"model": task.encoder},
        "budget": {"max_trainable_parameters": CAP, "max_seconds": max(1.0, task.remaining() - keep)},
        "train": {"seed": task.seed},
    }
    run = Path(task.folder) / "run"
    train, test = _nominal_test(task.texts, names)
    record = loraloom.search(recipe, run, train=train, test=test, report=False)
    winner = loraloom.load(run / "best")
    ids = {name: number for number, name in enumerate(task.classes)}
    predictions = [ids[str(label)] for label in winner.predict(task.test)]
    settings = {
        "point": {name: value for name, value in record.point.items() if name != "backbone.model"},
        "trainable_parameters": record.counts.trainable,
        "validation_accuracy": record.result.validation.accuracy if record.result else None,
        "trials": len(list((run / "trials").glob("*/trial.json"))),
    }
    return Answer(predictions, settings)


def _nominal_test(
    texts: list[str], names: list[str]
) -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    """Training rows, and one row of each class as the test: a search wants one, and would hold out a tenth for it."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        first.setdefault(name, row)
    held = set(first.values())
    parts: list[tuple[list[str], list[str]]] = []
    for inside in (False, True):
        rows = [row for row in range(len(texts)) if (row in held) is inside]
        parts.append(([texts[row] for row in rows], [names[row] for row in rows]))
    return parts[0], parts[1]


def _predicting(task: Task) -> float:
    """Seconds that the test rows take, cut where a search cuts them at the latest, from embedding a few.

    What the adapter adds to it is in `_ENDING`.
    """
    from loraloom.backbone import sources
    from loraloom.engine.precision import choose_dtype
    from loraloom.recipe import Train
    from loraloom.search.space import LENGTHS
    from loraloom.use.embedding import Embedder

    embedder = Embedder(sources.find(task.encoder), LENGTHS[-1], choose_dtype(Train()))
    sample = task.test[: min(_TIMED_ROWS, len(task.test))]
    embedder.embed(sample[:32])
    began = time.perf_counter()
    embedder.embed(sample)
    return (time.perf_counter() - began) * len(task.test) / len(sample)
