"""Rows that two splits share: found, told, dropped or refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loraloom.data import overlap
from loraloom.data.checks import with_validation
from loraloom.data.overlap import text_key
from tests.data.files import CLASSES, finding, load, refusal, rows, sentence, write_csv

ASIDE = " (signs, capitals and the like aside)"


def _leaking(folder: Path, share: float) -> dict[str, Any]:
    """Of 40 test rows, this share is in training: half of them word for word but for case, half nearly."""
    leaks = [sentence(1000 + number, 60) for number in range(round(40 * share))]
    edited = [text.upper() if number % 2 else text + " more" for number, text in enumerate(leaks)]
    other = [sentence(2000 + number, 60) for number in range(40 - len(leaks))]
    test = [(text, CLASSES[number % 3]) for number, text in enumerate([*leaks, *other])]
    leaked = [(text, CLASSES[number % 3]) for number, text in enumerate(edited)]
    return {
        "train_file": write_csv(folder / "train.csv", [*rows(60), *leaked]),
        "validation_file": write_csv(folder / "validation.csv", rows(9, start=100)),
        "test_file": write_csv(folder / "test.csv", test),
    }


def test_training_rows_that_are_also_in_test_are_dropped(tmp_path: Path) -> None:
    data = load(**_leaking(tmp_path, 0.5))
    assert data.train.texts == tuple(text for text, _ in rows(60))
    assert not data.leak_kept
    assert finding(data, "leak").sentence == f"10 training rows are also in test{ASIDE}: dropped from training."
    near = finding(data, "near_copy")
    assert near.sentence == "10 training rows are near copies of rows of test: dropped from training."
    assert len(near.examples) == 3


@pytest.mark.parametrize("made", ["validation", "test"])
def test_rows_that_a_given_split_has_are_not_held_out_either(tmp_path: Path, made: str) -> None:
    files = _leaking(tmp_path, 0.5)
    given = "test" if made == "validation" else "validation"
    data = load(train_file=files["train_file"], **{f"{given}_file": files["test_file"]}, validation_share=0.3)
    seen = {text_key(text) for text in getattr(data, given).texts}
    assert not {text_key(text) for text in (*data.train.texts, *getattr(data, made).texts)} & seen
    assert len(data.train) + len(getattr(data, made)) == 60
    assert finding(data, "leak").sentence == f"10 training rows are also in {given}{ASIDE}: dropped from training."
    assert finding(data, "near_copy").count == 10
    assert not [one for one in data.findings if one.splits == ("validation", "test")]


def test_leaking_rows_are_kept_on_request_and_marked(tmp_path: Path) -> None:
    data = load(**_leaking(tmp_path, 0.9), allow_leak=True)
    assert len(data.train) == 60 + 36
    assert data.leak_kept
    assert "kept, since leaks are allowed" in finding(data, "leak").sentence


def _templated(templates: int, of_each: int) -> list[tuple[str, str]]:
    """Rows that are alike but for their last word, where they are of one template."""
    texts = [" ".join(f"{word}x{template}" for word in range(60)) for template in range(templates)]
    return [(f"{texts[row % templates]} {row}", CLASSES[row % 3]) for row in range(templates * of_each)]


def test_held_out_rows_that_training_has_near_copies_of_are_not_refused_but_those_copies_are_dropped(
    tmp_path: Path,
) -> None:
    templated = _templated(templates=40, of_each=3)
    data = load(train_file=write_csv(tmp_path / "rows.csv", templated))
    copies = [found for found in data.findings if found.kind == "near_copy" and found.splits[0] == "train"]
    assert [found.splits for found in copies] == [("train", "validation"), ("train", "test")]
    assert (
        0
        < len(templated) - len(data.validation) - len(data.test) - len(data.train)
        <= sum(found.count for found in copies)
    )
    assert not data.leak_kept


def test_where_nothing_is_left_beside_held_out_rows_that_is_said(tmp_path: Path) -> None:
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", _templated(templates=1, of_each=60)))
    assert message.startswith(
        "training, without the rows that are also in validation or test: has 0 rows for 3 classes"
    )


def test_allowing_leaks_marks_nothing_where_there_is_none(tmp_path: Path) -> None:
    assert not load(train_file=write_csv(tmp_path / "rows.csv", rows(60)), allow_leak=True).leak_kept


def test_a_test_set_of_which_more_than_half_leaks_is_refused(tmp_path: Path) -> None:
    message = refusal(**_leaking(tmp_path, 0.55))
    assert "22 of its 40 rows are in training, which is more than half" in message
    assert "allow it by --allow_leak" in message


def test_every_test_row_that_a_training_row_nearly_is_counts_as_leaking(tmp_path: Path) -> None:
    near = [sentence(1000 + number, 60) for number in range(11)]
    test = [f"{text} {word}" for text in near for word in ("one", "two")]
    test += [sentence(2000 + number, 60) for number in range(18)]
    message = refusal(
        train_file=write_csv(tmp_path / "train.csv", [*rows(60), *((text, "World") for text in near)]),
        validation_file=write_csv(tmp_path / "validation.csv", rows(9, start=100)),
        test_file=write_csv(tmp_path / "test.csv", [(text, CLASSES[row % 3]) for row, text in enumerate(test)]),
    )
    assert "22 of its 40 rows are in training" in message


def test_validation_rows_that_may_be_trained_on_have_a_text_and_are_not_those_of_test(tmp_path: Path) -> None:
    good, tested = rows(9, start=100), (sentence(500, 60), "Sports")
    kept_out = [("", "World"), tested, (f"{tested[0]} more", "World")]
    data = load(
        train_file=write_csv(tmp_path / "train.csv", rows(30)),
        validation_file=write_csv(tmp_path / "validation.csv", [*good[:4], *kept_out, *good[4:]]),
        test_file=write_csv(tmp_path / "test.csv", [*rows(9, start=200), tested]),
    )
    train = with_validation(data)
    assert train.texts == tuple(text for text, _ in (*rows(30), *good))
    assert [data.labels[label] for label in train.labels] == [label for _, label in (*rows(30), *good)]


def test_training_on_the_validation_rows_alone_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", rows(30))
    test = write_csv(tmp_path / "test.csv", rows(9, start=100))
    message = refusal(train_file=path, validation_file=path, test_file=test)
    assert message.startswith("training, without the rows that are also in validation or test: has 0 rows")


def test_texts_that_validation_shares_with_test_are_said(tmp_path: Path) -> None:
    data = load(
        train_file=write_csv(tmp_path / "train.csv", rows(30)),
        validation_file=write_csv(tmp_path / "validation.csv", rows(12, start=100)),
        test_file=write_csv(tmp_path / "test.csv", rows(9, start=103)),
    )
    assert finding(data, "leak").sentence == "9 validation rows are also in test: kept."


def test_texts_that_are_equal_but_for_signs_are_said_to_be_so(tmp_path: Path) -> None:
    glad = [(f"{sentence(number, 3)} :)", "glad") for number in range(30)]
    sad = [(text.replace(")", "("), "sad") for text, _ in glad]
    train = write_csv(tmp_path / "train.csv", [*glad, *sad, *glad[:1]])
    test = [(text + " !", label) for text, label in glad[:5]] + rows(20, ("glad", "sad"), start=100)
    data = load(train_file=train, test_file=write_csv(tmp_path / "test.csv", test))
    assert finding(data, "leak").sentence.startswith(f"11 training rows are also in test{ASIDE}: dropped")
    conflict = finding(data, "conflict")
    assert conflict.sentence.endswith(f"texts with more than one label{ASIDE}: kept.")
    text = conflict.examples[0].split(": ", 1)[1]
    assert text == f"{text[: text.index(' :)')]} :) / {text[: text.index(' :)')]} :("


def test_an_example_of_leaked_rows_stands_once(tmp_path: Path) -> None:
    held = rows(12, ("a", "b"), start=100)
    train = write_csv(tmp_path / "train.csv", [*rows(40, ("a", "b")), held[0], held[0], held[1]])
    data = load(train_file=train, test_file=write_csv(tmp_path / "test.csv", held))
    leak = finding(data, "leak")
    assert (leak.count, len(leak.examples)) == (3, 2)


@pytest.mark.parametrize("seed", range(3))
def test_splits_that_are_made_share_no_text(tmp_path: Path, seed: int) -> None:
    content = rows(90) * 2
    data = load(train_file=write_csv(tmp_path / "rows.csv", content), seed=seed)
    keys = [set(map(text_key, split.texts)) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 90


@pytest.mark.parametrize("given", [(), ("validation_file", "test_file")])
def test_a_text_is_looked_at_once_for_what_is_equal_to_it_and_once_for_what_is_nearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    made, words_of = Counter[str](), overlap.words_of

    def counted(text: str) -> list[str]:
        made[text] += 1
        return words_of(text)

    files: dict[str, Any] = {
        name: write_csv(tmp_path / f"{name}.csv", rows(30, start=100 * at)) for at, name in enumerate(given, start=1)
    }
    path = write_csv(tmp_path / "train.csv", rows(90))
    monkeypatch.setattr(overlap, "words_of", counted)
    data = load(train_file=path, **files)
    assert len(made) == 90 + 30 * len(given)
    assert {made[text] for text in data.train.texts} == {2}


def test_a_row_that_one_split_has_and_another_has_nearly_is_counted_for_both(tmp_path: Path) -> None:
    text = " ".join(f"word{number}" for number in range(60))
    files: dict[str, Any] = {
        name: write_csv(tmp_path / f"{name}.csv", [*rows(30, start=start), (own, "World")])
        for name, start, own in (("train", 0, text), ("validation", 100, text.upper()), ("test", 200, f"{text} more"))
    }
    data = load(**{f"{name}_file": path for name, path in files.items()})
    found = [(each.kind, each.splits, each.count) for each in data.findings if each.kind in ("leak", "near_copy")]
    assert found == [
        ("leak", ("train", "validation"), 1),
        ("near_copy", ("train", "test"), 1),
        ("near_copy", ("validation", "test"), 1),
    ]
