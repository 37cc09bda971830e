"""Records of Parquet, by batches; of a value that Python has not, the row is bad and not the file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from typing import IO, Any

from loraloom.data.record import Record, Row, check_columns
from loraloom.errors import DataError, first_line

_BATCH_ROWS = 1024
_PROBED_ROWS = 16
_BATCH_BYTES = 16_000_000  # of Parquet, as it is before compression
_UNREADABLE = (ValueError, OverflowError, KeyError)  # what pyarrow raises of a value that Python has not
_BUFFER_BYTES = 1_000_000


def parquet_records(file: IO[bytes], spool: bool, source: str) -> Iterator[Record]:
    """Rows, from a copy on disk if `spool`, since Parquet is read from its end.

    Raises:
        DataError: it is no Parquet file, or two of its columns have one name.
    """
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    number = 0
    with tempfile.TemporaryFile() if spool else nullcontext(file) as whole:
        if spool:
            shutil.copyfileobj(file, whole)
        try:
            open_parquet: Any = pq.ParquetFile  # pyarrow has no types
            # with a buffer, columns of a row group are read by and by, however large the group is
            parquet = open_parquet(whole, buffer_size=_BUFFER_BYTES)
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
