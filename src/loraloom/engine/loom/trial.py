"""One trial on its way: which rows come next, when it is evaluated, how it ends. Knows nothing of layers or packs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from loraloom import metrics
from loraloom.engine.adapted import count_parts
from loraloom.engine.checkpoint import Checkpoints, State
from loraloom.engine.gemm_rates import gemm_peak
from loraloom.engine.job import Job, Listener, Outcome
from loraloom.engine.loom.order import Order
from loraloom.engine.loom.pack import Batch, Losses
from loraloom.engine.loom.prefix_file import PrefixFile
from loraloom.engine.objective import Running
from loraloom.engine.progress import (
    append_evaluation,
    clock_mark,
    evaluation_steps,
    keep_predicted,
    plan_schedule,
    pruned_reason,
    scored,
    thinned,
)
from loraloom.errors import LoraloomError, TrialFailedError
from loraloom.study.record import Dtype, Evaluation, Result, Score, Timings


class Trial:
    """The state of a job under way."""

    def __init__(
        self,
        job: Job,
        model: PeftModel,
        dtype: Dtype,
        checkpoints: Checkpoints,
        *,
        window: int,
        taken: int,
    ) -> None:
        train, rows = job.configuration.train, job.rows
        self.job, self.model, self.dtype, self.checkpoints = job, model, dtype, checkpoints
        counts = count_parts(model)
        self.counts = counts.model_copy(update={"frozen": counts.frozen + taken})
        self.labels = rows.data.train.labels
        self.lengths = np.diff(rows.train.offsets)
        self.schedule = plan_schedule(train, len(self.labels))
        self.window = window
        self.order = self._order_of_rows()
        if self.order.steps_per_epoch != self.schedule.steps_per_epoch:
            raise LoraloomError("the order of rows and the schedule disagree on the steps of an epoch")
        self.evaluate_at = evaluation_steps(train, self.schedule.total)
        self.running = Running()
        self.state: Literal["complete", "pruned", "failed", "stopped"] = "complete"
        self.reason: str | None = None
        self.marks: tuple[str, ...] = ()
        self.over = False
        self.saved_at = 0
        self.step_seconds = 0.0
        self.evaluation_seconds = 0.0
        self.prefix_seconds = 0.0
        self.prefix_rows: int | None = None
        self.states: dict[int, PrefixFile | None] = {}
        self.flops_per_token = 0.0
        self._score: metrics.Scores | None = None
        self._probabilities: NDArray[np.float64] | None = None
        self._trace: list[tuple[int, float, float]] = []
        self._examples = self._tokens = 0
        self._flops = 0.0
        self._since = time.monotonic()

    def _order_of_rows(self) -> Order:
        train = self.job.configuration.train
        return Order(
            self.lengths,
            batch=train.per_device_train_batch_size,
            accumulated=train.gradient_accumulation_steps,
            seed=train.seed,
            window=self.window,
        )

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.running.step

    @property
    def epoch(self) -> float:
        whole, within = divmod(self.step, self.schedule.steps_per_epoch)
        train = self.job.configuration.train
        batches = -(-len(self.labels) // train.per_device_train_batch_size)
        return whole + within * train.gradient_accumulation_steps / batches

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.job.configuration.train.learning_rate * self.schedule.factor(self.step)

    def batches(self) -> list[Batch]:
        """The batches of the next step."""
        return [Batch(rows, self.labels[rows]) for rows in self.order.step(self.step)]

    def saw(self, losses: Losses, batch: Batch, normaliser: float) -> None:
        """Takes note of a pass; a loss that is not finite ends the trial."""
        if self.over:
            return
        try:
            self.running.see(losses.loss_sum, losses.correct, losses.examples, normaliser)
        except TrialFailedError as error:
            self.fail(str(error))
        tokens = int(self.lengths[batch.rows].sum())
        self._examples += losses.examples
        self._tokens += tokens
        self._flops += tokens * self.flops_per_token

    def fail(self, reason: str) -> None:
        self.state, self.reason, self.over = "failed", reason, True

    def stepped(self) -> None:
        """Takes note of a step."""
        if self.over:
            return
        rate = self.rate
        self._trace.append((self.step + 1, self.running.end_step(), rate))
        late = self.job.deadline is not None and time.monotonic() >= self.job.deadline
        if late and self.step < self.schedule.total:
            self.marks = (clock_mark(self.epoch),)
            self.over = True
        else:
            self.over = self.step >= self.schedule.total

    @property
    def asks_evaluation(self) -> bool:
        """Whether the last step is to be followed by an evaluation: asked once, before the next."""
        return self.state != "failed" and (self.over or self.step in self.evaluate_at)

    def save(self, tensors: Mapping[str, Tensor], passes: int) -> None:
        """Writes a checkpoint: the pack's state of this trial, and all that is known here of what comes next."""
        values = {
            "passes": passes,
            "window": self.window,
            "running": self.running.state(),
            "plateau": self.schedule.plateau.state(),
            "trace": self._trace,
            "examples": self._examples,
            "tokens": self._tokens,
            "flops": self._flops,
            "step_seconds": self.step_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "prefix_seconds": self.prefix_seconds,
            "prefix_rows": self.prefix_rows,
            "seconds": time.monotonic() - self._since,
        }
        self.checkpoints.save(State(self.step, tensors, values))
        self.saved_at = self.step

    def restore(self, state: State) -> int:
        """Goes on from what `save` wrote; returns the passes."""
        values = state.values
        if (window := values.get("window", self.window)) != self.window:  # begun where batches are sorted otherwise
            self.window = window
            self.order = self._order_of_rows()
        self.running.restore(values["running"])
        self.schedule.plateau.restore(values["plateau"])
        self._trace = [(step, loss, rate) for step, loss, rate in values["trace"]]
        self._examples, self._tokens = values["examples"], values["tokens"]
        self._flops = values.get("flops", self._tokens * self.flops_per_token)
        self.step_seconds, self.evaluation_seconds = values["step_seconds"], values["evaluation_seconds"]
        self.prefix_seconds, self.prefix_rows = values.get("prefix_seconds", 0.0), values.get("prefix_rows")
        self._since = time.monotonic() - values["seconds"]
        self.saved_at = self.step
        self.over = self.step >= self.schedule.total
        return int(values["passes"])

    def evaluated(self, logits: np.ndarray[tuple[int, int], np.dtype[np.float32]], listener: Listener) -> None:
        """Scores validation logits (N, C), writes the evaluation down, and asks the listener whether to go on."""
        try:
            self._score, self._probabilities = scored(logits, self.job.rows.data.validation.labels, self.step)
        except TrialFailedError as error:
            self.fail(str(error))
            return
        loss, accuracy = self.running.take()
        evaluation = Evaluation(
            step=self.step,
            epoch=self.epoch,
            seconds=time.monotonic() - self._since,
            learning_rate=self._trace[-1][2],
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=self._score.log_loss,
            validation_accuracy=self._score.accuracy,
            validation_macro_f1=self._score.macro_f1,
            trace=thinned(self._trace),
            examples_per_second=self._examples / self.step_seconds,
            tokens_per_second=self._tokens / self.step_seconds,
            peak_share=self._peak_share(),
        )
        self._trace.clear()
        append_evaluation(self.job.folder, evaluation)
        self.schedule.plateau.see(evaluation.validation_loss)
        if not listener(self.job, evaluation) and not self.over:
            self.state, self.reason, self.over = "pruned", pruned_reason(self.epoch), True

    def keep_predicted(self) -> None:
        """Writes what a complete trial said of the validation rows in its last evaluation."""
        keep_predicted(self.job, self.state, self._probabilities)

    def _peak_share(self) -> float:
        return self._flops / self.step_seconds / gemm_peak(self.dtype)

    def outcome(self) -> Outcome:
        """What became of it."""
        if self.state == "stopped":
            return Outcome("loom", "stopped", self.dtype, self.counts)
        if self.state == "failed" or self._score is None:
            return Outcome("loom", "failed", self.dtype, self.counts, reason=self.reason)
        timings = Timings(
            seconds=self.step_seconds + self.evaluation_seconds,
            train_seconds=self.step_seconds,
            examples_per_second=self._examples / self.step_seconds,
            tokens_per_second=self._tokens / self.step_seconds,
            peak_share=self._peak_share(),
            prefix_seconds=self.prefix_seconds,
            prefix_rows=self.prefix_rows,
        )
        result = Result(validation=Score.of(self._score))
        return Outcome("loom", self.state, self.dtype, self.counts, self.reason, result, timings, self.marks)
