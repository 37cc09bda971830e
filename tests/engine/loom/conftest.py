"""What several tests here train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.numerics.architectures import save_model


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny BERT, and an empty cache for what is kept of it."""
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path / "cache"))
    return save_model("bert", tmp_path / "model")
