"""What a profile counts: the steps since a trial was begun or gone on with, and nothing between them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loraloom.engine import Job
from loraloom.engine.loom import LoomEngine, profile
from loraloom.study.record import PROFILE, Evaluation
from tests.engine.broken_off import KilledError, always, hear
from tests.numerics.architectures import make_job

TRAIN: dict[str, Any] = {"bf16": False, "per_device_train_batch_size": 4, "num_train_epochs": 2}
STEPS = 12  # of 21 rows


def calls(job: Job) -> dict[str, float]:
    """Calls a step, by section."""
    written = json.loads((job.folder / PROFILE).read_text())
    assert written["steps"] == STEPS
    return {section["section"]: section["calls_per_step"] for section in written["sections"]}


@pytest.mark.parametrize(("layers", "trained"), [([1], 1), (None, 2)])
def test_what_evaluations_and_kept_states_call_is_no_part_of_a_step(
    model: Path, tmp_path: Path, layers: list[int] | None, trained: int
) -> None:
    job = make_job(model, tmp_path / "job", {"lora": {"layers_to_transform": layers}, "train": TRAIN})
    LoomEngine(profile=True).train_pack([job], hear)
    found = calls(job)
    assert found["attention"] == found["attention_backward"] == trained
    assert found.get("reading kept states") == (1 if layers else None)


def test_on_a_gpu_what_was_launched_before_a_section_is_not_counted_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now, launched = 0, 0

    def synchronize() -> None:
        nonlocal now, launched
        now, launched = now + launched, 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(profile, "time", SimpleNamespace(perf_counter=lambda: now))
    found = profile.Profile()
    with found.step(), found.section("outer"):
        launched += 3
        with found.section("inner"):
            launched += 1
    assert found.seconds == {"outer": 3, "inner": 1}


def test_steps_of_a_trial_that_was_broken_off_are_not_those_of_the_next(model: Path, tmp_path: Path) -> None:
    def kill(job: Job, evaluation: Evaluation) -> bool:
        raise KilledError

    engine = LoomEngine(profile=True)
    broken_off, job = (make_job(model, tmp_path / name, {"train": TRAIN}) for name in ("broken off", "job"))
    with pytest.raises(KilledError):
        engine.train_pack([broken_off], kill)
    engine.train_pack([job], hear)
    assert calls(job)["optimizer"] == 1


def test_a_trial_that_goes_on_from_its_end_has_no_steps(model: Path, tmp_path: Path) -> None:
    engine, job = LoomEngine(profile=True, rhythm=always), make_job(model, tmp_path / "job", {"train": TRAIN})
    evaluations = 0

    def kill(job: Job, evaluation: Evaluation) -> bool:
        nonlocal evaluations
        evaluations += 1
        if evaluations == 2:
            raise KilledError
        return True

    with pytest.raises(KilledError):
        engine.train_pack([job], kill)
    engine.train_pack([job], hear)
    assert json.loads((job.folder / PROFILE).read_text()) == {"steps": 0, "seconds": 0, "sections": []}
