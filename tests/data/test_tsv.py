"""TSV with and without quoting: read as it was written, or refused; never in the wrong one of both readings."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.data.rows import good_records, read_records
from loraloom.data.tsv import MAX_ROW_CHARACTERS, is_quoted, quoted, quoted_as_it_comes
from loraloom.errors import DataError
from loraloom.study.csv_rows import CsvRows

Place = Callable[[str], Path | str]
HEADER = "text\tlabel\n"
PLAIN = [
    '"quoted" word\tpos\nx\tneg\n',
    '"Monitor, new\tpos\nbad\tneg\n',
    '"Monitor, new\tpos\nsaid "no"\tneg\nbad"\tpos\n',
    '"all of it"\tpos\n"not closed\tneg\n',
    '5" pipe\tpos\n"\tneg\n',
    '"x\ty"\n"a" b\tc\n',
]
QUOTED = [
    ('"a ""b"""\tpos\n', ['a "b"', "pos"]),
    ('"a\tb"\tpos\n', ["a\tb", "pos"]),
    ('"a\nb"\tpos\n', ["a\nb", "pos"]),
    ('"a\r\n\r\nb"\t"pos"\r\n', ["a\r\n\r\nb", "pos"]),
    ('"a\tb\nc\td"\tpos\n', ["a\tb\nc\td", "pos"]),
    ('"all of it"\tpos', ["all of it", "pos"]),
    ('""\tpos\n', ["", "pos"]),
    ('a 5" pipe\t"p""os"\n', ['a 5" pipe', 'p"os']),
]
DOUBTFUL = '"Monitor, new\tpos\nbad\tneg\nscreen is 24"\tpos\n'


def _read(path: Path | str) -> list[list[str]]:
    return [list(record.cells.values()) for record in good_records(str(path))]


def _refusal(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        _read(path)
    return str(caught.value)


@pytest.fixture(params=["file", "gzip", "pipe"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Makes a place to read of a text: a file, a compressed one, or standard input."""

    def made(content: str) -> Path | str:
        if request.param == "pipe":
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
            return "-"
        packed = request.param == "gzip"
        path = tmp_path / ("rows.tsv.gz" if packed else "rows.tsv")
        path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        return path

    return made


@pytest.mark.parametrize("content", PLAIN)
def test_where_a_quote_is_not_closed_quotes_are_part_of_all_cells(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(HEADER + content)
    assert _read(path) == [line.split("\t") for line in content.splitlines()]


@pytest.mark.parametrize(("content", "row"), QUOTED)
def test_where_all_quotes_are_closed_they_enclose_cells(place: Place, content: str, row: list[str]) -> None:
    assert _read(place(HEADER + content)) == [row]


def test_rows_that_both_readings_have_and_that_differ_are_refused(place: Place) -> None:
    message = _refusal(place(HEADER + DOUBTFUL))
    assert "line 2 has a cell that begins with a quote, and it can't be told" in message
    assert message.endswith("quote all names in the header too, else convert the file to JSONL")


def test_a_quoted_header_says_that_cells_are_quoted(place: Place) -> None:
    assert _read(place('"text"\t"label"\n' + DOUBTFUL)) == [
        ["Monitor, new\tpos\nbad\tneg\nscreen is 24", "pos"],
    ]


def test_a_row_that_fits_if_quoted_alone_says_that_cells_are_quoted(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(HEADER + DOUBTFUL + '"a\tb"\tpos\n')
    assert len(_read(path)) == 2


def test_a_pipe_is_plain_by_its_first_quote(monkeypatch: pytest.MonkeyPatch) -> None:
    content = 'x\tneg\n"Monitor" is new\tpos\n"all of it"\tneg\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((HEADER + content).encode())))
    assert _read("-") == [line.split("\t") for line in content.splitlines()]


def test_a_pipe_whose_later_quotes_show_that_earlier_were_read_wrongly_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = (HEADER + '"all of it"\tpos\nx\tneg\n"not closed\tneg\n').encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert "line 4 has a cell that begins with a quote and is not quoted as in CSV, but line 2" in _refusal("-")


def test_a_pipe_gives_rows_before_it_ends() -> None:
    def endless() -> Iterator[str]:
        yield HEADER
        while True:
            yield '"a ""b"""\tpos\n'

    lines = quoted_as_it_comes(endless(), "pipe")
    assert [next(lines) for _ in range(3)] == [HEADER, *['"a ""b"""\tpos\n'] * 2]


def test_quotes_that_contradict_a_quoted_row_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text(HEADER + '"a\nb"\tpos\n"c" d\tneg\n')
    assert "line 4 has a cell that begins with a quote" in _refusal(tmp_path / "rows.tsv")


def test_a_row_of_plain_cells_that_does_not_fit_says_how_quotes_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text(HEADER + '"c" d\tneg\n"a\nb"\tpos\n')
    assert _refusal(tmp_path / "rows.tsv").endswith(
        "row 2 (line 3) has 1 cell where the header has 2; quotes are read as part of its cells, since not all quotes "
        "in the file are closed"
    )


def test_a_quote_that_is_closed_too_late_is_no_enclosing_one() -> None:
    line = "x" * 1000 + "\n"
    assert not is_quoted([HEADER, '"', *[line] * (MAX_ROW_CHARACTERS // 1000), '"\tpos\n'], "rows")


def test_bad_rows_are_told_between_the_good_ones(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text(HEADER + '"a ""b"""\tpos\nragged\n"c"\tneg\n')
    records = list(read_records(str(tmp_path / "rows.tsv"), lenient=True))
    assert [bool(record.problem) for record in records] == [False, True, False]
    assert records[2].cells == {"text": "c", "label": "neg"}


def _tables(alphabet: str) -> st.SearchStrategy[list[list[str]]]:
    cells = st.text(alphabet, max_size=6)
    return st.integers(2, 3).flatmap(
        lambda columns: st.lists(st.lists(cells, min_size=columns, max_size=columns), min_size=1, max_size=5)
    )


def _parsed(lines: Iterator[str]) -> list[list[str]]:
    return list(csv.reader(lines, delimiter="\t", strict=True))


def _in_file(content: str) -> list[list[str]]:
    """Rows as they are read of a file, without the header."""
    lines = list(io.StringIO(content, newline="\n"))
    return _parsed(iter(lines) if is_quoted(lines, "rows") else quoted(lines))[1:]


def _in_pipe(content: str) -> list[list[str]]:
    return _parsed(quoted_as_it_comes(io.StringIO(content, newline="\n"), "pipe"))[1:]


@given(_tables('a"\t\n\r'), st.booleans())
def test_what_predictions_are_written_as_is_read_as_it_was(table: list[list[str]], pipe: bool) -> None:
    file = io.StringIO(newline="")
    written = CsvRows(file, "\t")
    written.write(["x"] * len(table[0]), quoted=True)
    for row in table:
        written.write(row)
    assert (_in_pipe if pipe else _in_file)(file.getvalue()) == table


@given(_tables('a"\t\n'), st.booleans())
def test_quoted_cells_are_read_as_they_were_or_refused(table: list[list[str]], pipe: bool) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([["x"] * len(table[0]), *table])
    try:
        read = (_in_pipe if pipe else _in_file)(file.getvalue())
    except DataError:
        return
    assert read == table


@given(_tables('a"'), st.booleans())
def test_plain_cells_are_read_as_they_were_or_without_quotes_around_them_or_refused(
    table: list[list[str]], pipe: bool
) -> None:
    lines = ["\t".join(row) + "\n" for row in [["x"] * len(table[0]), *table]]
    try:
        read = (_in_pipe if pipe else _in_file)("".join(lines))
    except DataError:
        return
    assert read == table or read == [_parsed(iter([line]))[0] for line in lines[1:]]
