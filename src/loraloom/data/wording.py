"""How names, labels and texts of a source stand in messages: on one line, quoted where they must not look alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

from loraloom.wording import OBEYED

EXAMPLE_CHARACTERS = 120
MAX_EXAMPLES = 3
MAX_ASKED = 100
_UNPRINTABLE = re.compile(rf"{OBEYED}|[\ud800-\udfff]")
_ENDS_IN_NUMBER = re.compile(r"(^|\s)[-+]?\d[\d.,]*$")


_KINDS = {
    "int": "a number",
    "float": "a number",
    "bool": "a truth value",
    "list": "a list",
    "tuple": "a list",
    "ndarray": "a list",
    "dict": "a mapping",
    "bytes": "bytes",
}


def kind_of_cell(kind: type) -> str:
    """What a cell of this type is, as people call it who wrote a file: `a number`, `a list`, `a set`."""
    name = kind.__name__
    return _KINDS.get(name, f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}")


def shorten(text: str) -> str:
    """One printable line of at most 120 characters, for people."""
    line = printable(" ".join(text[: 4 * EXAMPLE_CHARACTERS].split()))
    return line if len(line) <= EXAMPLE_CHARACTERS else line[: EXAMPLE_CHARACTERS - 1] + "…"


def shown(cell: object) -> str:
    """A cell of any kind in a message; a list of lists may be deeper than Python can write down, having read it."""
    try:
        return shorten(repr(cell))
    except RecursionError:
        return "nested too deeply to be shown"


def beside_figure(label: str) -> str:
    """A label before its share: in quotes where a number ends it, since `level 1 16 %` would read as one.

    And where it holds a comma, which would make two of it.
    """
    short = shorten(label)
    return _before_others(f"“{short}”" if "," in short or _ENDS_IN_NUMBER.search(short) else short)


def in_column(label: str) -> str:
    """A label beside figures or other labels, on one line."""
    return _before_others(shorten(label))


def _before_others(line: str) -> str:
    """A line that is written from right to left, followed by a mark that nobody sees (U+200E).

    The figure, and the next label, would be set as if they were part of it.
    """
    return f"{line}\u200e" if any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in line) else line


def printable(text: str) -> str:
    """`text` with U+FFFD for what a terminal obeys, and for halves of surrogate pairs, which can't be printed."""
    return _UNPRINTABLE.sub("\ufffd", text)


def quoted(name: str) -> str:
    """A name with all its blanks, of which none may be invisible: two that differ must not look alike.

    An accent of its own (NFD) is seen by its number.
    """
    written = repr if unicodedata.is_normalized("NFC", name) else ascii
    return written(name if len(name) <= EXAMPLE_CHARACTERS else name[: EXAMPLE_CHARACTERS - 1] + "…")


def listed(items: Sequence[str], most: int = 5) -> str:
    """The first few, quoted, and how many more there are."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(map(quoted, items[:most])) + more


def labels_listed(labels: Sequence[str], most: int = 5) -> str:
    """`label 'a'`, `labels 'a', 'b'`."""
    return f"label{'s' if len(labels) > 1 else ''} {listed(labels, most)}"


def listed_to_answer(labels: Sequence[str]) -> str:
    """The same of labels, or columns, of which some are to be named, so that it has to be seen which there are."""
    return listed(labels, MAX_ASKED)


def examples_of(texts: Sequence[str], rows: Sequence[int] | None = None) -> tuple[str, ...]:
    """The first three different texts, or those of the rows named, shortened."""
    shown = texts if rows is None else (texts[row] for row in rows)
    return tuple(map(shorten, islice(dict.fromkeys(shown), MAX_EXAMPLES)))
