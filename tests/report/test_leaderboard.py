"""Which row of the leaderboard is the winner's."""

from __future__ import annotations

from pathlib import Path

from loraloom.report import findings, read_run, write_report
from tests.report.report_runs import whole_run


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
