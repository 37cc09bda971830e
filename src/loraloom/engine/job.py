"""What an engine is given, and what it gives back. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone.sources import Source
from loraloom.data import Encoded, TextData
from loraloom.recipe import Configuration
from loraloom.study.evidence import Predicted, in_float32
from loraloom.study.record import Counts, Dtype, Evaluation, Result, Timings

LESS_MEMORY = "lower the batch size or max_length"
OUT_OF_MEMORY = f"memory did not suffice; {LESS_MEMORY}"
"""How every engine's reason begins where that failed a trial."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a run as one backbone reads them.

    `validation_rows` says which of the run's validation rows these are; None: all.
    """

    data: TextData
    train: Encoded
    validation: Encoded
    validation_rows: NDArray[np.int64] | None = None

    def predicted(self, probabilities: NDArray[np.float64]) -> Predicted:
        """The validation rows with what a trial said of them, (N, C)."""
        labels = self.data.validation.labels
        numbers = np.arange(len(labels)) if self.validation_rows is None else self.validation_rows
        return Predicted(in_float32(probabilities), labels, numbers)


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to train: a configuration, its rows, and the folder that takes its files.

    `expected_parameters` is the budget's count; `deadline` is a `time.monotonic()` at which training must have ended.
    """

    number: int
    configuration: Configuration
    source: Source
    rows: Rows
    folder: Path
    expected_parameters: int
    deadline: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job. The adapter is in the job's folder where `state` is complete or pruned.

    A stopped job has neither result nor timings: its folder holds the checkpoint that it goes on from, unless it was
    stopped before its first step.
    """

    engine: str
    state: Literal["complete", "pruned", "failed", "stopped"]
    dtype: Dtype
    counts: Counts
    reason: str | None = None
    result: Result | None = None
    timings: Timings | None = None
    marks: tuple[str, ...] = ()

    @property
    def lacked_memory(self) -> bool:
        """Whether memory did not suffice for it."""
        return self.state == "failed" and (self.reason or "").startswith(OUT_OF_MEMORY)


def pack_key(configuration: Configuration) -> tuple[Hashable, ...]:
    """What the trials of a pack must have in common."""
    lora = configuration.lora
    places = lora.target_modules, lora.layers_to_transform, lora.bias, lora.lora_dropout
    types = configuration.train.bf16, configuration.train.fp16
    return configuration.backbone, configuration.data.max_length, configuration.head, types, places


def memory_key(configuration: Configuration) -> tuple[Hashable, ...]:
    """What trials that take about as much memory in a pack have in common."""
    return *pack_key(configuration), configuration.train.per_device_train_batch_size


def take_fewer(fitting: dict[tuple[Hashable, ...], int], jobs: Sequence[Job]) -> None:
    """Has packs of trials like these, which memory did not suffice for, be half as large as these were.

    `fitting` has how many trials fit, by their `memory_key`. One that memory does not suffice for alone says nothing.
    """
    half = len(jobs) // 2
    for key in {memory_key(job.configuration) for job in jobs} if half else ():
        fitting[key] = min(half, fitting.get(key, half))


def in_type(configuration: Configuration, dtype: Dtype | None) -> Configuration:
    """The configuration with its number type said, where the recipe leaves that to measurement, and it is known."""
    if dtype is None or configuration.train.number_type is not None:
        return configuration
    return configuration.with_fields(train={"bf16": dtype == "bf16", "fp16": dtype == "fp16"})


class Listener(Protocol):
    """Hears of each evaluation while a job runs, and says whether it shall go on."""

    def __call__(self, job: Job, evaluation: Evaluation) -> bool: ...


def never() -> bool:
    """A `stop` that lets trials run to their end."""
    return False


def silent(sentence: str) -> None:
    """A `note` that nobody hears."""
    del sentence


class Engine(Protocol):
    """Trains jobs. Every engine must mean the same by a configuration; `trainer` is the oracle.

    A pack's jobs are trained together, and each comes out as it would alone. `train_pack` writes into each job's
    folder: metrics.jsonl, a line per evaluation, as it goes; then the adapter as PEFT saves it, and where the trial is
    complete validation.safetensors, the predictions of its last evaluation (`study/evidence.py`). A loss that is not
    finite, or memory that does not suffice, makes a failed outcome, not an exception.

    While a trial runs, its folder holds `checkpoint/`, written every now and then (`checkpoint.py`). Whoever records
    the outcome removes it, and not the engine: a kill between would cost the whole trial. A job whose folder holds one
    from before goes on from it, and ends with the same bytes as if it had never been broken off (on a CPU; but for
    times). `note` is told in a sentence what could not be used of it: a damaged generation, or a checkpoint of another
    configuration, data, engine or version. An evaluation may then be heard again, with the same step and values.

    `stop` is asked before the first optimizer step, after each, and between the batches of an evaluation. When it says
    True, each trial that has not ended is checkpointed and comes back as `stopped`.
    """

    name: str

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """How many trials like this one are best trained together on this machine."""
        ...

    def train_pack(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]: ...
