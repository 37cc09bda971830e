"""What a disk, a kill or another trial may leave of a checkpoint: it is told, and the generation before is used."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloom.engine import Engine, Job, checkpoint
from loraloom.engine.checkpoint import Checkpoints, step_to_go_on_from
from loraloom.study.durable import write_manifest
from loraloom.study.record import CHECKPOINT, METRICS
from tests.engine.broken_off import (
    ENGINES,
    Contents,
    KilledError,
    always,
    assert_same,
    contents,
    hear,
    job_of,
)

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


def trained_again(killed: Killed, out: Path, harm: Callable[[Path], None]) -> list[str]:
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
    assert trained_again(killed, tmp_path / "copy", lambda out: None) == []


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
    (said,) = trained_again(killed, tmp_path / "copy", lambda out: flip(out / CHECKPOINT / "4" / "state.safetensors"))
    assert said.endswith("; it goes on from step 3")


def test_both_generations_damaged_begin_the_trial_anew(killed: Killed, tmp_path: Path) -> None:
    def harm(out: Path) -> None:
        cut(out / CHECKPOINT / "4" / "state.safetensors")
        remove(out / CHECKPOINT / "3" / "state.json")

    (said,) = trained_again(killed, tmp_path / "copy", harm)
    assert "step 4 is damaged" in said
    assert "step 3 is damaged" in said
    assert said.endswith("; it begins anew")


def test_lines_after_the_checkpoint_are_cut_off(killed: Killed, tmp_path: Path) -> None:
    def harm(out: Path) -> None:
        with (out / METRICS).open("a") as file:
            file.write('{"step": 5, "epo')

    assert trained_again(killed, tmp_path / "copy", harm) == []


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
    said = trained_again(killed, tmp_path / "copy", lambda out: damage(out / METRICS))
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

    assert trained_again(killed, tmp_path / "copy", harm) == []


def test_a_kill_while_checkpoints_are_removed_changes_nothing(killed: Killed, tmp_path: Path) -> None:
    said = trained_again(killed, tmp_path / "copy", lambda out: shutil.rmtree(out / CHECKPOINT / "3"))
    assert said == []

    def empty(out: Path) -> None:
        for path in (out / CHECKPOINT).iterdir():
            shutil.rmtree(path)

    assert trained_again(killed, tmp_path / "empty", empty) == []


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
