"""Damage: found by SHA-256, and put right or refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import RunError
from loraloom.recipe import Recipe, read_recipe
from loraloom.study import integrity
from loraloom.study.durable import is_whole, write_manifest
from loraloom.study.integrity import put_aside_damage, read_sealed_recipe, write_recipe
from loraloom.study.record import CARD, read_record
from loraloom.study.run import trial_folders
from tests.study.study_records import record

RECIPE = read_recipe({"data": {"dataset": "demo"}, "lora": {"r": [2, 4]}})


def _folder(path: Path, number: int) -> Path:
    path.mkdir(parents=True)
    (path / "trial.json").write_text(record(number).model_dump_json(), encoding="utf-8")
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    write_manifest(path)
    return path


def _put_aside(run: Path) -> list[str]:
    said: list[str] = []
    put_aside_damage(run, trial_folders(run), run / "best", said.append)
    return said


def test_a_sealed_recipe_is_the_recipe(tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", RECIPE)
    assert read_sealed_recipe(tmp_path / "recipe.yaml") == RECIPE


def test_a_recipe_is_parsed_once_for_as_long_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command opens its run several times, and of thousands of labels YAML makes seconds."""
    path, parsed = tmp_path / "recipe.yaml", list[Path]()

    def read(path: Path, **given: Any) -> Recipe:
        parsed.append(path)
        return read_recipe(path, **given)

    monkeypatch.setattr(integrity, "read_recipe", read)
    write_recipe(path, RECIPE)
    assert read_sealed_recipe(path) is read_sealed_recipe(path)
    write_recipe(path, read_recipe({"lora": {"r": 3}}))
    assert read_sealed_recipe(path).lora.r == 3
    assert parsed == [path, path]
    write_recipe(other := tmp_path / "other.yaml", RECIPE)
    for one in (other, path, other):  # as of two runs that are compared
        read_sealed_recipe(one)
    assert parsed == [path, path, other]


def test_a_recipe_without_a_seal_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("lora: {r: 3}\n", encoding="utf-8")
    assert read_sealed_recipe(tmp_path / "recipe.yaml").lora.r == 3


def test_a_recipe_that_is_one_large_hole_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RunError, match=r"recipe\.yaml: 1,099,511,627,776 bytes is too large for a run's recipe"):
        read_sealed_recipe(path)


def test_a_recipe_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    write_recipe(path, RECIPE)
    path.write_text(path.read_text(encoding="utf-8").replace("4", "5", 1), encoding="utf-8")
    with pytest.raises(RunError, match="is not as the run wrote it"):
        read_sealed_recipe(path)


def test_a_recipe_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    write_recipe(path, RECIPE)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(RunError):
            read_sealed_recipe(path)


def test_a_trial_with_a_damaged_file_counts_as_unfinished(tmp_path: Path) -> None:
    sound, damaged = (_folder(tmp_path / "trials" / f"{number:04d}", number) for number in (0, 1))
    (damaged / "adapter_model.safetensors").write_bytes(b"weightt")
    said = _put_aside(tmp_path)
    assert (is_whole(sound), is_whole(damaged)) == (True, False)
    assert len(said) == 1
    assert "adapter_model.safetensors: is damaged" in said[0]
    assert "trial 1 is trained again" in said[0]
    assert (damaged / "trial.json").exists()  # it says with how many passes the trial was trained


@pytest.mark.parametrize("name", ["manifest.json", "adapter_model.safetensors"])
def test_what_can_not_be_read_now_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As where a network's disk does not answer: to train it again would take hours."""
    folder, opened = _folder(tmp_path / "trials" / "0000", 0), Path.open

    def refused(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OSError, match=f"Input/output error: .*{name}"):
        _put_aside(tmp_path)
    monkeypatch.undo()
    assert is_whole(folder)
    assert _put_aside(tmp_path) == []


def test_a_damaged_record_goes_with_its_trials_manifest(tmp_path: Path) -> None:
    damaged = _folder(tmp_path / "trials" / "0000", 0)
    (damaged / "trial.json").write_bytes(b"{")
    assert len(_put_aside(tmp_path)) == 1
    assert [path.name for path in damaged.iterdir()] == ["adapter_model.safetensors"]


def test_a_model_card_that_was_changed_is_no_damage(tmp_path: Path) -> None:
    for folder in (tmp_path / "trials" / "0000", tmp_path / "best"):
        _folder(folder, 0)
        (folder / CARD).write_text("as written", encoding="utf-8")
        write_manifest(folder)
        (folder / CARD).write_text("changed", encoding="utf-8")
    assert _put_aside(tmp_path) == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "trial.json"])
def test_a_damaged_winners_folder_goes(tmp_path: Path, name: str) -> None:
    _folder(tmp_path / "trials" / "0000", 0)
    (_folder(tmp_path / "best", 0) / name).unlink()
    assert "best/ is made again" in _put_aside(tmp_path)[0]
    assert not (tmp_path / "best").exists()


def test_the_winners_folder_goes_with_its_trial(tmp_path: Path) -> None:
    _folder(tmp_path / "best", 0)
    (_folder(tmp_path / "trials" / "0000", 0) / "trial.json").write_bytes(b"{")
    assert len(_put_aside(tmp_path)) == 2
    assert not (tmp_path / "best").exists()


def test_a_record_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    path = _folder(tmp_path / "0000", 0) / "trial.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0", "1", 1), encoding="utf-8")
    with pytest.raises(RunError, match=r"trial\.json: is damaged"):
        read_record(tmp_path / "0000")
