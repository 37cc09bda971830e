"""Builds trial records for the study's tests."""

from __future__ import annotations

from typing import Any

from loraloom.recipe import Configuration
from loraloom.study.record import Counts, Ended, Result, Score, Timings, TrialRecord


def score(accuracy: float, macro_f1: float = 0.5) -> Score:
    return Score(examples=100, accuracy=accuracy, macro_f1=macro_f1, loss=0.25)


def record(
    number: int,
    accuracy: float | None = 0.9,
    *,
    point: dict[str, Any] | None = None,
    state: Ended = "complete",
    reason: str | None = None,
    seed: int = 42,
    trainable: int = 1000,
    macro_f1: float = 0.5,
    train_rows: int | None = None,
    epochs: float | None = None,
) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=state,
        reason=reason,
        configuration=Configuration(),
        point={"lora.r": number} if point is None else point,
        seed=seed,
        train_rows=train_rows,
        epochs=epochs,
        labels=("a", "b"),
        label_codes=("0", "1"),
        counts=Counts(trainable=trainable, lora=trainable - 30, bias=10, head=20, frozen=5000),
        result=None if accuracy is None else Result(validation=score(accuracy, macro_f1)),
        timings=Timings(seconds=12.34, train_seconds=10.0, examples_per_second=99.0),
        engine="trainer",
        dtype="fp32",
    )
