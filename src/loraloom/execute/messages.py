"""What a driver and its workers say to each other, in processes of one version: pickled between them, never into files.

A job travels without its rows, which a worker is given once and keeps, and with its deadline as seconds left, since
clocks of two machines don't agree. Texts and the test set stay with the driver: engines read token ids and labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from loraloom.backbone.sources import Source
from loraloom.data import Split
from loraloom.engine import Job, Outcome, Rows
from loraloom.errors import LoraloomError
from loraloom.recipe import Configuration
from loraloom.study.record import Counts, Dtype, Evaluation


@dataclass(frozen=True, slots=True)
class SentJob:
    """A job on its way: `rows` is the number by which the worker has its rows."""

    values: Mapping[str, Any]
    rows: int
    seconds_left: float | None

    @classmethod
    def of(cls, job: Job, rows: int) -> SentJob:
        """`job` as it is sent: its folder named from the root, its deadline as seconds left."""
        values = {field.name: getattr(job, field.name) for field in fields(job)} | {"folder": job.folder.absolute()}
        del values["rows"], values["deadline"]
        return cls(values, rows, None if job.deadline is None else job.deadline - time.monotonic())

    def job(self, rows: Rows) -> Job:
        """The job where it has arrived, its deadline by this machine's clock."""
        deadline = None if self.seconds_left is None else time.monotonic() + self.seconds_left
        return Job(**self.values, rows=rows, deadline=deadline)


@dataclass(frozen=True, slots=True)
class Advise:
    """Asks how many trials like this one to train together, and in which type; the answer is `Advice`."""

    source: Source
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Train:
    """Trains a pack; evaluations, each answered by a `Verdict`, and then `Ended`, `Lost` or `Raised` come back."""

    pack: int
    jobs: tuple[SentJob, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the trial that was evaluated goes on."""

    goes_on: bool


@dataclass(frozen=True, slots=True)
class Halt:
    """The pack is to end after its step. It names the pack, so that one which has just ended does not matter."""

    pack: int


Order = Advise | Train | Verdict | Halt


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has begun on `device`, by its name; orders that came before are kept for it."""

    device: str


@dataclass(frozen=True, slots=True)
class Advice:
    trials: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The job at `place` of the pack was evaluated; the worker waits for the verdict."""

    place: int
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Noted:
    sentence: str


@dataclass(frozen=True, slots=True)
class Ended:
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """The pack came to nothing; the worker lives."""

    why: str


@dataclass(frozen=True, slots=True)
class Died:
    """The worker is gone."""

    why: str


@dataclass(frozen=True, slots=True)
class Raised:
    """An error that would befall every trial, taken apart: exceptions with arguments of their own don't unpickle."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, error: LoraloomError | OSError) -> Raised:
        if isinstance(error, OSError):
            whole = error.errno is not None
            return cls(OSError, (error.errno, error.strerror, error.filename) if whole else (str(error),), {})
        return cls(type(error), (str(error),), dict(vars(error)))

    @property
    def error(self) -> Exception:
        if self.kind is OSError:
            return OSError(*self.arguments)
        error = self.kind.__new__(self.kind, *self.arguments)
        vars(error).update(self.attributes)
        return error


Report = Ready | Advice | Evaluated | Noted | Ended | Lost | Died | Raised


def without_texts(rows: Rows) -> Rows:
    """What an engine reads of `rows`: as many rows, with empty texts, and no test set."""

    def blank(split: Split) -> Split:
        return Split(("",) * len(split), split.labels)

    data = rows.data
    nothing = Split((), np.zeros(0, dtype=np.int64))
    return replace(rows, data=replace(data, train=blank(data.train), validation=blank(data.validation), test=nothing))


def stopped(jobs: Sequence[Job]) -> tuple[Outcome, ...]:
    """Outcomes of jobs that were not begun when the run was asked to stop."""
    none = Counts(trainable=0, lora=0, bias=0, head=0, frozen=0)
    return tuple(Outcome("none", "stopped", "fp32", none) for _ in jobs)
