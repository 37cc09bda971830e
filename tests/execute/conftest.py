"""Runs are made for their trials here: they need no report, and tests beside them take no core from their warm-ups."""

from __future__ import annotations

import pytest

from loraloom.execute import warm_up


@pytest.fixture(autouse=True)
def _without_report(no_report: None) -> None:
    pass


@pytest.fixture(autouse=True)
def _never_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "waited_seconds", lambda: 0.0)
