"""What is read back of a trial, and what is refused as damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from loraloom import metrics
from loraloom.errors import RunError
from loraloom.study.record import CONFUSED_CLASSES, Evaluation, Score, TrialRecord, read_metrics, read_record
from tests.study.study_records import record


def _line(step: int) -> str:
    return Evaluation(
        step=step,
        epoch=step / 10,
        seconds=1.5,
        learning_rate=1e-3,
        train_loss=0.5,
        train_accuracy=0.8,
        validation_loss=0.6,
        validation_accuracy=0.75,
        validation_macro_f1=0.7,
        trace=((1, 0.9, 1e-3),),
    ).model_dump_json()


def _steps(folder: Path, text: str) -> list[int]:
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return [evaluation.step for evaluation in read_metrics(folder)]


def test_a_record_survives_the_way_to_its_file_and_back(tmp_path: Path) -> None:
    written = record(3, point={"lora.target_modules": ["query"], "lora.r": 4})
    (tmp_path / "trial.json").write_text(written.model_dump_json(), encoding="utf-8")
    assert read_record(tmp_path) == written


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ([[80, 10], [10]], "its confusion is not square"),
        ([[40, 10], [0, 40]], "its confusion counts 90 rows, 80 of them right; its figures differ"),
        ([[40, 10], [10, 40]], "its confusion counts 100 rows, 80 of them right; its figures differ"),
        ([[-1, 10], [0, 91]], "greater than or equal to 0"),
    ],
)
def test_a_confusion_that_its_own_figures_contradict_is_refused(counts: list[list[int]], problem: str) -> None:
    figures = {"examples": 100, "accuracy": 0.9, "macro_f1": 0.9, "loss": 0.2}
    assert Score.model_validate({**figures, "confusion": [[50, 5], [5, 40]]}).confusion == ((50, 5), (5, 40))
    with pytest.raises(ValidationError, match=problem):
        Score.model_validate({**figures, "confusion": counts})


def test_a_confusion_of_other_classes_than_the_record_s_is_refused(tmp_path: Path) -> None:
    values = record(3, 0.9).model_dump()
    values["result"]["validation"]["confusion"] = [[90, 5, 5], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(ValidationError, match="it has 2 labels, and its confusion 3"):
        TrialRecord.model_validate(values)
    (tmp_path / "trial.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(RunError, match=r"trial\.json: can't be read: it has 2 labels, and its confusion 3$"):
        read_record(tmp_path)
    values["result"]["validation"]["confusion"] = [[50, 5], [5, 40]]
    assert TrialRecord.model_validate(values).result is not None


@pytest.mark.parametrize("codes", [(), ("0",), ("0", "1", "2")])
def test_codes_of_other_classes_than_the_record_s_are_refused(codes: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match=f"it has 2 labels, and {len(codes)} codes for them"):
        TrialRecord.model_validate({**record(3).model_dump(), "label_codes": codes})


@pytest.mark.parametrize("classes", [CONFUSED_CLASSES, CONFUSED_CLASSES + 1])
def test_a_record_keeps_a_confusion_of_few_classes(classes: int) -> None:
    kept = Score.of(metrics.score(range(classes), np.eye(classes))).confusion
    assert kept == (tuple(map(tuple, np.eye(classes, dtype=int).tolist())) if classes == CONFUSED_CLASSES else None)


def test_a_folder_without_a_record_is_not_a_trial(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"trial\.json: is missing"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"number": "x"}', "\x00"])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trial.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"trial\.json: can't be read"):
        read_record(tmp_path)


def test_a_field_that_another_version_wrote_is_named_before_what_else_is_wrong(tmp_path: Path) -> None:
    values = record(3, 0.9).model_dump(mode="json")
    values["number"], values["result"]["validation"]["auc"] = "three", 0.9
    (tmp_path / "trial.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(RunError, match=r"another version of loraloom .* no field 'result\.validation\.auc'\)"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("was", "impossible"),
    [
        ('"accuracy":0.9', '"accuracy":NaN'),
        ('"accuracy":0.9', '"accuracy":1.5'),
        ('"accuracy":0.9', '"accuracy":-Infinity'),
        ('"lora.r":4', '"lora.r":{}'),
        ('"lora.r":4', '"lora.r":NaN'),
    ],
)
def test_numbers_that_can_not_be_are_refused(tmp_path: Path, was: str, impossible: str) -> None:
    text = record(3, 0.9, point={"lora.r": 4}).model_dump_json()
    assert was in text
    (tmp_path / "trial.json").write_text(text.replace(was, impossible), encoding="utf-8")
    with pytest.raises(RunError, match=r"trial\.json: can't be read"):
        read_record(tmp_path)


def test_metrics_are_read_in_their_order(tmp_path: Path) -> None:
    assert _steps(tmp_path, f"{_line(10)}\n{_line(20)}\n") == [10, 20]


def test_a_trial_without_metrics_has_no_evaluations(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == ()


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    assert _steps(tmp_path, f"{_line(10)}\n{_line(20)[:cut]}") == [10]


def test_a_last_line_that_lacks_only_its_end_is_read(tmp_path: Path) -> None:
    assert _steps(tmp_path, f"{_line(10)}\n{_line(20)}") == [10, 20]


@pytest.mark.parametrize("middle", ["{", "null", _line(15)[:-5]])
def test_damage_in_the_middle_is_refused_with_its_line(tmp_path: Path, middle: str) -> None:
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: is damaged"):
        _steps(tmp_path, f"{_line(10)}\n{middle}\n{_line(20)}\n")


def test_a_field_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    assert _steps(tmp_path, _line(10)[:-1] + ', "grad_norm": 1.0}\n') == [10]


@pytest.mark.parametrize(("epochs", "cut"), [(None, False), (2.0, False), (1.9985, False), (1.99, True)])
def test_a_trial_is_cut_short_where_passes_are_missing(epochs: float | None, cut: bool) -> None:
    trial = record(0, epochs=epochs)
    two = trial.configuration.with_fields(train={"num_train_epochs": 2})
    trial = trial.model_copy(update={"configuration": two})
    assert trial.cut_short is cut
