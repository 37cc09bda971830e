"""CSV: rows quoted where CSV says so on every Python, and text that a spreadsheet would run as a formula disarmed."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import IO

Cell = str | int | float | bool | None
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_INNER = re.compile(r"([;\t\r\n])(?=[=+\-@])")
"""What some spreadsheets take for the end of a cell or of a row, before what begins a formula."""


class CsvRows:
    """Writes rows to `file`; csv itself quotes a carriage return from Python 3.13 on, where lines end otherwise."""

    def __init__(self, file: IO[str], delimiter: str = ",") -> None:
        self._plain = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._quoted = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, cells: Sequence[Cell], *, quoted: bool = False) -> None:
        """One row, with all its cells quoted if `quoted`."""
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (self._quoted if quoted or returns else self._plain).writerow(cells)


def disarmed(cell: Cell) -> Cell:
    """Text gets a ' wherever a spreadsheet would begin a formula; numbers are numbers, whatever their sign."""
    if not isinstance(cell, str):
        return cell
    text = _INNER.sub(r"\1'", cell)
    return f"'{text}" if text.startswith(_STARTS) else text
