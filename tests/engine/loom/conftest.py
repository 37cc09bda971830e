"""What several tests here train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.numerics.architectures import save_model


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """A test with one thread, and with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny BERT, and an empty cache for what is kept of it."""
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path / "cache"))
    return save_model("bert", tmp_path / "model")
