"""What is read of a file of rows, or why it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loraloom.data.record import Row
from loraloom.data.rows import good_records, read_records
from loraloom.errors import DataError


def rows_of(path: str) -> Iterator[Row]:
    return (record.cells for record in good_records(path))


def refusal_of(path: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        list(rows_of(str(path)))
    message = str(caught.value)
    assert "\n" not in message
    return message


def file_of(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def problems_of(path: Path) -> list[tuple[int, str]]:
    return [(record.number, record.problem) for record in read_records(str(path), lenient=True)]
