"""Adapters that somebody has changed are refused in a sentence, or computed: never run, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom.errors import AdapterError
from loraloom.study.durable import write_manifest
from tests.use.hostile import blend_of, outcome_of
from tests.use.mutations import CONFIG, MANIFEST, RECORD, WEIGHTS

MUTATED, BLOCKS = 120, 4


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return save_random_adapter(tmp_path_factory.mktemp("hostile") / "adapter", tiny_model, {"lora": {"r": 2}})


@pytest.fixture(scope="module")
def blend(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blend_of(adapter, tmp_path_factory.mktemp("hostile") / "blend")


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("kind", ["adapter", "blend"])
def test_mutated_folders_are_refused_in_a_sentence_or_computed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, block: int
) -> None:
    folder, share = request.getfixturevalue(kind), MUTATED // BLOCKS
    for seed in range(block * share, (block + 1) * share):
        problem = outcome_of(folder, tmp_path, seed)
        assert problem is None, f"seed {seed}: {problem}"


def rewrite(name: str, **fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**value, **fields}))

    return change


def reweigh(change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        name = next(name for name in weights if "lora_B" in name)
        weights[name] = change(weights[name])
        save_file(weights, folder / WEIGHTS)

    return changed


def larger(folder: Path) -> None:
    with (folder / RECORD).open("ab") as file:
        file.write(b" " * 100_000_000)


def ranked(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    record["configuration"]["lora"]["r"] = 10**6
    (folder / RECORD).write_text(json.dumps(record))
    rewrite(CONFIG, r=10**6)(folder)


def linked(folder: Path) -> None:
    outside = Path(shutil.copy(folder / WEIGHTS, folder.parent / "outside.safetensors"))
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(outside)


def piped(folder: Path) -> None:
    (folder / "pipe").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe")


def hollow(folder: Path) -> None:
    with (folder / "more.safetensors").open("wb") as file:
        file.truncate(2**40)


ENDLESS = {"examples": 10**400, "accuracy": 1.0, "macro_f1": 1.0, "loss": 0.0}
"""A score of more rows than a float can tell, as where their interval is asked for."""

KINDS: list[tuple[Callable[[Path], object], str]] = [
    (reweigh(lambda value: value.T.copy()), "is of shape"),
    (reweigh(lambda value: value * np.float32("nan")), "not finite"),
    (reweigh(lambda value: value.astype(np.int32)), "is of type I32"),
    (reweigh(lambda value: np.full_like(value, 3.4e38)), "not finite"),
    (ranked, "can't hold"),
    (linked, "outside its folder"),
    (piped, "neither a file nor a folder"),
    (rewrite(CONFIG, auto_map={"AutoModel": "x.Y"}), "never run"),
    (rewrite(CONFIG, peft_type="IA3"), "only LORA"),
    (rewrite(CONFIG, lora_alpha=999), "lora_alpha is 999"),
    (rewrite(CONFIG, use_dora=True), "use_dora"),
    (larger, "bytes"),
    (hollow, "an adapter's folder has"),
    (lambda folder: (folder / "README.md").write_bytes(b" " * 2_000_000), "a model card has"),
    (lambda folder: (folder / CONFIG).write_text("[" * 100_000), "nested too deeply"),
    (lambda folder: (folder / CONFIG).write_text("[]"), "not a JSON object"),
    (rewrite(RECORD, result={"validation": ENDLESS}), "less than or equal to"),
    (lambda folder: (folder / "x.PKL").write_bytes(b""), "never loaded"),
    (lambda folder: (folder / WEIGHTS).write_bytes(b"\x00" * 100_000), "can't be read"),
]
"""Changes of an adapter's folder, and what is said of them."""


def changed(folder: Path, change: Callable[[Path], object]) -> None:
    """Changes a folder, and vouches for it as whoever made it would."""
    change(folder)
    if change not in (piped, hollow):
        write_manifest(folder)


@pytest.mark.parametrize(("change", "says"), KINDS)
def test_each_kind_is_named(adapter: Path, tmp_path: Path, change: Callable[[Path], object], says: str) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    changed(copy, change)
    with pytest.raises(AdapterError, match=says) as refused:
        loraloom.load(copy)
    assert "\n" not in str(refused.value)


def test_folders_that_are_nested_deeper_than_python_goes_are_refused(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_deep(folder: Path) -> None:
        raise RecursionError(f"maximum recursion depth exceeded at {folder}")  # as rglob does until Python 3.12

    monkeypatch.setattr("loraloom.use.adapter.check_files", too_deep)
    with pytest.raises(AdapterError, match="its folders are nested too deeply"):
        loraloom.load(adapter)


def test_a_manifest_that_names_no_file_vouches_for_nothing(adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    (copy / MANIFEST).write_text('{"sha256": {}}')
    with pytest.raises(AdapterError, match="does not name"):
        loraloom.load(copy)
