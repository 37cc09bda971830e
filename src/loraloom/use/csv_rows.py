"""Rows of CSV, quoted where CSV says so on every Python."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO


class CsvRows:
    """Writes rows to `file`; csv itself quotes a carriage return from Python 3.13 on, where lines end otherwise."""

    def __init__(self, file: IO[str], delimiter: str = ",") -> None:
        self._plain = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._quoted = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, cells: Sequence[str]) -> None:
        """One row."""
        (self._quoted if any("\r" in cell for cell in cells) else self._plain).writerow(cells)
