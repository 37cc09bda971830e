"""Runs to compare with, one of each kind for all quick tests of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Commands
from tests.faults.kills import Whole, run_whole
from tests.faults.searches import write_search


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def loom(commands: Commands, scratch: Path) -> Whole:
    return run_whole(commands, write_search(scratch / "searches", "loom"), scratch)


@pytest.fixture(scope="session")
def trainer(commands: Commands, scratch: Path) -> Whole:
    return run_whole(commands, write_search(scratch / "searches", "trainer"), scratch)


@pytest.fixture(scope="session")
def pruned(commands: Commands, scratch: Path) -> Whole:
    return run_whole(commands, write_search(scratch / "searches", "pruned"), scratch)


@pytest.fixture(scope="session")
def climbing(commands: Commands, scratch: Path) -> Whole:
    return run_whole(commands, write_search(scratch / "searches", "climbing"), scratch)
