"""When Python looks for cycles of dead objects."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraloom.cli import running
from loraloom.collecting import settle
from loraloom.execute.placement import IN_PROCESS
from loraloom.recipe import read_recipe

OWN = """
import gc
from loraloom.collecting import expect_libraries, settle

def looked(objects):
    before = gc.get_stats()[2]["collections"]
    kept = [[] for _ in range(objects)]
    return gc.get_stats()[2]["collections"] - before

before, frequent = gc.get_threshold(), looked(500_000)
gc.collect()  # from here on none is due for what was made before
expect_libraries()
seldom = looked(500_000)
settle()
settled = gc.get_freeze_count()
settle()
print(frequent > 0, seldom, settled > 1000, gc.get_freeze_count() == settled, gc.get_threshold() == before)
"""


def test_what_libraries_make_is_not_looked_through_while_they_load_nor_after() -> None:
    said = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "0", "True", "True", "True"]


def test_another_program_s_process_is_left_as_it_is() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    settle()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_a_search_settles_when_it_is_planned(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[bool] = []
    monkeypatch.setattr(running, "settle", lambda: settled.append((tmp_path / "run" / "trials").exists()))
    running.run_search(
        read_recipe(tiny_recipe),
        tmp_path / "run",
        IN_PROCESS,
        deadline=None,
        grace=0,
        allow_leak=False,
        profile=False,
        quiet=True,
        as_json=False,
    )
    assert len(settled) == 1
