"""The reference engine: HF Trainer, PEFT and DataCollatorWithPadding, as anyone would put them together.

Slow and trusted: it supports every field of a recipe, and is the oracle of faster engines. What is ours in it is small:
the recipe's optimizers, schedule and objective, when to evaluate, and the refusal of numbers that are not finite.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

from loraloom.backbone.quiet import awaited, give_way, quietly
from loraloom.backbone.sources import Source, load_tokenizer
from loraloom.data import Encoded
from loraloom.engine.adapted import add_lora, build_base, count_parts, count_without_weights, save_adapter
from loraloom.engine.checkpoint import HaltError, Rhythm, heeding
from loraloom.engine.course import Course
from loraloom.engine.device import device
from loraloom.engine.generators import Generators, kept_generators
from loraloom.engine.job import OUT_OF_MEMORY, Job, Listener, Outcome, never, silent
from loraloom.engine.linear import whole_fp32
from loraloom.engine.objective import Objective, class_weights
from loraloom.engine.precision import choose_dtype, without_fp16
from loraloom.engine.progress import EVALUATION_BATCH, is_out_of_memory
from loraloom.engine.resumable_trainer import ResumableTrainer
from loraloom.errors import LoraloomError, TrialFailedError
from loraloom.recipe import Configuration, Train
from loraloom.study.record import CHECKPOINT, Dtype

_LAUNCHED = "ACCELERATE_", "LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"
"""How variables begin by which accelerate is told of a training that it is to be a part of."""


class TrainerEngine:
    """Trains one job after another with HF Trainer."""

    name = "trainer"

    def __init__(self, *, rhythm: Callable[[], Rhythm] = Rhythm) -> None:
        """`rhythm` makes what says when checkpoints are due, anew for each trial."""
        self._rhythm, self._checkpoint_cost = rhythm, 0.0
        self._told = False

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

    @whole_fp32()
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
        train = job.configuration.train
        dtype = choose_dtype(without_fp16(train))
        if train.fp16 is True and not self._told:
            note(f"engine: trainer has no fp16: what it trains is in {dtype}")
            self._told = True
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
        train, data = job.configuration.train, job.rows.data
        objective = Objective(train, class_weights(train, data.train.labels, len(data.labels)))
        course = Course(job, objective, self.name, dtype, count_parts(model), note)
        rhythm = self._rhythm()
        rhythm.cost = self._checkpoint_cost
        run = _Run(course, objective, model, listener, rhythm, heed)
        try:
            run.train()
            save_adapter(model, job.folder)
            course.keep_predicted()
        except HaltError:
            run.save()
            course.state = "stopped"
        except TrialFailedError as error:
            course.fail_by(error)
        finally:
            self._checkpoint_cost = rhythm.cost
            run.let_go()
        return course.outcome()


class _Examples(torch.utils.data.Dataset[dict[str, Any]]):
    """Encoded rows with their labels."""

    def __init__(self, encoded: Encoded, labels: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._encoded, self._labels = encoded, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._encoded[index], "labels": int(self._labels[index])}


class _Run(TrainerCallback):
    """One job under way: how HF Trainer takes its course."""

    def __init__(
        self,
        course: Course,
        objective: Objective,
        model: PeftModel,
        listener: Listener,
        rhythm: Rhythm,
        heed: Callable[[], None],
    ) -> None:
        self.course, self.listener, self.rhythm, self.heed = course, listener, rhythm, heed
        self.logits: NDArray[np.float32] | None = None
        self.before_evaluation: Generators | None = None
        job, rows, train = course.job, course.job.rows, course.job.configuration.train
        with _by_itself():
            self.trainer = ResumableTrainer(
                course,
                model=model,
                args=training_arguments(train, job.folder / CHECKPOINT, course.dtype),
                train_dataset=_Examples(rows.train, rows.data.train.labels),
                eval_dataset=_Examples(rows.validation, rows.data.validation.labels),
                data_collator=DataCollatorWithPadding(load_tokenizer(job.source)),
                compute_loss_func=objective,
                compute_metrics=self._keep_logits,
                callbacks=[self],
            )

    def train(self) -> None:
        self.course.begin()
        state = self.course.checkpoints.load()
        with quietly():  # no other thread draws within a step
            if state is None:
                self.trainer.train()
            else:
                self.course.go_on_from(state.values)
                self.trainer.resumed = state
                self.trainer.generators = Generators.of(state.tensors, state.values["generators"])
                self.trainer.train(resume_from_checkpoint=str(self.course.checkpoints.generation(state.step)))

    def save(self) -> None:
        """Writes a checkpoint of the trial as it was after its last step, unless there is one."""
        if self.course.step == self.course.saved_at:
            return
        generators = self.before_evaluation or Generators.now()
        tensors, values = self.trainer.state_between_steps()
        values |= {"generators": generators.values}
        self.course.write_checkpoint({**tensors, **generators.tensors}, values, self.trainer.progress_file())

    def let_go(self) -> None:
        """Has the model freed when its last user goes, and not by a later garbage collection, beside the next model.

        The trainer's callback refers to the trainer; in bf16, accelerate binds the model's `forward` to the model.
        """
        for name in ("forward", "_original_forward"):
            vars(self.trainer.model).pop(name, None)
        del self.trainer

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.heed()
        if self.trainer.generators is None:
            return
        control.should_training_stop = self.course.over
        if self.course.asks_evaluation:  # a checkpoint is from before its step's evaluation
            self.trainer.generators.restore()
            self.trainer.evaluate()
            self.trainer.generators = Generators.now()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        course = self.course
        course.stepped()
        if course.step != state.global_step:
            raise LoraloomError(f"Trainer counts {state.global_step} steps where {course.step} were taken")
        control.should_evaluate = control.should_evaluate or course.asks_evaluation
        control.should_training_stop = control.should_training_stop or course.over
        self._pause()
        if self.rhythm.due():
            self.rhythm.keep(self.save)
        self.before_evaluation = Generators.now() if control.should_evaluate else None

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._pause()

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        course, logits = self.course, self.logits
        assert logits is not None
        self.before_evaluation = None
        course.evaluated(logits, self.listener)
        for group in parts["optimizer"].param_groups:
            group["lr"] = course.rate
        control.should_training_stop = control.should_training_stop or course.over

    def _pause(self) -> None:
        """Between two batches: ends where that is asked for, and lets threads that wait for it build their models."""
        self.heed()
        if awaited():
            with kept_generators():
                give_way()

    def _keep_logits(self, prediction: EvalPrediction) -> dict[str, float]:
        self.logits = np.asarray(prediction.predictions)
        return {}


@contextmanager
def _by_itself() -> Iterator[None]:
    """Within, no launcher's words are read: another number type, or that this process is one of several."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_LAUNCHED)}
    try:
        yield
    finally:
        os.environ.update(hidden)


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
