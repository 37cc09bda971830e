"""Rows of data files of every kind, lazily, as dictionaries of cells in the order of the columns.

CSV is read by Python's own strict reader. Rejected: pandas, which turns "NA" into a missing value and "01"
into 1. Rows are counted from 1, the header not counted.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from loraloom.data.opening import Format, format_of, lines_of, open_bytes
from loraloom.data.text_folder import folder_rows
from loraloom.errors import DataError

Row = dict[str, Any]

MAX_CELL_CHARACTERS = 1_000_000
_PARSER_CHARACTERS = 16 * MAX_CELL_CHARACTERS  # beyond this csv can't say which column a cell is in
_BATCH_ROWS = 1024


def stream_rows(path: str) -> Iterator[Row]:
    """Rows of a file of any kind, or of standard input ('-': JSONL if it begins with '{', else CSV).

    Raises:
        DataError: what is wrong, with the file, the row and the column; also after rows were yielded.
    """
    if path == "-":
        return _checked(_standard_input(), "standard input")
    return _checked(_file_rows(Path(path), format_of(Path(path))), path)


def _file_rows(path: Path, form: Format) -> Iterator[Row]:
    if form.kind == "folder":
        yield from folder_rows(path)
        return
    with open_bytes(path, form.compression) as file:
        if form.kind == "parquet":
            yield from _parquet_rows(file, form, str(path))
        elif form.kind == "jsonl":
            yield from _jsonl_rows(lines_of(file, str(path)), str(path))
        else:
            delimiter = "\t" if form.kind == "tsv" else ","
            yield from _csv_rows(lines_of(file, str(path)), delimiter, str(path))


def _standard_input() -> Iterator[Row]:
    source = "standard input"
    lines = lines_of(sys.stdin.buffer, source)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(f"{source}: is empty")
    whole = chain([first], lines)
    return _jsonl_rows(whole, source) if first.lstrip().startswith("{") else _csv_rows(whole, ",", source)


def _csv_rows(lines: Iterable[str], delimiter: str, source: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _PARSER_CHARACTERS))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    records = (record for record in _parsed(reader, source) if record)  # an empty line is no row
    header = next(records, None)
    if header is None:
        raise DataError(f"{source}: is empty")
    check_columns(header, source)
    for number, record in enumerate(records, start=1):
        if len(record) != len(header):
            raise DataError(
                f"{source}: row {number} (line {reader.line_num}) has {len(record)} cells "
                f"where the header has {len(header)}"
            )
        yield dict(zip(header, record, strict=True))


def _parsed(reader: Any, source: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(
            f"{source}: line {reader.line_num} is not valid CSV ({error}): is a quote not closed?"
        ) from None


def check_columns(names: Iterable[str], source: str) -> None:
    """Refuses a name that stands twice: cells of one column would silently replace the other's."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{source}: the column {name!r} stands twice in the header")
        seen.add(name)


def _jsonl_rows(lines: Iterable[str], source: str) -> Iterator[Row]:
    empty = True
    for number, line in enumerate(lines, start=1):
        if line.strip():
            empty = False
            yield _json_object(line, f"{source}: line {number}")
    if empty:
        raise DataError(f"{source}: is empty")


def _json_object(line: str, place: str) -> Row:
    try:
        value = json.loads(line, object_pairs_hook=lambda pairs: _unique(pairs, place))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(f"{place} is not JSON ({reason})") from None
    if not isinstance(value, dict):
        raise DataError(f'{place} is not a JSON object; each line must be one, such as {{"text": "…"}}')
    return value


def _unique(pairs: list[tuple[str, Any]], place: str) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise DataError(f"{place} names a key twice")
    return row


def _parquet_rows(file: IO[bytes], form: Format, source: str) -> Iterator[Row]:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    with tempfile.TemporaryFile() as whole:
        if form.compression:  # Parquet is read from its end
            shutil.copyfileobj(file, whole)
        try:
            open_parquet: Any = pq.ParquetFile  # pyarrow has no types
            parquet = open_parquet(whole if form.compression else file)
            check_columns(parquet.schema_arrow.names, source)
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
        except (ArrowException, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{source}: is not a Parquet file that can be read ({reason})") from None


def _checked(rows: Iterable[Row], source: str) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        for column, cell in row.items():
            if isinstance(cell, str) and (problem := text_problem(cell)):
                raise DataError(f"{source}: row {number}, column {column!r} {problem}")
        yield row


_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def text_problem(text: str) -> str | None:
    """Why this can't be a text: too long, NUL, or half of a surrogate pair (which JSON can carry)."""
    if len(text) > MAX_CELL_CHARACTERS:
        return f"has {len(text):,} characters; a cell may have {MAX_CELL_CHARACTERS:,}"
    if text.isascii() and "\0" not in text:
        return None
    if found := _NOT_TEXT.search(text):
        return f"has U+{ord(found.group()):04X} at character {found.start()}, which is no character of a text"
    return None
