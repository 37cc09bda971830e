"""Whether a TSV's cells are quoted as CSV's are; one whose cells are not is given on as one whose cells are.

Some programs quote cells that need it (pandas, spreadsheets, `predict --out`), others write texts as they stand (IANA's
text/tab-separated-values has no quoting), where a cell may begin with a quote that nothing closes. In the wrong reading
rows vanish into one cell. Only cells that begin with a quote tell: a reading is wrong where such a cell is not closed
before a tab or the end of a line, or where it gives a row other than the header's number of cells. What neither shows
is refused, unless both give the same rows; then quotes around a cell are no part of it.

A file is read once more for this, at a million lines a second or so. Rejected: csv.Sniffer, which guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

from loraloom.errors import DataError

MAX_ROW_CHARACTERS = 16_000_000
"""Within which a quote must be closed."""

_TEXT = r'[^"]*+(?:""[^"]*+)*+'
_CLOSED = rf'"{_TEXT}"(?=[\t\r\n]|\Z)'
_REST = rf'(?:\t(?:{_CLOSED}|[^"\t\n][^\t\n]*+|(?=[\t\n]|\Z)))*+(?P<open>\t"{_TEXT})?\r?\n?'
_OUTSIDE = re.compile(rf"(?P<closed>){_REST}")
_INSIDE = re.compile(rf'{_TEXT}(?:(?P<closed>"){_REST})?')
_ENCLOSED = re.compile(rf"\t{_CLOSED}")
_ALL_ENCLOSED = re.compile(rf"(?:\t{_CLOSED})++\r?\n?")

Verdict = Literal["", "same", "quoted", "plain", "either"]
"""The reading that lines show to be right; '' of lines without a cell that begins with a quote."""


def is_quoted(lines: Iterable[str], source: str) -> bool:
    """Whether cells that begin with a quote are quoted, by all lines of a file.

    Raises:
        DataError: lines contradict each other, or both readings are possible and differ.
    """
    shown = doubted = 0
    for at, _, verdict in _judged(iter(lines)):
        if verdict == "plain":
            if shown:
                raise _contradiction(source, at, shown)
            return False
        shown = shown or (at if verdict == "quoted" else 0)
        doubted = doubted or (at if verdict == "either" else 0)
    if doubted and not shown:
        raise _doubt(source, doubted)
    return True


def quoted_as_it_comes(lines: Iterable[str], source: str) -> Iterator[str]:
    """Lines of what can't be read twice, quoted; the first cells that begin with a quote decide.

    Raises:
        DataError: later lines show that cells were read in the wrong way, or both readings are possible and differ.
    """
    lines = iter(lines)
    shown = begun = 0
    for at, row, verdict in _judged(lines):
        if verdict == "plain":
            if begun:
                raise _contradiction(source, at, begun)
            yield from quoted(chain(row, lines))
            return
        shown = shown or (at if verdict == "quoted" else 0)
        if verdict == "either" and not shown:
            raise _doubt(source, at)
        begun = begun or (at if verdict else 0)
        yield from row


def quoted(lines: Iterable[str]) -> Iterator[str]:
    """Lines whose quotes are part of their cells, written with quoting."""
    for line in lines:
        if not _begins_with_quote(line):
            yield line
            continue
        cells = line.rstrip("\r\n")
        yield "\t".join(map(_enclosed, cells.split("\t"))) + line[len(cells) :]


def _enclosed(cell: str) -> str:
    doubled = cell.replace('"', '""')
    return f'"{doubled}"' if cell.startswith('"') else cell


def _begins_with_quote(line: str) -> bool:
    """Whether a cell does."""
    return line.startswith('"') or '\t"' in line


def _judged(lines: Iterator[str]) -> Iterator[tuple[int, list[str], Verdict]]:
    """The lines of each row, were cells quoted; the number of the first, from 1; and what they show."""
    at, columns = 1, 0
    for row, closed in _rows(lines):
        verdict: Verdict = ""
        if not columns and row[0].strip("\r\n"):
            columns = _count_quoted(row) if closed else _count(row[0])
            enclosed = closed and _ALL_ENCLOSED.fullmatch("\t" + "".join(row))
            verdict = "quoted" if enclosed or (closed and len(row) > 1) else _verdict(row, closed, columns)
        elif len(row) > 1 or _begins_with_quote(row[0]):
            verdict = _verdict(row, closed, columns)
        yield at, row, verdict
        at += len(row)


def _rows(lines: Iterator[str]) -> Iterator[tuple[list[str], bool]]:
    """Lines up to the one that closes the first one's quotes, and whether it is there and nothing contradicts it."""
    for line in lines:
        row = [line]
        if not _begins_with_quote(line):
            yield row, True
            continue
        characters = len(line)
        found = _OUTSIDE.fullmatch("\t" + line)
        while found and (found["closed"] is None or found["open"] is not None):
            following = next(lines, "")
            row += [following] if following else []
            characters += len(following)
            found = _INSIDE.fullmatch(following) if following and characters <= MAX_ROW_CHARACTERS else None
        yield row, found is not None


def _verdict(row: list[str], closed: bool, columns: int) -> Verdict:
    if not _begins_with_quote(row[0]):
        return ""
    if not closed:
        return "plain"
    cells, plain = _count_quoted(row), {_count(line) for line in row if line.strip("\r\n")}
    if len(row) == 1 and plain == {cells}:
        return "same"
    if cells == columns:
        return "either" if plain == {columns} else "quoted"
    return "plain" if plain == {columns} else "same"


def _count(line: str) -> int:
    """Cells, were none quoted."""
    return line.count("\t") + 1


def _count_quoted(row: list[str]) -> int:
    return _ENCLOSED.sub("\t", "\t" + "".join(row)).count("\t")


def _doubt(source: str, at: int) -> DataError:
    return DataError(
        f"{source}: line {at} has a cell that begins with a quote, and it can't be told whether the quote is part of "
        "it or encloses tabs and lines; if cells are quoted, quote all names in the header too, else convert the file "
        "to JSONL"
    )


def _contradiction(source: str, at: int, before: int) -> DataError:
    return DataError(
        f"{source}: line {at} has a cell that begins with a quote and is not quoted as in CSV, but line {before} is "
        "read as quoted; quote it, quotes within it twice, or convert the file to JSONL"
    )
