"""Runs are made for their trials here: their reports have no pictures."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_pictures(no_pictures: None) -> None:
    pass
