"""Which trackers can be asked for, said before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import loraloom
from loraloom.errors import MissingExtraError
from loraloom.tracking import reporter
from loraloom.tracking.reporter import refuse_missing


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "is_installed", lambda name: False)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused_with_its_extra(name: Any) -> None:
    with pytest.raises(MissingExtraError) as caught:
        refuse_missing([name])
    assert str(caught.value) == f"report_to: {name} needs the extra '{name}': pip install 'loraloom[{name}]'"


@pytest.mark.usefixtures("nothing_installed")
def test_a_search_for_it_is_refused_before_anything_is_made(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"loraloom\[mlflow\]"):
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=["report_to=mlflow"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_installed")
def test_without_trackers_nothing_is_asked_for() -> None:
    refuse_missing([])
