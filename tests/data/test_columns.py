"""Columns: named, guessed beyond doubt, or refused; and the texts that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from loraloom.data import TextData, load_data, text_of
from loraloom.data.columns import choose_text, named_columns
from loraloom.data.tables import Table
from loraloom.errors import DataError, OptionError
from loraloom.recipe import Configuration
from tests.data.files import load, refusal, rows, sentence, write_csv, write_jsonl


def _load(path: str, **fields: Any) -> TextData:
    return load(train_file=path, **fields)


def _guess(data: TextData) -> str:
    (finding,) = (finding for finding in data.findings if finding.kind == "guessed_column")
    return finding.sentence


@pytest.mark.parametrize(("text", "label"), [("text", "label"), ("Sentence", "Category"), ("review", "class")])
def test_customary_names_are_guessed_and_said(tmp_path: Path, text: str, label: str) -> None:
    content = [(str(number), *row) for number, row in enumerate(rows(30))]
    guess = _guess(_load(write_csv(tmp_path / "rows.csv", content, header=("id", text, label))))
    assert f"text from '{text}' and labels from '{label}'" in guess


def test_a_guess_that_leaves_longer_texts_out_is_a_warning(tmp_path: Path) -> None:
    content = [(f"about {number}", text, label) for number, (text, label) in enumerate(rows(30))]
    subject = write_csv(tmp_path / "subject.csv", content, header=("Subject", "body of it", "class"))
    body = write_csv(tmp_path / "body.csv", content, header=("subject of it", "Body", "class"))
    (warned,), (said,) = (
        [each for each in _load(path).findings if each.kind == "guessed_column"] for path in (subject, body)
    )
    assert (warned.severity, said.severity) == ("warning", "note")
    assert "text from 'Subject' and labels from 'class'" in warned.sentence
    assert warned.sentence.endswith(
        "'body of it' holds longer texts and is not read: name all that are to be by data.text_column."
    )


def test_of_a_pair_of_texts_it_is_said_that_one_is_not_read(tmp_path: Path) -> None:
    content = [
        (f"{text} or what else is there", f"it is {text}", "asked on the same day", text[:9], label)
        for text, label in rows(30)
    ]
    path = write_csv(tmp_path / "rows.csv", content, header=("question", "answer", "note", "by", "label"))
    (guess,) = [each for each in _load(path).findings if each.kind == "guessed_column"]
    assert guess.severity == "note"
    assert guess.sentence.endswith(
        "no column was named. 'answer' holds texts too and is not read: name all that are to be by data.text_column."
    )


@pytest.mark.parametrize("beside", ["asked that same day", "asked on day {1}", "{0} A Smith"])
def test_what_repeats_or_is_as_short_as_a_name_is_no_other_of_a_pair(tmp_path: Path, beside: str) -> None:
    content = [
        (" ".join(text.split()[:4]), beside.format(number, number % 2), label)
        for number, (text, label) in enumerate(rows(30))
    ]
    path = write_csv(tmp_path / "rows.csv", content, header=("question", "note", "label"))
    assert _guess(_load(path)).endswith("guessed since no column was named.")


def test_a_longer_text_of_a_script_without_spaces_is_told_from_an_address(tmp_path: Path) -> None:
    content = [
        (f"上证指数{number}", "https://an.example/a-b-c/d", 9 * text, label)
        for number, (text, label) in enumerate(30 * [("央行宣布", "财经"), ("球队", "体育")])
    ]
    path = write_csv(tmp_path / "rows.csv", content, header=("title", "url", "正文", "label"))
    (warned,) = [each for each in _load(path).findings if each.kind == "guessed_column"]
    assert "text from 'title'" in warned.sentence
    assert "'正文' holds longer texts and is not read" in warned.sentence


@pytest.mark.parametrize(
    ("given", "names"), [(None, None), ("", None), ([], None), ("title", ("title",)), (["a", "b"], ("a", "b"))]
)
def test_columns_are_named_alone_together_or_not_at_all(given: Any, names: tuple[str, ...] | None) -> None:
    assert named_columns(given) == names


def test_a_column_that_options_name_twice_is_refused_as_in_a_recipe() -> None:
    with pytest.raises(OptionError, match="text_column: 'title' is named twice; name each column once"):
        named_columns(["title", "body", "title"])


def test_named_columns_are_no_guess(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(30), header=("a", "b"))
    data = _load(path, text_column=("a",), label_column="b")
    assert "guessed_column" not in {finding.kind for finding in data.findings}


def test_a_text_that_is_named_is_read_where_labels_are_guessed(tmp_path: Path) -> None:
    content = [(f"about {number}", 2 * text, label) for number, (text, label) in enumerate(rows(30))]
    data = _load(
        write_csv(tmp_path / "rows.csv", content, header=("heading", "text", "label")), text_column=("heading",)
    )
    assert all(text.startswith("about ") for text in data.train.texts)
    assert _guess(data).endswith("rows.csv: labels from 'label', guessed since no column was named.")


def test_of_two_columns_the_one_that_repeats_is_the_label(tmp_path: Path) -> None:
    content = [(label, text) for text, label in rows(30)]
    assert "text from 'b' and labels from 'a'" in _guess(
        _load(write_csv(tmp_path / "rows.csv", content, header=("a", "b")))
    )


def test_two_columns_of_which_none_repeats_are_refused(tmp_path: Path) -> None:
    content = [(sentence(number), sentence(number + 100)) for number in range(30)]
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", content, header=("a", "b")))
    assert "give data.text_column and data.label_column; its columns are 'a', 'b'" in message


@pytest.mark.parametrize("named", [{"label_column": "words"}, {"text_column": ("kind",)}])
def test_a_column_that_is_named_is_what_it_is_named_for(tmp_path: Path, named: dict[str, Any]) -> None:
    content = [(label, text) for text, label in rows(30)]
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", content, header=("kind", "words")), **named)
    other = "text" if "label_column" in named else "label"
    assert f"give data.{other}_column; its columns are 'kind', 'words'" in message


def test_two_customary_names_of_a_text_are_in_doubt(tmp_path: Path) -> None:
    content = [(text, text, label) for text, label in rows(30)]
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", content, header=("title", "text", "label")))
    assert "give data.text_column; its columns are 'title', 'text', 'label'" in message


def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path) -> None:
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", rows(30)), text_column=("body",))
    assert message.endswith("rows.csv: has no column 'body'; its columns are 'text', 'label'")


def test_rows_without_labels_that_lack_a_column_name_the_option_as_rows_with_labels_do() -> None:
    table = Table("test.csv", {"text": ["a text"], "id": ["1"]})
    with pytest.raises(DataError) as caught:
        choose_text(table, ("body",))
    assert str(caught.value) == (
        "test.csv: has no column 'body'; its columns are 'text', 'id'; name the text's by --text_column"
    )


def test_a_file_of_texts_alone_without_a_header_is_refused() -> None:
    table = Table("test.csv", {"a first text": ["a second text", "a first text"]}, has_header=True)
    with pytest.raises(DataError, match="its first row looks like data"):
        choose_text(table, None)
    assert choose_text(table, ("a first text",)) == ("a first text",)


def test_of_very_many_columns_the_first_hundred_are_listed() -> None:
    names = [f"c{number}" for number in range(150)]
    with pytest.raises(DataError, match=r"its columns are 'c0', .*, 'c99' and 50 more; of several texts"):
        choose_text(Table("rows.csv", {name: ["a", "b"] for name in names}), None)
    with pytest.raises(DataError, match=r"the columns are 'c0', .*, 'c99' and 50 more$"):
        text_of(dict.fromkeys(names, "a"), ("text",))


def test_a_cell_that_is_nested_more_deeply_than_python_writes_is_no_text() -> None:
    """Python reads a line in a thread of few frames: what it can just read there it can't write."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataError, match=r"^column 'text' holds a list \(nested too deeply to be shown\), not text$"):
        text_of({"text": deep}, ("text",))


def test_a_name_is_listed_with_the_blanks_by_which_it_is_another(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(30), header=("text", " label"))
    message = refusal(train_file=path, text_column=("text",), label_column="label")
    assert message.endswith("rows.csv: has no column 'label'; its columns are 'text', ' label'")


def test_a_test_file_without_a_named_column_is_refused(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", rows(30), header=("text", "kind"))
    train = write_csv(tmp_path / "rows.csv", rows(30, start=99))
    message = refusal(train_file=train, test_file=test, label_column="label")
    assert "test.csv: has no column 'label'; its columns are 'text', 'kind'; rows of test need labels" in message


def test_columns_of_a_test_file_are_guessed_where_none_were_named_and_said(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", rows(9), header=("content", "category"))
    data = _load(write_csv(tmp_path / "rows.csv", rows(30, start=99)), test_file=test)
    assert len(data.test) == 9
    assert "text from 'content' and labels from 'category'" in data.findings[1].sentence


def test_a_text_that_holds_its_own_label_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(30))
    assert "'label' is also the label" in refusal(train_file=path, text_column=("text", "label"), label_column="label")


@pytest.mark.parametrize("code", ["3", "Sports"])
def test_a_file_without_a_header_is_refused_rather_than_losing_a_row(tmp_path: Path, code: str) -> None:
    first, *rest = [(code, "Wall St. Bears", sentence(number)) for number in range(30)]
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", rest, header=first))
    assert f"its first row looks like data ('{code}')" in message


def test_a_file_of_two_columns_without_a_header_is_refused(tmp_path: Path) -> None:
    first, *rest = rows(30)
    assert "first row looks like data" in refusal(train_file=write_csv(tmp_path / "rows.csv", rest, header=first))


@pytest.mark.parametrize(("header", "what"), [(("", "label"), "texts"), (("text", ""), "labels")])
def test_a_column_without_a_name_is_not_guessed(tmp_path: Path, header: tuple[str, ...], what: str) -> None:
    """As pandas names a frame's index: no recipe could name it, and no trial's record."""
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", rows(30), header=header))
    assert f"rows.csv: the column of its {what} has no name: give it one; its columns are" in message


def test_cells_that_are_separated_by_tabs_are_recognised_and_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("a b\tx",), ("c d\ty",)], header=("text\tlabel",))
    message = refusal(train_file=path)
    assert "where text and label are two; its cells seem to be separated by tabs: call it .tsv" in message


@pytest.mark.parametrize("sign", [";", "|"])
def test_by_what_cells_are_separated_is_said_where_it_is_no_comma(tmp_path: Path, sign: str) -> None:
    expected = _load(write_csv(tmp_path / "commas.csv", rows(30)))
    data = _load(write_csv(tmp_path / "rows.csv", rows(30), delimiter=sign))
    assert (data.train.texts, data.labels, data.fingerprint) == (
        expected.train.texts,
        expected.labels,
        expected.fingerprint,
    )
    said = [finding.sentence for finding in data.findings if finding.kind == "separated"]
    assert said == [f"{tmp_path}/rows.csv: its cells are separated by {sign!r}."]
    assert not [finding for finding in expected.findings if finding.kind == "separated"]


def test_of_one_column_no_name_is_asked_for(tmp_path: Path) -> None:
    unlabelled = write_csv(tmp_path / "test.csv", [(text,) for text, _ in rows(30)], header=("sentence",))
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", rows(30, start=99)), test_file=unlabelled)
    assert "test.csv: has one column, 'sentence', where text and label are two; rows of test need labels" in message


def test_several_columns_are_joined_by_a_space(tmp_path: Path) -> None:
    content = [("Title", text, label) for text, label in rows(30)]
    path = write_csv(tmp_path / "rows.csv", content, header=("title", "text", "label"))
    data = _load(path, text_column=("title", "text"), label_column="label")
    assert all(text.startswith("Title ") for text in data.train.texts)


def test_text_of_a_row_leaves_out_missing_and_empty_cells() -> None:
    row = {"a": "one", "b": None, "c": "", "d": "two"}
    assert text_of(row, ("a", "b", "c", "d")) == "one two"
    assert text_of(row, ("b",)) == ""


def test_text_of_a_row_refuses_a_missing_column() -> None:
    with pytest.raises(DataError, match="no column 'body'; the columns are 'a'"):
        text_of({"a": "one"}, ("body",))
    with pytest.raises(DataError, match=r"no column 'body'; the row is empty$"):
        text_of({}, ("body",))


@pytest.mark.parametrize(
    ("cell", "kind"),
    [(3, "number"), (1.5, "number"), (["a"], "list"), ({"a": "b"}, "mapping"), (True, "truth value")],
)
def test_a_cell_that_is_not_text_is_refused(tmp_path: Path, cell: Any, kind: str) -> None:
    with pytest.raises(DataError, match=rf"column 'text' holds a {kind} \("):
        text_of({"text": cell}, ("text",))
    content: list[dict[str, Any]] = [{"text": text, "label": label} for text, label in rows(30)]
    content[4]["text"] = cell
    message = refusal(train_file=write_jsonl(tmp_path / "rows.jsonl", content))
    assert f"row 5, column 'text' holds a {kind} (" in message


def test_nan_is_a_missing_text_as_null_is(tmp_path: Path) -> None:
    """Which pandas writes into JSON and Parquet."""
    content: list[dict[str, Any]] = [{"text": text, "label": label, "source": "x"} for text, label in rows(30)]
    found = []
    for missing in (None, float("nan")):
        content[4] |= {"text": missing, "source": missing}
        data = _load(write_jsonl(tmp_path / "rows.jsonl", content))
        found.append(([finding.sentence for finding in data.findings], data.train.texts, data.train.sources))
        assert text_of({"a": "one", "b": missing}, ("a", "b")) == "one"
        assert text_of({"b": missing}, ("b",)) == ""
    assert found[0] == found[1]
    assert any("empty" in sentence for sentence in found[0][0])


def test_numbers_as_text_in_csv_are_text(tmp_path: Path) -> None:
    content = [(str(number), "ab"[number % 2]) for number in range(30)]
    assert _load(write_csv(tmp_path / "rows.csv", content)).train.texts[0].isdecimal()


def test_a_column_source_goes_with_its_rows_into_every_split() -> None:
    rows = [(f"text number {row} of the {row % 2} kind", "ab"[row % 2], f"paper {row}") for row in range(40)]
    frame = pd.DataFrame(rows, columns=["text", "label", "Source"])
    data = load_data(Configuration().data, seed=1, train=frame)
    source_of = {text: source for text, _, source in rows}
    for split in (data.train, data.validation, data.test):
        assert split.sources == tuple(source_of[text] for text in split.texts)


@pytest.mark.parametrize("columns", [["text", "label", "origin"], ["source", "label", "x"], ["text", "source", "x"]])
def test_another_column_or_one_that_is_the_text_or_the_label_is_no_source(columns: list[str]) -> None:
    frame = pd.DataFrame([(f"text {row}", "ab"[row % 2], "paper") for row in range(40)], columns=columns)
    named = {"text_column": (columns[0],), "label_column": columns[1]}
    data = load_data(Configuration().data.model_copy(update=named), seed=1, train=frame)
    assert data.train.sources is None


def test_sources_that_are_not_texts_are_shown_as_text() -> None:
    cells = [None, 3, "\ud800", "x" * 999, {"a": 1}] * 8
    frame = pd.DataFrame({"text": [f"text {row}" for row in range(40)], "label": ["a", "b"] * 20, "source": cells})
    data = load_data(Configuration().data, seed=1, train=frame)
    assert data.train.sources is not None
    assert set(data.train.sources) == {"", "3", "?", "x" * 200, "{'a': 1}"}
