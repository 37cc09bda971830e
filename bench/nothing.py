"""An engine that does nothing but report, made in real workers: what is left is the driver's own cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loraloom.backbone.sources import Source
from loraloom.engine import Job, Listener, Outcome, never, silent
from loraloom.engine.progress import append_evaluation
from loraloom.recipe import Configuration
from loraloom.study.record import Counts, Evaluation, Result, Score, Timings


class NothingEngine:
    """Reports as many evaluations as the recipe has epochs, each worse than the last pruner would mind."""

    name = "nothing"

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """One, as on a CPU."""
        del source, configuration
        return 1

    def train_pack(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]:
        """Each job in turn."""
        del note
        return tuple(_reported(job, listener, stop) for job in jobs)


def _reported(job: Job, listener: Listener, stop: Callable[[], bool]) -> Outcome:
    counts = Counts(trainable=job.expected_parameters, lora=job.expected_parameters, bias=0, head=0, frozen=0)
    value = job.configuration.train.learning_rate % 1
    for step in range(1, int(job.configuration.train.num_train_epochs) + 1):
        evaluation = _evaluation(step, value)
        append_evaluation(job.folder, evaluation)  # which the driver reads again
        if stop() or not listener(job, evaluation):
            return Outcome("nothing", "pruned", "fp32", counts, "pruned")
    score = Score(examples=1, accuracy=value, macro_f1=value, loss=value)
    timings = Timings(seconds=1e-3, train_seconds=1e-3, examples_per_second=1.0)
    return Outcome("nothing", "complete", "fp32", counts, None, Result(validation=score), timings)


def _evaluation(step: int, value: float) -> Evaluation:
    return Evaluation(
        step=step,
        epoch=float(step),
        seconds=0.0,
        learning_rate=value,
        train_loss=value,
        train_accuracy=value,
        validation_loss=value,
        validation_accuracy=value,
        validation_macro_f1=value,
        trace=tuple((step, value, value) for _ in range(50)),
    )
