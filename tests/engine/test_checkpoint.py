"""A trial that is stopped or killed anywhere, and gone on with, ends with the bytes of one that never was."""

from __future__ import annotations

import errno
import json
import os
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
from loraloom.engine.checkpoint import Checkpoints, HaltError, Rhythm, State, heeding, step_to_go_on_from
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
    KilledError,
    Third,
    always,
    at,
    contents,
    go_on,
    hear,
    job_of,
    untimed,
)
from tests.numerics.architectures import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("bert", tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine, with a checkpoint after every step."""
    return ENGINES[request.param](rhythm=always)


def assert_same(engine: Engine, broken_off: Job, unbroken: Job, outcome: Any) -> None:
    (expected,) = engine.train_pack([unbroken], hear)
    assert expected.state == "complete"
    assert untimed(outcome) == untimed(expected)
    assert contents(broken_off.folder) == contents(unbroken.folder)


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


# What a disk or a kill may leave behind

Killed = tuple[Engine, Job, Contents]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture(scope="module", params=list(ENGINES))
def killed(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """A trial killed after four of six steps, with generations 3 and 4; and what it is to end with."""
    engine, out = ENGINES[request.param](rhythm=always), tmp_path_factory.mktemp("killed")
    whole, job = job_of(model, out / "whole"), job_of(model, out / "killed")
    engine.train_pack([whole], hear)
    stop = Steps(job, 4)
    with pytest.raises(KilledError):
        engine.train_pack([job], hear, stop)
    assert sorted(path.name for path in (job.folder / CHECKPOINT).iterdir()) == ["3", "4"]
    return engine, job, contents(whole.folder)


class Steps:
    """A stop that kills when the checkpoint of step `step` is there."""

    def __init__(self, job: Job, step: int) -> None:
        self._path = job.folder / CHECKPOINT / str(step)

    def __call__(self) -> bool:
        if self._path.exists():
            raise KilledError
        return False


def copy_of(job: Job, folder: Path) -> Job:
    """The job in a copy of its folder."""
    shutil.copytree(job.folder, folder)
    return replace(job, folder=folder)


def again(killed: Killed, out: Path, harm: Callable[[Path], None]) -> list[str]:
    """Copies the killed trial, harms the copy, and trains it to its end, which must be as expected; what is said."""
    engine, job, expected = killed
    shutil.copytree(job.folder, out)
    harm(out)
    said: list[str] = []
    (outcome,) = engine.train_pack([replace(job, folder=out)], hear, note=said.append)
    assert outcome.state == "complete"
    assert contents(out) == expected
    return said


def test_what_is_whole_is_gone_on_from_without_a_word(killed: Killed, tmp_path: Path) -> None:
    assert again(killed, tmp_path / "copy", lambda out: None) == []


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", [cut, flip, remove])
def test_a_damaged_generation_is_said_and_the_one_before_is_used(
    killed: Killed, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    engine, job, _ = killed
    mine, said = copy_of(job, tmp_path / "copy"), list[str]()
    damage(mine.folder / CHECKPOINT / "4" / name)
    found = Checkpoints(mine, engine.name, "fp32", said.append).load()
    assert found is not None
    assert found.step == 3
    assert len(said) == 1
    assert said[0].startswith("trial 0: its checkpoint of step 4 ")
    assert said[0].endswith("; it goes on from step 3")


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
def test_a_generation_that_can_not_be_read_now_is_kept(
    killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As where a network's disk does not answer."""
    engine, job, _ = killed
    mine, opened = copy_of(job, tmp_path / "copy"), Path.open

    def refused(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *how, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(OSError, match=r"Input/output error: .*4/"):
            Checkpoints(mine, engine.name, "fp32", print).load()
    found = Checkpoints(mine, engine.name, "fp32", print).load()
    assert found is not None
    assert found.step == 4


def test_a_trial_goes_on_from_the_generation_before_a_damaged_one(killed: Killed, tmp_path: Path) -> None:
    (said,) = again(killed, tmp_path / "copy", lambda out: flip(out / CHECKPOINT / "4" / "state.safetensors"))
    assert said.endswith("; it goes on from step 3")


def test_both_generations_damaged_begin_the_trial_anew(killed: Killed, tmp_path: Path) -> None:
    def harm(out: Path) -> None:
        cut(out / CHECKPOINT / "4" / "state.safetensors")
        remove(out / CHECKPOINT / "3" / "state.json")

    (said,) = again(killed, tmp_path / "copy", harm)
    assert "step 4 is damaged" in said
    assert "step 3 is damaged" in said
    assert said.endswith("; it begins anew")


def test_lines_after_the_checkpoint_are_cut_off(killed: Killed, tmp_path: Path) -> None:
    def harm(out: Path) -> None:
        with (out / METRICS).open("a") as file:
            file.write('{"step": 5, "epo')

    assert again(killed, tmp_path / "copy", harm) == []


def test_a_generation_that_is_gone_on_from_can_be_removed_from_a_disk_that_keeps_files_in_use(
    killed: Killed, tmp_path: Path
) -> None:
    """NFS and FUSE keep them under other names, in their folder, which can then not be removed."""
    engine, job, _ = killed
    mine = copy_of(job, tmp_path / "copy")
    state = Checkpoints(mine, engine.name, "fp32", print).load()
    assert state is not None
    assert str(mine.folder) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_an_old_generation_that_can_not_be_removed_ends_nothing(
    engine: Engine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    job = job_of(model, tmp_path / "busy")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        (outcome,) = engine.train_pack([job], hear)
    assert_same(engine, job, job_of(model, tmp_path / "whole"), outcome)


@pytest.mark.parametrize("damage", [cut, flip, remove])
def test_metrics_that_do_not_belong_to_the_checkpoint_begin_the_trial_anew(
    killed: Killed, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    said = again(killed, tmp_path / "copy", lambda out: damage(out / METRICS))
    assert "does not belong to this metrics.jsonl" in said[0]


@pytest.mark.parametrize("kept", ["nothing", "a part", "all but the rename"])
def test_a_kill_while_a_generation_is_written_leaves_those_before(killed: Killed, tmp_path: Path, kept: str) -> None:
    def harm(out: Path) -> None:
        new = (out / CHECKPOINT / "4").rename(out / CHECKPOINT / ".4.new")
        if kept != "all but the rename":
            (new / "manifest.json").unlink()
            cut(new / "state.safetensors")
        if kept == "nothing":
            shutil.rmtree(new)

    assert again(killed, tmp_path / "copy", harm) == []


def test_a_kill_while_checkpoints_are_removed_changes_nothing(killed: Killed, tmp_path: Path) -> None:
    said = again(killed, tmp_path / "copy", lambda out: shutil.rmtree(out / CHECKPOINT / "3"))
    assert said == []

    def empty(out: Path) -> None:
        for path in (out / CHECKPOINT).iterdir():
            shutil.rmtree(path)

    assert again(killed, tmp_path / "empty", empty) == []


def other_rate(job: Job) -> Job:
    return replace(job, configuration=job.configuration.with_fields(train={"learning_rate": 0.01}))


def other_seed(job: Job) -> Job:
    return replace(job, configuration=job.configuration.with_fields(train={"seed": 5}))


def other_rows(job: Job) -> Job:
    ids = job.rows.train.input_ids.copy()
    ids[5] += 1
    return replace(job, rows=replace(job.rows, train=replace(job.rows.train, input_ids=ids)))


@pytest.mark.parametrize(
    ("other", "named"), [(other_rate, "configuration"), (other_seed, "configuration"), (other_rows, "rows")]
)
def test_a_checkpoint_of_another_trial_is_not_used(
    killed: Killed, tmp_path: Path, other: Callable[[Job], Job], named: str
) -> None:
    engine, job, _ = killed
    mine, whole = other(copy_of(job, tmp_path / "copy")), other(replace(job, folder=tmp_path / "whole"))
    whole.folder.mkdir()
    engine.train_pack([whole], hear)
    said: list[str] = []
    engine.train_pack([mine], hear, note=said.append)
    assert f"was made with other {named}; " in said[0]
    assert said[0].endswith("; it begins anew")
    assert contents(mine.folder) == contents(whole.folder)


def test_a_checkpoint_from_before_a_field_was_there_is_used_where_that_has_its_default(
    killed: Killed, tmp_path: Path
) -> None:
    engine, job, _ = killed
    mine = copy_of(job, tmp_path / "copy")
    for generation in (mine.folder / CHECKPOINT).iterdir():
        values = json.loads((generation / "state.json").read_text())
        del values["of"]["configuration"]["train"]["eval_strategy"]
        (generation / "state.json").write_text(json.dumps(values))
        write_manifest(generation)
    said: list[str] = []
    assert Checkpoints(mine, engine.name, "fp32", said.append).load() is not None
    assert said == []


def test_a_checkpoint_with_a_field_that_this_version_does_not_know_is_refused_in_a_line(
    killed: Killed, tmp_path: Path
) -> None:
    engine, job, _ = killed
    mine, said = copy_of(job, tmp_path / "copy"), list[str]()
    for generation in (mine.folder / CHECKPOINT).iterdir():
        values = json.loads((generation / "state.json").read_text())
        values["of"]["configuration"]["train"]["later"] = True
        (generation / "state.json").write_text(json.dumps(values))
        write_manifest(generation)
    assert Checkpoints(mine, engine.name, "fp32", said.append).load() is None
    assert len(said) == 1
    assert "step 4 can't be read (ValidationError: " in said[0]
    assert "\n" not in said[0]


@pytest.mark.parametrize("bf16", ["auto", False])
def test_a_checkpoint_is_used_whether_its_type_was_measured_or_told(
    killed: Killed, tmp_path: Path, bf16: object
) -> None:
    engine, job, _ = killed
    configuration = job.configuration.with_fields(train={"bf16": bf16})
    mine = replace(copy_of(job, tmp_path / "copy"), configuration=configuration)
    assert Checkpoints(mine, engine.name, "fp32").load() is not None


def test_a_checkpoint_of_another_engine_type_or_version_is_not_used(
    killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, job, _ = killed

    def refused(name: str, engine: str, dtype: str) -> str:
        shutil.copytree(job.folder, tmp_path / name)
        said: list[str] = []
        assert Checkpoints(replace(job, folder=tmp_path / name), engine, dtype, said.append).load() is None
        assert not (tmp_path / name / METRICS).exists()
        return said[0]

    assert "was made with other engine;" in refused("engine", "another", "fp32")
    assert "was made with other dtype;" in refused("dtype", engine.name, "bf16")
    monkeypatch.setattr(checkpoint, "version_of", lambda name: "0.0")
    assert "was made with other versions;" in refused("versions", engine.name, "fp32")
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    assert "is in format 1, and this version reads 2;" in refused("format", engine.name, "fp32")


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


# How often


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def saves(rhythm: Rhythm, clock: Clock, seconds: float, step: float, cost: Callable[[int], float]) -> list[float]:
    """When checkpoints were written in `seconds` of steps of `step` seconds each."""
    found: list[float] = []
    while clock.now < 100 + seconds:
        clock.pass_by(step)
        if rhythm.due():
            found.append(clock.now - 100)
            rhythm.keep(lambda: clock.pass_by(cost(len(found))))
    return found


def test_no_checkpoint_is_due_before_ten_seconds_and_then_one_each_ten_where_it_is_cheap() -> None:
    clock = Clock()
    found = saves(Rhythm(clock=clock), clock, 60, 0.5, lambda _: 0.001)
    assert found[0] == 10
    assert all(10 <= later - earlier < 11 for earlier, later in pairwise(found))


@pytest.mark.parametrize("cost", [lambda _: 0.5, lambda _: 3.0, lambda n: 0.01 if n % 4 else 2.0])
def test_checkpoints_cost_less_than_a_hundredth_of_the_time(cost: Callable[[int], float]) -> None:
    clock = Clock()
    found = saves(Rhythm(clock=clock), clock, 5000, 0.7, cost)
    assert len(found) > 5
    assert sum(cost(number + 1) for number in range(len(found))) <= 0.011 * 5000


def test_the_first_checkpoint_waits_until_it_is_worth_what_one_of_a_trial_before_cost() -> None:
    clock = Clock()
    rhythm = Rhythm(clock=clock)
    rhythm.cost = 0.5
    found = saves(rhythm, clock, 120, 1, lambda _: 0.5)
    assert found == [50, 100.5]


@pytest.mark.parametrize("name", list(ENGINES))
def test_an_engine_knows_what_a_checkpoint_of_the_trial_before_cost(name: str, model: Path, tmp_path: Path) -> None:
    made: list[Rhythm] = []
    known: list[float] = []

    class Noted(Rhythm):
        def due(self) -> bool:
            if len(known) < len(made):
                known.append(self.cost)
            return True

    def rhythm() -> Rhythm:
        made.append(Noted())
        return made[-1]

    engine = ENGINES[name](rhythm=rhythm)
    for number in range(2):
        engine.train_pack([job_of(model, tmp_path / str(number))], hear)
    assert known[0] == 0
    assert known[1] == made[0].cost > 0


def test_a_stop_is_heeded_for_good() -> None:
    said = iter([False, True])
    heed = heeding(lambda: next(said))
    heed()
    for _ in range(3):
        with pytest.raises(HaltError):
            heed()


def test_who_plans_looks_at_the_newest_checkpoint_that_can_be_used(
    killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job, _ = killed
    shutil.copytree(job.folder, tmp_path / "copy")
    assert step_to_go_on_from(tmp_path / "copy", job.configuration) == 4
    assert step_to_go_on_from(tmp_path / "copy", other_rate(job).configuration) == 0
    flip(tmp_path / "copy" / CHECKPOINT / "4" / "state.safetensors")
    assert step_to_go_on_from(tmp_path / "copy", job.configuration) == 3
    monkeypatch.setattr(checkpoint, "version_of", lambda name: "0.0")
    assert step_to_go_on_from(tmp_path / "copy", job.configuration) == 0
