"""CSV: by what its cells are separated, what its header is, and which rows are refused."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loraloom.data.rows import good_records, read_records
from loraloom.data.tables import read_table
from loraloom.errors import DataError
from tests.data.files import write_csv
from tests.data.reading import file_of, problems_of, refusal_of, rows_of


def test_a_ragged_row_is_refused_with_its_number_and_cells(tmp_path: Path) -> None:
    path = file_of(tmp_path / "rows.csv", b'text,label\n"a\nb",1\nc,2,3\n')
    assert refusal_of(path).endswith("row 2 (line 4) has 3 cells where the header has 2")


@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf"])
def test_a_header_in_the_midst_of_joined_files_is_no_row(tmp_path: Path, begins: bytes) -> None:
    path = file_of(tmp_path / "rows.csv", 2 * (begins + b"text,label\na,x\n"))
    assert refusal_of(path).endswith("row 2 (line 3) repeats the first line, which is to name the columns")
    assert read_table(str(file_of(tmp_path / "one.csv", b"text\na\ntext\n"))).columns == {"text": ["a", "text"]}


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
    packed = file_of(tmp_path / "rows.csv.gz", gzip.compress(written))
    for path in (str(file_of(tmp_path / "rows.csv", written)), str(packed), "-"):
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
    assert list(rows_of(str(file_of(tmp_path / "rows.csv", content)))) == [cells]


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
    found = [record for record in read_records(str(file_of(tmp_path / "rows.csv", content))) if not record.problem]
    assert [list(record.cells.values()) for record in found] == rows
    assert list(found[0].cells) == names


def test_a_row_that_does_not_fit_what_separates_the_header_is_refused_with_it(tmp_path: Path) -> None:
    message = refusal_of(file_of(tmp_path / "rows.csv", b"text;label\nwell; yes;1\n"))
    assert message.endswith("row 1 (line 2) has 3 cells where the header has 2, separated by ';'")


def test_of_texts_without_a_header_that_is_said_where_the_first_seems_to_be_one(tmp_path: Path) -> None:
    message = refusal_of(file_of(tmp_path / "rows.csv", b"I came; I saw.\nA fine day.\n"))
    assert message.endswith(
        "row 1 (line 2) has 1 cell where the header has 2, separated by ';': if the first line of the file is a text, "
        "put the name of the column on a line above it"
    )


@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
@pytest.mark.parametrize(("encoding", "written"), [("cp1252", "cp1252"), ("utf-16", "utf-16")])
def test_the_command_of_the_refusal_converts_another_encoding(tmp_path: Path, encoding: str, written: str) -> None:
    message = refusal_of(old := file_of(tmp_path / "old.csv", "text\n„für“\n".encode(written)))
    command = message[message.index("iconv") :].partition(", where")[0]
    assert f" {encoding.upper()} " in command
    subprocess.run(command.replace("OLD", str(old)).replace("NEW", f"{tmp_path}/n.csv"), shell=True, check=True)  # noqa: S602
    assert read_table(str(tmp_path / "n.csv")).columns == {"text": ["„für“"]}


@pytest.mark.parametrize(
    "content", [b'"text"\t"label"\n"a"\t"x"\n', b'text\tlabel\n"a"\t"x"\n', b'text\tlabel\n"a\nb"\t"x"\n']
)
def test_quotes_of_a_file_that_is_separated_by_tabs_are_not_blamed(tmp_path: Path, content: bytes) -> None:
    message = refusal_of(file_of(tmp_path / "rows.csv", content))
    assert """(',' expected after '"'): its cells seem to be separated by tabs: call it .tsv""" in message


@pytest.mark.parametrize("content", [b'"te"xt,label\n', b'text,label\n"a"b; c,x\n', b'text,label\n"a";b,x\n'])
def test_a_quote_within_a_cell_is_asked_about(tmp_path: Path, content: bytes) -> None:
    assert refusal_of(file_of(tmp_path / "rows.csv", content)).endswith("is a quote not closed?")


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    assert "'text' stands twice" in refusal_of(file_of(tmp_path / "rows.csv", b"text,text\na,b\n"))
    unnamed = refusal_of(file_of(tmp_path / "rows.csv", b"text,label,,\na,b,,\n"))
    assert unnamed.endswith("rows.csv: two columns have no name: name them, or take them out")


def test_a_quote_that_is_not_closed_is_refused(tmp_path: Path) -> None:
    message = refusal_of(file_of(tmp_path / "rows.csv", b'text,label\n"a,1\nb,2\n'))
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
    assert refusal_of(file_of(tmp_path / name, content)).endswith(f"{name}: its first line, {advice}")


def test_a_cell_beyond_the_parser_is_refused_by_its_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("x" * 17_000_000, "a")])
    assert "line 2 is not valid CSV" in refusal_of(path)


def test_lines_that_end_in_a_carriage_return_alone_are_told_so(tmp_path: Path) -> None:
    path = tmp_path / "mac.csv"
    path.write_bytes(b"text,label\ra,1\rb,2\r")
    assert "end its lines by line feeds, not by carriage returns alone" in refusal_of(path)


def test_bad_rows_of_csv_are_told_between_the_good_ones(tmp_path: Path) -> None:
    content = b'id,text\n1,a\n2,b,c\n3\n4,caf\xe9\n5,"x"y\n6,a\0b\n7,z\n'
    records = list(read_records(str(file_of(tmp_path / "rows.csv", content)), lenient=True))
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


def test_a_header_that_is_not_utf8_ends_also_a_lenient_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its header has a byte 0xe9"):
        problems_of(file_of(tmp_path / "rows.csv", b"caf\xe9\na\n"))
