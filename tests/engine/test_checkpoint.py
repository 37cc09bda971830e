"""A trial that is stopped or killed anywhere, and gone on with, ends with the bytes of one that never was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from loraloom.engine import Engine, Job, checkpoint
from loraloom.engine.checkpoint import Checkpoints, HaltError, Rhythm, State, heeding
from loraloom.engine.generators import Generators
from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.trainer import TrainerEngine, _Examples
from loraloom.study.durable import write_manifest
from loraloom.study.record import CHECKPOINT, METRICS, Evaluation
from tests.commands import Commands
from tests.engine.broken_off import (
    ENGINES,
    Contents,
    Third,
    always,
    assert_same,
    at,
    contents,
    go_on,
    hear,
    job_of,
    untimed,
)


@pytest.mark.parametrize(
    ("optim", "schedule"),
    [("adamw", "reduce_lr_on_plateau"), ("sgd", "cosine"), ("muon", "cyclic")],
)
def test_a_trial_that_is_stopped_after_each_step_ends_as_one_that_never_is(
    engine: Engine, model: Path, tmp_path: Path, optim: str, schedule: str
) -> None:
    """Adam, which keeps what AdamW does, is what all others here are trained by; a packed Muon has a plateau, too."""
    fields = {"train": {"optim": optim, "lr_scheduler_type": schedule, "weight_decay": 0.1, "warmup_steps": 2}}
    job = job_of(model, tmp_path / "stopped", fields)
    (outcome,), times = go_on(engine, [job], lambda: at(3))
    assert times >= 3
    assert_same(engine, job, job_of(model, tmp_path / "whole", fields), outcome)


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_trial_can_be_stopped_whenever_it_is_asked(name: str, model: Path, tmp_path: Path) -> None:
    """By the default rhythm, which saves nothing before ten seconds: what is there is what the stop saved."""
    engine, stopped, moment, saved = ENGINES[name](), True, 0, [0]
    whole = job_of(model, tmp_path / "whole")
    (expected,) = engine.train_pack([whole], hear)
    while stopped:
        moment += 1
        job = job_of(model, tmp_path / str(moment))
        (outcome,) = engine.train_pack([job], hear, at(moment))
        stopped = outcome.state == "stopped"
        if stopped:
            assert (outcome.result, outcome.timings) == (None, None)
            assert not (job.folder / "adapter_model.safetensors").exists()
            state = Checkpoints(job, name, "fp32", print).load()
            saved.append(0 if state is None else state.step)
            (outcome,) = engine.train_pack([job], hear)
        assert untimed(outcome) == untimed(expected)
        assert contents(job.folder) == contents(whole.folder)
    assert moment > 6 + 2  # before the first step, after each of six, and within evaluations
    assert {later - earlier for earlier, later in pairwise(saved)} == {0, 1}  # no step is lost
    assert saved[-1] >= 5


class Snapshots:
    """A stop that copies a trial's folder whenever it is asked and that has changed: what a kill would leave.

    A trial goes on from what is in its folder alone, so that one of each kind tells of all moments.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        self._folder, self._out, self._files = folder, out, dict[Path, bytes]()
        self.asked, self.kept = 0, list[Path]()

    def __call__(self) -> bool:
        files = {path: path.read_bytes() for path in self._folder.rglob("*") if path.is_file()}
        if not self.kept or files != self._files:
            self.kept.append(shutil.copytree(self._folder, self._out / str(self.asked)))
        self._files, self.asked = files, self.asked + 1
        return False


@pytest.mark.parametrize(("name", "rhythm", "kinds"), [("loom", always, 7), ("loom", Third, 4), ("trainer", Third, 4)])
def test_a_trial_can_be_killed_anywhere(
    name: str, model: Path, tmp_path: Path, rhythm: Callable[[], Rhythm], kinds: int
) -> None:
    engine = ENGINES[name](rhythm=rhythm)
    whole = job_of(model, tmp_path / "whole", {"train": {"lr_scheduler_type": "reduce_lr_on_plateau"}})
    left = Snapshots(whole.folder, tmp_path / "killed")
    (expected,) = engine.train_pack([whole], hear, left)
    assert left.asked > 6 + 4  # before the first step, after each of six, and within four evaluations or more
    assert len(left.kept) >= kinds  # nothing, each checkpoint, and metrics of later than one
    for folder in left.kept:
        (outcome,) = engine.train_pack([replace(whole, folder=folder)], hear)
        assert untimed(outcome) == untimed(expected)
        assert contents(folder) == contents(whole.folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"lora": {"bias": "all", "r": 3}, "train": {"class_weight": "balanced", "label_smoothing_factor": 0.1}},
        {"train": {"gradient_accumulation_steps": 1, "num_train_epochs": 1.5}},
        {"train": {"bf16": True, "max_grad_norm": 0}},
    ],
)
def test_other_recipes_go_on_exactly_too(engine: Engine, model: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    job = job_of(model, tmp_path / "stopped", fields)
    (outcome,), _ = go_on(engine, [job], lambda: at(4))
    assert_same(engine, job, job_of(model, tmp_path / "whole", fields), outcome)


PACK: tuple[dict[str, Any], ...] = (
    {"lora": {"r": 2}, "train": {"seed": 1}},
    {"lora": {"r": 4}, "train": {"seed": 2, "optim": "muon", "gradient_accumulation_steps": 2, "num_train_epochs": 3}},
    {"lora": {"r": 2}, "train": {"seed": 3, "lr_scheduler_type": "reduce_lr_on_plateau", "num_train_epochs": 1}},
)


def pack(model: Path, out: Path) -> list[Job]:
    return [job_of(model, out / str(number), fields, number) for number, fields in enumerate(PACK)]


@pytest.fixture(scope="module")
def alone(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Contents]:
    jobs = pack(model, tmp_path_factory.mktemp("alone"))
    assert {LoomEngine().train_pack([job], hear)[0].state for job in jobs} == {"complete"}
    return [contents(job.folder) for job in jobs]


@pytest.mark.parametrize(
    ("moment", "again"),
    [
        (1, ((2, 0), (1,))),
        (8, ((0, 1, 2),)),
        (8, ((0,), (1,), (2,))),
        (19, ((2, 0), (1,))),
        (19, ((2, 1, 0),)),
    ],
    ids=str,
)
def test_a_pack_that_was_stopped_goes_on_in_packs_of_any_kind(
    model: Path,
    tmp_path: Path,
    alone: list[Contents],
    moment: int,
    again: tuple[tuple[int, ...], ...],
) -> None:
    jobs = pack(model, tmp_path)
    outcomes = dict(enumerate(LoomEngine().train_pack(jobs, hear, at(moment))))
    assert any(outcome.state == "stopped" for outcome in outcomes.values())
    for numbers in again:
        left = [number for number in numbers if outcomes[number].state == "stopped"]
        if left:
            ended = LoomEngine().train_pack([jobs[number] for number in left], hear)
            outcomes |= dict(zip(left, ended, strict=True))
    assert {outcome.state for outcome in outcomes.values()} == {"complete"}
    assert [contents(job.folder) for job in jobs] == alone


def joined(engine: LoomEngine, jobs: list[Job], stop: Callable[[], bool]) -> None:
    """A pack as a GPU has it: side by side, whatever this machine is."""
    group = engine._group([engine._begin(job) for job in jobs])
    try:
        engine._take_turns([group], hear, heeding(stop))
    except HaltError:
        engine._halt(group)


@pytest.mark.usefixtures("plain_torch")
@pytest.mark.parametrize("moment", [2, 5, 7, 8])
def test_a_joined_pack_goes_on_as_if_never_stopped_with_the_same_mates(
    model: Path, tmp_path: Path, moment: int
) -> None:
    engine, whole, stopped = LoomEngine(), pack(model, tmp_path / "whole"), pack(model, tmp_path / "stopped")
    joined(engine, whole, lambda: False)
    joined(engine, stopped, at(moment))
    left = [job for job in stopped if (job.folder / CHECKPOINT).exists()]
    assert left
    joined(engine, left, lambda: False)
    assert [contents(job.folder) for job in stopped] == [contents(job.folder) for job in whole]


def test_a_trial_pruned_right_after_a_resume_is_pruned_there(engine: Engine, model: Path, tmp_path: Path) -> None:
    """Stopped between a step and the evaluation that it asked for: the evaluation comes first."""

    def no(job: Job, evaluation: Evaluation) -> bool:
        return False

    whole, job = job_of(model, tmp_path / "whole"), job_of(model, tmp_path / "job")
    (expected,) = engine.train_pack([whole], no)
    assert engine.train_pack([job], no, at(4))[0].state == "stopped"
    assert not (job.folder / METRICS).exists()
    (outcome,) = engine.train_pack([job], no)
    assert untimed(outcome) == untimed(expected)
    assert outcome.reason is not None
    assert contents(job.folder) == contents(whole.folder)


def test_times_go_on_from_the_checkpoint(engine: Engine, model: Path, tmp_path: Path) -> None:
    job = job_of(model, tmp_path)
    engine.train_pack([job], hear, at(5))
    before = 1000.0
    newest = max((job.folder / CHECKPOINT).iterdir(), key=lambda path: int(path.name))
    values = json.loads((newest / "state.json").read_text())
    values["state"] |= {"seconds": 2 * before, "step_seconds": before, "evaluation_seconds": before}
    (newest / "state.json").write_text(json.dumps(values))
    write_manifest(newest)
    (outcome,) = engine.train_pack([job], hear)
    assert outcome.timings is not None
    assert 2 * before < outcome.timings.seconds < 2 * before + 100
    assert before < outcome.timings.train_seconds < before + 100
    seconds = [json.loads(line)["seconds"] for line in (job.folder / METRICS).read_text().splitlines()]
    assert seconds[-1] > 2 * before


def test_rows_of_steps_that_were_done_are_not_read_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(model, tmp_path)
    TrainerEngine().train_pack([job], hear, at(3))  # before the first step, and after two
    read: list[int] = []
    rows = _Examples.__getitem__

    def counted(self: _Examples, index: int) -> dict[str, Any]:
        read.append(len(self))
        return rows(self, index)

    monkeypatch.setattr(_Examples, "__getitem__", counted)
    TrainerEngine().train_pack([job], hear)
    assert read.count(21) == 42 - 18


@pytest.mark.usefixtures("plain_torch")
def test_rows_come_in_the_order_that_a_trial_was_begun_with(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it goes on by kernels, which sort no batches, some would else be seen twice in a pass, and some never."""
    alone, moved = (job_of(model, tmp_path / name) for name in ("alone", "moved"))
    LoomEngine().train_pack([alone], hear)
    LoomEngine().train_pack([moved], hear, at(2))
    monkeypatch.setattr(PlainOps, "sorted_batches", 1)
    LoomEngine().train_pack([moved], hear)
    assert contents(moved.folder) == contents(alone.folder)


def test_a_checkpoint_holds_safetensors_and_json_alone(engine: Engine, model: Path, tmp_path: Path) -> None:
    job = job_of(model, tmp_path)
    engine.train_pack([job], hear, at(5))
    generations = sorted((job.folder / CHECKPOINT).iterdir())
    assert len(generations) == 2
    for folder in generations:
        names = {path.name for path in folder.iterdir()}
        assert {"state.safetensors", "state.json", "manifest.json"} <= names
        assert names <= {"state.safetensors", "state.json", "manifest.json", "trainer_state.json"}
        assert load_file(folder / "state.safetensors")
    assert not list(job.folder.rglob("*.pt*"))


@pytest.mark.parametrize(
    ("name", "sent"), [("loom", "KILL"), ("loom", "INT"), ("trainer", "KILL"), ("trainer", "TERM")]
)
def test_a_process_can_be_sent_a_signal_at_any_moment(commands: Commands, tmp_path: Path, name: str, sent: str) -> None:
    code = "import runpy; runpy.run_module('tests.engine.killed_trials', run_name='__main__')"
    ended = commands.start(tmp_path, name, sent, "1", code=code).wait()
    assert ended.code == 0, ended.out + ended.err
    assert "0 trials differ" in ended.out


def test_what_it_holds_is_read_as_it_was_written(model: Path, tmp_path: Path) -> None:
    job = job_of(model, tmp_path)
    values = {"a": [0.1, 1e-300, 5e-324, -0.0, 1 / 3], "b": None, "c": {"d": [1, 2**62]}}
    tensors = {"x:y": torch.randn(3, 2).mT, "step:y": torch.tensor(7.0)}
    kept = Checkpoints(job, "loom", "fp32")
    for step in (9, 10, 100):
        kept.save(State(step, tensors, values))
    found = kept.load()
    assert found is not None
    assert (found.step, repr(found.values)) == (100, repr(values))
    assert all(torch.equal(found.tensors[name], own) for name, own in tensors.items())
    assert sorted(path.name for path in kept.folder.iterdir()) == ["10", "100"]


def test_metrics_that_a_checkpoint_counts_on_have_their_name_on_the_disk_before_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, synced = job_of(model, tmp_path), list[tuple[Path, bool]]()
    monkeypatch.setattr(checkpoint, "sync_folder", lambda folder: synced.append((folder, (folder / METRICS).exists())))
    kept = Checkpoints(job, "loom", "fp32")
    kept.save(State(1, {}, {}))
    (job.folder / METRICS).write_text("{}\n")
    kept.save(State(2, {}, {}))
    assert synced == [(job.folder, False), (job.folder, True)]


def test_generators_draw_on_as_they_would_have(tmp_path: Path) -> None:
    import random

    import numpy as np

    def draws() -> list[float]:
        return [random.gauss(0, 1), float(np.random.standard_normal()), float(torch.randn(()))]

    draws()
    now = Generators.now()
    written = json.loads(json.dumps(now.values))
    expected = [draws(), draws()]
    Generators.of(now.tensors, written).restore()
    assert [draws(), draws()] == expected


def test_a_stop_is_heeded_for_good() -> None:
    said = iter([False, True])
    heed = heeding(lambda: next(said))
    heed()
    for _ in range(3):
        with pytest.raises(HaltError):
            heed()
