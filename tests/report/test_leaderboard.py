"""Which row of the leaderboard is the winner's, and how often the whole board is looked at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from loraloom.report import findings, read_run, write_report
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.page import page
from tests.report.report_runs import make_recipe, make_record, whole_run, write_run


def test_where_the_winner_s_own_trial_is_damaged_no_other_is_taken_for_it(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    assert "◆</span>the winner" in write_report(run).read_text(encoding="utf-8")
    (run / "trials" / "0003" / "trial.json").write_text("{")
    found = findings(read_run(run))
    assert found.answer.winner is not None
    assert (found.answer.winner.number, found.answer.winner.rank, found.answer.winner.split) == (3, None, "test")
    assert found.answer.subject == "The one chosen of 5 configurations"
    assert found.board.winner is None
    assert found.tradeoffs is not None
    assert not any(point.winner for point in found.tradeoffs.points)
    assert "◆</span>the " not in write_report(run).read_text(encoding="utf-8")


def test_the_whole_board_is_looked_at_no_more_often_where_it_has_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Counter[str]()

    def counted(name: str) -> property:
        own = getattr(Leaderboard, name).fget

        def look(board: Leaderboard) -> object:
            looks[name] += 1
            return own(board)

        return property(look)

    for name in ("winner", "in_noise", "places"):
        monkeypatch.setattr(Leaderboard, name, counted(name))
    seen = []
    for rows in (4, 24):
        recipe = make_recipe(lora={"r": list(range(1, rows + 1))}, train={})
        records = [make_record(recipe, n, {"lora.r": n + 1}, 0.95 if n + 1 == rows else 0.94) for n in range(rows)]
        run = write_run(tmp_path / str(rows), recipe, records, best=records[-1])
        looks.clear()
        page(findings(read_run(run)), "not drawn", ())
        seen.append(dict(looks))
    assert seen[0] == seen[1]
