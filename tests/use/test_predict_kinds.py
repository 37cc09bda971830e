"""Kinds of files that are predicted: values as they stood, and what a kind can't hold."""

from __future__ import annotations

import bz2
import contextlib
import csv
import datetime
import gc
import gzip
import json
import lzma
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from loraloom.data.record import Record
from loraloom.errors import DataError
from loraloom.use.ensemble import Ensemble
from loraloom.use.parquet_output import _write_groups
from loraloom.use.writing import Added, CsvOutput, Predicted
from tests.use.predicted_files import LABELS, read_csv, run, sentences, write_rows


def test_values_of_csv_are_kept_as_they_stand(one: Ensemble, tmp_path: Path) -> None:
    rows = [["007", "the cat", "", ' "q", \r x\n'], ["1e3", "soup", "NA", "=x"]]
    source = tmp_path / "in.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "b", "c"], *rows])
    run(one, source, tmp_path / "out.csv")
    assert [list(row.values())[:4] for row in read_csv(tmp_path / "out.csv")] == rows
    assert list(read_csv(tmp_path / "out.csv")[0]) == ["id", "text", "b", "c", "prediction", "confidence"]


def test_a_line_of_json_keeps_its_own_characters(one: Ensemble, tmp_path: Path) -> None:
    lines = ['{"id": 1.50, "text": "the \\u0063at", "x": {"a": [1e3, null]}}', '{ "text" : "süß"  }', '{"text":"soup"}']
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    _, printed = run(one, source, None)
    for line, found in zip(lines, printed.splitlines(), strict=True):
        assert found.startswith(line.rstrip("} ") if line.startswith("{ ") else line[:-1])
        added = json.loads(found)
        assert sum(added["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert added["confidence"] == added["probabilities"][added["prediction"]]


def test_parquet_keeps_its_types_and_what_datasets_says_of_them(one: Ensemble, tmp_path: Path) -> None:
    import datetime

    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")
    datasets: Any = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["x", "y"]),
            "at": datasets.Value("timestamp[ns]"),
        }
    )
    when = datetime.datetime(2026, 1, 1, 12)
    columns = {"text": sentences(5), "label": [0, 1, 0, 1, 1], "at": [when] * 5}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "in.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    before, after = pq.read_table(tmp_path / "in.parquet"), pq.read_table(tmp_path / "out.parquet")
    assert after.select(before.column_names).cast(before.schema).equals(before)
    assert after.schema.field("at").type == pa.timestamp("ns")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == ["x", "y"]
    assert set(loaded["prediction"]) <= set(LABELS)


def test_metadata_that_can_not_be_read_are_not_written(one: Ensemble, tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    write: Any = pq.write_table
    rows = pa.table({"text": sentences(3)}).replace_schema_metadata({"huggingface": "[" * 100_000, "by": "me"})
    write(rows, tmp_path / "in.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    read: Any = pq.read_table
    assert read(tmp_path / "out.parquet").schema.metadata == {b"by": b"me"}


def test_columns_of_views_are_written_with_the_values_that_they_view(one: Ensemble, tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    texts, rows = sentences(3), range(3)
    nested = [{"a": [[str(row)]], "b": b"\xff"} for row in rows]
    kind = pa.struct([("a", pa.list_(pa.large_list(pa.string_view()))), ("b", pa.binary_view())])
    columns = {
        "text": pa.array(texts, pa.string_view()),
        "id": pa.array(rows, pa.int8()),
        "pairs": pa.array([[("k", "v")]] * 3, pa.map_(pa.string(), pa.string_view())),
        "nested": pa.array(nested, kind),
        "fixed": pa.array([["x", None]] * 3, pa.list_(pa.string_view(), 2)),
        "views": pa.array([["x"]] * 3, pa.list_view(pa.string())),
    }
    cast(Any, pq).write_table(pa.table(columns), tmp_path / "in.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = cast(Any, pq).read_table(tmp_path / "out.parquet")
    assert found.select(list(columns)).to_pylist() == pa.table(columns).to_pylist()
    assert (found.schema.field("text").type, found.schema.field("id").type) == (pa.string(), pa.int8())


def test_nested_values_and_what_json_has_not_are_written_so_that_they_can_be_read(
    one: Ensemble, tmp_path: Path
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")

    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "the cat", "x": {"a": [1, null]}, "ok": true, "no": null}\n')
    run(one, source, tmp_path / "out.csv")
    (row,) = read_csv(tmp_path / "out.csv")
    assert (row["x"], row["ok"], row["no"]) == ('{"a": [1, null]}', "true", "")
    day, nan = datetime.date(2026, 1, 2), float("nan")
    columns = {"text": ["soup"], "x": [nan], "y": [-float("inf")], "b": [b"\xff"], "d": [day], "l": [[1.5, nan]]}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    _, printed = run(one, tmp_path / "in.parquet", None)
    assert [json.loads(printed)[name] for name in "xybdl"] == [None, None, "/w==", "2026-01-02", [1.5, None]]
    run(one, tmp_path / "in.parquet", tmp_path / "out.csv")
    (row,) = read_csv(tmp_path / "out.csv")
    assert [row[name] for name in "xybdl"] == ["nan", "-inf", "/w==", "2026-01-02", "[1.5, null]"]


def test_dictionaries_that_are_too_many_together_for_their_type_are_refused_before_a_part_is_written(
    one: Ensemble, tmp_path: Path
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema([("text", pa.string()), ("day", kind)])
    with cast(Any, pq).ParquetWriter(tmp_path / "in.parquet", schema) as writer:
        for month in range(2):
            days = [f"{month}-{day}" for day in range(100)]
            writer.write_table(pa.table({"text": ["soup"] * 100, "day": pa.array(days, kind)}, schema))
    with pytest.raises(DataError, match=r"rows 1-200 can't be columns of Parquet \(.*dictionar.*\); write .jsonl"):
        run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().count("soup") == 200


def test_parquet_that_is_broken_off_while_it_is_written_leaves_no_traceback_of_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    complained: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complained.append)

    def tables() -> Iterator[Any]:
        yield pa.table({"text": ["soup"]})
        raise KeyboardInterrupt

    def write() -> None:
        with (tmp_path / "out.parquet").open("wb") as file:
            _write_groups(tables(), file)

    with contextlib.suppress(KeyboardInterrupt):
        write()
    gc.collect()
    assert complained == []


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_bytes_of_parquet_that_are_not_utf_8_are_replaced_in_any_output(
    one: Ensemble, tmp_path: Path, name: str
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    bytes_, ends = pa.py_buffer(b"soupcaf\xe9"), pa.py_buffer(np.array([0, 4, 8], dtype="<i4").tobytes())
    texts = pa.StringArray.from_buffers(2, ends, bytes_)
    cast(Any, pq).write_table(pa.table({"text": texts, "id": [7, 8]}), tmp_path / "in.parquet")
    summary, _ = run(one, tmp_path / "in.parquet", tmp_path / name, on_error="null")
    assert summary.counts.bad == 1
    if name == "out.parquet":
        rows = cast(Any, pq).read_table(tmp_path / name).to_pylist()
    elif name == "out.csv":
        rows = read_csv(tmp_path / name)
    else:
        rows = [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
    assert [(row["text"], str(row["id"]), bool(row["prediction"])) for row in rows] == [
        ("soup", "7", True), ("caf\ufffd", "8", False),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_what_is_written_compressed_is_what_is_written_plainly(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    zstandard: Any = pytest.importorskip("zstandard") if suffix == ".zst" else None
    monkeypatch.setattr("loraloom.use.writing._BLOCK_BYTES", 100)
    source = write_rows(tmp_path / "in.csv")
    for name in ("out.csv", f"out.csv{suffix}"):
        run(one, source, tmp_path / name)
    packed = (tmp_path / f"out.csv{suffix}").read_bytes()
    unpack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.decompress,
        ".bz2": bz2.decompress,
        ".xz": lzma.decompress,
        ".zst": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
    }
    assert unpack[suffix](packed) == (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_half_a_pair_of_surrogates_ends_no_run(one: Ensemble, tmp_path: Path, kind: str) -> None:
    """A text cut within an emoji: such a row is a bad one, and whatever is written can be read."""
    source = tmp_path / "in.jsonl"
    lines = [("soup \\ud83d", "x"), ("a saw", "\\ud83d"), ("the cat", "y")]
    source.write_text("".join(f'{{"text": "{text}", "meta": {{"a": "{a}"}}}}\n' for text, a in lines))
    summary, _ = run(one, source, tmp_path / f"out.{kind}", on_error="null")
    assert (summary.counts.rows, summary.counts.bad) == (3, 1)
    if kind != "parquet":
        assert (tmp_path / f"out.{kind}").read_text(encoding="utf-8")


def test_columns_of_parquet_are_those_of_the_first_row_that_can_be_read(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "\n{"id": 2, "text": "soup"}\n')
    run(one, source, tmp_path / "out.parquet", on_error="null", text_column=("text",))
    rows = cast(Any, pq).read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["prediction"] is None) for row in rows] == [(None, True), (2, False)]


def test_a_first_window_without_a_row_that_can_be_read_has_no_columns_for_parquet(
    one: Ensemble, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("broken\n")
    with pytest.raises(DataError, match="none of its first 1 rows can be read"):
        run(one, source, tmp_path / "out.parquet", on_error="null", text_column=("text",))


@pytest.mark.usefixtures("small_windows")
def test_nested_keys_that_parquet_would_lose_are_refused(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    metas = [*[[{"a": 1}]] * 5, [{"a": 1, "b": 2}]]
    source.write_text("".join(json.dumps({"text": "soup", "meta": meta}) + "\n" for meta in metas))
    with pytest.raises(DataError, match=r"row 6 has keys in 'meta' that the first rows have not; write \.jsonl"):
        run(one, source, tmp_path / "out.parquet")


def write_column(path: Path, *cells: Any) -> Path:
    path.write_text("".join(json.dumps({"text": "soup", "x": cell}) + "\n" for cell in cells))
    return path


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (3, 3.75, "3.75 in 'x', where the first rows have int64"),
        (0.5, True, "true in 'x', where the first rows have double"),
        (["a"], "abc", "\"abc\" in 'x', where the first rows have list<"),
        ({"a": 1}, [], "[] in 'x', where the first rows have struct<a: int64>"),
        ([{"a": [1]}], [{"a": [1, 2.5]}], "2.5 in 'x', where the first rows have int64"),
        ({"a": "b"}, {"a": ["c" * 99]}, '["' + "c" * 38 + "… in 'x', where the first rows have string"),
        (None, 5, "5 in 'x', where the first rows have string"),
    ],
)
@pytest.mark.usefixtures("small_windows")
def test_a_value_that_parquet_would_change_is_refused(
    one: Ensemble, tmp_path: Path, first: Any, other: Any, said: str
) -> None:
    source = write_column(tmp_path / "in.jsonl", first, first, first, first, other)
    with pytest.raises(DataError, match=r"row 5 has .*; write \.jsonl$") as caught:
        run(one, source, tmp_path / "out.parquet")
    assert said in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(("first", "other"), [(0.5, True), ([1.5], [True]), ({"a": 2.5}, {"a": True})])
def test_what_pyarrow_makes_alike_within_the_first_rows_is_refused_too(
    one: Ensemble, tmp_path: Path, first: Any, other: Any
) -> None:
    source = write_column(tmp_path / "in.jsonl", first, other)
    with pytest.raises(DataError, match=r"row 2 has true in 'x', where .*; write \.jsonl$"):
        run(one, source, tmp_path / "out.parquet")


def test_numbers_that_are_equal_fit_one_column_of_parquet(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "soup", "x": 3, "y": 0.5}\n{"text": "soup", "x": 4, "y": 2}\n{"text": "soup"}\n')
    run(one, source, tmp_path / "out.parquet")
    rows = cast(Any, pq).read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["x"], row["y"]) for row in rows] == [(3, 0.5), (4, 2.0), (None, None)]


@pytest.mark.parametrize("depth", [60, 300, 450])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.usefixtures("small_windows")
def test_what_is_nested_more_deeply_than_parquet_is_read_is_refused(
    one: Ensemble, tmp_path: Path, depth: int, *, later: bool
) -> None:
    source = tmp_path / "in.jsonl"
    deep = f'{{"text": "soup", "x": {"[" * depth}{"]" * depth}}}\n'
    source.write_text('{"text": "soup", "x": [[1]]}\n' * 4 * later + deep)
    with pytest.raises(DataError, match=r"(nested too deeply|where the first rows have int64).*; write \.jsonl$"):
        run(one, source, tmp_path / "out.parquet")


def test_what_is_nested_too_deeply_to_be_written_as_csv_is_refused() -> None:
    """Python reads a line in a thread of few frames: what it can just read there it can't write."""
    deep: Any = float("nan")
    for _ in range(100_000):
        deep = [deep]
    rows = Predicted([Record(7, {"text": "soup", "x": deep})], ["food"], [1.0], np.ones((1, 3)), [])
    with pytest.raises(DataError, match=r"^in\.jsonl: row 7 is nested too deeply for a CSV; write \.jsonl$"):
        CsvOutput(Added(LABELS, ()), "in.jsonl", ",", "").render(rows)


@pytest.mark.parametrize("meta", [{}, {"a": {}}, [{}]])
def test_an_empty_object_is_no_column_of_parquet(one: Ensemble, tmp_path: Path, meta: Any) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": "soup", "meta": meta}) + "\n")
    with pytest.raises(DataError, match=r"'meta' has an empty object, .*; write \.jsonl$"):
        run(one, source, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_what_a_csv_would_lose_is_refused(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "the cat"}\n{"text": "soup", "id": 2}\n')
    with pytest.raises(DataError, match=r"row 2 has 'id'.*write \.jsonl"):
        run(one, tmp_path / "in.jsonl", tmp_path / "out.csv")
    (tmp_path / "in.jsonl").write_text('{"text": "the cat"}\n{"text": "soup", "prediction": 2}\n')
    with pytest.raises(DataError, match="row 2: has a column 'prediction' already"):
        run(one, tmp_path / "in.jsonl", tmp_path / "out.jsonl")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_column_that_would_stand_twice_is_refused_though_the_first_row_is_a_bad_one(
    one: Ensemble, tmp_path: Path, name: str, on_error: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": ""}\n{"text": "soup", "prediction": "x"}\n')
    with pytest.raises(DataError, match=r"in\.jsonl: has a column 'prediction' already"):
        run(one, tmp_path / "in.jsonl", tmp_path / name, on_error=on_error)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.parquet.gz", "out.gz"])
def test_kinds_that_are_not_written_are_refused(one: Ensemble, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"predictions are written as \.csv"):
        run(one, write_rows(tmp_path / "in.csv"), tmp_path / name)
