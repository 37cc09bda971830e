"""A row as it was read, the names of its columns, and the marks of bytes that are not UTF-8."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loraloom.errors import DataError

Row = dict[str, Any]

NOT_UTF8_BYTE = re.compile("[\udc80-\udcff]")
"""What `lenient` lines have for bytes that are not UTF-8."""
_SURROGATE = re.compile("[\ud800-\udfff]")


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
    separator: str = ""
    """CSV: by what its cells are separated, where that is no comma."""

    @property
    def called(self) -> str:
        """`row 4 (line 5)`, `row 4 ('food/4.txt')`; `row 4` of Parquet."""
        where = f"line {self.at}" if isinstance(self.at, int) else repr(self.at)
        return f"row {self.number} ({where})" if self.at else f"row {self.number}"

    @property
    def separated(self) -> str:
        """By what its cells are, where that is no comma."""
        return f"its cells are separated by {self.separator!r}"


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


def replaced(text: str) -> str:
    """The text with U+FFFD for what can't be written: such bytes, and half of a surrogate pair."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def byte_of(found: re.Match[str]) -> str:
    """`a byte 0xe9`, of a match of `NOT_UTF8_BYTE`."""
    return f"a byte 0x{ord(found.group()) - 0xDC00:02x}"
