"""The report's tables as CSV, a file for each section: `cells.py` disarms what a spreadsheet would run."""

from __future__ import annotations

from loraloom.report.findings import Findings
from loraloom.report.tables.cells import safe_cell
from loraloom.report.tables.curves import curves_table
from loraloom.report.tables.details import details_tables
from loraloom.report.tables.leaderboard import leaderboard_table
from loraloom.report.tables.testset import test_tables
from loraloom.report.tables.tradeoffs import tradeoffs_table

__all__ = ["safe_cell", "tables"]


def tables(found: Findings) -> dict[str, str]:
    """File names and their text; a table that has no rows is left out."""
    made = {"leaderboard.csv": leaderboard_table(found.board), **details_tables(found.details)}
    if found.tradeoffs:
        made["tradeoffs.csv"] = tradeoffs_table(found.tradeoffs)
    if found.curves:
        made["curves.csv"] = curves_table(found.curves)
    if found.test:
        made |= test_tables(found.test)
    return made
