"""Reports here have no pictures: runs are made for their trials. And a model, engines, how joined trials compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.engine import Engine
from loraloom.engine.loom.ops import PlainOps
from tests.engine.broken_off import ENGINES, always
from tests.numerics.architectures import save_model


@pytest.fixture(autouse=True)
def _without_pictures(no_pictures: None) -> None:
    pass


@pytest.fixture
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where trials are joined: the kernels compute one trial at a time."""
    monkeypatch.setattr("loraloom.engine.loom.engine.choose_ops", lambda *_: PlainOps())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("bert", tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine, with a checkpoint after every step."""
    return ENGINES[request.param](rhythm=always)
