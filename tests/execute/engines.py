"""An engine that trains nothing, for workers to make; a file in the job's folder says what it does."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from loraloom.backbone.sources import Source
from loraloom.data import Encoded, Split, TextData
from loraloom.engine import Job, Listener, Outcome, Rows, never, silent
from loraloom.errors import BackboneError, RecipeError
from loraloom.machine import THREADS
from loraloom.recipe import Configuration
from loraloom.study.record import Counts, Evaluation, Result, Score

EVALUATIONS = 3
DO = "do"
"""Holds one of `crash`, `die`, `die once`, `refuse`, `fill the disk`, `note`, `until stopped`."""
SEEN = "seen"
"""Holds all texts that the engine was given, how many rows to test on, and which rows of this process they are."""
COUNTS = Counts(trainable=1, lora=1, bias=0, head=0, frozen=1)
SOURCE = Source("nothing", "nothing", None, local=True)
PATIENCE_SECONDS = 60


class NothingEngine:
    """Evaluates three times; the value is a function of the trial's learning rate and the rows."""

    name = "nothing"

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """Refuses one source, as a model that is not to be had."""
        if source.model == "refused":
            raise BackboneError("backbone.model: 'refused' is not here")
        return 1 + configuration.train.num_train_epochs.__int__()

    def train_pack(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]:
        """Goes round the jobs until each has ended."""
        return tuple(self._train(job, listener, stop, note) for job in jobs)

    def _train(self, job: Job, listener: Listener, stop: Callable[[], bool], note: Callable[[str], None]) -> Outcome:
        (job.folder / "pid").write_text(str(os.getpid()))
        (job.folder / "threads").write_text(" ".join(os.environ.get(name, "unset") for name in THREADS))
        if job.deadline is not None:
            (job.folder / "left").write_text(str(job.deadline - time.monotonic()))
        data = job.rows.data
        texts = "".join((*data.train.texts, *data.validation.texts, *data.test.texts))
        (job.folder / SEEN).write_text(json.dumps([texts, len(data.test), id(job.rows)]))
        do = (job.folder / DO).read_text() if (job.folder / DO).exists() else ""
        self._act(do, job, note)
        for step in range(1, EVALUATIONS + 1):
            if stop():
                return Outcome(self.name, "stopped", "fp32", COUNTS)
            if not listener(job, evaluation_of(job, step)):
                return Outcome(self.name, "pruned", "fp32", COUNTS, f"pruned at {step}", result_of(job, step))
            self._wait(do, stop)
        return Outcome(self.name, "complete", "fp32", COUNTS, None, result_of(job, EVALUATIONS))

    @staticmethod
    def _act(do: str, job: Job, note: Callable[[str], None]) -> None:
        match do:
            case "crash":
                raise RuntimeError("a product went wrong\nand more lines")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die once":
                (job.folder / DO).write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
            case "refuse":
                raise RecipeError("lora.r: 0 is not a rank", "lora.alpha: 0 is not a scale")
            case "fill the disk":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.folder))
            case "fill the disk, as torch says it":
                raise RuntimeError("PytorchStreamWriter failed: inline_container.cc:664: unexpected pos")
            case "note":
                note("a checkpoint could not be used")

    @staticmethod
    def _wait(do: str, stop: Callable[[], bool]) -> None:
        if do == "until stopped":
            until = time.monotonic() + PATIENCE_SECONDS
            while not stop() and time.monotonic() < until:
                time.sleep(0.01)


def value_of(job: Job, step: int) -> float:
    """What the trial is worth after `step` evaluations."""
    labels = job.rows.data.train.labels
    return round(job.configuration.train.learning_rate * step * float(labels.mean()) * len(job.rows.train), 9)


def evaluation_of(job: Job, step: int) -> Evaluation:
    value = value_of(job, step)
    return Evaluation(
        step=step,
        epoch=step / EVALUATIONS,
        seconds=0.0,
        learning_rate=job.configuration.train.learning_rate,
        train_loss=value,
        train_accuracy=value,
        validation_loss=value,
        validation_accuracy=value,
        validation_macro_f1=value,
    )


def result_of(job: Job, step: int) -> Result:
    value = value_of(job, step)
    return Result(validation=Score(examples=2, accuracy=value, macro_f1=value, loss=value))


def rows() -> Rows:
    """Four rows to train on, two to validate on, and one to test on that no worker is to see."""
    labels = np.array([0, 1, 1, 1])
    data = TextData(
        name="four",
        labels=("no", "yes"),
        label_codes=("no", "yes"),
        train=Split(tuple("abcd"), labels),
        validation=Split(tuple("ef"), labels[:2]),
        test=Split(("secret",), labels[:1]),
        findings=(),
        fingerprint="fingerprint",
        revision=None,
        leak_kept=False,
    )
    return Rows(data, _encoded(4), _encoded(2))


def _encoded(count: int) -> Encoded:
    return Encoded(np.arange(count, dtype=np.int32), np.arange(count + 1, dtype=np.int64), 0)


def job_of(folder: Path, number: int, of: Rows, do: str = "", deadline: float | None = None) -> Job:
    """A job whose folder says what the engine is to do."""
    own = folder / f"{number:04d}"
    own.mkdir(exist_ok=True)
    if do:
        (own / DO).write_text(do)
    configuration = Configuration().with_fields(train={"learning_rate": 0.01 * (number + 1), "bf16": False})
    return Job(number, configuration, SOURCE, of, own, 1, deadline)
