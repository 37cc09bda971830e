"""Runs are made for their trials here: their reports have no pictures. And how trials that are joined compute."""

from __future__ import annotations

import pytest

from loraloom.engine.loom.ops import PlainOps


@pytest.fixture(autouse=True)
def _without_pictures(no_pictures: None) -> None:
    pass


@pytest.fixture
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where trials are joined: the kernels compute one trial at a time."""
    monkeypatch.setattr("loraloom.engine.loom.engine.choose_ops", lambda *_: PlainOps())
