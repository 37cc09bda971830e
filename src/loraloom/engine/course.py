"""A job's course, the same in every engine: its steps, when it is evaluated, what it writes and asks, how it ends.

An engine says what its losses were, when a step is done, and what logits the validation rows got. Knows nothing of
models, and of time only what a trial's deadline and its evaluations need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from loraloom import metrics
from loraloom.engine.checkpoint import Checkpoints, State
from loraloom.engine.job import Job, Listener, Outcome
from loraloom.engine.objective import Running
from loraloom.engine.progress import append_evaluation, evaluation_steps, plan_schedule, scored, thinned
from loraloom.errors import TrialFailedError
from loraloom.study.evidence import write_predicted
from loraloom.study.record import Counts, Dtype, Evaluation, Result, Score, Timings
from loraloom.wording import in_passes, percent


class Course:
    """A job under way, of so many parameters. `running` are its losses, in which steps are counted."""

    def __init__(
        self, job: Job, running: Running, engine: str, dtype: Dtype, counts: Counts, note: Callable[[str], None]
    ) -> None:
        train = job.configuration.train
        self.job, self.running, self.engine, self.dtype, self.counts = job, running, engine, dtype, counts
        self.checkpoints = Checkpoints(job, engine, dtype, note)
        self.schedule = plan_schedule(train, len(job.rows.data.train.labels))
        self.state: Literal["complete", "pruned", "failed", "stopped"] = "complete"
        self.reason: str | None = None
        self.saved_at = 0
        self.evaluation_seconds = 0.0
        self._evaluate_at = evaluation_steps(train, self.schedule.total)
        self._marks: tuple[str, ...] = ()
        self._score: metrics.Scores | None = None
        self._heard_at = 0
        self._probabilities: NDArray[np.float64] | None = None
        self._trace: list[tuple[int, float, float]] = []
        self._since = time.monotonic()

    def begin(self) -> None:
        """Has its time count from here."""
        self._since = time.monotonic()

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.running.step

    @property
    def epoch(self) -> float:
        """Passes over the rows done."""
        whole, within = divmod(self.step, self.schedule.steps_per_epoch)
        train = self.job.configuration.train
        batches = -(-len(self.job.rows.data.train.labels) // train.per_device_train_batch_size)
        return whole + within * train.gradient_accumulation_steps / batches

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.job.configuration.train.learning_rate * self.schedule.factor(self.step)

    @property
    def seconds(self) -> float:
        """Since it began, over all processes that had it."""
        return time.monotonic() - self._since

    @property
    def over(self) -> bool:
        """Whether no step follows."""
        return self.state != "complete" or bool(self._marks) or self.step >= self.schedule.total

    @property
    def done(self) -> bool:
        """Whether it has ended, and needs no evaluation any more."""
        return self.state == "failed" or (self.over and self._heard_at == self.step)

    @property
    def asks_evaluation(self) -> bool:
        """Whether the last step is to be followed by an evaluation: asked once, before the next."""
        return self.state != "failed" and (self.over or self.step in self._evaluate_at)

    def fail(self, reason: str) -> None:
        """Ends it."""
        self.state, self.reason = "failed", reason

    def fail_by(self, error: TrialFailedError) -> None:
        """Ends it, since a number is not finite; those of fp16 end soon."""
        self.fail(f"{error}, or write train.fp16: false" if self.dtype == "fp16" else str(error))

    def stepped(self) -> None:
        """Takes note of a step; the last that the deadline leaves time for is marked."""
        rate = self.rate
        self._trace.append((self.step + 1, self.running.end_step(), rate))
        late = self.job.deadline is not None and time.monotonic() >= self.job.deadline
        if late and self.step < self.schedule.total:
            share, passes = self.step / self.schedule.total, self.job.configuration.train.num_train_epochs
            self._marks = (f"stopped by the clock after {percent(share)} of {in_passes(passes)}{self._rate_left()}",)

    def _rate_left(self) -> str:
        """How far the learning rate came, where it was to come further, as the end of a sentence."""
        if self.step < self.schedule.warmup:
            return ", in its warm-up"
        if not self.schedule.falls:
            return ""
        return f", its learning rate at {percent(self.schedule.factor(self.step))} and not yet at 0"

    def evaluated(self, logits: NDArray[np.float32], listener: Listener) -> None:
        """Scores validation logits (N, C), writes the evaluation down, and asks the listener whether to go on.

        Raises:
            TrialFailedError: some logits are not finite.
        """
        self._score, self._probabilities = scored(logits, self.job.rows.data.validation.labels, self.step)
        loss, accuracy = self.running.take()
        evaluation = Evaluation(
            step=self.step,
            epoch=self.epoch,
            seconds=self.seconds,
            learning_rate=self._trace[-1][2],
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=self._score.log_loss,
            validation_accuracy=self._score.accuracy,
            validation_macro_f1=self._score.macro_f1,
            trace=thinned(self._trace),
        ).model_copy(update=self.speed())
        self._trace.clear()
        append_evaluation(self.job.folder, evaluation)
        self.schedule.plateau.see(evaluation.validation_loss)
        if not listener(self.job, evaluation) and not self.over:
            self.state, self.reason = "pruned", f"pruned after {in_passes(self.epoch)}"
        self._heard_at = self.step

    def write_checkpoint(
        self, tensors: Mapping[str, Tensor], values: Mapping[str, Any], files: Mapping[str, str] | None = None
    ) -> None:
        """Writes what the engine gives, and all that is known here of what comes next."""
        own = {
            "running": self.running.state(),
            "plateau": self.schedule.plateau.state(),
            "trace": self._trace,
            "seconds": self.seconds,
            "evaluation_seconds": self.evaluation_seconds,
        }
        self.checkpoints.save(State(self.step, tensors, {**values, **own}, files or {}))
        self.saved_at = self.step

    def go_on_from(self, values: Mapping[str, Any]) -> None:
        """Takes back what was written of it into a checkpoint."""
        self.running.restore(values["running"])
        self.schedule.plateau.restore(values["plateau"])
        self._trace = [(step, loss, rate) for step, loss, rate in values["trace"]]
        self._since = time.monotonic() - values["seconds"]
        self.evaluation_seconds = values["evaluation_seconds"]
        self.saved_at = self.step

    def keep_predicted(self) -> None:
        """Writes what a complete trial said of the validation rows in its last evaluation."""
        if self.state == "complete" and self._probabilities is not None:
            write_predicted(self.job.folder, self.job.rows.predicted(self._probabilities))

    def speed(self) -> dict[str, float | None]:
        """The fields of an evaluation that say how fast it trains, where the engine counts."""
        return {}

    def timings(self) -> Timings:
        """What it took: all that was no evaluation is training."""
        seconds = self.seconds
        trained, examples = seconds - self.evaluation_seconds, self.epoch * len(self.job.rows.data.train.labels)
        return Timings(seconds=seconds, train_seconds=trained, examples_per_second=examples / trained)

    def outcome(self) -> Outcome:
        """What became of it."""
        if self.state == "stopped":
            return Outcome(self.engine, "stopped", self.dtype, self.counts)
        if self.state == "failed" or self._score is None:
            return Outcome(self.engine, "failed", self.dtype, self.counts, reason=self.reason)
        result, timings = Result(validation=Score.of(self._score)), self.timings()
        return Outcome(self.engine, self.state, self.dtype, self.counts, self.reason, result, timings, self._marks)
