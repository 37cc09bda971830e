"""What trainings come to, kept: both engines share optimizers, schedules and the loss, and would change together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.trainer import TrainerEngine
from loraloom.study.record import read_metrics
from tests.engine.broken_off import hear
from tests.numerics.architectures import make_job, save_model

TOLERANCE = 1e-3
"""Relative, for fp32 on other processors and by other versions of torch."""
KEPT = {
    ("bert", "adamw", LoomEngine): [1.022769, 0.990567, 1.000776],
    ("bert", "adamw", TrainerEngine): [1.017797, 1.007805, 1.029906],
    ("roberta", "muon", LoomEngine): [1.436621, 1.319359, 1.282009],
    ("roberta", "muon", TrainerEngine): [1.453362, 1.345479, 1.308293],
    ("modernbert", "sgd", LoomEngine): [1.176474, 1.308888, 1.293780],
    ("modernbert", "sgd", TrainerEngine): [1.233357, 1.266380, 1.247882],
}
"""Validation losses after each of three epochs, by engines that read the rows in orders of their own."""


@pytest.mark.parametrize(("architecture", "optimizer", "engine"), list(KEPT))
def test_a_training_comes_to_what_it_came_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, optimizer: str, engine: Any
) -> None:
    monkeypatch.setattr("loraloom.engine.loom.engine.choose_ops", lambda *_: PlainOps())  # kernels take other batches
    train = {
        "optim": optimizer,
        "learning_rate": 0.2 if optimizer == "sgd" else 0.004,
        "per_device_train_batch_size": 4,
        "num_train_epochs": 3,
        "lr_scheduler_type": "linear",
        "warmup_steps": 3,
        "weight_decay": 0.01 if optimizer == "adamw" else 0.0,
        "label_smoothing_factor": 0.1,
        "bf16": False,
        "seed": 7,
    }
    recipe = {"lora": {"r": 3, "lora_alpha": 6, "target_modules": "all-linear"}, "train": train}
    job = make_job(save_model(architecture, tmp_path / "model"), tmp_path / "trial", recipe)
    (outcome,) = engine().train_pack([job], hear)
    assert outcome.state == "complete"
    losses = [one.validation_loss for one in read_metrics(job.folder)]
    assert losses == pytest.approx(KEPT[architecture, optimizer, engine], rel=TOLERANCE)
