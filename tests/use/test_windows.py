"""Windows of rows: where they end, which rows are bad, and which columns are the text."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from loraloom.data import Encoded
from loraloom.data.record import Record
from loraloom.data.rows import read_records
from loraloom.errors import DataError
from loraloom.use import windows as windowing
from loraloom.use.windows import OnError, Text, text_columns, windows

TEXT = Text("-", ("text",), "stop")


def test_a_column_is_asked_for_by_its_option_where_it_is_not_known() -> None:
    assert text_columns(Record(1, {"id": 1, "text": "a"}), None, "rows.csv") == ("text",)
    with pytest.raises(
        DataError, match=r"has no column 'body'; it has 'id', 'te\\x1bxt'; name the text's by --text_column$"
    ):
        text_columns(Record(1, {"id": 1, "te\x1bxt": "a"}), ("body",), "rows.csv")


def test_of_very_many_columns_the_first_are_named() -> None:
    """As of rows of numbers, of which none is a text."""
    with pytest.raises(DataError, match=r"name it by --text_column; it has '0', '1', .*, '99' and 1,900 more$"):
        text_columns(Record(1, {str(number): "1.0" for number in range(2_000)}), None, "rows.csv")


@pytest.mark.parametrize("wanted", [None, ("text",)])
def test_columns_that_are_separated_otherwise_are_not_to_be_named(wanted: tuple[str, ...] | None) -> None:
    with pytest.raises(DataError, match=r"it has 'id\\ttext'; its cells seem to be separated by tabs: call it \.tsv"):
        text_columns(Record(1, {"id\ttext": "1\ta"}), wanted, "rows.csv")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_single_column_that_no_separator_made_may_have_one_in_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        path.write_text('{"title; body": "a cat"}\n', encoding="utf-8")
    else:
        pa: Any = pytest.importorskip("pyarrow")
        pq: Any = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"title; body": ["a cat"]}), path)
    assert text_columns(next(read_records(str(path))), None, str(path)) == ("title; body",)


class Read:
    """Reads texts, but for those that are said to be unreadable, of which `calls` tells after the first."""

    def __init__(self, **unreadable: str) -> None:
        self._unreadable = unreadable
        self.calls: list[list[str]] = []

    def encoded(self, texts: Sequence[str]) -> list[Encoded]:
        self.calls.append(list(texts))
        return []

    def unreadable(self, encoded: Sequence[Encoded]) -> dict[int, str]:
        return {row: why for row, text in enumerate(self.calls[-1]) if (why := self._unreadable.get(text))}


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_text_that_the_model_can_not_read_is_a_bad_row(on_error: OnError) -> None:
    records = iter([Record(number, {"text": text}) for number, text in enumerate(["a", "b", "c"], start=1)])
    text, reader = Text("in.csv", ("text",), on_error), Read(b="no token")
    (window,) = windows(records, text, reader, lambda _: None)
    assert window.places == [0, 2]
    assert [record.problem for record in window.bad] == ["row 2 has a text of which the tokenizer makes no token"]
    assert reader.calls == [["a", "b", "c"], ["a", "c"]]


def test_a_text_that_the_model_can_not_read_ends_a_run_that_stops_at_bad_rows() -> None:
    text = Text("in.csv", ("text",), "stop")
    with pytest.raises(DataError, match=r"in\.csv: row 7 has a text of which the tokenizer makes no token; --on_error"):
        list(windows(iter([Record(7, {"text": "b"})]), text, Read(b="no token"), lambda _: None))


@pytest.mark.parametrize("more", [[{"image": b"x" * 90}], [("image", b"x" * 90)]])
def test_windows_end_also_by_what_is_no_text(monkeypatch: pytest.MonkeyPatch, more: Any) -> None:
    monkeypatch.setattr(windowing, "CHARACTERS", 100)
    records = iter([Record(number, {"text": "a", "more": more}) for number in range(1, 5)])
    found = list(windows(records, TEXT, Read(), lambda _: None))
    assert [len(window.records) for window in found] == [2, 2]


def test_rows_that_come_steadily_are_answered_before_the_window_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowing, "WINDOW_SECONDS", 0.1)

    def steadily() -> Iterator[Record]:
        for number in range(1, 21):
            yield Record(number, {"text": "soup"})
            time.sleep(0.02)  # shorter than the patience between two rows

    found = list(windows(steadily(), TEXT, Read(), lambda _: None, patient=False))
    assert sum(len(window.records) for window in found) == 20
    assert len(found) > 1


def test_standard_input_is_read_ahead_no_more_where_nobody_asks_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowing, "ROWS", 1)
    over = threading.Event()

    def endless() -> Iterator[Record]:
        try:
            for number in itertools.count(1):
                yield Record(number, {"text": "soup"})
        finally:
            over.set()

    coming = cast(Any, windows(endless(), TEXT, Read(), lambda _: None, patient=False))
    next(coming)
    coming.close()
    assert over.wait(60)
