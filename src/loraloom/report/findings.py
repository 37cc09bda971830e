"""All that the report says, as one frozen value computed from a run; how it looks is `page.py`'s business."""

from __future__ import annotations

from dataclasses import dataclass

from loraloom.report.answer import Answer, answer
from loraloom.report.cautions import cautions
from loraloom.report.curves import Curves, curves, trials_to_draw
from loraloom.report.leaderboard import Leaderboard, leaderboard
from loraloom.report.provenance import DataFindings, Making, data_findings, making
from loraloom.report.reading import Run, read_evaluations
from loraloom.report.testset import Tested, tested


@dataclass(frozen=True, slots=True)
class Findings:
    """The report's sections in their order; `problems` are files that can't be read or do not agree."""

    name: str
    answer: Answer
    cautions: tuple[str, ...]
    board: Leaderboard
    curves: Curves | None
    test: Tested | None
    data: DataFindings
    making: Making
    problems: tuple[str, ...]


def findings(run: Run) -> Findings:
    """Everything the report says; of the evaluations it reads those of the few trials that are drawn."""
    problems = list(run.problems)
    board = leaderboard(run)
    drawn = curves(board, read_evaluations(run, trials_to_draw(board), problems))
    test = tested(run.best, problems) if run.best else None
    found = answer(run, board)
    return Findings(
        name=run.path.resolve().name,
        answer=found,
        cautions=cautions(run, board, found, test),
        board=board,
        curves=drawn,
        test=test,
        data=data_findings(run),
        making=making(run),
        problems=tuple(problems),
    )
