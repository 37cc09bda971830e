"""HF Trainer within a time: where passes would take longer, the schedule follows the time, and ends when it is used.

What `finetune` and `contest` share. Rejected: to lay the schedule over the steps that an estimate has room for, which
left up to half of the time unused where steps were faster than it said. Batches hold rows of like length, and passes
are in bf16 where that is the quicker of the two on this machine, as a good user would have it (`bench/peers.py`
measures the same choices).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from study.peers import LEAST_STEPS
from study.peers.task import Task

BATCH, EVALUATION_BATCH = 16, 64
_FEW_STEPS, _MANY_EPOCHS = 500, 20
_TIMED = 8
"""Batches that are timed, of lengths as they are among the rows."""
_SPARE = 1.3
"""What is estimated may take this much longer."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Setting:
    """How to train; `epochs` are at most so many, or as many as there is time for."""

    rate: float
    epochs: float
    schedule: Literal["linear", "constant"]
    warmup: float  # share of the training
    decay: float = 0.01


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one training step and of one batch of evaluation, and the faster type."""

    step: float
    evaluation: float
    bf16: bool

    def predicting(self, rows: int) -> float:
        return _SPARE * self.evaluation * (rows / EVALUATION_BATCH + 1)

    def training(self, rows: int, epochs: float) -> float:
        return _SPARE * self.step * max(1.0, rows / BATCH) * epochs


def tokenizer_of(task: Task) -> Any:
    return AutoTokenizer.from_pretrained(task.encoder)


def classifier_of(task: Task) -> Any:
    """The encoder with the library's own head; weights that are new are drawn by the seed."""
    torch.manual_seed(task.seed)
    config = AutoConfig.from_pretrained(task.encoder, num_labels=len(task.classes))
    return AutoModelForSequenceClassification.from_pretrained(task.encoder, config=config)


def encoded(tokenizer: Any, texts: Sequence[str], task: Task, labels: Sequence[int] | None = None) -> Rows:
    """Token ids of each text, cut to the task's length, and its label where there are labels."""
    found = tokenizer(list(texts), truncation=True, max_length=task.max_length, return_token_type_ids=False)
    rows = [
        {"input_ids": ids, "attention_mask": mask}
        for ids, mask in zip(found["input_ids"], found["attention_mask"], strict=True)
    ]
    if labels is not None:
        for row, label in zip(rows, labels, strict=True):
            row["labels"] = label
    return rows


def few_rows_epochs(rows: int, epochs: float) -> float:
    """`epochs`, or more where rows are few: as many as make 500 steps, 20 at most (Mosbach et al. 2021).

    Or else as many as make 200 steps, as robustness has it.
    """
    return max(epochs, min(_MANY_EPOCHS, _FEW_STEPS * BATCH / rows), LEAST_STEPS * BATCH / rows)


def speed_of(model: Any, tokenizer: Any, rows: Rows, *, fp32: bool = False) -> Speed:
    """Times a few batches, forward and backward, in fp32 and in bf16. The model's weights stay.

    `fp32` asks for that type alone, where nothing else can be chosen.
    """
    collate = DataCollatorWithPadding(tokenizer)
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    starts = [round((place + 0.5) / _TIMED * max(0, len(ordered) - BATCH)) for place in range(_TIMED)]
    batches = [collate(ordered[start : start + BATCH]) for start in starts]
    steps = {bf16: _seconds(model, batches, bf16) for bf16 in ((False,) if fp32 else (False, True))}
    fastest = min(steps, key=lambda bf16: steps[bf16])
    larger = [collate(ordered[start : start + EVALUATION_BATCH]) for start in starts]
    with torch.no_grad():
        evaluation = _seconds(model, larger, fastest)
    return Speed(1.15 * steps[fastest], evaluation, fastest)  # an optimizer's step reads and writes what is trained


def _seconds(model: Any, batches: Sequence[Any], bf16: bool) -> float:
    """Of a batch: forward, and backward where gradients are on."""
    _pass(model, batches[0], bf16)  # the first one allocates
    began = time.perf_counter()
    for batch in batches:
        _pass(model, batch, bf16)
    return (time.perf_counter() - began) / len(batches)


def _pass(model: Any, batch: Any, bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(**batch).loss
    if loss.requires_grad:
        loss.backward()
        model.zero_grad(set_to_none=True)


def factor(setting: Setting, progress: float) -> float:
    """What the learning rate is times, when a share 0..1 of the training is done."""
    if progress < setting.warmup:
        return progress / setting.warmup
    return 1.0 if setting.schedule == "constant" else max(0.0, 1 - progress) / (1 - setting.warmup)


class _InTime(Trainer):
    """HF Trainer whose schedule follows the steps, or the time where that ends first."""

    def __init__(self, setting: Setting, remaining: Callable[[], float], **arguments: Any) -> None:
        """`remaining` says how many seconds are left for training."""
        super().__init__(**arguments)
        self._setting, self._remaining = setting, remaining

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        own: Any = optimizer or self.optimizer
        whole = max(1e-9, self._remaining())

        def lr_factor(step: int) -> float:
            return factor(self._setting, max(step / num_training_steps, 1 - self._remaining() / whole))

        self.lr_scheduler = LambdaLR(own, lr_factor)
        return self.lr_scheduler


class _StopAt(TrainerCallback):
    """Ends training when its time is used."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._is_over():
            control.should_training_stop = True


def train(
    task: Task, model: Any, tokenizer: Any, rows: Rows, setting: Setting, speed: Speed, *, keep: float
) -> tuple[Trainer, dict[str, Any]]:
    """Trains `model`, leaving `keep` seconds of the task's time; gives the trainer, and what it did.

    `planned_steps` are those of all epochs, which are done where the time suffices.
    """
    steps = max(1, round(setting.epochs * len(rows) / BATCH))
    arguments = TrainingArguments(
        output_dir=f"{task.folder}/trainer",
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=EVALUATION_BATCH,
        learning_rate=setting.rate,
        weight_decay=setting.decay,
        optim="adamw_torch",
        bf16=speed.bf16,
        bf16_full_eval=False,
        train_sampling_strategy="group_by_length",
        seed=task.seed,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = _InTime(
        setting,
        lambda: task.remaining() - keep,
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[_StopAt(lambda: task.remaining() < keep)],
    )
    trainer.train()
    done = {"epochs": round(trainer.state.global_step * BATCH / len(rows), 2), "steps": trainer.state.global_step}
    return trainer, done | {"planned_steps": steps, "bf16": speed.bf16}


def predictions_of(trainer: Trainer, rows: Rows) -> list[int]:
    """A class id for each row; rows of like length are predicted together.

    Trainer evaluates in the order of its training's sampler, and gives predictions in that order: by length it would
    draw rows at random, and each would get another's label. So the order is asked for here, and kept.
    """
    trainer.args.train_sampling_strategy = "sequential"
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    unlabelled = [{name: rows[row][name] for name in ("input_ids", "attention_mask")} for row in order]
    found = trainer.predict(unlabelled).predictions.argmax(axis=-1)  # type: ignore[arg-type, union-attr]
    predictions = [0] * len(rows)
    for row, label in zip(order, found.tolist(), strict=True):
        predictions[row] = label
    return predictions
