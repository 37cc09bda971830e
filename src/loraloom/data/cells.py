"""What a cell of rows may hold, wherever they come from: files, programs, requests."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

MAX_CELL_CHARACTERS = 1_000_000
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def without_nan(cell: Any) -> Any:
    """A cell, or None for NaN, by which JSON, Parquet and pandas can say that there is nothing."""
    return None if isinstance(cell, float | np.floating) and np.isnan(cell) else cell


def text_problem(text: str) -> str | None:
    """Why this can't be a text: too long, NUL, or half of a surrogate pair (which JSON can carry)."""
    if len(text) > MAX_CELL_CHARACTERS:
        return f"has {len(text):,} characters; a cell may have {MAX_CELL_CHARACTERS:,}"
    return no_character(text)


def no_character(text: str) -> str | None:
    """What in it is no character of a text."""
    if text.isascii() and "\0" not in text:
        return None
    if found := _NOT_TEXT.search(text):
        return f"has U+{ord(found.group()):04X} at character {found.start()}, which is no character of a text"
    return None
