"""Rows in windows: what is read, tokenised, predicted and written at once; within one, texts are sorted by length.

Where a window ends is a function of the rows alone, so that a run that was broken off between two windows goes on to
the same bytes. Only rows that somebody is still writing to standard input end a window by waiting.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from loraloom.data import Encoded, text_of
from loraloom.data.columns import guessed_text
from loraloom.data.csv_records import separated_by_tabs
from loraloom.data.record import Record
from loraloom.data.wording import listed_to_answer
from loraloom.errors import DataError
from loraloom.use.ahead import Ahead

ROWS = 2048
CHARACTERS = 4_000_000
"""Of a window's cells, or of the lines that they were read from, so that memory is flat where texts are long."""
PATIENCE_SECONDS = 0.05
"""After so long without another row, those of standard input that are there are predicted."""
WINDOW_SECONDS = 0.5
"""The same, after the first of them, however steadily others come."""
MOST_AHEAD = 64
"""Rows of standard input that are read before they are asked for."""

OnError = Literal["stop", "skip", "null"]


class Reader(Protocol):
    """What makes token ids of texts: an `Ensemble`."""

    def encoded(self, texts: Sequence[str]) -> list[Encoded]: ...

    def unreadable(self, encoded: Sequence[Encoded]) -> Mapping[int, str]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Rows that are read, good and bad in their order; `places` are those of the good ones, whose texts are encoded."""

    records: list[Record]
    places: list[int]
    encoded: list[Encoded]
    read: float | None
    """The share of the input that was read by its end, where that can be told."""

    @property
    def bad(self) -> list[Record]:
        return [record for record in self.records if record.problem]


@dataclass(frozen=True, slots=True)
class Text:
    """Where rows have their text, and what is done about those that have none."""

    source: str
    columns: tuple[str, ...]
    on_error: OnError

    def of(self, record: Record) -> tuple[Record, str]:
        """The record, with its problem if it has no text, and its text.

        Raises:
            DataError: there is a problem, and `on_error` is stop.
        """
        problem, text = record.problem, ""
        if not problem:
            try:
                text = text_of(record.cells, self.columns)
                problem = "" if text.strip() else f"{record.called} has no text"
            except DataError as error:
                problem = f"{record.called}: {error}"
        return (self.refused(record, problem) if problem else record), text

    def refused(self, record: Record, problem: str) -> Record:
        """The record with its problem.

        Raises:
            DataError: `on_error` is stop.
        """
        if self.on_error == "stop":
            raise DataError(f"{self.source}: {problem}; --on_error skip or null goes on after such rows")
        return replace(record, problem=problem)


def _patience(begun: float) -> float:
    """Seconds to wait for another row of a window that was begun then."""
    return min(PATIENCE_SECONDS, max(0.0, begun + WINDOW_SECONDS - time.monotonic()))


def windows(
    records: Iterator[Record],
    text: Text,
    reader: Reader,
    read: Callable[[Record], float | None],
    *,
    patient: bool = True,
) -> Iterator[Window]:
    """Windows of rows; `reader` makes token ids of texts, `read` tells how much of the input was read with a record.

    Raises:
        DataError: there are no rows to go on with; the good ones before it come first, if `on_error` is not stop.
    """
    if patient:
        yield from _windows(lambda _: next(records), text, reader, read)
        return
    with closing(Ahead(records, MOST_AHEAD)) as coming:
        yield from _windows(coming.within, text, reader, read)


def _windows(
    record_within: Callable[[float | None], Record],
    text: Text,
    reader: Reader,
    read: Callable[[Record], float | None],
) -> Iterator[Window]:
    while True:
        held: list[Record] = []
        begun = 0.0
        texts: list[str] = []
        places: list[int] = []
        characters = 0
        over = False
        failed: DataError | None = None
        while len(held) < ROWS and characters < CHARACTERS:
            try:
                record, own = text.of(record_within(_patience(begun) if held else None))
            except StopIteration:
                over = True
                break
            except queue.Empty:
                break
            except DataError as error:
                failed = error
                break
            if not record.problem:
                places.append(len(held))
                texts.append(own)
            characters += len(record.line) or sum(map(_size, record.cells.values()))
            begun = begun if held else time.monotonic()
            held.append(record)
        whole = failed is None or text.on_error != "stop"
        if held and whole:
            yield _window(held, places, texts, text, reader, read(held[-1]))
        if failed is not None:
            raise failed
        if over:
            return


def _size(value: Any) -> int:
    """Characters or bytes of a cell, however nested; a map of Parquet is a list of pairs."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values())) + sum(map(len, value))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 8


def _window(
    held: list[Record],
    places: list[int],
    texts: list[str],
    text: Text,
    reader: Reader,
    read: float | None,
) -> Window:
    """A window whose texts are encoded; those that a model can't read are bad rows."""
    encoded = reader.encoded(texts) if texts else []
    unreadable = reader.unreadable(encoded) if texts else {}
    for row in sorted(unreadable):
        record = held[places[row]]
        problem = f"{record.called} has a text of which the tokenizer makes {unreadable[row]}"
        held[places[row]] = text.refused(record, problem)
    if unreadable:
        places = [place for row, place in enumerate(places) if row not in unreadable]
        texts = [own for row, own in enumerate(texts) if row not in unreadable]
        encoded = reader.encoded(texts) if texts else []
    return Window(held, places, encoded, read)


def text_columns(first: Record, wanted: Sequence[str] | None, source: str) -> tuple[str, ...]:
    """The text's columns by the first row: those named, else the one that is beyond doubt.

    Raises:
        DataError: a named one is missing, or none is beyond doubt.
    """
    cells, has = first.cells, f"it has {listed_to_answer(list(first.cells))}"
    is_separated = not first.line and first.batch is None  # not JSONL, nor Parquet
    separated = separated_by_tabs(list(cells)) if is_separated else ""
    if wanted is not None:
        missing = [name for name in wanted if name not in cells]
        if missing:
            advice = separated or "; name the text's by --text_column"
            raise DataError(f"{source}: has no column {missing[0]!r}; {has}{advice}")
        return tuple(wanted)
    if (found := guessed_text(list(cells))) and not separated:
        return (found,)
    which = "which column is the text? name it by --text_column"
    raise DataError(f"{source}: {which}; {has}{separated}")
