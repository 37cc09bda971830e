"""Trackers in their default state: what the person who runs the tests has configured is not touched."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.tracking.telling import NOT_NICE, REPOSITORY


@pytest.fixture(autouse=True)
def _without_report(no_report: None) -> None:
    pass


@pytest.fixture(autouse=True, scope="module")
def _unconfigured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_", "TENSORBOARD_")):
                patch.delenv(name)
        home = tmp_path_factory.mktemp("home")
        (home / "sitecustomize.py").write_text(NOT_NICE)
        patch.setenv("HOME", str(home))  # a key of W&B's may lie in ~/.netrc
        for place in (REPOSITORY, home):  # for the trackers of these tests
            patch.setenv("PYTHONPATH", str(place), prepend=os.pathsep)
        yield
