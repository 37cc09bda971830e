"""What the driver does around trials: how much of a run folder it reads, and what it leaves there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom import pipeline
from loraloom.recipe import read_recipe
from loraloom.search.outlook import Outlook
from loraloom.search.watcher import Watcher
from loraloom.study import run as run_folder
from loraloom.study.leaderboard import Standing, leaderboard_csv, standings
from loraloom.study.record import TrialRecord
from loraloom.study.run import Run, read_trial


class _Follower(Watcher):
    """Keeps the standings as told."""

    def __init__(self) -> None:
        self.records: list[TrialRecord] = []
        self.told: list[tuple[Standing, ...]] = []

    def trial_ended(self, record: TrialRecord, standings: tuple[Standing, ...], outlook: Outlook) -> None:
        self.records.append(record)
        self.told.append(standings)


def test_a_search_reads_each_trial_once_and_its_winner_again(
    tmp_path: Path, tiny_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(folder: Path) -> TrialRecord:
        read.append(folder.name)
        return read_trial(folder)

    monkeypatch.setattr(run_folder, "read_trial", counted)
    recipe = read_recipe({**tiny_recipe, "lora": {"r": [1, 2, 3, 4, 5]}})
    winner = pipeline.search(recipe, tmp_path / "run")
    assert sorted(read) == sorted([f"{number:04d}" for number in range(5)] + [f"{winner.number:04d}"])


def test_the_standings_as_told_and_the_table_are_those_computed_whole(
    tmp_path: Path, tiny_recipe: dict[str, Any]
) -> None:
    recipe = read_recipe({**tiny_recipe, "lora": {"r": [1, 2]}, "search": {"seeds": 2}})
    follower = _Follower()
    pipeline.search(recipe, tmp_path / "run", watcher=follower)
    for ended, told in enumerate(follower.told, start=1):
        assert told == standings(follower.records[:ended], "accuracy")
    written = (tmp_path / "run" / "leaderboard.csv").read_text(encoding="utf-8")
    assert written == leaderboard_csv(Run(tmp_path / "run").records(), "accuracy")
