"""Labels: codes, their order, and one mapping for every split; the first number is never guessed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loraloom.data import read_labelled
from loraloom.data.labels import Labels, codes_of, ids_of, ids_read, labels_of, names_of, ordered
from loraloom.data.tables import Table, read_table
from loraloom.errors import DataError
from tests.data.files import CLASSES, load, rows, write_csv, write_jsonl

AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")


def _codes(cells: list[Any]) -> list[str]:
    return codes_of(Table("rows.csv", {"label": cells}), "label")


def _refusal(cells: list[Any]) -> str:
    with pytest.raises(DataError) as caught:
        _codes(cells)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        (["01", "2", "1.0"], ("1", "2")),
        (["01", "02", "10"], ("01", "02", "10")),  # as they stand, where each is written in one way
        (["1", "01"], ("1",)),
        ([2, 10, 1], ("1", "2", "10")),
        ([1.0, 0.0], ("0", "1")),
        (["b", "a", " a "], ("a", "b")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([True, False], ("False", "True")),
        (["-1", "1"], ("-1", "1")),
        ([-1, 1], ("-1", "1")),
        (["1.0", "2.0"], ("1", "2")),
        (["1.0", "2"], ("1", "2")),
        (["2.0", "+1"], ("1", "2")),
    ],
)
def test_codes_are_ordered_as_numbers_where_all_are_whole(cells: list[Any], kinds: tuple[str, ...]) -> None:
    assert ordered(_codes(cells)) == kinds


@pytest.mark.parametrize("cells", [["1", "2", "1"], [1, 2, 1], ["01", "02", "01"], ["1.0", "2.0", "1.0"]])
def test_whole_numbers_are_looked_up_by_their_value(cells: list[Any]) -> None:
    table = Table("rows.csv", {"label": cells}, {})
    assert names_of(table, "label", Labels(("01", "02"), ("01", "02"))) == ["01", "02", "01"]


@pytest.mark.parametrize("names", [("0.0", "1.0"), ("01", "02")])
def test_numbers_of_classes_whose_names_are_numbers_are_not_taken_for_those(names: tuple[str, str]) -> None:
    table = Table("rows", {"label": [0, 1]}, {"label": names}, known=True, coded=False)
    assert names_of(table, "label", Labels(names, names)) == list(names)


def test_names_are_not_taken_for_the_codes_of_other_classes() -> None:
    labels = Labels(("01", "02"), ("0", "1"))
    assert names_of(Table("rows.csv", {"label": ["01", "x"]}), "label", labels) == ["01", "x"]
    ids, said = ids_read(["1", "2"], Labels(("2", "1"), ("0", "1")), "rows.csv")
    assert (ids.tolist(), said) == ([1, 0], None)


def test_names_that_training_took_as_they_were_are_known_as_cells_are_read() -> None:
    labels = Labels((" a", "cafe\u0301"), (" a", "cafe\u0301"))
    assert names_of(Table("rows.csv", {"label": [" a", "caf\u00e9"]}), "label", labels) == list(labels.names)
    both = Labels((" a", "a"), (" a", "a"))
    assert names_of(Table("rows.csv", {"label": ["a"]}), "label", both) == ["a"]
    apart = Labels((" a", "a "), (" a", "a "))
    assert names_of(Table("rows.csv", {"label": ["a"]}), "label", apart) == ["a"]  # which of the two can't be told
    for cells in ([" a", "a"], ["a", " a", "a"]):  # each is a class of its own, and not the other
        assert names_of(Table("rows.csv", {"label": cells}), "label", both) == cells


def test_decimals_of_a_database_are_the_whole_numbers_that_they_are() -> None:
    digits = "12345678901234567890123456789012345678"
    assert _codes([Decimal("2.00"), Decimal(digits), Decimal("-1"), 1]) == ["2", digits, "-1", "1"]


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan"), np.float32("nan")])
def test_missing_labels_are_refused_with_their_rows(missing: Any) -> None:
    cells = ["a", missing, "b", missing, missing, missing]
    assert (
        _refusal(cells)
        == "rows.csv: column 'label' has no label in rows 2, 4, 5 and 1 more; label these rows, or take them out"
    )


def test_minus_one_is_no_label_where_the_file_declares_its_classes() -> None:
    with pytest.raises(DataError, match="'label' has no label in rows 2, 4, 5; "):
        codes_of(Table("rows", {"label": [0, -1, 1, None, -1]}, {"label": ("a", "b")}, known=True), "label")


@pytest.mark.parametrize("name", ["", " "])
def test_a_class_that_is_declared_without_a_name_is_refused_where_it_has_rows(name: str) -> None:
    assert labels_of(["1", "2"], (name, "a", "b")).names == ("a", "b")
    with pytest.raises(DataError, match="the class of label 0 is declared without a name; name it, or take its rows"):
        labels_of(["0", "1"], (name, "a", "b"))


@pytest.mark.parametrize(
    "cells", [[1.0, 0.5], ["1", "0.5"], [1.0, float("inf")], [1, Decimal("0.5")], [1, Decimal("Infinity")]]
)
def test_numbers_that_are_not_whole_are_refused(cells: list[Any]) -> None:
    assert "in row 2; a label is a name or a whole number" in _refusal(cells)


@pytest.mark.parametrize("cells", [[3.5, 4.0], ["3.5", "4"]])
def test_of_scores_it_is_said_how_they_become_classes(cells: list[Any]) -> None:
    assert _refusal(cells).endswith(
        "; a label is a name or a whole number: make classes of the numbers, such as low and high"
    )


def test_a_number_of_more_digits_than_python_reads_is_a_name() -> None:
    assert _codes(["1" * 5_000, "a"]) == ["1" * 5_000, "a"]
    assert len(refusal := _refusal(["1" * 5_000, "2"])) < 250
    assert "in row 1; a label is a name or a whole number" in refusal


@pytest.mark.parametrize("cells", [["a", 1], [True, 1], ["a", False]])
def test_labels_of_several_kinds_are_refused(cells: list[Any]) -> None:
    refusal = _refusal(cells)
    assert f"(row {len(cells)} is not as row 1)" in refusal
    assert "must all be of one kind" in refusal


@pytest.mark.parametrize(
    ("cell", "kind"),
    [(["a", "b"], "list"), (("a", "b"), "list"), ({"a", "b"}, "set"), (np.array(["a", "b"]), "list")],
)
def test_several_labels_of_a_text_are_refused_with_what_is_done_instead(cell: Any, kind: str) -> None:
    refusal = _refusal([cell, cell])
    assert f"column 'label' holds a {kind}; a label is a name or a number, " in refusal
    assert refusal.endswith("one of each text: for several, train a classifier for each")


@pytest.mark.parametrize("unit", ["D", "us", "ns"])
def test_a_time_is_no_label_whatever_it_is_counted_in(unit: str) -> None:
    """Of nanoseconds, as pandas has long counted in, numpy makes whole numbers."""
    days = np.array(["2026-01-01", "2026-01-02"], dtype=f"datetime64[{unit}]")
    assert "column 'label' holds a datetime64; a label is a name or a number" in _refusal(list(days))
    assert "column 'label' holds a timedelta64; a label is a name or a number" in _refusal(list(days - days[0]))


@pytest.mark.parametrize(("cell", "kind"), [(["a"], "list"), ({"a": 1}, "mapping")])
def test_nested_labels_are_refused(cell: Any, kind: str) -> None:
    assert f"holds a {kind};" in _refusal(["a", cell])


@given(st.lists(st.integers(-50, 50) | st.integers(), min_size=1))
def test_numbers_map_to_ids_in_their_order_whether_written_as_text_or_not(numbers: list[int]) -> None:
    for cells in (list(numbers), [str(number) for number in numbers]):
        codes = _codes(cells)
        labels = labels_of(codes, None)
        ids = ids_of(codes, labels, "rows.csv")
        assert [int(labels.codes[number]) for number in ids] == numbers
        assert sorted(set(ids.tolist())) == list(range(len(labels.codes)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
    )
)
def test_every_row_keeps_its_label_under_the_mapping(cells: list[str]) -> None:
    assume(not all(_is_number(cell) for cell in cells) or all(cell.isdecimal() for cell in cells))  # 0.5 is refused
    codes = _codes(list(cells))
    labels = labels_of(codes, None)
    assert [labels.names[number] for number in ids_of(codes, labels, "rows.csv")] == codes


@given(st.sets(st.sampled_from("abcdef"), min_size=1), st.data())
def test_a_part_of_the_classes_has_the_ids_of_the_whole(kinds: set[str], data: st.DataObject) -> None:
    labels = labels_of(sorted(kinds), None)
    part = data.draw(st.lists(st.sampled_from(sorted(kinds))))
    assert [labels.names[number] for number in ids_of(part, labels, "test.csv")] == part


def _labelled(path: Path, values: list[str], labels: tuple[str, ...], codes: tuple[str, ...]) -> list[int]:
    file = write_csv(path / "test.csv", [(f"text {value}", value) for value in values])
    split, _ = read_labelled(file, text_column=None, label_column=None, labels=labels, label_codes=codes)
    return [int(label) for label in split.labels]


@pytest.mark.parametrize(
    ("text", "label", "option"), [("body", None, "text"), (None, "kind", "label"), ("text", "kind", "label")]
)
def test_a_file_that_lacks_a_column_names_the_option_that_names_another(
    tmp_path: Path, text: str | None, label: str | None, option: str
) -> None:
    file = write_csv(tmp_path / "test.csv", [("a text", "a")])
    asked: dict[str, Any] = {"text_column": (text,) if text else None, "label_column": label}
    with pytest.raises(DataError, match=rf"has no column .*'; name the {option}'s by --{option}_column$"):
        read_labelled(file, **asked, labels=("a", "b"), label_codes=("a", "b"))


@pytest.mark.parametrize(
    ("values", "labels", "codes"),
    [
        (["World", "Sci/Tech"], AG_NEWS, ("0", "1", "2", "3")),
        (["0", "3"], AG_NEWS, ("0", "1", "2", "3")),
        (["World", "Sci/Tech"], AG_NEWS, ("1", "2", "3", "4")),
        (["1", "4"], AG_NEWS, ("1", "2", "3", "4")),
        (["1", "4"], ("1", "2", "3", "4"), ("1", "2", "3", "4")),
        (["0", "3"], ("1", "2", "3", "4"), ("1", "2", "3", "4")),
        (["1", "4"], ("0", "1", "2", "3"), ("0", "1", "2", "3")),
    ],
)
def test_a_labelled_file_is_mapped_by_names_codes_or_the_other_first_number(
    tmp_path: Path, values: list[str], labels: tuple[str, ...], codes: tuple[str, ...]
) -> None:
    assert _labelled(tmp_path, values, labels, codes) == [0, 3]


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        (["0", "3"], ("1", "2", "3", "4"), "labels 0 to 3 are read as 1 to 4"),
        (["1", "4"], ("0", "1", "2", "3"), "labels 1 to 4 are read as 0 to 3"),
        (["1", "4"], ("1", "2", "3", "4"), None),
    ],
)
def test_that_numbers_count_from_elsewhere_is_said(
    tmp_path: Path, values: list[str], labels: tuple[str, ...], said: str | None
) -> None:
    file = write_csv(tmp_path / "test.csv", [(f"text {value}", value) for value in values])
    assert read_labelled(file, text_column=None, label_column=None, labels=labels, label_codes=labels)[1] == said


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_that_count_from_elsewhere_are_those_of_classes_in_whatever_order(first: int) -> None:
    """As texts, of which a LoraClassifier makes its classes, 10 comes before 2."""
    names = tuple(sorted(str(number) for number in range(first, first + 12)))
    other = 1 - first
    values = [str(int(name) - first + other) for name in names]
    ids, said = ids_read(values, Labels(names, names), "test.csv")
    assert ids.tolist() == list(range(12))
    assert said == f"labels {other} to {other + 11} are read as {first} to {first + 11}"


def test_files_of_a_labelled_folder_that_are_not_utf_8_are_counted(tmp_path: Path) -> None:
    for label, text in (("food", "a caf\xe9"), ("sport", "a goal")):
        (tmp_path / "rows" / label).mkdir(parents=True)
        (tmp_path / "rows" / label / "1.txt").write_bytes(text.encode("latin-1"))
    names = ("food", "sport")
    folder = str(tmp_path / "rows")
    split, said = read_labelled(folder, text_column=None, label_column=None, labels=names, label_codes=names)
    assert (split.texts, said) == (("a caf\xe9", "a goal"), "1 file of rows is not UTF-8: read as Latin-1")


def test_what_separates_the_cells_of_a_labelled_file_is_said(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", [("a cat", "b"), ("a dog", "c")], delimiter=";")
    split, said = read_labelled(file, text_column=None, label_column=None, labels=("b", "c"), label_codes=("b", "c"))
    assert (split.texts, said) == (("a cat", "a dog"), f"{file}: its cells are separated by ';'")


def test_columns_of_a_labelled_file_that_are_in_doubt_are_asked_for_by_the_commands_options(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", [("a", "b"), ("c", "d")], header=("first", "second"))
    with pytest.raises(DataError, match="give --text_column and --label_column; its columns are 'first', 'second'"):
        read_labelled(file, text_column=None, label_column=None, labels=("b", "d"), label_codes=("b", "d"))


@pytest.mark.parametrize("values", [["1", "2"], ["1"], ["2", "3"]])
def test_numbers_that_can_be_read_both_ways_are_refused(tmp_path: Path, values: list[str]) -> None:
    with pytest.raises(DataError, match="from 0 or from 1; give their names"):
        _labelled(tmp_path, values, AG_NEWS, ("0", "1", "2", "3"))


def test_names_and_numbers_of_classes_in_one_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mix names of classes and their numbers; give one of the two"):
        _labelled(tmp_path, ["World", "1"], AG_NEWS, ("0", "1", "2", "3"))


def test_a_name_is_the_same_in_either_form_of_its_accents(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", [("a", "Caf\u00e9"), ("b", "Cafe\u0301"), ("c", "Tea")])
    table = read_table(file)
    assert labels_of(codes_of(table, "label"), None).names == ("Caf\u00e9", "Tea")


def test_numbers_for_an_adapter_of_names_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which number stands for which name can't be told"):
        _labelled(tmp_path, ["0", "1"], CLASSES, CLASSES)


@pytest.mark.parametrize(
    ("values", "names"),
    [(["Sports", "Weather"], CLASSES), (["Sports", "7"], CLASSES), (["1", "7"], ("0", "1", "2"))],
)
def test_an_unknown_label_is_refused_with_the_known_ones(
    tmp_path: Path, values: list[str], names: tuple[str, ...]
) -> None:
    known = ", ".join(map(repr, names))
    with pytest.raises(
        DataError, match=rf"unknown label '{values[1]}' \(first in row 2\); the known labels are {known}$"
    ):
        _labelled(tmp_path, values, names, names)


@pytest.mark.parametrize(("values", "said"), [(["sports"], "it differs"), (["BUSINESS", "spo rts"], "they differ")])
def test_unknown_labels_that_are_known_ones_in_another_spelling_are_told_so(
    tmp_path: Path, values: list[str], said: str
) -> None:
    names = ("Business", "Sports", "Sports!")
    with pytest.raises(
        DataError, match=rf"; {said} from (a known one|known ones) in capitals, .* alone: make them alike$"
    ):
        _labelled(tmp_path, [*values, "Sports!"], names, names)
    with pytest.raises(DataError, match=r"the known labels are 'Business', 'Sports', 'Sports!'$"):
        _labelled(tmp_path, [*values, "Weather"], names, names)


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("World  News", "'World  News'"),
        ("World\xa0News", r"'World\xa0News'"),
        ("World News\u200b", r"'World News\u200b'"),
    ],
)
def test_an_unknown_label_is_told_by_what_tells_it_from_a_known_one(tmp_path: Path, label: str, shown: str) -> None:
    names = ("Sports", "World News")
    with pytest.raises(DataError) as caught:
        _labelled(tmp_path, ["Sports", label], names, names)
    assert f"unknown label {shown} (first in row 2)" in str(caught.value)


def test_codes_one_to_four_are_classes_zero_to_three_and_said(tmp_path: Path) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(60, ("1", "2", "3", "4"))))
    assert data.label_codes == data.labels == ("1", "2", "3", "4")
    assert set(data.train.labels.tolist()) == {0, 1, 2, 3}
    assert "label_codes" in {finding.kind for finding in data.findings}


@pytest.mark.parametrize(("train", "test"), [("1234", "0123"), ("0123", "1234")])
def test_training_from_one_and_testing_from_zero_is_refused(tmp_path: Path, train: str, test: str) -> None:
    train_file = write_csv(tmp_path / "train.csv", rows(40, tuple(train)))
    test_file = write_csv(tmp_path / "test.csv", rows(20, tuple(test), start=100))
    with pytest.raises(DataError, match="one counts from 0 and the other from 1"):
        load(train_file=train_file, test_file=test_file)


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    train_file = write_csv(tmp_path / "train.csv", rows(30))
    validation_file = write_csv(tmp_path / "validation.csv", rows(30, (*CLASSES, "Weather"), start=100))
    with pytest.raises(DataError, match=r"validation\.csv: unknown label 'Weather'"):
        load(train_file=train_file, validation_file=validation_file)


def test_numbers_in_jsonl_and_csv_are_the_same_codes(tmp_path: Path) -> None:
    train_file = write_csv(tmp_path / "train.csv", rows(40, ("1", "2")))
    content = [{"text": text, "label": int(label)} for text, label in rows(20, ("1", "2"), start=100)]
    data = load(train_file=train_file, test_file=write_jsonl(tmp_path / "test.jsonl", content))
    assert data.test.labels.tolist() == [0, 1] * 10


def test_ids_of_names_win_over_codes() -> None:
    labels = Labels(("1", "0"), ("0", "1"))
    assert ids_of(["1", "0"], labels, "test.csv").tolist() == [0, 1]


def test_texts_that_look_like_numbers_stay_names_in_a_file_of_them_alone(tmp_path: Path) -> None:
    assert _labelled(tmp_path, ["01"], ("01", "x"), ("01", "x")) == [0]


def test_a_label_that_is_no_text_is_refused() -> None:
    assert "has U+D800" in _refusal(["a", "\ud800"])


def test_names_that_are_written_as_whole_numbers_with_a_point_are_ordered_by_value() -> None:
    assert ordered(["10.0", "9.0", "9.0"]) == ("9.0", "10.0")
    assert ordered(["2", "01", "1"]) == ("01", "1", "2")
