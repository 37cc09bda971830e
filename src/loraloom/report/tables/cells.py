"""CSV for people: characters that can't be shown are replaced, and what a spreadsheet would run is disarmed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from loraloom.report.wording import clean
from loraloom.study.csv_rows import Cell, CsvRows, disarmed

__all__ = ["Cell", "csv_text", "safe_cell"]


def safe_cell(value: Cell) -> Cell:
    """A cell as people may open it."""
    return disarmed(clean(value)) if isinstance(value, str) else value


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    buffer = io.StringIO(newline="")
    written = CsvRows(buffer)
    for row in (head, *rows):
        written.write([safe_cell(cell) for cell in row])
    return buffer.getvalue()
