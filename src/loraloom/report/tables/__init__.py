"""The report's tables as CSV, a file for each section: `cells.py` disarms what a spreadsheet would run."""

from __future__ import annotations

from loraloom.report.findings import Findings
from loraloom.report.tables.against import against_tables
from loraloom.report.tables.curves import curves_table
from loraloom.report.tables.dataset import dataset_tables
from loraloom.report.tables.details import details_tables
from loraloom.report.tables.effects import effects_tables, gap_table
from loraloom.report.tables.failures import failure_tables
from loraloom.report.tables.leaderboard import leaderboard_table
from loraloom.report.tables.similarity import similarity_tables
from loraloom.report.tables.testset import test_tables
from loraloom.report.tables.tradeoffs import tradeoffs_table

__all__ = ["tables"]


def tables(found: Findings) -> dict[str, str]:
    """File names and their text; a table that has no rows is left out."""
    made = {"leaderboard.csv": leaderboard_table(found.board), **details_tables(found.details)}
    if found.tradeoffs:
        made["tradeoffs.csv"] = tradeoffs_table(found.tradeoffs)
    made |= effects_tables(found.effects)
    if found.gap:
        made["gap.csv"] = gap_table(found.gap)
    if found.curves:
        made["curves.csv"] = curves_table(found.curves)
    if found.test:
        made |= test_tables(found.test)
    if found.failures:
        made |= failure_tables(found.failures)
    made |= dataset_tables(found.dataset)
    if not isinstance(found.similarity, str):
        made |= similarity_tables(found.similarity)
    if found.against:
        made |= against_tables(found.against)
    return made
