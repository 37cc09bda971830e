"""Rows of files: every kind and compression, and every way in which a file can be bad."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloom.data.record import Row
from loraloom.data.rows import good_records, read_records
from loraloom.data.tables import read_table
from loraloom.data.text_folder import text_files
from loraloom.errors import DataError, MissingExtraError
from tests.data.files import compress, write_csv, write_jsonl

ROWS = [{"text": 'a, "b"\nc', "label": "1"}, {"text": "NA", "label": "01"}, {"text": "ü", "label": "x"}]


def _rows(path: str) -> Iterator[Row]:
    return (record.cells for record in good_records(path))


def _refusal(path: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        list(_rows(str(path)))
    message = str(caught.value)
    assert "\n" not in message
    return message


def _csv(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


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
    assert list(_rows(write(tmp_path))) == ROWS


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_every_kind_is_read_compressed(tmp_path: Path, write: Callable[[Path], str], suffix: str) -> None:
    plain = Path(write(tmp_path))
    packed = plain.with_name(plain.name + suffix)
    packed.write_bytes(compress(suffix, plain.read_bytes()))
    assert list(_rows(str(packed))) == ROWS


def test_zst_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"loraloom\[zstd\]"):
        list(_rows(str(_csv(tmp_path / "rows.csv.zst", b""))))


def test_rows_come_before_the_file_was_read_to_its_end(tmp_path: Path) -> None:
    path = _csv(tmp_path / "rows.csv", b"text,label\na,1\n" + b"b,2\n" * 100_000 + b"ragged\n")
    assert list(itertools.islice(_rows(str(path)), 2)) == [
        {"text": "a", "label": "1"},
        {"text": "b", "label": "2"},
    ]


def test_order_of_columns_is_kept(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("1", "2", "3")], header=("z", "a", "m"))
    assert list(next(_rows(path))) == ["z", "a", "m"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = _csv(tmp_path / "rows.csv", b"\xef\xbb\xbftext,label\na,1\n")
    assert list(_rows(str(path))) == [{"text": "a", "label": "1"}]


def test_windows_line_ends_and_empty_lines_are_no_data(tmp_path: Path) -> None:
    path = _csv(tmp_path / "rows.csv", b"text,label\r\na,1\r\n\r\n")
    assert list(_rows(str(path))) == [{"text": "a", "label": "1"}]


def test_a_folder_gives_a_row_for_each_file(tmp_path: Path) -> None:
    for label, name, text in (("b", "2.txt", "second"), ("a", "1.txt", "first"), (".git", "x.txt", "none")):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_text(text)
    assert list(_rows(str(tmp_path))) == [
        {"text": "first", "label": "a"},
        {"text": "second", "label": "b"},
    ]


def test_rows_of_a_folder_that_may_be_left_out_have_their_files_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in (b"1.txt", b"2 \xe9.txt"):
        (tmp_path / "a" / os.fsdecode(name)).write_text("some")
    records = list(read_records(str(tmp_path), lenient=True))
    assert [(record.cells["file"], record.problem) for record in records] == [("a/1.txt", ""), ("a/2 \ufffd.txt", "")]


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
    assert list(_rows("-")) == expected


@pytest.mark.parametrize("content", [b'\n\n{"text": "a"}\nfoo\n', b"\n\nid,text\n1,a,b\n"])
def test_lines_of_standard_input_are_counted_from_its_first(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert "line 4" in _refusal("-")


def test_empty_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    assert _refusal("-") == "standard input: is empty"


def test_a_pipe_without_a_suffix_is_sent_to_standard_input() -> None:
    end, start = os.pipe()
    try:
        with pytest.raises(DataError, match=r"can't be told by its suffix; .*on standard input: --file -$"):
            next(read_records(f"/dev/fd/{end}"))
    finally:
        os.close(end)
        os.close(start)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "none.csv").endswith("none.csv: there is no such file or folder")


@pytest.mark.parametrize("name", ["rows.pkl", "rows.pickle", "rows.pt", "rows.pkl.gz"])
def test_files_that_can_run_code_are_refused_by_name(tmp_path: Path, name: str) -> None:
    assert "can run code" in _refusal(_csv(tmp_path / name, b"text"))


def test_of_a_list_in_json_it_is_said_what_is_read(tmp_path: Path) -> None:
    assert _refusal(_csv(tmp_path / "rows.json", b"[]")).endswith("write one object a line, to a file .jsonl")


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.gz"])
def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    message = _refusal(_csv(tmp_path / name, b"text"))
    assert ".csv, .tsv, .jsonl" in message
    assert ".zst" in message


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    assert _refusal(_csv(tmp_path / name, b"")).endswith("is empty")


def test_a_ragged_row_is_refused_with_its_number_and_cells(tmp_path: Path) -> None:
    path = _csv(tmp_path / "rows.csv", b'text,label\n"a\nb",1\nc,2,3\n')
    assert _refusal(path).endswith("row 2 (line 4) has 3 cells where the header has 2")


@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf"])
def test_a_header_in_the_midst_of_joined_files_is_no_row(tmp_path: Path, begins: bytes) -> None:
    path = _csv(tmp_path / "rows.csv", 2 * (begins + b"text,label\na,x\n"))
    assert _refusal(path).endswith("row 2 (line 3) repeats the first line, which is to name the columns")
    assert read_table(str(_csv(tmp_path / "one.csv", b"text\na\ntext\n"))).columns == {"text": ["a", "text"]}


SEPARATED = [
    ('text{0}label\n"well, ""yes""\nand {0} no"{0}1\nü, {0}2\n', ['well, "yes"\nand {0} no', "ü, "]),
    ('\n"text"{0}"label"\n"a"{0}"1"\n0,5{0}2\n', ["a", "0,5"]),
    ('"text"{0}"label"\na{0}1\n', ["a"]),
]


@pytest.mark.parametrize("sign", [";", "|"])
@pytest.mark.parametrize(("content", "texts"), SEPARATED)
@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf"])
def test_a_header_of_one_cell_by_commas_and_several_by_another_sign_says_what_separates_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str, content: str, texts: list[str], begins: bytes
) -> None:
    written = begins + content.format(sign).encode()
    expected = [text.format(sign) for text in texts]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written)))
    packed = _csv(tmp_path / "rows.csv.gz", gzip.compress(written))
    for path in (str(_csv(tmp_path / "rows.csv", written)), str(packed), "-"):
        found = list(good_records(path))
        assert [record.cells for record in found] == [
            {"text": text, "label": str(number)} for number, text in enumerate(expected, start=1)
        ]
        assert {record.separator for record in found} == {sign}


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        (b"text,label;kind\na,1\n", {"text": "a", "label;kind": "1"}),
        (b'"title; body"\na; b; c\n', {"title; body": "a; b; c"}),
        (b"text\na;b\n", {"text": "a;b"}),
        (b"id;text|note\n1;a|b\n", {"id": "1", "text|note": "a|b"}),
    ],
)
def test_commas_come_before_other_signs_and_quotes_before_both(
    tmp_path: Path, content: bytes, cells: dict[str, str]
) -> None:
    assert list(_rows(str(_csv(tmp_path / "rows.csv", content)))) == [cells]


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        (b"day;free, text;label\n1;a;x\n", ["day", "free, text", "label"], [["1", "a", "x"]]),
        (b"id;free, text\n1;a, b\n\n2;c\n3;d,e", ["id", "free, text"], [["1", "a, b"], ["2", "c"], ["3", "d,e"]]),
        (b'id|a;b|"c, d"\n"1"|2|3\n', ["id", "a;b", "c, d"], [["1", "2", "3"]]),
        (b"text,a;b\nc;d,e\nf;g;h,i", ["text", "a;b"], [["c;d", "e"], ["f;g;h", "i"]]),
        (b"id;free, text\n1;a, b\n", ["id;free", " text"], [["1;a", " b"]]),
        (b"id;free, text\n1\n1;a;b\n2;c\n", ["id", "free, text"], [["2", "c"]]),
    ],
)
def test_the_first_rows_tell_which_of_two_signs_is_part_of_a_name(
    tmp_path: Path, content: bytes, names: list[str], rows: list[list[str]]
) -> None:
    found = [record for record in read_records(str(_csv(tmp_path / "rows.csv", content))) if not record.problem]
    assert [list(record.cells.values()) for record in found] == rows
    assert list(found[0].cells) == names


def test_a_row_that_does_not_fit_what_separates_the_header_is_refused_with_it(tmp_path: Path) -> None:
    message = _refusal(_csv(tmp_path / "rows.csv", b"text;label\nwell; yes;1\n"))
    assert message.endswith("row 1 (line 2) has 3 cells where the header has 2, separated by ';'")


def test_of_texts_without_a_header_that_is_said_where_the_first_seems_to_be_one(tmp_path: Path) -> None:
    message = _refusal(_csv(tmp_path / "rows.csv", b"I came; I saw.\nA fine day.\n"))
    assert message.endswith(
        "row 1 (line 2) has 1 cell where the header has 2, separated by ';': if the first line of the file is a text, "
        "put the name of the column on a line above it"
    )


@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
@pytest.mark.parametrize(("encoding", "written"), [("cp1252", "cp1252"), ("utf-16", "utf-16")])
def test_the_command_of_the_refusal_converts_another_encoding(tmp_path: Path, encoding: str, written: str) -> None:
    message = _refusal(old := _csv(tmp_path / "old.csv", "text\n„für“\n".encode(written)))
    command = message[message.index("iconv") :].partition(", where")[0]
    assert f" {encoding.upper()} " in command
    subprocess.run(command.replace("OLD", str(old)).replace("NEW", f"{tmp_path}/n.csv"), shell=True, check=True)  # noqa: S602
    assert read_table(str(tmp_path / "n.csv")).columns == {"text": ["„für“"]}


@pytest.mark.parametrize(
    "content", [b'"text"\t"label"\n"a"\t"x"\n', b'text\tlabel\n"a"\t"x"\n', b'text\tlabel\n"a\nb"\t"x"\n']
)
def test_quotes_of_a_file_that_is_separated_by_tabs_are_not_blamed(tmp_path: Path, content: bytes) -> None:
    message = _refusal(_csv(tmp_path / "rows.csv", content))
    assert """(',' expected after '"'): its cells seem to be separated by tabs: call it .tsv""" in message


@pytest.mark.parametrize("content", [b'"te"xt,label\n', b'text,label\n"a"b; c,x\n', b'text,label\n"a";b,x\n'])
def test_a_quote_within_a_cell_is_asked_about(tmp_path: Path, content: bytes) -> None:
    assert _refusal(_csv(tmp_path / "rows.csv", content)).endswith("is a quote not closed?")


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    assert "'text' stands twice" in _refusal(_csv(tmp_path / "rows.csv", b"text,text\na,b\n"))
    unnamed = _refusal(_csv(tmp_path / "rows.csv", b"text,label,,\na,b,,\n"))
    assert unnamed.endswith("rows.csv: two columns have no name: name them, or take them out")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "row 1 (line 1) names a key twice" in _refusal(_csv(tmp_path / "r.jsonl", b'{"text": "a", "text": "b"}\n'))


def test_a_quote_that_is_not_closed_is_refused(tmp_path: Path) -> None:
    message = _refusal(_csv(tmp_path / "rows.csv", b'text,label\n"a,1\nb,2\n'))
    assert "row 1, lines 2 to 3 are not valid CSV (unexpected end of data): is a quote not closed?" in message


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("rows.csv", b"\xef\xbb\xbfsep=;\r\ntext;label\r\n", "'sep=;', is for spreadsheets: take it out"),
        ("rows.csv", b"sep=\t\ntext,label\n", "'sep=\\t', is for spreadsheets: take it out, and separate cells by ','"),
        ("rows.csv", b"SEP=,\ntext,label\n", "'SEP=,', is for spreadsheets: take it out"),
        ("rows.tsv", b"sep=\t\ntext\tlabel\n", "'sep=\\t', is for spreadsheets: take it out"),
    ],
)
def test_a_line_that_names_the_separator_is_no_header(tmp_path: Path, name: str, content: bytes, advice: str) -> None:
    assert _refusal(_csv(tmp_path / name, content)).endswith(f"{name}: its first line, {advice}")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_byte_that_is_not_utf8_is_refused_with_its_position(tmp_path: Path, name: str) -> None:
    content = b'{"text": "a"}\n{"text": "caf\xe9"}\n' if name.endswith("jsonl") else b"text\ncaf\xe9\n"
    position = content.index(b"\xe9")
    assert f"byte {position} (0xe9) is not UTF-8" in _refusal(_csv(tmp_path / name, content))


def test_a_position_counts_the_byte_order_mark(tmp_path: Path) -> None:
    assert "byte 7 (0xe9)" in _refusal(_csv(tmp_path / "rows.csv", b"\xef\xbb\xbftext\xe9\n"))


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    assert "NUL byte at byte 4" in _refusal(_csv(tmp_path / "rows.csv", b"\x7fELF\0\0\0"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize("lenient", [False, True])
def test_utf16_is_refused_by_its_name(tmp_path: Path, encoding: str, name: str, lenient: bool) -> None:
    path = _csv(tmp_path / name, "\ufefftext,label\na,b\n".encode(encoding))
    with pytest.raises(DataError, match="is in UTF-16; convert the file to UTF-8: iconv -f UTF-16 "):
        list(read_records(str(path), lenient=lenient))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    assert "is not a Parquet file" in _refusal(_csv(tmp_path / "rows.parquet", b"text,label\n" * 9))


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
    assert f"{where}, column 'text' has 10,000,000 characters" in _refusal(path)


def test_a_cell_beyond_the_parser_is_refused_by_its_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("x" * 17_000_000, "a")])
    assert "line 2 is not valid CSV" in _refusal(path)


@pytest.mark.parametrize("line", ["[1]", '"text"', "1", "null"])
def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = _csv(tmp_path / "rows.jsonl", b'{"text": "a"}\n' + line.encode())
    assert "(line 2) is not a JSON object" in _refusal(path)


@pytest.mark.parametrize("line", ["{", '{"text": }', '{"text": ' + "[" * 100_000, '{"n": ' + "9" * 9000 + "}"])
def test_a_line_that_is_not_json_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    assert "row 1 (line 1) is not JSON" in _refusal(_csv(tmp_path / "rows.jsonl", line.encode()))


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_characters_that_no_text_has_are_refused(tmp_path: Path, text: str) -> None:
    path = _csv(tmp_path / "rows.jsonl", json.dumps({"text": text}).encode())
    assert f"row 1 (line 1), column 'text' has U+{ord(text[1]):04X} at character 1" in _refusal(path)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    assert "one folder of .txt files per class" in _refusal(tmp_path)


def test_all_that_ends_in_txt_and_is_not_hidden_is_a_text_and_what_else_lies_there_is_told(tmp_path: Path) -> None:
    for name in ("pos/1.txt", "pos/2.TXT", "pos/3", "pos/.hidden", "pos/._1.txt", "neg/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a text")
    table = read_table(str(tmp_path))
    assert len(table) == 3
    (finding,) = table.findings
    assert (finding.kind, finding.severity, finding.count, finding.examples) == ("not_read", "warning", 1, ("pos/3",))


def test_lines_that_end_in_a_carriage_return_alone_are_told_so(tmp_path: Path) -> None:
    path = tmp_path / "mac.csv"
    path.write_bytes(b"text,label\ra,1\rb,2\r")
    assert "end its lines by line feeds, not by carriage returns alone" in _refusal(path)


def test_a_folder_that_can_not_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for name in ("food/1.txt", "sports/1.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("a text")
    files = text_files(tmp_path)
    next(files)
    shutil.rmtree(tmp_path / "sports")
    with pytest.raises(DataError, match=r"/sports: can't be read: No such file or directory$"):
        next(files)
    with pytest.raises(DataError, match=r"^a{300}\.csv: can't be read: File name too long$"):
        read_table(f"{300 * 'a'}.csv")


def test_a_class_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sports").mkdir()
    assert "sports: has no .txt file" in _refusal(tmp_path)


def test_a_file_in_a_folder_that_is_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sports").mkdir()
    _csv(tmp_path / "sports" / "1.txt", b"x" * 5_000_000)
    assert "row 1 ('sports/1.txt') has 5,000,000 bytes" in _refusal(tmp_path)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Сборная выиграла матч ЧМ-2026 (3:1)."),
        ("cp1253", "Η ομάδα κέρδισε τον αγώνα"),
        ("gb18030", "上证指数上涨 3%"),
        ("cp932", "日経平均は3日ぶりに反発"),
        ("cp949", "코스피가 3% 올랐다"),
        ("cp1255", "הקבוצה ניצחה"),
        ("cp1256", "فاز الفريق بالمباراة"),
        ("cp874", "ทีมชนะการแข่งขัน"),
    ],
)
def test_a_file_in_a_folder_that_can_be_no_latin_is_refused(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "sports").mkdir()
    for name, of in (("1.txt", "Ein Café: £3, «größer»".encode("latin-1")), ("2.txt", text.encode(encoding))):
        _csv(tmp_path / "sports" / name, of)
    assert _refusal(tmp_path).endswith(
        "row 2 ('sports/2.txt') is in neither UTF-8 nor Latin-1, by its bytes; convert it to UTF-8"
    )


def test_bad_files_of_a_folder_are_told_between_the_good_ones(tmp_path: Path) -> None:
    (tmp_path / "sports").mkdir()
    for name, content in {
        "1": b"a",
        "2": b"b\0",
        "3": b"x" * 5_000_000,
        "5": b"z",
        "7": "\ufeffz".encode("utf-16-le"),
        "8": b"caf\xe9",
    }.items():
        _csv(tmp_path / "sports" / f"{name}.txt", content)
    (tmp_path / "sports" / "4.txt").mkdir()
    os.mkfifo(tmp_path / "sports" / "6\x1b.txt")  # reading it would wait for a writer
    assert _problems(tmp_path) == [
        (1, ""),
        (2, "row 2 ('sports/2.txt') has a NUL byte at byte 1; this is not a text file"),
        (3, "row 3 ('sports/3.txt') has 5,000,000 bytes; a text may have 4,000,000"),
        (4, "row 4 ('sports/4.txt') is no file"),
        (5, ""),
        (6, "row 6 ('sports/6\\x1b.txt') is no file"),
        (7, "row 7 ('sports/7.txt') is in UTF-16; convert it to UTF-8"),
        (8, "row 8 ('sports/8.txt') has a byte 0xe9 at byte 3, which is not UTF-8"),
    ]


def _problems(path: Path) -> list[tuple[int, str]]:
    return [(record.number, record.problem) for record in read_records(str(path), lenient=True)]


def test_bad_rows_of_csv_are_told_between_the_good_ones(tmp_path: Path) -> None:
    content = b'id,text\n1,a\n2,b,c\n3\n4,caf\xe9\n5,"x"y\n6,a\0b\n7,z\n'
    records = list(read_records(str(_csv(tmp_path / "rows.csv", content)), lenient=True))
    assert [record.problem for record in records] == [
        "",
        "row 2 (line 3) has 3 cells where the header has 2",
        "row 3 (line 4) has 1 cell where the header has 2",
        "row 4 (line 5), column 'text' has a byte 0xe9, which is not UTF-8",
        "row 5, line 6 is not valid CSV (',' expected after '\"'): is a quote not closed?",
        "row 6 (line 7), column 'text' has U+0000 at character 1, which is no character of a text",
        "",
    ]
    assert [record.cells["id"] for record in records] == ["1", "2", "3", "4", "", "6", "7"]
    assert records[3].cells["text"] == "caf\ufffd"


def test_bad_lines_of_jsonl_are_told_between_the_good_ones(tmp_path: Path) -> None:
    content = b'{"text": "a"}\n{"text": \n\n[1]\n{"text": "caf\xe9"}\n{"text": "\\udc80"}\n{"text": "z"}\n'
    problems = dict(_problems(_csv(tmp_path / "rows.jsonl", content)))
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
    (_, first), (_, second) = _problems(tmp_path / "rows.parquet")
    assert first == ""
    assert "row 2, column 'at' has a value that can't be read as timestamp[us, tz=Mars/Base]" in second


def test_parquet_that_is_not_compressed_needs_no_place_for_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _as_parquet(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert list(_rows(path)) == ROWS


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


def test_a_header_that_is_not_utf8_ends_also_a_lenient_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its header has a byte 0xe9"):
        _problems(_csv(tmp_path / "rows.csv", b"caf\xe9\na\n"))


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("write", WRITERS)
def test_standard_input_is_read_as_files_are(
    tmp_path: Path, write: Callable[[Path], str], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Path(write(tmp_path)).read_bytes()
    packed = compress(suffix, content) if suffix else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert list(_rows("-")) == ROWS


def test_standard_input_may_begin_with_a_frame_that_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zstandard")
    passed_over = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"  # as pzstd writes it
    packed = passed_over + compress(".zst", Path(_as_csv(tmp_path)).read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert list(_rows("-")) == ROWS
