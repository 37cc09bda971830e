"""Records of CSV and TSV, strictly: what is no record is told by its lines, and reading goes on after it.

Some spreadsheets save CSV with semicolons. Its header tells, with the first rows where it can be read in two ways
(`_separator`), and each row has to have as many cells. Rejected: csv.Sniffer, which guesses from texts too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee, zip_longest
from typing import Any

from loraloom.data.cells import MAX_CELL_CHARACTERS
from loraloom.data.opening import NOT_UTF8
from loraloom.data.record import NOT_UTF8_BYTE, Record, byte_of, check_columns
from loraloom.errors import DataError
from loraloom.wording import plural

_PARSER_CHARACTERS = 16 * MAX_CELL_CHARACTERS  # beyond this csv can't say which column a cell is in
_SEPARATORS = ",;|"
"""Of a CSV's cells: the first by which its header has several, and its first rows as many."""
_ROWS_TO_TELL = 100
_FOR_SPREADSHEETS = re.compile(r"sep=(.)", re.IGNORECASE)
"""A line that says by what cells are separated."""
_QUOTED_THEN_TAB = re.compile(r'"\t')  # a quoted name and what separates it from the next


def csv_records(lines: Iterable[str], source: str, *, tabs: bool = False) -> Iterator[Record]:
    """Rows below a header; lines keep their ends, since a quoted cell may hold several.

    Cells are separated by commas; by `;` or `|` where these don't give the header several, or not as many as a row; or
    by `tabs`.

    Raises:
        DataError: there is no header, or none that names columns.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _PARSER_CHARACTERS))
    delimiter, lines = ("\t", lines) if tabs else _separator(iter(lines))
    other = delimiter if delimiter in _SEPARATORS[1:] else ""
    line = ""

    def noted() -> Iterator[str]:
        nonlocal line
        for line in lines:  # noqa: UP028 - it is kept
            yield line

    reader = csv.reader(noted(), delimiter=delimiter, strict=True)
    records = (record for record in _parsed(reader) if record)  # an empty line is no row
    first = next(records, None)
    if isinstance(first, _NotCsv):
        raise DataError(f"{source}: {first.told([line] if _QUOTED_THEN_TAB.search(line) else [])}")
    header = _header(first, delimiter, source)
    for number, record in enumerate(records, start=1):
        at = reader.line_num
        if isinstance(record, _NotCsv):
            problem = f"row {number}, {record.told(header)}"
            yield Record(number, dict.fromkeys(header, ""), problem, at=at, separator=other)
        elif len(record) == len(header) and (len(header) == 1 or not _repeats(record, header)):
            yield Record(number, dict(zip(header, record, strict=True)), at=at, separator=other)
        else:
            cells = dict(zip_longest(header, record[: len(header)], fillvalue=""))
            row = Record(number, cells, at=at, separator=other)
            yield replace(row, problem=f"{row.called} {_misfit(record, header, other, tabs=tabs)}")


def _header(names: list[str] | None, delimiter: str, source: str) -> list[str]:
    """The names of the columns.

    Raises:
        DataError: there are none, or none that name columns.
    """
    if names is None:
        raise DataError(f"{source}: is empty")
    if found := NOT_UTF8_BYTE.search("".join(names)):
        raise DataError(f"{source}: its header has {byte_of(found)}, which {NOT_UTF8}")
    if found := _FOR_SPREADSHEETS.fullmatch(delimiter.join(names)):
        by = "" if found[1] == delimiter else f", and separate cells by {delimiter!r}"
        raise DataError(f"{source}: its first line, {found[0]!r}, is for spreadsheets: take it out{by}")
    check_columns(names, source)
    return names


def _repeats(record: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a record is the header of a file that was joined to another, with the mark that its file began with."""
    return [record[0].removeprefix("\ufeff"), *record[1:]] == list(header)


def _misfit(record: Sequence[str], header: Sequence[str], other: str, *, tabs: bool) -> str:
    """Why a record is no row below `header`; `other` is by what cells are separated, where that is no comma."""
    if _repeats(record, header):
        problem = "repeats the first line, which is to name the columns"
    else:
        problem = f"has {plural(len(record), 'cell')} where the header has {len(header)}"
        problem += f", separated by {other!r}" if other else ""
        if other and len(record) == 1:
            problem += ": if the first line of the file is a text, put the name of the column on a line above it"
    problem += separated_by_tabs(header)
    if tabs and any(cell.startswith('"') for cell in record):
        problem += "; quotes are read as part of its cells, since not all quotes in the file are closed"
    return problem


def _separator(lines: Iterator[str]) -> tuple[str, Iterator[str]]:
    """By what the header's cells are separated, a comma unless only another sign gives several; and all lines.

    Where several signs do, since a name holds one of them, the first row decides that has as many cells by one alone.
    """
    *copies, whole = tee(lines, len(_SEPARATORS) + 1)
    read = {
        sign: filter(None, _parsed(csv.reader(own, delimiter=sign, strict=True)))
        for sign, own in zip(_SEPARATORS, copies, strict=True)
    }
    headers = {sign: next(records, None) for sign, records in read.items()}
    cells = {sign: len(names) for sign, names in headers.items() if isinstance(names, list) and len(names) > 1}
    for _ in range(_ROWS_TO_TELL):
        if len(cells) < 2:
            break
        rows = {sign: next(read[sign], None) for sign in cells}
        fitting = [sign for sign, row in rows.items() if isinstance(row, list) and len(row) == cells[sign]]
        cells = {sign: cells[sign] for sign in fitting or cells}
    return next(iter(cells), _SEPARATORS[0]), whole


def separated_by_tabs(header: Sequence[str]) -> str:
    """A hint where the names of columns seem to be separated by tabs, or ''."""
    separated = len(header) == 1 and "\t" in header[0]
    return "; its cells seem to be separated by tabs: call it .tsv" if separated else ""


@dataclass(frozen=True, slots=True)
class _NotCsv:
    """What stands in a file in the place of a record: lines that a quote may have made one."""

    first: int
    last: int
    error: csv.Error

    def told(self, header: Sequence[str]) -> str:
        """What is wrong with them, in a file with these columns, whose names may be one line."""
        why = "is a quote not closed?"
        if str(self.error).startswith("new-line"):
            why = "end its lines by line feeds, not by carriage returns alone"
        elif "expected after" in str(self.error):
            why = separated_by_tabs(header).removeprefix("; ") or why
        lines = f"line {self.last} is" if self.first == self.last else f"lines {self.first} to {self.last} are"
        return f"{lines} not valid CSV ({self.error}): {why}"


def _parsed(reader: Any) -> Iterator[list[str] | _NotCsv]:
    """Records, and what is none. The reader goes on with the next line."""
    while True:
        first = reader.line_num + 1
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _NotCsv(first, reader.line_num, error)
