"""The search behind the study's section on similarity has what that section takes."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from loraloom import pipeline
from loraloom.report.similarity.rank import FEWEST_TRIALS
from study.claims.similarity import measure
from tests.four_rows import four_rows


def test_every_rank_is_trained_often_enough_to_tell_whether_it_matters_for_far_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Mock(side_effect=InterruptedError)
    monkeypatch.setattr(pipeline, "search", search)
    with pytest.raises(InterruptedError):
        measure("demo", "demo", four_rows(), tmp_path, tmp_path / "demo.json")
    recipe = search.call_args.args[0]
    ranks, seeds = recipe.axes["lora.r"].values, recipe.search.seeds
    assert len(ranks) * seeds >= FEWEST_TRIALS
    assert seeds > 1
