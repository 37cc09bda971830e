"""docs/run-folder.md names what a search leaves, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import loraloom

PAGE = Path(__file__).parent.parent.parent / "docs" / "run-folder.md"
NOT_ALWAYS = {"similarity/", "cross_fitted/", "refit/", "refitting/", "soup/", "blend/", "tracking/", "checkpoint/"}
NOT_ALWAYS |= {"profile.json", "study.db.damaged", "commands.json.damaged", "traceback.txt"}
"""What this small run does not leave; the page says when they are there."""


@pytest.fixture(scope="module")
def named() -> tuple[set[str], set[str]]:
    """The first cells of both tables: what lies in RUN, and what lies in a trial's folder."""
    run, trial = PAGE.read_text(encoding="utf-8").split("\n## Trial\n")
    cells = [re.findall(r"^\| (`.*?) \|", part, flags=re.MULTILINE) for part in (run, trial)]
    of_run, of_trial = ({name for cell in part for name in re.findall(r"`([^`]+)`", cell)} for part in cells)
    return {re.sub(r"^trials/.*", "trials/", name) for name in of_run}, of_trial


def test_the_page_is_what_a_search_leaves(
    tiny_recipe: dict[str, Any], tmp_path: Path, named: tuple[set[str], set[str]]
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run")
    run, best = tmp_path / "run", tmp_path / "run" / "best"
    for folder, said in ((run, named[0]), (best, named[1])):
        there = {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()}
        assert there - said == set(), folder
        assert said - there <= NOT_ALWAYS, folder
