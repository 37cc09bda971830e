"""Rows of files: every kind and compression, and every way in which a file can be bad."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloom.data.rows import read_records
from loraloom.errors import DataError, MissingExtraError
from tests.data.files import compress, write_csv, write_jsonl
from tests.data.reading import file_of, problems_of, refusal_of, rows_of

ROWS = [{"text": 'a, "b"\nc', "label": "1"}, {"text": "NA", "label": "01"}, {"text": "ü", "label": "x"}]


def _parquet(path: Path, rows: list[dict[str, str]]) -> str:
    import pandas as pd

    pd.DataFrame(rows).to_parquet(path)
    return str(path)


def _as_csv(folder: Path) -> str:
    return write_csv(folder / "rows.csv", [tuple(row.values()) for row in ROWS])


def _as_tsv(folder: Path) -> str:
    return write_csv(folder / "rows.tsv", [tuple(row.values()) for row in ROWS], delimiter="\t")


def _as_jsonl(folder: Path) -> str:
    return write_jsonl(folder / "rows.jsonl", ROWS)


def _as_parquet(folder: Path) -> str:
    return _parquet(folder / "rows.parquet", ROWS)


WRITERS = (_as_csv, _as_tsv, _as_jsonl, _as_parquet)


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_gives_the_same_cells_as_they_stand(tmp_path: Path, write: Callable[[Path], str]) -> None:
    assert list(rows_of(write(tmp_path))) == ROWS


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_every_kind_is_read_compressed(tmp_path: Path, write: Callable[[Path], str], suffix: str) -> None:
    plain = Path(write(tmp_path))
    packed = plain.with_name(plain.name + suffix)
    packed.write_bytes(compress(suffix, plain.read_bytes()))
    assert list(rows_of(str(packed))) == ROWS


def test_zst_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"loraloom\[zstd\]"):
        list(rows_of(str(file_of(tmp_path / "rows.csv.zst", b""))))


def test_rows_come_before_the_file_was_read_to_its_end(tmp_path: Path) -> None:
    path = file_of(tmp_path / "rows.csv", b"text,label\na,1\n" + b"b,2\n" * 100_000 + b"ragged\n")
    assert list(itertools.islice(rows_of(str(path)), 2)) == [
        {"text": "a", "label": "1"},
        {"text": "b", "label": "2"},
    ]


def test_order_of_columns_is_kept(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("1", "2", "3")], header=("z", "a", "m"))
    assert list(next(rows_of(path))) == ["z", "a", "m"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = file_of(tmp_path / "rows.csv", b"\xef\xbb\xbftext,label\na,1\n")
    assert list(rows_of(str(path))) == [{"text": "a", "label": "1"}]


def test_windows_line_ends_and_empty_lines_are_no_data(tmp_path: Path) -> None:
    path = file_of(tmp_path / "rows.csv", b"text,label\r\na,1\r\n\r\n")
    assert list(rows_of(str(path))) == [{"text": "a", "label": "1"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'\n {"text": "a"}\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}]),
        (b"text,label\na,1\n", [{"text": "a", "label": "1"}]),
        (b"\xef\xbb\xbftext\na\n", [{"text": "a"}]),
    ],
)
def test_standard_input_is_told_apart_by_its_first_character(
    monkeypatch: pytest.MonkeyPatch, content: bytes, expected: list[dict[str, str]]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert list(rows_of("-")) == expected


@pytest.mark.parametrize("content", [b'\n\n{"text": "a"}\nfoo\n', b"\n\nid,text\n1,a,b\n"])
def test_lines_of_standard_input_are_counted_from_its_first(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert "line 4" in refusal_of("-")


def test_empty_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    assert refusal_of("-") == "standard input: is empty"


def test_a_pipe_without_a_suffix_is_sent_to_standard_input() -> None:
    end, start = os.pipe()
    try:
        with pytest.raises(DataError, match=r"can't be told by its suffix; .*on standard input: --file -$"):
            next(read_records(f"/dev/fd/{end}"))
    finally:
        os.close(end)
        os.close(start)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "none.csv").endswith("none.csv: there is no such file or folder")


@pytest.mark.parametrize("name", ["rows.pkl", "rows.pickle", "rows.pt", "rows.pkl.gz"])
def test_files_that_can_run_code_are_refused_by_name(tmp_path: Path, name: str) -> None:
    assert "can run code" in refusal_of(file_of(tmp_path / name, b"text"))


def test_of_a_list_in_json_it_is_said_what_is_read(tmp_path: Path) -> None:
    assert refusal_of(file_of(tmp_path / "rows.json", b"[]")).endswith("write one object a line, to a file .jsonl")


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.gz"])
def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    message = refusal_of(file_of(tmp_path / name, b"text"))
    assert ".csv, .tsv, .jsonl" in message
    assert ".zst" in message


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal_of(file_of(tmp_path / name, b"")).endswith("is empty")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "row 1 (line 1) names a key twice" in refusal_of(
        file_of(tmp_path / "r.jsonl", b'{"text": "a", "text": "b"}\n')
    )


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_byte_that_is_not_utf8_is_refused_with_its_position(tmp_path: Path, name: str) -> None:
    content = b'{"text": "a"}\n{"text": "caf\xe9"}\n' if name.endswith("jsonl") else b"text\ncaf\xe9\n"
    position = content.index(b"\xe9")
    assert f"byte {position} (0xe9) is not UTF-8" in refusal_of(file_of(tmp_path / name, content))


def test_a_position_counts_the_byte_order_mark(tmp_path: Path) -> None:
    assert "byte 7 (0xe9)" in refusal_of(file_of(tmp_path / "rows.csv", b"\xef\xbb\xbftext\xe9\n"))


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    assert "NUL byte at byte 4" in refusal_of(file_of(tmp_path / "rows.csv", b"\x7fELF\0\0\0"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize("lenient", [False, True])
def test_utf16_is_refused_by_its_name(tmp_path: Path, encoding: str, name: str, lenient: bool) -> None:
    path = file_of(tmp_path / name, "\ufefftext,label\na,b\n".encode(encoding))
    with pytest.raises(DataError, match="is in UTF-16; convert the file to UTF-8: iconv -f UTF-16 "):
        list(read_records(str(path), lenient=lenient))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    assert "is not a Parquet file" in refusal_of(file_of(tmp_path / "rows.parquet", b"text,label\n" * 9))


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_a_cell_of_ten_megabytes_is_refused_with_its_row_and_column(tmp_path: Path, name: str) -> None:
    huge = [{"label": "a", "text": "short"}, {"label": "b", "text": "x" * 10_000_000}]
    path = str(tmp_path / name)
    if name.endswith("csv"):
        write_csv(tmp_path / name, [tuple(row.values()) for row in huge], header=("label", "text"))
    elif name.endswith("jsonl"):
        write_jsonl(tmp_path / name, huge)
    else:
        _parquet(tmp_path / name, huge)
    where = {".csv": "row 2 (line 3)", ".jsonl": "row 2 (line 2)", ".parquet": "row 2"}[Path(name).suffix]
    assert f"{where}, column 'text' has 10,000,000 characters" in refusal_of(path)


@pytest.mark.parametrize("line", ["[1]", '"text"', "1", "null"])
def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = file_of(tmp_path / "rows.jsonl", b'{"text": "a"}\n' + line.encode())
    assert "(line 2) is not a JSON object" in refusal_of(path)


@pytest.mark.parametrize("line", ["{", '{"text": }', '{"text": ' + "[" * 100_000, '{"n": ' + "9" * 9000 + "}"])
def test_a_line_that_is_not_json_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    assert "row 1 (line 1) is not JSON" in refusal_of(file_of(tmp_path / "rows.jsonl", line.encode()))


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_characters_that_no_text_has_are_refused(tmp_path: Path, text: str) -> None:
    path = file_of(tmp_path / "rows.jsonl", json.dumps({"text": text}).encode())
    assert f"row 1 (line 1), column 'text' has U+{ord(text[1]):04X} at character 1" in refusal_of(path)


def test_bad_lines_of_jsonl_are_told_between_the_good_ones(tmp_path: Path) -> None:
    content = b'{"text": "a"}\n{"text": \n\n[1]\n{"text": "caf\xe9"}\n{"text": "\\udc80"}\n{"text": "z"}\n'
    problems = dict(problems_of(file_of(tmp_path / "rows.jsonl", content)))
    assert problems[1] == problems[6] == ""
    assert problems[2].startswith("row 2 (line 2) is not JSON")
    assert problems[3].startswith("row 3 (line 4) is not a JSON object")
    assert problems[4] == "row 4 (line 5) has a byte 0xe9, which is not UTF-8"
    assert problems[5].startswith("row 5 (line 6), column 'text' has U+DC80")


def test_a_row_of_parquet_with_what_python_can_not_hold_leaves_the_others_and_its_other_cells(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")

    text = pa.array([b"a", b"caf\xe9", b"z", b"y"]).view(pa.string())
    dates = pa.array([0, 1, 10_000_000, None], pa.date32())
    lasted = pa.array([0, 0, 0, 2**62], pa.duration("s"))
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "text": text, "at": dates, "in": lasted}), tmp_path / "rows.parquet")
    records = list(read_records(str(tmp_path / "rows.parquet"), lenient=True))
    assert [record.problem.partition(" (")[0] for record in records] == [
        "",
        "row 2, column 'text' has bytes that are not UTF-8",
        "row 3, column 'at' has a value that can't be read as date32[day]",
        "row 4, column 'in' has a value that can't be read as duration[s]",
    ]
    assert [(record.cells["id"], record.cells["text"]) for record in records] == [
        (1, "a"),
        (2, "caf\ufffd"),
        (3, "z"),
        (4, "y"),
    ]


def test_a_time_zone_that_is_not_known_is_named(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")

    table = pa.table({"text": ["a", "b"], "at": pa.array([None, 0], pa.timestamp("us", tz="Mars/Base"))})
    pq.write_table(table, tmp_path / "rows.parquet")
    (_, first), (_, second) = problems_of(tmp_path / "rows.parquet")
    assert first == ""
    assert "row 2, column 'at' has a value that can't be read as timestamp[us, tz=Mars/Base]" in second


def test_parquet_that_is_not_compressed_needs_no_place_for_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _as_parquet(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert list(rows_of(path)) == ROWS


def test_of_parquet_with_long_rows_few_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.data.parquet_records._BATCH_BYTES", 10_000)
    rows = [{"text": f"{number:03d}" * 1000} for number in range(10)]
    records = list(read_records(_parquet(tmp_path / "rows.parquet", rows)))
    assert [record.cells for record in records] == rows
    assert {record.batch.num_rows for record in records} <= {1, 2, 3}


def test_of_parquet_with_a_long_value_that_is_stored_once_few_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.data.parquet_records._BATCH_BYTES", 10_000)
    rows = [{"text": "once" * 1000} for _ in range(300)]
    records = list(read_records(_parquet(tmp_path / "rows.parquet", rows)))
    assert [record.cells for record in records] == rows
    assert max(record.batch.num_rows for record in records) <= 2


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("write", WRITERS)
def test_standard_input_is_read_as_files_are(
    tmp_path: Path, write: Callable[[Path], str], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Path(write(tmp_path)).read_bytes()
    packed = compress(suffix, content) if suffix else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert list(rows_of("-")) == ROWS


def test_standard_input_may_begin_with_a_frame_that_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zstandard")
    passed_over = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"  # as pzstd writes it
    packed = passed_over + compress(".zst", Path(_as_csv(tmp_path)).read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert list(rows_of("-")) == ROWS
