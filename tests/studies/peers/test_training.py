"""What the peers trained by HF Trainer share: predictions stand at their rows, and a schedule ends with its time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from loraloom.backbone import sources
from study.peers import training
from study.peers.task import Task

SPEED = training.Speed(step=0.1, evaluation=0.2, bf16=False)


SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 2,
}


@pytest.fixture
def task(tmp_path: Path) -> Task:
    texts = [" ".join(["team", "bank", "goal", "profit"][row % 4 :] * (1 + row * 7 % 11)) for row in range(40)]
    labels = [row % 2 for row in range(40)]
    encoder = sources.find("demo").location
    return Task(texts, labels, ["x", "y"], texts, encoder, 600.0, time.time(), 0, 1, str(tmp_path), max_length=64)


def test_each_row_gets_its_own_prediction_after_training_by_length(task: Task) -> None:
    tokenizer = training.tokenizer_of(task)
    torch.manual_seed(0)
    wide: dict[str, Any] = {"initializer_range": 1.0}  # so that texts differ to weights that learnt next to nothing
    model: Any = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **SMALL, **wide))
    rows = training.encoded(tokenizer, task.texts, task, task.labels)
    setting = training.Setting(1e-5, 1.0, "linear", warmup=0.0)
    trainer, done = training.train(task, model, tokenizer, rows, setting, SPEED, keep=0.0)
    assert (done["steps"], done["planned_steps"]) == (2, 2)

    model.eval()
    with torch.inference_mode():
        alone = [int(model(input_ids=torch.tensor([row["input_ids"]])).logits.argmax()) for row in rows]
    assert training.predictions_of(trainer, rows) == alone
    assert set(alone) == {0, 1}, "a model that always says the same would prove nothing"


def test_training_ends_where_no_time_is_left(task: Task) -> None:
    tokenizer = training.tokenizer_of(task)
    model: Any = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **SMALL))
    rows = training.encoded(tokenizer, task.texts, task, task.labels)
    setting = training.Setting(1e-3, 20.0, "linear", warmup=0.0)
    _, done = training.train(task, model, tokenizer, rows, setting, SPEED, keep=task.seconds)
    assert (done["steps"], done["planned_steps"]) == (1, 50)


LINEAR = training.Setting(1e-3, 1.0, "linear", warmup=0.1)


def test_a_rate_rises_falls_and_ends_at_nothing() -> None:
    found = [training.factor(LINEAR, progress) for progress in (0.0, 0.05, 0.1, 0.55, 1.0, 1.1)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0, 0.0])
    assert training.factor(training.Setting(1e-3, 1.0, "constant", warmup=0.0), 0.9) == 1.0


@pytest.mark.parametrize(("seconds", "factors"), [(1000.0, [1.0, 0.99, 0.98]), (4.0, [1.0, 0.75, 0.5])])
def test_the_schedule_follows_the_time_where_that_ends_before_the_steps(
    task: Task, seconds: float, factors: list[float]
) -> None:
    left = [seconds]
    model: Any = BertForSequenceClassification(BertConfig(vocab_size=9, **SMALL))
    setting = training.Setting(1e-3, 1.0, "linear", warmup=0.0)
    arguments = TrainingArguments(output_dir=task.folder, use_cpu=True)
    trainer = training._InTime(setting, lambda: left[0], model=model, args=arguments)
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(100)
    found = [schedule.get_last_lr()[0]]
    for _ in range(2):
        left[0] -= 1.0
        trainer.optimizer.step()  # type: ignore[union-attr]
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    assert [rate / trainer.args.learning_rate for rate in found] == pytest.approx(factors)


def test_few_rows_are_passed_more_often() -> None:
    assert training.few_rows_epochs(32, 3.0) == 100
    assert training.few_rows_epochs(300, 3.0) == 20
    assert training.few_rows_epochs(1000, 3.0) == 8
    assert training.few_rows_epochs(100_000, 3.0) == 3
