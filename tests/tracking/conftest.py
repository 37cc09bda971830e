"""Trackers in their default state: what the person who runs the tests has configured is not touched."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.tracking.telling import REPOSITORY


@pytest.fixture(autouse=True)
def _without_pictures(no_pictures: None) -> None:
    pass


@pytest.fixture(autouse=True, scope="module")
def _unconfigured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_", "TENSORBOARD_")):
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # a key of W&B's may lie in ~/.netrc
        patch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)  # for the trackers of these tests
        yield
