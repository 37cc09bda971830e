"""The reference engine: HF Trainer, PEFT and DataCollatorWithPadding, as anyone would put them together.

Slow and trusted: it supports every field of a recipe, and is the oracle of faster engines. What is ours in it is small:
the recipe's optimizers, schedule and objective, when to evaluate, and the refusal of numbers that are not finite.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from loraloom import metrics
from loraloom.backbone.quiet import quietly
from loraloom.backbone.sources import Source, load_tokenizer
from loraloom.data import Encoded
from loraloom.engine.adapted import add_lora, build_base, count_parts, count_without_weights, save_adapter
from loraloom.engine.checkpoint import Checkpoints, HaltError, Rhythm, State, heeding
from loraloom.engine.device import device
from loraloom.engine.generators import Generators
from loraloom.engine.job import Job, Listener, Outcome, never, silent
from loraloom.engine.objective import Objective, class_weights
from loraloom.engine.precision import choose_dtype
from loraloom.engine.progress import (
    EVALUATION_BATCH,
    OUT_OF_MEMORY,
    append_evaluation,
    clock_mark,
    evaluation_steps,
    is_out_of_memory,
    keep_predicted,
    plan_schedule,
    pruned_reason,
    scored,
    thinned,
)
from loraloom.engine.resumable_trainer import ResumableTrainer
from loraloom.errors import TrialFailedError
from loraloom.recipe import Configuration, Train
from loraloom.study.record import CHECKPOINT, Counts, Dtype, Evaluation, Result, Score, Timings


class TrainerEngine:
    """Trains one job after another with HF Trainer."""

    name = "trainer"

    def __init__(self, *, rhythm: Callable[[], Rhythm] = Rhythm) -> None:
        """`rhythm` makes what says when checkpoints are due, anew for each trial."""
        self._rhythm, self._checkpoint_cost = rhythm, 0.0

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """One: PEFT trains one adapter on a model."""
        del source, configuration
        return 1

    def train_pack(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]:
        """Trains jobs one after another; see `train`."""
        heed = heeding(stop)
        return tuple(self.train(job, listener, heed, note) for job in jobs)

    def train(
        self,
        job: Job,
        listener: Listener,
        heed: Callable[[], None] = lambda: None,
        note: Callable[[str], None] = silent,
    ) -> Outcome:
        """Trains `job`, writing metrics.jsonl as it goes and the adapter at its end; goes on from its checkpoint.

        Raises:
            LoraloomError: what would befall every trial: no weights, a target that is not there, a count that differs.
        """
        dtype = choose_dtype(job.configuration.train)
        try:
            return self._train(job, listener, dtype, heed, note)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return Outcome("trainer", "failed", dtype, count_without_weights(job), reason=OUT_OF_MEMORY)

    def _train(
        self,
        job: Job,
        listener: Listener,
        dtype: Dtype,
        heed: Callable[[], None],
        note: Callable[[str], None],
    ) -> Outcome:
        with quietly():  # no other thread draws between the seed and LoRA's weights
            model = add_lora(build_base(job), job)
        counts = count_parts(model)
        checkpoints = Checkpoints(job, self.name, dtype, note)
        rhythm = self._rhythm()
        rhythm.cost = self._checkpoint_cost
        run = _Run(job, model, listener, dtype, checkpoints, rhythm, heed)
        try:
            run.train()
            save_adapter(model, job.folder)
            keep_predicted(job, run.state, run.probabilities)
            return run.outcome(counts)
        except HaltError:
            run.save()
            return Outcome("trainer", "stopped", dtype, counts)
        except TrialFailedError as error:
            return Outcome("trainer", "failed", dtype, counts, reason=str(error))
        finally:
            self._checkpoint_cost = rhythm.cost
            run.let_go()


class _Examples(torch.utils.data.Dataset[dict[str, Any]]):
    """Encoded rows with their labels."""

    def __init__(self, encoded: Encoded, labels: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._encoded, self._labels = encoded, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._encoded[index], "labels": int(self._labels[index])}


class _Run(TrainerCallback):
    """One job under way: when it evaluates, what it writes, when it ends."""

    def __init__(
        self,
        job: Job,
        model: PeftModel,
        listener: Listener,
        dtype: Dtype,
        checkpoints: Checkpoints,
        rhythm: Rhythm,
        heed: Callable[[], None],
    ) -> None:
        self.job, self.listener, self.dtype = job, listener, dtype
        self.checkpoints, self.rhythm, self.heed = checkpoints, rhythm, heed
        train, rows = job.configuration.train, job.rows
        labels = rows.data.train.labels
        self.schedule = plan_schedule(train, len(labels))
        self.evaluate_at = evaluation_steps(train, self.schedule.total)
        self.objective = Objective(train, class_weights(train, labels, len(rows.data.labels)))
        self.state: Literal["complete", "pruned"] = "complete"
        self.reason: str | None = None
        self.marks: tuple[str, ...] = ()
        self.score: metrics.Scores | None = None
        self.probabilities: NDArray[np.float64] | None = None
        self.trace: list[tuple[int, float, float]] = []
        self.saved_at = 0
        self.before_evaluation: Generators | None = None
        self.start = time.monotonic()
        self.trainer = ResumableTrainer(
            train,
            self.schedule,
            model=model,
            args=training_arguments(train, job.folder / CHECKPOINT, dtype),
            train_dataset=_Examples(rows.train, labels),
            eval_dataset=_Examples(rows.validation, rows.data.validation.labels),
            data_collator=DataCollatorWithPadding(load_tokenizer(job.source)),
            compute_loss_func=self.objective,
            compute_metrics=self._compute_metrics,
            callbacks=[self],
        )

    def train(self) -> None:
        self.start = time.monotonic()
        state = self.checkpoints.load()
        with quietly():
            if state is None:
                self.trainer.train()
            else:
                self._restore(state)
                self.trainer.train(resume_from_checkpoint=str(self.checkpoints.generation(state.step)))

    def save(self) -> None:
        """Writes a checkpoint of the trial as it was after its last step, unless there is one."""
        if self.objective.step == self.saved_at:
            return
        generators = self.before_evaluation or Generators.now()
        tensors, values = self.trainer.state_between_steps()
        values |= {
            "generators": generators.values,
            "running": self.objective.state(),
            "plateau": self.schedule.plateau.state(),
            "trace": self.trace,
            "seconds": time.monotonic() - self.start,
            "evaluation_seconds": self.trainer.evaluation_seconds,
        }
        tensors |= generators.tensors
        self.checkpoints.save(State(self.objective.step, tensors, values, self.trainer.progress_file()))
        self.saved_at = self.objective.step

    def let_go(self) -> None:
        """Has the model freed when its last user goes, and not by a later garbage collection, beside the next model.

        The trainer's callback refers to the trainer; in bf16, accelerate binds the model's `forward` to the model.
        """
        for name in ("forward", "_original_forward"):
            vars(self.trainer.model).pop(name, None)
        del self.trainer

    def _restore(self, state: State) -> None:
        values = state.values
        self.objective.restore(values["running"])
        self.schedule.plateau.restore(values["plateau"])
        self.trace = [(step, loss, rate) for step, loss, rate in values["trace"]]
        self.start = time.monotonic() - values["seconds"]
        self.trainer.evaluation_seconds = values["evaluation_seconds"]
        self.trainer.resumed = state
        self.trainer.generators = Generators.of(state.tensors, values["generators"])
        self.saved_at = state.step

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.heed()
        if self.trainer.generators is None:
            return
        control.should_training_stop = state.global_step >= self.schedule.total
        if state.global_step in self.evaluate_at:  # a checkpoint is from before its step's evaluation
            self.trainer.generators.restore()
            self.trainer.evaluate()
            self.trainer.generators = Generators.now()

    def outcome(self, counts: Counts) -> Outcome:
        assert self.score is not None
        seconds = time.monotonic() - self.start
        train_seconds = seconds - self.trainer.evaluation_seconds
        epochs = self.trainer.state.epoch or 0.0
        timings = Timings(
            seconds=seconds,
            train_seconds=train_seconds,
            examples_per_second=epochs * len(self.job.rows.data.train.labels) / train_seconds,
        )
        result = Result(validation=Score.of(self.score))
        return Outcome("trainer", self.state, self.dtype, counts, self.reason, result, timings, self.marks)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step
        rate = self.job.configuration.train.learning_rate * self.schedule.factor(step - 1)
        self.trace.append((step, self.objective.end_step(), rate))
        late = self.job.deadline is not None and time.monotonic() >= self.job.deadline
        if step in self.evaluate_at or late:
            control.should_evaluate = True
        if late and step < self.schedule.total:
            control.should_training_stop = True
            self.marks = (clock_mark(state.epoch),)
        self.heed()
        if self.rhythm.due():
            self.rhythm.keep(self.save)
        self.before_evaluation = Generators.now() if control.should_evaluate else None

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.heed()

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        assert self.score is not None
        self.before_evaluation = None
        loss, accuracy = self.objective.take()
        evaluation = Evaluation(
            step=state.global_step,
            epoch=state.epoch or 0.0,
            seconds=time.monotonic() - self.start,
            learning_rate=self.trace[-1][2],
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=self.score.log_loss,
            validation_accuracy=self.score.accuracy,
            validation_macro_f1=self.score.macro_f1,
            trace=thinned(self.trace),
        )
        self.trace.clear()
        append_evaluation(self.job.folder, evaluation)
        self.schedule.plateau.see(evaluation.validation_loss)
        for group in parts["optimizer"].param_groups:
            group["lr"] = self.job.configuration.train.learning_rate * self.schedule.factor(state.global_step)
        ended = bool(self.marks) or state.global_step >= self.schedule.total
        if not self.listener(self.job, evaluation) and not ended:
            self.state, self.reason = "pruned", pruned_reason(state.epoch)
            control.should_training_stop = True

    def _compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        self.score, self.probabilities = scored(logits, labels, self.objective.step)
        return {}


def training_arguments(train: Train, folder: Path, dtype: str) -> TrainingArguments:
    """The recipe as transformers has it; optimizer, schedule and loss are ours, evaluations come from a callback."""
    on_gpu = device().type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=train.per_device_train_batch_size,
        per_device_eval_batch_size=EVALUATION_BATCH,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        num_train_epochs=train.num_train_epochs,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        seed=train.seed,
        bf16=dtype == "bf16",
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        label_names=["labels"],
        disable_tqdm=True,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one trial, one device: batches are never split over several
    return arguments
