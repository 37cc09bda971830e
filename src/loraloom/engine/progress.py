"""What `course.py` reckons with: the schedule, when a trial is evaluated, what its logits are worth, metrics.jsonl."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from loraloom import metrics
from loraloom.engine.schedules import Plateau, Schedule
from loraloom.errors import TrialFailedError
from loraloom.recipe import Train
from loraloom.study.record import METRICS, Evaluation

TRACE_POINTS = 50
EVALUATION_BATCH = 64


def plan_schedule(train: Train, rows: int) -> Schedule:
    """The schedule over the optimizer steps that Trainer takes for `rows` rows."""
    batches = math.ceil(rows / train.per_device_train_batch_size)
    steps_per_epoch = math.ceil(batches / train.gradient_accumulation_steps)
    total = math.ceil(train.num_train_epochs * steps_per_epoch)
    return Schedule(train.lr_scheduler_type, total, train.warmup_steps, steps_per_epoch, Plateau())


def evaluation_steps(train: Train, total: int) -> frozenset[int]:
    """Steps after which the trial is evaluated: the last, and others at equal distances, each epoch's end among them.

    Where epochs are not whole, their ends are not; where they are few, there are more, to see the rate move.
    """
    count = train.evaluations
    return frozenset(max(1, round(total * (index + 1) / count)) for index in range(count))


def scored(
    logits: NDArray[np.float32], labels: NDArray[np.int64], step: int
) -> tuple[metrics.Scores, NDArray[np.float64]]:
    """What logits (N, C) of the validation rows are worth, and their probabilities (N, C).

    Raises:
        TrialFailedError: some are not finite.
    """
    if not np.isfinite(logits).all():
        raise TrialFailedError(f"validation logits are not finite at step {step}; lower train.learning_rate")
    probabilities = metrics.softmax(logits)
    return metrics.score(labels, probabilities), probabilities


def append_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Adds a line to metrics.jsonl, flushed whole; a kill can cut off no more than the last line."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(evaluation.model_dump_json() + "\n")


def thinned(trace: list[tuple[int, float, float]]) -> tuple[tuple[int, float, float], ...]:
    """At most TRACE_POINTS of the steps, the last among them."""
    every = math.ceil(len(trace) / TRACE_POINTS)
    return tuple(trace[::-1][::every][::-1])


_NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",
    "CUDA error: out of memory",
    "failed to map segment from shared object",
    "std::bad_alloc",
)
"""What other errors say: of the processor's memory, the system's own words, those of the import of a library that it
does not suffice for, and libraries beside torch's allocator."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory could not be had, on any device; also for weights (a BackboneError has the reason's words)."""
    kinds = torch.OutOfMemoryError, MemoryError
    return isinstance(error, kinds) or any(words in str(error) for words in _NO_MEMORY)
