"""Which trials may share a pack, and which take as much memory in one; what is kept of a trial's rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from loraloom.engine import memory_key, pack_key
from loraloom.engine.job import Rows
from loraloom.engine.progress import scored
from loraloom.recipe import Configuration


def configuration(section: str, fields: dict[str, Any]) -> Configuration:
    return Configuration.model_validate({section: fields})


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("backbone", {"model": "demo"}),
        ("backbone", {"revision": "v1"}),
        ("backbone", {"dropout": "off"}),
        ("data", {"max_length": 64}),
        ("head", {"kind": "linear"}),
        ("head", {"pooling": "mean"}),
        ("lora", {"target_modules": ["query"]}),
        ("lora", {"layers_to_transform": [1]}),
        ("lora", {"bias": "all"}),
        ("lora", {"lora_dropout": 0.5}),
        ("train", {"bf16": True}),
        ("train", {"fp16": False}),
    ],
    ids=str,
)
def test_trials_that_one_pass_can_not_compute_share_no_pack(section: str, fields: dict[str, Any]) -> None:
    assert pack_key(configuration(section, fields)) != pack_key(Configuration())


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("data", {"max_train_samples": 100}),
        ("lora", {"r": 2, "lora_alpha": 3, "use_rslora": True, "init_lora_weights": "gaussian"}),
        (
            "train",
            {"seed": 7, "optim": "muon", "learning_rate": 0.1, "max_grad_norm": 0, "label_smoothing_factor": 0.1},
        ),
        ("train", {"num_train_epochs": 3, "gradient_accumulation_steps": 2, "class_weight": "balanced"}),
    ],
    ids=str,
)
def test_others_share_one_and_take_as_much_memory(section: str, fields: dict[str, Any]) -> None:
    assert pack_key(configuration(section, fields)) == pack_key(Configuration())
    assert memory_key(configuration(section, fields)) == memory_key(Configuration())


def test_larger_batches_share_a_pack_and_take_more_memory() -> None:
    larger = configuration("train", {"per_device_train_batch_size": 64})
    assert pack_key(larger) == pack_key(Configuration())
    assert memory_key(larger) != memory_key(Configuration())


def test_rows_are_kept_as_they_were_scored_be_two_classes_nearer_than_float32_tells_apart() -> None:
    """Else a trial was not that of its record: it lost its temperature, and the report its rows."""
    low = np.float32(0.1)
    logits = np.array([[low, np.nextafter(low, np.float32(1))], [low, low]], dtype=np.float32)
    labels = np.array([1, 0])
    score, probabilities = scored(logits, labels, step=1)
    data = cast(Any, SimpleNamespace(validation=SimpleNamespace(labels=labels)))
    kept = Rows(data, cast(Any, None), cast(Any, None)).predicted(probabilities)
    assert score.correct == kept.right.sum() == 2
