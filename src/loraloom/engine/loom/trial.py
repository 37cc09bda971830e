"""One trial on its way in loom: which rows come next, and what its steps took. Knows nothing of layers or packs.

Its part of a step is some 5 µs: a batch's rows are looked up in the order that was made for the epoch (`order.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from loraloom.engine.adapted import count_parts
from loraloom.engine.checkpoint import State
from loraloom.engine.course import Course
from loraloom.engine.gemm_rates import gemm_peak
from loraloom.engine.job import Job, Listener
from loraloom.engine.loom.order import Order
from loraloom.engine.loom.pack import Batch
from loraloom.engine.loom.prefix_file import PrefixFile
from loraloom.engine.objective import Running
from loraloom.errors import LoraloomError, TrialFailedError
from loraloom.study.record import Dtype, Timings


class Trial(Course):
    """A job under way; what its model no longer holds is `taken`, in parameters.

    `kernels_seconds` went by before it began, until there were kernels.
    """

    def __init__(
        self,
        job: Job,
        model: PeftModel,
        dtype: Dtype,
        note: Callable[[str], None],
        *,
        window: int,
        taken: int,
        kernels_seconds: float,
    ) -> None:
        counts = count_parts(model)
        counts = counts.model_copy(update={"frozen": counts.frozen + taken})
        super().__init__(job, Running(), "loom", dtype, counts, note)
        self.model = model
        self.labels = job.rows.data.train.labels
        self.lengths = np.diff(job.rows.train.offsets)
        self.window = window
        self.order = self._order_of_rows()
        if self.order.steps_per_epoch != self.schedule.steps_per_epoch:
            raise LoraloomError("the order of rows and the schedule disagree on the steps of an epoch")
        self.step_seconds = 0.0
        self.prefix_seconds = 0.0
        self.prefix_rows: int | None = None
        self.kernels_seconds = kernels_seconds
        self.states: dict[int, PrefixFile | None] = {}
        self.flops_per_token = 0.0
        self._examples = self._tokens = 0
        self._flops = 0.0

    def _order_of_rows(self) -> Order:
        train = self.job.configuration.train
        return Order(
            self.lengths,
            batch=train.per_device_train_batch_size,
            accumulated=train.gradient_accumulation_steps,
            seed=train.seed,
            window=self.window,
        )

    def batches(self) -> list[Batch]:
        """The batches of the next step."""
        return [Batch(rows, self.labels[rows]) for rows in self.order.step(self.step)]

    def saw(self, loss_sum: float, correct: int, batch: Batch, normaliser: float) -> None:
        """Takes note of a pass; a loss that is not finite ends the trial."""
        if self.over:
            return
        try:
            self.running.see(loss_sum, correct, len(batch.rows), normaliser)
        except TrialFailedError as error:
            self.fail_by(error)
        tokens = int(self.lengths[batch.rows].sum())
        self._examples += len(batch.rows)
        self._tokens += tokens
        self._flops += tokens * self.flops_per_token

    def stepped(self) -> None:
        """Takes note of a step, unless a loss of it ended the trial."""
        if not self.over:
            super().stepped()

    def save(self, tensors: Mapping[str, Tensor], passes: int) -> None:
        """Writes a checkpoint: the pack's state of this trial, and all that is known here of what comes next."""
        values = {
            "passes": passes,
            "window": self.window,
            "examples": self._examples,
            "tokens": self._tokens,
            "flops": self._flops,
            "step_seconds": self.step_seconds,
            "prefix_seconds": self.prefix_seconds,
            "prefix_rows": self.prefix_rows,
        }
        self.write_checkpoint(tensors, values)

    def restore(self, state: State) -> int:
        """Goes on from what `save` wrote; returns the passes."""
        values = state.values
        if (window := values.get("window", self.window)) != self.window:  # begun where batches are sorted otherwise
            self.window = window
            self.order = self._order_of_rows()
        self.go_on_from(values)
        self._examples, self._tokens = values["examples"], values["tokens"]
        self._flops = values.get("flops", self._tokens * self.flops_per_token)
        self.step_seconds = values["step_seconds"]
        self.prefix_seconds, self.prefix_rows = values.get("prefix_seconds", 0.0), values.get("prefix_rows")
        return int(values["passes"])

    def evaluated(self, logits: NDArray[np.float32], listener: Listener) -> None:
        """Takes note of an evaluation; logits that are not finite end the trial."""
        try:
            super().evaluated(logits, listener)
        except TrialFailedError as error:
            self.fail_by(error)

    def speed(self) -> dict[str, float | None]:
        """Examples and tokens a second of its steps, and their share of the machine's peak where that is known.

        A peak that was measured while the machine was busy is no limit: of more than it, no share is known.
        """
        rate, peak = self._flops / self.step_seconds, gemm_peak(self.dtype)
        return {
            "examples_per_second": self._examples / self.step_seconds,
            "tokens_per_second": self._tokens / self.step_seconds,
            "peak_share": None if peak is None or rate > peak else rate / peak,
        }

    def timings(self) -> Timings:
        """What it took, shares of its pack's steps."""
        return Timings.model_validate(
            {
                "seconds": self.step_seconds + self.evaluation_seconds,
                "train_seconds": self.step_seconds,
                **self.speed(),
                "prefix_seconds": self.prefix_seconds,
                "prefix_rows": self.prefix_rows,
                "kernels_seconds": self.kernels_seconds,
            }
        )
