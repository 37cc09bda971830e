"""Rows with known truth, as the winner judged them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from loraloom.metrics import softmax
from loraloom.report.failures.kept import Judged


def judged_rows(right: Sequence[bool] | np.ndarray[Any, Any], **fields: Any) -> Judged:
    """Two classes in turn; wrong rows are predicted as the other one, with a confidence of 0.8."""
    hits = np.asarray(right, dtype=np.bool_)
    labels = np.arange(hits.size) % 2
    predictions = np.where(hits, labels, 1 - labels)
    probabilities = np.where(np.arange(2) == predictions[:, None], 0.8, 0.2)
    values: dict[str, Any] = {
        "split": "test",
        "labels": labels,
        "probabilities": probabilities,
        "predictions": predictions,
        "numbers": np.arange(hits.size),
        "texts": tuple(f"text {row}" for row in range(hits.size)),
        "tokens": None,
        "sources": None,
        "max_length": 96,
    }
    return Judged(**(values | fields))


def drawn_rows(
    seed: int, rows: int = 300, temperature: float = 1.0, split: str = "test", spread: float = 2.0
) -> Judged:
    """Labels drawn from softmax(logits), and what a model says whose logits are `temperature` times too large.

    The more the logits `spread`, the fewer rows are wrong: a third by 2, 1 in 25 by 20.
    """
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, size=(rows, 4))
    labels = (softmax(logits).cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    shares = softmax(temperature * logits)
    return judged_rows(
        np.ones(rows, dtype=np.bool_),
        split=split,
        labels=labels,
        probabilities=shares,
        predictions=shares.argmax(axis=1),
    )
