"""Rows of data files of every kind, lazily, as dictionaries of cells in the order of the columns.

CSV is read by Python's own strict reader, and so is TSV, of which `tsv` tells whether it is quoted. Rejected: pandas,
which turns "NA" into a missing value and "01" into 1. Rows are counted from 1, the header not counted. A row that
can't be used is a `Record` with its problem: whoever reads decides whether that ends the reading.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from loraloom.data.cells import text_problem
from loraloom.data.csv_records import csv_records
from loraloom.data.opening import LONGEST_MAGIC, Format, compression_of, format_of, lines_of, open_bytes
from loraloom.data.parquet_records import parquet_records
from loraloom.data.record import NOT_UTF8_BYTE, Record, Row, byte_of, replaced
from loraloom.data.text_folder import folder_rows
from loraloom.data.tsv import is_quoted, quoted, quoted_as_it_comes
from loraloom.errors import DataError

STANDARD_INPUT = "standard input"
_PARQUET = b"PAR1"


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
            cells = {**row, "file": replaced(where)} if lenient else row
            record = Record(number, cells, at=where)
            yield replace(record, problem=f"{record.called} {problem}") if problem else record
        return
    with open_bytes(path, form.compression, file) as plain:
        if form.kind == "parquet":
            yield from parquet_records(plain, bool(form.compression) or not path.is_file(), str(path))
        elif form.kind == "jsonl":
            yield from _jsonl_records(lines_of(plain, str(path), lenient=lenient), str(path))
        else:
            lines = lines_of(plain, str(path), lenient=lenient)
            if form.kind == "tsv":
                lines = _quoted_lines(path, form, lenient, lines)
            yield from csv_records(lines, str(path), tabs=form.kind == "tsv")


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
            yield from parquet_records(plain, True, source)
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
            yield from csv_records(quoted_as_it_comes(rows, source), source, tabs=True)
        else:
            yield from csv_records(rows, source)


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
        value = json.loads(line, object_pairs_hook=unique)
    except DoubledKeyError:
        return {}, "names a key twice"
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        return {}, f"is not JSON ({reason})"
    if not isinstance(value, dict):
        return {}, 'is not a JSON object; each line must be one, such as {"text": "…"}'
    return value, ""


class DoubledKeyError(Exception):
    """An object of JSON has two values of one key, of which a reader takes the first and another the last."""


def unique(pairs: list[tuple[str, Any]]) -> Row:
    """The object of JSON of these pairs, for json.loads.

    Raises:
        DoubledKeyError: a key stands twice.
    """
    row = dict(pairs)
    if len(row) != len(pairs):
        raise DoubledKeyError
    return row


def _checked(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if not record.line.isascii() and (found := NOT_UTF8_BYTE.search(record.line)):
            yield _not_utf8(record, f"{record.called} has {byte_of(found)}")
            continue
        checked = record
        for column, cell in record.cells.items():
            if not isinstance(cell, str) or not (problem := text_problem(cell)):
                continue
            if not record.line and (found := NOT_UTF8_BYTE.search(cell)):  # JSON can write half of a pair down
                checked = _not_utf8(record, f"{record.called}, column {column!r} has {byte_of(found)}")
            elif not record.problem:
                checked = replace(record, problem=f"{record.called}, column {column!r} {problem}")
            break
        yield checked


def _not_utf8(record: Record, where: str) -> Record:
    cells = {name: replaced(cell) if isinstance(cell, str) else cell for name, cell in record.cells.items()}
    problem = record.problem or f"{where}, which is not UTF-8"
    return replace(record, cells=cells, problem=replaced(problem), line=replaced(record.line))
