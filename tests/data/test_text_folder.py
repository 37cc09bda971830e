"""A folder of folders of texts: what is read of it, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from loraloom.data.rows import read_records
from loraloom.data.tables import read_table
from loraloom.data.text_folder import text_files
from loraloom.errors import DataError
from tests.data.reading import file_of, problems_of, refusal_of, rows_of


def test_a_folder_gives_a_row_for_each_file(tmp_path: Path) -> None:
    for label, name, text in (("b", "2.txt", "second"), ("a", "1.txt", "first"), (".git", "x.txt", "none")):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_text(text)
    assert list(rows_of(str(tmp_path))) == [
        {"text": "first", "label": "a"},
        {"text": "second", "label": "b"},
    ]


def test_rows_of_a_folder_that_may_be_left_out_have_their_files_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in (b"1.txt", b"2 \xe9.txt"):
        (tmp_path / "a" / os.fsdecode(name)).write_text("some")
    records = list(read_records(str(tmp_path), lenient=True))
    assert [(record.cells["file"], record.problem) for record in records] == [("a/1.txt", ""), ("a/2 \ufffd.txt", "")]


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    assert "one folder of .txt files per class" in refusal_of(tmp_path)


def test_all_that_ends_in_txt_and_is_not_hidden_is_a_text_and_what_else_lies_there_is_told(tmp_path: Path) -> None:
    for name in ("pos/1.txt", "pos/2.TXT", "pos/3", "pos/.hidden", "pos/._1.txt", "neg/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a text")
    table = read_table(str(tmp_path))
    assert len(table) == 3
    (finding,) = table.findings
    assert (finding.kind, finding.severity, finding.count, finding.examples) == ("not_read", "warning", 1, ("pos/3",))


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
    assert "sports: has no .txt file" in refusal_of(tmp_path)


def test_a_file_in_a_folder_that_is_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sports").mkdir()
    file_of(tmp_path / "sports" / "1.txt", b"x" * 5_000_000)
    assert "row 1 ('sports/1.txt') has 5,000,000 bytes" in refusal_of(tmp_path)


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
        file_of(tmp_path / "sports" / name, of)
    assert refusal_of(tmp_path).endswith(
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
        file_of(tmp_path / "sports" / f"{name}.txt", content)
    (tmp_path / "sports" / "4.txt").mkdir()
    os.mkfifo(tmp_path / "sports" / "6\x1b.txt")  # reading it would wait for a writer
    assert problems_of(tmp_path) == [
        (1, ""),
        (2, "row 2 ('sports/2.txt') has a NUL byte at byte 1; this is not a text file"),
        (3, "row 3 ('sports/3.txt') has 5,000,000 bytes; a text may have 4,000,000"),
        (4, "row 4 ('sports/4.txt') is no file"),
        (5, ""),
        (6, "row 6 ('sports/6\\x1b.txt') is no file"),
        (7, "row 7 ('sports/7.txt') is in UTF-16; convert it to UTF-8"),
        (8, "row 8 ('sports/8.txt') has a byte 0xe9 at byte 3, which is not UTF-8"),
    ]
