"""Adapters that several files use: of one epoch, of as many as it takes to be mostly right, and of none."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom.use import predict as predicting
from loraloom.use import windows as windowing
from loraloom.use.ensemble import Ensemble, load_ensemble
from tests.use import predicted_files
from tests.use.validated import LABELS


@pytest.fixture(scope="session")
def untaught(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows_file: Path) -> Path:
    """RUN/best of one epoch."""
    recipe = {"data": {"train_file": str(rows_file), "max_length": 16}, "train": {"bf16": False}}
    return _best(tmp_path_factory.mktemp("untaught"), tiny_model, recipe)


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows_file: Path) -> Path:
    """RUN/best of ten epochs, whose labels are names alone."""
    recipe = {
        "data": {"train_file": str(rows_file), "validation_share": 0.2, "max_length": 16},
        "lora": {"r": 2},
        "train": {"learning_rate": 0.02, "num_train_epochs": 10, "bf16": False},
    }
    return _best(tmp_path_factory.mktemp("taught"), tiny_model, recipe)


def _best(place: Path, model: Path, recipe: Mapping[str, Any]) -> Path:
    loraloom.search({**recipe, "backbone": {"model": str(model)}}, place / "run", report=False)
    return place / "run" / "best"


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return save_random_adapter(tmp_path_factory.mktemp("adapter") / "adapter", tiny_model, labels=LABELS)


@pytest.fixture
def folder(tmp_path: Path, adapter: Path) -> Path:
    """An adapter without validation predictions."""
    return shutil.copytree(adapter, tmp_path / "adapter")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[Path]:
    """Of the same labels in two orders, and of two of them."""
    place, own = tmp_path_factory.mktemp("adapters"), predicted_files.LABELS
    return [
        save_random_adapter(place / name, tiny_model, labels=labels, seed=seed)
        for seed, (name, labels) in enumerate({"a": own, "b": own[::-1], "c": own[:2]}.items())
    ]


@pytest.fixture(scope="session")
def one(folders: list[Path]) -> Ensemble:
    """The first of them alone."""
    return load_ensemble(folders[:1])


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of four rows, each a part of its own."""
    monkeypatch.setattr(windowing, "ROWS", 4)
    monkeypatch.setattr(predicting, "ROWS", 4)
    monkeypatch.setattr("loraloom.use.answers.ROWS", 4)
    monkeypatch.setattr("loraloom.use.parts.SECONDS", 0.0)
