"""HF Trainer + PEFT: as it comes, and tuned as a good user would tune it.

As it comes: fp32, random order, `DataCollatorWithPadding`, PEFT's default targets. Tuned: bf16 autocast, batches of
rows of like length (sorted as over a large data set, however few the rows are; in evaluation sorted whole), eager or
SDPA attention, and the frozen weights in fp32 or once and for all in bf16 (with what is trained in fp32); rows lie in
memory as lists. All combinations are measured and the fastest is the one that counts.
Left out: torch.compile, which took 40 s of warm-up for 2 % on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.utils.data import Sampler
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

from bench.cases import MEGA_BATCH, Peer, Work
from bench.measure import Task
from bench.span import Span
from bench.texts import model_folder, read_data

Rows = list[dict[str, Any]]


class LikeLength(LengthGroupedSampler):
    """Batches of rows of like length, sorted among `MEGA_BATCH` batches however few the rows are."""

    def __iter__(self) -> Iterator[int]:
        indices: Any = get_length_grouped_indices
        return iter(indices(self.lengths, self.batch_size, mega_batch_mult=MEGA_BATCH, generator=self.generator))


class _Trainer(Trainer):
    """HF Trainer with that sampler, where it is asked for batches of rows of like length."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        own: Any = super()._get_train_sampler(train_dataset)
        return LikeLength(own.batch_size, lengths=own.lengths) if isinstance(own, LengthGroupedSampler) else own


def train(task: Task) -> Span:
    """Times `Trainer.train` alone: to build the model is not in it."""
    assert task.peer is not None
    data = read_data(task.work, task.rows)
    tokenizer = _tokenizer(task)
    rows = _encoded(tokenizer, data.train.texts, task.work)
    for row, label in zip(rows, data.train.labels.tolist(), strict=True):
        row["labels"] = label
    model = _model(task)
    trainer = _trainer(task, model, tokenizer, rows)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    return Span((seconds,), _tokens(rows), _trainable(model))


def evaluate(task: Task) -> Span:
    """Times texts to logits: tokenizing and `Trainer.predict`.

    Tuned, rows are sorted by length, and the adapter is merged where weights are bf16.
    """
    assert task.peer is not None
    data, tokenizer, model = read_data(task.work, task.rows), _tokenizer(task), _model(task)
    trainable = _trainable(model)
    if task.peer.bf16_weights:
        model = model.merge_and_unload()
    trainer = _trainer(task, model, tokenizer, [])
    trainer.args.train_sampling_strategy = "sequential"  # by length, it would sort parts of the rows alone
    trainer.predict(cast(Any, _encoded(tokenizer, data.validation.texts, task.work)))
    start = time.perf_counter()
    rows = _encoded(tokenizer, data.train.texts, task.work)
    if task.peer.kind == "tuned":
        rows.sort(key=lambda row: len(row["input_ids"]))
    trainer.predict(cast(Any, rows))
    seconds = time.perf_counter() - start
    return Span((seconds,), _tokens(rows), trainable)


def _tokenizer(task: Task) -> Any:
    return AutoTokenizer.from_pretrained(model_folder(task.work, task.folder))


def _encoded(tokenizer: Any, texts: tuple[str, ...], work: Work) -> Rows:
    encoded = tokenizer(list(texts), truncation=True, max_length=work.max_length, return_token_type_ids=False)
    names = ("input_ids", "attention_mask")
    return [{name: encoded[name][row] for name in names} for row in range(len(texts))]


def _model(task: Task) -> Any:
    peer, work, folder = cast(Peer, task.peer), task.work, model_folder(task.work, task.folder)
    config = AutoConfig.from_pretrained(folder, num_labels=4)
    if work.dropout == "off":
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    chosen: dict[str, Any] = {"attn_implementation": peer.attention} if peer.attention else {}
    if peer.bf16_weights:
        chosen["dtype"] = torch.bfloat16
    torch.manual_seed(42)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, config=config, **chosen)
    layers = None if work.layers is None else list(work.layers)
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=4, lora_alpha=16, bias="lora_only", layers_to_transform=layers
    )  # SEQ_CLS puts the head among modules_to_save
    model = get_peft_model(classifier, lora)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _trainer(task: Task, model: Any, tokenizer: Any, rows: Rows) -> Trainer:
    peer, work = cast(Peer, task.peer), task.work
    tuned: dict[str, Any] = {}
    if peer.kind == "tuned":
        tuned = {
            "bf16": work.bf16,
            "bf16_full_eval": peer.bf16_weights,
            "train_sampling_strategy": "group_by_length",
            "dataloader_num_workers": 0,
            "dataloader_pin_memory": False,
        }
    arguments = TrainingArguments(
        output_dir=str(task.folder / "trainer"),
        per_device_train_batch_size=work.batch,
        per_device_eval_batch_size=work.batch,
        num_train_epochs=work.epochs,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        seed=42,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **tuned,
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=cast(Any, rows),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _tokens(rows: Rows) -> int:
    return sum(len(row["input_ids"]) for row in rows)


def _trainable(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
