"""What is said of training rows and their classes: rows that stand twice or disagree, names, shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom import preparation
from loraloom.data import Finding, TextData
from loraloom.recipe import read_recipe
from loraloom.search.watcher import Watcher
from tests.data.files import CLASSES, finding, kinds, load, rows, sentence, write_csv


def _shares_of(folder: Path, common: str, count: int, rare: str) -> Finding:
    """What is said of the shares of two classes in training, of which one has `count` rows and the other 10."""
    train = write_csv(folder / "train.csv", rows(count, (common,)) + rows(10, (rare,), start=count))
    held = write_csv(folder / "held.csv", rows(9, (common, rare), start=200))
    test = write_csv(folder / "test.csv", rows(9, (common, rare), start=300))
    return finding(load(train_file=train, validation_file=held, test_file=test), "class_shares")


def _trained_on(folder: Path, content: list[tuple[str, str]]) -> TextData:
    return load(
        train_file=write_csv(folder / "train.csv", content),
        validation_file=write_csv(folder / "validation.csv", rows(9, start=100)),
        test_file=write_csv(folder / "test.csv", rows(9, start=200)),
    )


def test_duplicates_and_conflicts_are_counted_with_examples(tmp_path: Path) -> None:
    first = rows(30)
    content = [*first, (first[0][0].upper(), "Business"), (first[1][0], "World"), (first[1][0], "Business")]
    data = _trained_on(tmp_path, content)
    assert finding(data, "duplicate").count == 1
    assert finding(data, "conflict").count == 1
    assert finding(data, "conflict").examples == (f"row 2 Sports, row 32 World: {first[1][0]}",)


def test_a_row_repeats_any_earlier_one_of_its_text_and_label(tmp_path: Path) -> None:
    (text, own), other = rows(30)[0], "World"
    assert own != other
    content = [*rows(30), (text, other), (text, other), (text.upper(), other), (text, own), (text, "Sports")]
    data = _trained_on(tmp_path, content)
    assert finding(data, "duplicate").count == 3
    assert finding(data, "conflict").count == 1
    assert finding(data, "conflict").examples == (f"row 1 {own}, row 31 {other}: {text}",)


def test_a_conflict_names_rows_of_the_file_though_rows_were_dropped_and_held_out(tmp_path: Path) -> None:
    content = [("", "World"), *rows(60), (rows(60)[42][0], "Sports")]
    data = load(train_file=write_csv(tmp_path / "rows.csv", content))
    assert finding(data, "conflict").examples[0].startswith("row 44 Business, row 62 Sports: ")


def test_a_text_that_stands_often_is_one_example(tmp_path: Path) -> None:
    content = [*rows(60), *[rows(60)[0]] * 3, rows(60)[1]]
    data = load(
        train_file=write_csv(tmp_path / "rows.csv", content),
        test_file=write_csv(tmp_path / "t.csv", rows(9, start=100)),
        validation_file=write_csv(tmp_path / "v.csv", rows(9, start=200)),
    )
    assert finding(data, "duplicate").count == 4
    assert finding(data, "duplicate").examples == (rows(60)[0][0], rows(60)[1][0])


def test_examples_are_at_most_three_and_short(tmp_path: Path) -> None:
    long = [(sentence(number, 40), label) for number, (_, label) in enumerate(rows(30))]
    data = load(train_file=write_csv(tmp_path / "rows.csv", long * 2))
    examples = finding(data, "duplicate").examples
    assert len(examples) == 3
    assert max(map(len, examples)) == 120


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (("01", "1", "2"), "1 label read in another form than written: '01' as '1'."),
        (("1.0", "2.0"), "2 labels read in another form than written: '1.0' as '1', '2.0' as '2'."),
        (("Café", "Cafe\u0301", "Tea"), r"1 label read in another form than written: 'Cafe\u0301' as 'Café'."),
        (
            (" a", "b ", " c ", "d", "d\t"),
            r"4 labels read in another form than written: ' a' as 'a', 'b ' as 'b', ' c ' as 'c' and 1 more.",
        ),
    ],
)
def test_labels_that_are_read_in_another_form_than_they_are_written_in_are_said(
    tmp_path: Path, cells: tuple[str, ...], read: str
) -> None:
    train = write_csv(tmp_path / "rows.csv", rows(60, cells))
    found = finding(load(train_file=train), "rewritten_labels")
    assert (found.severity, found.sentence) == ("note", f"{train}: {read}")


def test_labels_of_a_test_file_that_are_training_s_in_another_form_are_said(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(60, ("01", "02")))
    test = write_csv(tmp_path / "test.csv", rows(20, ("1", "02"), start=100))
    data = load(train_file=train, test_file=test)
    said = "1 label read in another form than written: '1' as '01'."
    assert (data.labels, finding(data, "rewritten_labels").sentence) == (("01", "02"), f"{test}: {said}")


@pytest.mark.parametrize("other", ["sports", "Sports\u200b", "SPORTS", "Spo rts", "S\xa0ports", "Ｓports", "ˢports"])
def test_classes_whose_names_are_nearly_the_same_are_kept_and_said(tmp_path: Path, other: str) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(60, ("Sports", other, "World"))))
    found = finding(data, "alike_classes")
    assert (len(data.labels), found.severity, found.count) == (3, "warning", 2)
    assert {repr("Sports"), repr(other)} == set(found.examples[0].split(", "))


def test_a_number_that_is_written_in_two_ways_beside_names_is_nearly_the_same_class(tmp_path: Path) -> None:
    names = ("1", "1.0", "2", "unknown")
    found = finding(load(train_file=write_csv(tmp_path / "rows.csv", rows(80, names))), "alike_classes")
    assert (found.count, found.examples) == (2, ("'1', '1.0'",))


def test_nearly_the_same_classes_are_shown_with_the_blanks_by_which_they_differ(tmp_path: Path) -> None:
    names = ("World news", "World  news")
    found = finding(load(train_file=write_csv(tmp_path / "rows.csv", rows(60, names))), "alike_classes")
    assert set(found.examples[0].split(", ")) == set(map(repr, names))


def test_classes_of_other_signs_are_not_said_to_be_nearly_the_same(tmp_path: Path) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(60, ("C", "C++", "C#"))))
    assert "alike_classes" not in kinds(data)


@pytest.mark.parametrize("sign", ["|", ", ", ";"])
def test_classes_that_are_several_others_in_one_are_said(tmp_path: Path, sign: str) -> None:
    names = ("billing", "login", f"billing{sign}login", "R&D")
    found = finding(load(train_file=write_csv(tmp_path / "rows.csv", rows(80, names))), "joined_classes")
    assert found.severity == "warning"
    assert found.examples == (f"billing{sign}login",)
    assert found.sentence.startswith("1 of 4 classes is several others in one: taken as a class of its own")


@pytest.mark.parametrize("names", [("['billing']", "['billing', 'login']"), ('["billing", "login"]', '["spam"]')])
def test_lists_that_were_written_as_text_are_said_to_be_several_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(80, (*names, "[sic], a note", "[none]"))))
    found = finding(data, "joined_classes")
    assert found.examples == tuple(name for name in names if "," in name)
    assert found.sentence.endswith("since a text has one class here; for several labels train a classifier for each.")


def test_a_class_that_test_lacks_is_said(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", rows(9, CLASSES[:2], start=100))
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(30)), test_file=test)
    assert finding(data, "missing_class").examples == ("World",)
    assert finding(data, "missing_class").sentence.endswith("has no row of 1 class: nothing is measured on it.")


def test_shares_of_classes_are_said(tmp_path: Path) -> None:
    even = load(train_file=write_csv(tmp_path / "even.csv", rows(90)))
    assert finding(even, "class_shares").severity == "note"
    assert "Business 33 %" in finding(even, "class_shares").sentence


def test_a_long_label_is_cut_where_its_share_is_said(tmp_path: Path) -> None:
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(40, ("A" * 500, "of\ntwo lines"))))
    assert finding(data, "class_shares").sentence.endswith(f"classes: {'A' * 119}… 50 %, of two lines 50 %.")


def test_a_label_from_right_to_left_ends_before_its_share(tmp_path: Path) -> None:
    """Without a mark a browser would set `33 %` and the next label as if they were of a text from right to left."""
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(60, ("اقتصاد", "sport", "ספורט"))))
    shares = "sport 33 %, ספורט\u200e 33 %, اقتصاد\u200e 33 %."
    assert finding(data, "class_shares").sentence.endswith(shares)


def test_of_many_classes_the_largest_and_the_smallest_are_said_in_rows(tmp_path: Path) -> None:
    many = tuple(f"class {number:04}" for number in range(1_200))
    train = write_csv(tmp_path / "train.csv", rows(3_601, many))
    held = write_csv(tmp_path / "held.csv", rows(1_200, many, start=4_000))
    data = load(train_file=train, validation_file=held, test_file=held, allow_leak=True)
    said = "Training has 3,601 rows of 1,200 classes: from 4 rows (class 0000) to 3 (class 0001)."
    assert finding(data, "class_shares").sentence == said


def test_of_many_classes_that_have_as_many_rows_none_is_the_largest(tmp_path: Path) -> None:
    held = write_csv(tmp_path / "held.csv", rows(7, "abcdefg", start=100))
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(70, "abcdefg")), validation_file=held, test_file=held)
    assert finding(data, "class_shares").sentence == "Training has 70 rows of 7 classes: 10 rows of each."


@pytest.mark.parametrize(("common", "severity"), [(80, "note"), (99, "warning")])
def test_a_class_that_is_nearly_ten_times_as_rare_is_a_warning_that_says_what_helps(
    tmp_path: Path, common: int, severity: str
) -> None:
    found = _shares_of(tmp_path, "a", common, "b")
    assert found.severity == severity
    assert ("--class_shares" in found.sentence) == (severity == "warning")
    assert ("by class_shares in Python" in found.sentence) == (severity == "warning")


@pytest.mark.parametrize(("common", "said"), [(90, False), (100, True)])
def test_where_one_class_is_nearly_all_it_is_said_that_accuracy_tells_little(
    tmp_path: Path, common: int, said: bool
) -> None:
    found = _shares_of(tmp_path, "ham", common, "spam")
    assert (
        " Accuracy tells little: always answering “ham” would reach 90.9 % of training. Where rare classes matter as "
        "much, search.metric: macro_f1 chooses by each alike." in found.sentence
    ) == said


@pytest.mark.parametrize(("metric", "advised"), [("accuracy", True), ("macro_f1", False)])
def test_macro_f1_is_not_advised_where_a_recipe_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, advised: bool
) -> None:
    monkeypatch.setattr(preparation, "Workplace", lambda *_: None)
    path = write_csv(tmp_path / "train.csv", rows(200, ("ham",)) + rows(15, ("spam",), start=200))
    recipe, watcher = read_recipe({"data": {"train_file": path}, "search": {"metric": metric}}), Watcher()
    found = list[Finding]()
    monkeypatch.setattr(watcher, "found", found.append)
    preparation.prepare(recipe, watcher, allow_leak=False, in_memory={})
    said = next(one.sentence for one in found if one.kind == "class_shares")
    assert "Accuracy tells little" in said
    assert ("search.metric" in said) is advised


def test_shares_are_said_to_be_whole_or_none_only_where_they_are(tmp_path: Path) -> None:
    many = rows(2_500, ("a",)) + rows(1, ("b",), start=2_500)
    path = write_csv(tmp_path / "train.csv", many)
    held = write_csv(tmp_path / "held.csv", rows(9, ("a", "b"), start=3_000))
    test = write_csv(tmp_path / "test.csv", rows(9, ("a", "b"), start=4_000))
    data = load(train_file=path, validation_file=held, test_file=test)
    assert "a >99.9 %, b <0.1 %." in finding(data, "class_shares").sentence
    few = load(train_file=path, validation_file=held, validation_share=0.0004)
    assert "1 row of training held out (<0.1 %, about" in finding(few, "split_made").sentence
