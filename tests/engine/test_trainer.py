"""What the reference engine leaves to other threads; all else that it promises is in the suites of both engines."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloom.backbone.quiet import awaited, quietly
from loraloom.engine import Job
from loraloom.engine.trainer import TrainerEngine
from loraloom.study.record import Evaluation
from tests.engine.broken_off import contents, hear
from tests.numerics.architectures import make_job, save_model


def test_a_thread_that_builds_a_model_waits_for_a_step_alone_and_changes_nothing_of_the_trial(tmp_path: Path) -> None:
    folder = save_model("bert", tmp_path / "model")
    recipe: dict[str, Any] = {"train": {"bf16": False, "per_device_train_batch_size": 4, "num_train_epochs": 2}}
    alone, beside = (make_job(folder, tmp_path / name, recipe, dropout="keep") for name in ("alone", "beside"))
    TrainerEngine().train_pack([alone], hear)
    built = threading.Event()

    def build() -> None:
        with quietly():
            torch.rand(9)
            built.set()

    thread = threading.Thread(target=build)
    waited: list[bool] = []

    def begin_to_build(job: Job, evaluation: Evaluation) -> bool:
        if not waited:
            thread.start()
            while not awaited():
                time.sleep(0.01)
        waited.append(built.is_set())
        return True

    TrainerEngine().train_pack([beside], begin_to_build)
    thread.join()
    assert waited[:2] == [False, True]
    assert contents(beside.folder) == contents(alone.folder)


def test_fp16_is_not_the_trainers_which_says_so_once(tmp_path: Path) -> None:
    folder = save_model("bert", tmp_path / "model")
    recipe: dict[str, Any] = {"train": {"bf16": False, "fp16": True, "per_device_train_batch_size": 4}}
    jobs, told = [make_job(folder, tmp_path / name, recipe) for name in "ab"], list[str]()
    assert [outcome.dtype for outcome in TrainerEngine().train_pack(jobs, hear, note=told.append)] == ["fp32"] * 2
    assert told == ["engine: trainer has no fp16: what it trains is in fp32"]


@pytest.mark.parametrize(
    "said", [{"ACCELERATE_MIXED_PRECISION": "bf16"}, {"LOCAL_RANK": "0"}, {"WORLD_SIZE": "2", "RANK": "0"}], ids=str
)
def test_what_a_launcher_has_left_in_the_environment_is_no_part_of_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str]
) -> None:
    """Neither another number type nor others to wait for."""
    folder = save_model("bert", tmp_path / "model")
    recipe: dict[str, Any] = {"train": {"bf16": False, "per_device_train_batch_size": 4}}
    plain, launched = (make_job(folder, tmp_path / name, recipe) for name in ("plain", "launched"))
    TrainerEngine().train_pack([plain], hear)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    TrainerEngine().train_pack([launched], hear)
    assert contents(launched.folder) == contents(plain.folder)
    assert {name: os.environ[name] for name in said} == said
