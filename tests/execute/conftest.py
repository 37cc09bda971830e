"""Runs are made for their trials here: they need no report."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_report(no_report: None) -> None:
    pass
