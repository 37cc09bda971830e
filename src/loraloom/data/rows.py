"""Rows of data files of every kind, lazily, as dictionaries of cells in the order of the columns.

CSV is read by Python's own strict reader, and so is TSV, of which `tsv` tells whether it is quoted. Rejected: pandas,
which turns "NA" into a missing value and "01" into 1. Rows are counted from 1, the header not counted. A row that
can't be used is a `Record` with its problem: whoever reads decides whether that ends the reading.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import IO, Any, cast

from loraloom.data.cells import MAX_CELL_CHARACTERS, text_problem
from loraloom.data.opening import LONGEST_MAGIC, NOT_UTF8, Format, compression_of, format_of, lines_of, open_bytes
from loraloom.data.text_folder import folder_rows
from loraloom.data.tsv import is_quoted, quoted, quoted_as_it_comes
from loraloom.errors import DataError, first_line
from loraloom.wording import plural

Row = dict[str, Any]

STANDARD_INPUT = "standard input"
_PARSER_CHARACTERS = 16 * MAX_CELL_CHARACTERS  # beyond this csv can't say which column a cell is in
_BATCH_ROWS = 1024
_PROBED_ROWS = 16
_BATCH_BYTES = 16_000_000  # of Parquet, as it is before compression
_UNREADABLE = (ValueError, OverflowError, KeyError)  # what pyarrow raises of a value that Python has not
_BUFFER_BYTES = 1_000_000
_PARQUET = b"PAR1"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `lenient` lines have for bytes that are not UTF-8
_SURROGATE = re.compile("[\ud800-\udfff]")
_FOR_SPREADSHEETS = re.compile(r"sep=(.)", re.IGNORECASE)
"""A line that says by what cells are separated."""
_QUOTED_THEN = re.compile(r'"[;|\t]')  # a quoted name and what separates it from the next, which is no comma
_BY_COMMAS = (
    'convert it: python -X utf8 -c \'import csv, sys; sys.stdin.reconfigure(encoding="utf-8-sig", newline=""); '
    'csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter="{}"))\' < OLD > NEW'
)
"""A command of the user's own: commas within texts are quoted by it, as they are not where a sign is replaced."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row as it was read: its cells, or why they can't be used.

    `problem`, '' in a good row, is a sentence that goes on after the file's name: "row 2 (line 4) has 3 cells where …".
    `cells` of a bad row are those that could be had, bytes that are not UTF-8 replaced by U+FFFD.
    """

    number: int
    cells: Row
    problem: str = ""
    line: str = ""
    """JSONL: as it stood, without its end."""
    batch: Any = None
    """Parquet: the pyarrow.RecordBatch that has it at `place`."""
    place: int = 0
    at: int | str = 0
    """Where it stands: its line, from 1 (its last, of several), or a folder's file; 0 where there is no such place."""

    @property
    def called(self) -> str:
        """`row 4 (line 5)`, `row 4 ('food/4.txt')`; `row 4` of Parquet."""
        where = f"line {self.at}" if isinstance(self.at, int) else repr(self.at)
        return f"row {self.number} ({where})" if self.at else f"row {self.number}"


def good_records(path: str) -> Iterator[Record]:
    """Rows of a file of any kind, or of standard input ('-'), which is told apart by what it begins with.

    Raises:
        DataError: what is wrong, with the file, the row and the column; also after rows were yielded.
    """
    for record in read_records(path):
        if record.problem:
            raise DataError(f"{STANDARD_INPUT if path == '-' else path}: {record.problem}")
        yield record


def read_records(path: str, *, lenient: bool = False, file: IO[bytes] | None = None) -> Iterator[Record]:
    """The same rows, good and bad. `file` is the opened file where the caller wants to know how far it was read.

    A folder's rows that are read `lenient`, of which an output may lack some, have the name of their file as `file`.

    Standard input may be compressed (gzip, bzip2, xz, zstd). It is Parquet by its first bytes, JSONL if it begins with
    '{', TSV if its first line has a tab, else CSV.

    Raises:
        DataError: what leaves no rows to go on with: the file can't be read or decompressed, its header is no header,
            or, unless it is read `lenient`, a byte is not UTF-8.
    """
    if path == "-":
        return _checked(_standard_input(lenient))
    return _checked(_file_records(Path(path), format_of(Path(path)), lenient, file))


def _file_records(path: Path, form: Format, lenient: bool, file: IO[bytes] | None) -> Iterator[Record]:
    if form.kind == "folder":
        for number, (row, where, problem) in enumerate(folder_rows(path, lenient=lenient), start=1):
            cells = {**row, "file": _replaced(where)} if lenient else row
            record = Record(number, cells, at=where)
            yield replace(record, problem=f"{record.called} {problem}") if problem else record
        return
    with open_bytes(path, form.compression, file) as plain:
        if form.kind == "parquet":
            yield from _parquet_records(plain, bool(form.compression), str(path))
        elif form.kind == "jsonl":
            yield from _jsonl_records(lines_of(plain, str(path), lenient=lenient), str(path))
        else:
            lines = lines_of(plain, str(path), lenient=lenient)
            if form.kind == "tsv":
                lines = _quoted_lines(path, form, lenient, lines)
            yield from _csv_records(lines, "\t" if form.kind == "tsv" else ",", str(path))


def _quoted_lines(path: Path, form: Format, lenient: bool, lines: Iterator[str]) -> Iterator[str]:
    """A TSV's lines with quoting, which is told by a look at all of them; a pipe can be read but once."""
    if not path.is_file():
        return quoted_as_it_comes(lines, str(path))
    with open_bytes(path, form.compression) as plain:
        return lines if is_quoted(lines_of(plain, str(path), lenient=lenient), str(path)) else quoted(lines)


def _standard_input(lenient: bool) -> Iterator[Record]:
    source = STANDARD_INPUT
    magic, given = _begun(sys.stdin.buffer, LONGEST_MAGIC)
    with open_bytes(source, compression_of(magic), given) as opened:
        magic, plain = _begun(opened, len(_PARQUET))
        if magic == _PARQUET:
            yield from _parquet_records(plain, True, source)
            return
        lines = lines_of(plain, source, lenient=lenient)
        blank = []
        for first in lines:
            if first.strip():
                break
            blank.append("\n")  # counted, and no header
        else:
            raise DataError(f"{source}: is empty")
        rows = chain(blank, [first], lines)
        if first.lstrip().startswith("{"):
            yield from _jsonl_records(rows, source)
        elif "\t" in first:
            yield from _csv_records(quoted_as_it_comes(rows, source), "\t", source)
        else:
            yield from _csv_records(rows, ",", source)


def _begun(file: IO[bytes], count: int) -> tuple[bytes, IO[bytes]]:
    """The first bytes of a file that can't be read twice, and a file that gives them again."""
    first = file.read(count)
    return first, cast(IO[bytes], io.BufferedReader(_Begun(first, file)))


class _Begun(io.RawIOBase):
    def __init__(self, first: bytes, file: IO[bytes]) -> None:
        self._first, self._read = first, getattr(file, "read1", file.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        given = self._first[: len(buffer)] or self._read(len(buffer))
        self._first = self._first[len(given) :]
        buffer[: len(given)] = given
        return len(given)


def _csv_records(lines: Iterable[str], delimiter: str, source: str) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), _PARSER_CHARACTERS))
    line = ""

    def noted() -> Iterator[str]:
        nonlocal line
        for line in lines:  # noqa: UP028 - it is kept
            yield line

    reader = csv.reader(noted(), delimiter=delimiter, strict=True)
    records = (record for record in _parsed(reader) if record)  # an empty line is no row
    header = next(records, None)
    if header is None:
        raise DataError(f"{source}: is empty")
    if isinstance(header, _NotCsv):
        raise DataError(f"{source}: {header.told([line] if _QUOTED_THEN.search(line) else [])}")
    if found := _NOT_UTF8.search("".join(header)):
        raise DataError(f"{source}: its header has {_byte(found)}, which {NOT_UTF8}")
    if found := _FOR_SPREADSHEETS.fullmatch(delimiter.join(header)):
        other = "" if found[1] == delimiter else f", and separate cells by {delimiter!r}"
        raise DataError(f"{source}: its first line, {found[0]!r}, is for spreadsheets: take it out{other}")
    check_columns(header, source)
    for number, record in enumerate(records, start=1):
        if isinstance(record, _NotCsv):
            problem = f"row {number}, {record.told(header)}"
            yield Record(number, dict.fromkeys(header, ""), problem, at=reader.line_num)
            continue
        if len(record) == len(header) and (record != header or len(header) == 1):
            yield Record(number, dict(zip(header, record, strict=True)), at=reader.line_num)
            continue
        row = Record(number, dict(zip_longest(header, record[: len(header)], fillvalue="")), at=reader.line_num)
        if record == header:
            problem = "repeats the first line, which is to name the columns"
        else:
            problem = f"has {plural(len(record), 'cell')} where the header has {len(header)}"
        problem += other_separator(header)
        if delimiter == "\t" and any(cell.startswith('"') for cell in record):
            problem += "; quotes are read as part of its cells, since not all quotes in the file are closed"
        yield replace(row, problem=f"{row.called} {problem}")


def other_separator(header: Sequence[str]) -> str:
    """A hint where the names of columns seem to be separated by tabs, ';' or '|', or ''."""
    if len(header) != 1:
        return ""
    if "\t" in header[0]:
        return "; its cells seem to be separated by tabs: call it .tsv"
    found = next((sign for sign in ";|" if sign in header[0]), None)
    return f"; its cells seem to be separated by '{found}': {_BY_COMMAS.format(found)}" if found else ""


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
            why = other_separator(header).removeprefix("; ") or why
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


def check_columns(names: Iterable[str], source: str) -> None:
    """Refuses a name that stands twice: cells of one column would silently replace the other's.

    Raises:
        DataError: one does.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            twice = f"the column {name!r} stands twice in the header"
            raise DataError(f"{source}: {twice if name else 'two columns have no name: name them, or take them out'}")
        seen.add(name)


def _jsonl_records(lines: Iterable[str], source: str) -> Iterator[Record]:
    number = 0
    for at, line in enumerate(lines, start=1):
        if not (stripped := line.strip()):
            continue
        number += 1
        cells, problem = _json_object(stripped)
        record = Record(number, cells, line=stripped, at=at)
        yield replace(record, problem=f"{record.called} {problem}") if problem else record
    if not number:
        raise DataError(f"{source}: is empty")


def _json_object(line: str) -> tuple[Row, str]:
    """The object of a line, or what is wrong with the line."""
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except _DoubledError:
        return {}, "names a key twice"
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        return {}, f"is not JSON ({reason})"
    if not isinstance(value, dict):
        return {}, 'is not a JSON object; each line must be one, such as {"text": "…"}'
    return value, ""


class _DoubledError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _DoubledError
    return row


def _parquet_records(file: IO[bytes], spool: bool, source: str) -> Iterator[Record]:
    """By batches, and from a copy on disk if `spool`, since Parquet is read from its end."""
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    number = 0
    with tempfile.TemporaryFile() as whole:
        if spool:
            shutil.copyfileobj(file, whole)
        try:
            open_parquet: Any = pq.ParquetFile  # pyarrow has no types
            # with a buffer, columns of a row group are read by and by, however large the group is
            parquet = open_parquet(whole if spool else file, buffer_size=_BUFFER_BYTES)
            check_columns(parquet.schema_arrow.names, source)
            for batch in parquet.iter_batches(batch_size=_batch_rows(parquet)):
                for place, (cells, problem) in enumerate(_parquet_cells(batch)):
                    number += 1
                    yield Record(number, cells, problem and f"row {number}, {problem}", batch=batch, place=place)
        except ArrowException as error:
            raise DataError(f"{source}: is not a Parquet file that can be read ({first_line(error)})") from None


def _batch_rows(parquet: Any) -> int:
    """Rows that are read at once, fewer where they are long: by the row group of the longest, and by the first rows.

    A value that is stored once for many rows counts once in a row group's size, but in each row once it is read.
    """
    groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
    longest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    if first := next(parquet.iter_batches(batch_size=_PROBED_ROWS), None):
        longest = max(longest, first.nbytes // first.num_rows)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, longest)))


def _parquet_cells(batch: Any) -> Iterator[tuple[Row, str]]:
    """Each row's cells, and what is wrong with the first of those that can't be had, which are None."""
    try:
        rows = batch.to_pylist()
    except _UNREADABLE:
        yield from (_parquet_row(batch, place) for place in range(batch.num_rows))
    else:
        yield from ((row, "") for row in rows)


def _parquet_row(batch: Any, place: int) -> tuple[Row, str]:
    cells: Row = dict.fromkeys(batch.schema.names)
    problem = ""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = column[place].as_py()
        except UnicodeDecodeError:
            cells[name] = replaced_text(column[place])
            problem = problem or f"column {name!r} has bytes that are not UTF-8"
        except _UNREADABLE as error:
            reason = first_line(error)
            problem = problem or f"column {name!r} has a value that can't be read as {column.type} ({reason})"
    return cells, problem


def replaced_text(scalar: Any) -> str | None:
    """A text of Arrow with U+FFFD for bytes that are not UTF-8; None of what is none, or is deeper."""
    if not scalar.is_valid or not hasattr(scalar, "as_buffer"):
        return None
    return str(scalar.as_buffer().to_pybytes(), "utf-8", "replace")


def _checked(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if not record.line.isascii() and (found := _NOT_UTF8.search(record.line)):
            yield _not_utf8(record, f"{record.called} has {_byte(found)}")
            continue
        checked = record
        for column, cell in record.cells.items():
            if not isinstance(cell, str) or not (problem := text_problem(cell)):
                continue
            if not record.line and (found := _NOT_UTF8.search(cell)):  # JSON can write half of a pair down
                checked = _not_utf8(record, f"{record.called}, column {column!r} has {_byte(found)}")
            elif not record.problem:
                checked = replace(record, problem=f"{record.called}, column {column!r} {problem}")
            break
        yield checked


def _not_utf8(record: Record, where: str) -> Record:
    cells = {name: _replaced(cell) if isinstance(cell, str) else cell for name, cell in record.cells.items()}
    problem = record.problem or f"{where}, which is not UTF-8"
    return replace(record, cells=cells, problem=_replaced(problem), line=_replaced(record.line))


def _replaced(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _byte(found: re.Match[str]) -> str:
    return f"a byte 0x{ord(found.group()) - 0xDC00:02x}"
