"""What the peers trained by HF Trainer share: predictions stand at their rows, and a schedule fits its time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from loraloom.backbone import sources
from study.peers import training
from study.peers.task import Task

SPEED = training.Speed(step=0.1, evaluation=0.2, bf16=False)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    texts = [" ".join(["team", "bank", "goal", "profit"][row % 4 :] * (1 + row * 7 % 11)) for row in range(40)]
    labels = [row % 2 for row in range(40)]
    encoder = sources.find("demo").location
    return Task(texts, labels, ["x", "y"], texts, encoder, 600.0, time.time(), 0, 1, str(tmp_path), max_length=64)


def test_each_row_gets_its_own_prediction_after_training_by_length(task: Task) -> None:
    tokenizer = training.tokenizer_of(task)
    torch.manual_seed(0)
    size: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_labels": 2,
    }
    wide: dict[str, Any] = {"initializer_range": 1.0}  # so that texts differ to weights that learnt next to nothing
    model: Any = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **size, **wide))
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
    size: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_labels": 2,
    }
    model: Any = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **size))
    rows = training.encoded(tokenizer, task.texts, task, task.labels)
    setting = training.Setting(1e-3, 20.0, "linear", warmup=0.0)
    _, done = training.train(task, model, tokenizer, rows, setting, SPEED, keep=task.seconds)
    assert (done["steps"], done["planned_steps"]) == (1, 50)


def test_as_many_epochs_as_fit_are_trained_and_one_step_at_least() -> None:
    assert training.epochs_that_fit(SPEED, 1600, 10_000, 3.0) == 3.0
    assert training.epochs_that_fit(SPEED, 1600, 15 + 6, 3.0) == pytest.approx(0.5)  # 100 steps, 1.2 times 0.1 s each
    assert training.epochs_that_fit(SPEED, 1600, 0, 3.0) == pytest.approx(1 / 100)


def test_few_rows_are_passed_more_often() -> None:
    assert training.few_rows_epochs(32, 3.0) == 20
    assert training.few_rows_epochs(1000, 3.0) == 8
    assert training.few_rows_epochs(100_000, 3.0) == 3
