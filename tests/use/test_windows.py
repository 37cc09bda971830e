"""Which columns of a file to predict are the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom.data.rows import Record, read_records
from loraloom.errors import DataError
from loraloom.use.windows import text_columns


def test_a_column_is_asked_for_by_its_option_where_it_is_not_known() -> None:
    assert text_columns(Record(1, {"id": 1, "text": "a"}), None, "rows.csv") == ("text",)
    with pytest.raises(
        DataError, match=r"has no column 'body'; it has 'id', 'te\\x1bxt'; name the text's by --text_column$"
    ):
        text_columns(Record(1, {"id": 1, "te\x1bxt": "a"}), ("body",), "rows.csv")


@pytest.mark.parametrize("wanted", [None, ("text",)])
def test_columns_that_are_separated_otherwise_are_not_to_be_named(wanted: tuple[str, ...] | None) -> None:
    with pytest.raises(
        DataError, match=r"it has 'id;text'; its cells seem to be separated by ';': separate them by ','$"
    ):
        text_columns(Record(1, {"id;text": "1;a"}), wanted, "rows.csv")


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
