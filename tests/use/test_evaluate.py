"""What `evaluate` says of the rows that it scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.random_adapters import save_random_adapter
from loraloom.data import Split, telling
from loraloom.data.tables import read_table
from loraloom.errors import AdapterError
from loraloom.execute import reserve
from loraloom.use import evaluate as evaluating
from loraloom.use.adapter import read_adapter_record
from loraloom.use.backbones import load
from loraloom.use.evaluate import evaluate, rehearse_test
from loraloom.use.submit import submit
from tests.conftest import make_rows, write_csv


@pytest.mark.parametrize(
    ("blank", "said"),
    [
        ([], None),
        ([""], "1 row has no text, and is scored all the same"),
        (["", " "], "2 rows have no text, and are scored all the same"),
    ],
)
def test_rows_without_a_text_are_scored_and_told(
    taught: Path, tmp_path: Path, blank: list[str], said: str | None
) -> None:
    label, file = read_adapter_record(taught).labels[0], tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text in ["soup", *blank]))
    found = evaluate(taught, file)
    assert (found.scores.examples, found.note) == (1 + len(blank), said)


@pytest.mark.parametrize("named", ["said", ["said"], ("said",)])
def test_columns_may_be_named_that_are_not_the_recipe_s(taught: Path, tmp_path: Path, named: Any) -> None:
    file, rows = tmp_path / "rows.csv", make_rows(12, seed=1)
    file.write_text("id,note,said,kind\n" + "".join(f"{n},x,{text},{label}\n" for n, (text, label) in enumerate(rows)))
    by_name = evaluate(taught, file, text_column=named, label_column="kind").as_json()
    plain = evaluate(taught, write_csv(tmp_path / "plain.csv", rows)).as_json()
    assert {**by_name, "test_file": None} == {**plain, "test_file": None}


def test_the_names_of_what_is_printed_as_json_stay(taught: Path, tmp_path: Path) -> None:
    found = evaluate(taught, write_csv(tmp_path / "rows.csv", make_rows(12, seed=1))).as_json()
    assert " ".join(found) == (
        "adapter test_file note examples trained_on chosen_on tested_on accuracy accuracy_interval macro_f1 log_loss "
        "expected_calibration_error predict class_shares classes confusion"
    )
    assert (found["examples"], len(found["accuracy_interval"]), len(found["confusion"])) == (12, 2, 3)


def test_how_far_it_is_is_told_from_the_reading_on(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, heard = write_csv(tmp_path / "rows.csv", make_rows(30, seed=1)), list[str]()
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    evaluate(taught, path, note=heard.append)
    for said in (f"reading {path}: 30 rows so far", "tokenising: 0 of 30 rows so far", "testing: 30 of 30 rows so far"):
        assert said in heard


@pytest.mark.parametrize(
    "use", [evaluate, lambda place, file: submit(place, file, file.with_suffix(".out.csv"), labels="names")]
)
def test_of_an_adapter_that_is_replaced_while_rows_are_read_no_answer_is_taken_for_the_other_s(
    tiny_model: Path, tmp_path: Path, use: Callable[[Path, Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = save_random_adapter(tmp_path / "place", tiny_model)
    other = save_random_adapter(tmp_path / "other", tiny_model, labels=("c", "b", "a"), seed=1)

    def reads(*given: Any) -> Any:
        if other.exists():
            shutil.rmtree(place)
            other.rename(place)
        return read_table(*given)

    for module in ("data.labels", "use.submit"):
        monkeypatch.setattr(f"loraloom.{module}.read_table", reads)
    file = write_csv(tmp_path / "rows.csv", [("the cat", "a"), ("soup", "b"), ("a saw", "c")])
    with pytest.raises(AdapterError, match=r"place: another adapter took its place while rows were read; give the"):
        use(place, file)
    assert not file.with_suffix(".out.csv").exists()


def test_a_test_in_rounds_says_of_each_row_what_one_at_once_does_and_ends_where_the_next_has_no_time(
    taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, made = load(taught), make_rows(10, seed=1)
    labels = np.array([classifier.record.labels.index(label) for _, label in made])
    test = Split(tuple(text for text, _ in made), labels)
    monkeypatch.setattr(evaluating, "ROUND_ROWS", 4)
    monkeypatch.setattr(evaluating, "time", SimpleNamespace(monotonic=count().__next__))
    asked = list[float]()

    def lines_of(least: float | None) -> list[dict[str, Any]]:
        def allows(seconds: float) -> bool:
            asked.append(seconds)
            return seconds > (least or 0)

        allowing = None if least is None else allows
        record, lines = evaluating.test_winner(classifier, test, 10, lambda _: None, allowing)
        found = [json.loads(line) for line in lines.splitlines()]
        assert record.tested_rows == len(found)
        return found

    at_once = lines_of(None)
    assert [(line["row"], line["text"], line["label"]) for line in at_once] == [
        (row, text, label) for row, (text, label) in enumerate(zip(test.texts, labels.tolist(), strict=True))
    ]
    assert len({line["tokens"] for line in at_once}) > 1
    for line in at_once:  # which rows are together changes the last digits
        line["probabilities"] = pytest.approx(line["probabilities"], abs=1e-5)
    assert lines_of(0.0) == at_once
    assert asked == [1.0, 0.5]  # of four rows, and of the two after them
    assert lines_of(0.7) == [at_once[row] for row in sorted(evaluating.tested_part(test, 8))]


def test_a_rehearsal_counts_a_first_call_as_loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at, read = [0.0], list[Sequence[str]]()

    def predict_proba(texts: Sequence[str]) -> None:
        at[0] += 1.0 + (0.5 * len(texts) if read else 0.0)
        read.append(texts)

    def loads(folder: Path) -> SimpleNamespace:
        assert folder == tmp_path
        at[0] += 3
        return SimpleNamespace(predict_proba=predict_proba)

    monkeypatch.setattr(evaluating, "load", loads)
    monkeypatch.setattr(evaluating, "time", SimpleNamespace(monotonic=lambda: at[0]))
    assert rehearse_test(tmp_path, "abcdefgh") == (4.0, 4.0 / 6)
    assert read == ["ab", "cdefgh"]


def test_the_part_that_an_accuracy_is_of_has_classes_in_their_shares_however_rare_they_are() -> None:
    labels = np.concatenate([np.zeros(5_000, np.int64), np.repeat(np.arange(1, 61), 4)])
    test = Split(tuple(map(str, range(len(labels)))), labels)
    for rows in (200, 201, 256, 512):
        part = evaluating.tested_part(test, rows)
        assert len(set(part.tolist())) == rows
        assert abs(np.mean(labels[part] > 0) - np.mean(labels > 0)) < 0.03  # with each class it was a quarter


def test_no_more_rows_are_tested_before_the_time_is_asked_for_than_it_is_kept_for() -> None:
    assert evaluating.ROUND_ROWS <= reserve.LEAST_TESTED
