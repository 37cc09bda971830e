"""A run that goes on, and reports of it without pictures, as often as they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.report_runs import make_recipe, make_record, write_run


@pytest.fixture(autouse=True)
def _rendered_at_once(no_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which take most of a render's time, and are drawn the same for a report on disk."""
    monkeypatch.setattr("loraloom.report.live.rendering.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("loraloom.report.live.rendering.PAUSES", 0)


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    recipe = make_recipe()
    return write_run(tmp_path / "run", recipe, [make_record(recipe, 0, next(iter(recipe.grid())), 0.9)])
