"""Rows that errors are looked for in: read from a run, or left out with a sentence where they can't be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom.report.failures.kept import MOST_TRIALS, Kept, read_kept
from loraloom.report.failures.missed import missed
from loraloom.report.findings import Findings, findings
from loraloom.report.leaderboard import leaderboard
from loraloom.report.page import page
from loraloom.report.reading import read_run
from loraloom.study.durable import write_manifest
from loraloom.study.evidence import ROWS_FILE, VALIDATION, Predicted, read_predicted, write_predicted
from loraloom.study.record import RECORD, SOUP_OF, TEST_PREDICTIONS, TrialRecord, read_record
from tests.report.kept_runs import FACTS, keep, kept_predictions, make_predicted
from tests.report.report_runs import LABELS, make_recipe, make_record, whole_run, write_run
from tests.study.study_records import record as plain_record


def missed_by(kept: Kept, labels: Sequence[str] = LABELS) -> str:
    found = missed(kept, labels)
    assert found is not None
    return found.verdict


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return keep(whole_run(tmp_path / "kept", data=FACTS, predictions=kept_predictions()))


def found(run: Path) -> Findings:
    return findings(read_run(run))


def kept_of(run: Path) -> Kept:
    opened = read_run(run)
    kept = read_kept(opened, leaderboard(opened), [])
    assert kept is not None
    return kept


def test_a_whole_run_is_judged_on_its_test_rows(run: Path) -> None:
    said = found(run)
    assert said.problems == ()
    failed = said.failures
    assert failed is not None
    assert (failed.split, failed.rows, failed.wrong) == ("test", 445, 13)
    assert failed.by_length is not None
    assert failed.by_cut is not None
    assert failed.by_source is not None
    assert failed.cut == sum(20 + 37 * row % 400 > 128 for row in range(445))
    assert failed.max_length == 128
    assert failed.calibrated.mended is not None
    assert failed.calibrated.mended.temperature.rows == 222
    assert [each.split for each in failed.suspects] == ["test", "validation"]


def test_of_classes_with_one_f1_none_is_the_lowest(run: Path) -> None:
    failed = found(run).failures
    assert failed is not None
    assert failed.lowest is not None
    assert failed.f1_of_all is None
    alike = replace(failed, classes=tuple(replace(each, f1=1.0) for each in failed.classes))
    assert (alike.lowest, alike.f1_of_all) == (None, 1.0)


def test_the_hardest_classes_come_first_and_those_without_rows_last(run: Path) -> None:
    failed = found(run).failures
    assert failed is not None
    assert failed.hardest_first[0] == failed.lowest
    first, second, *others = failed.classes
    lacking = replace(failed, classes=(replace(first, f1=None), replace(second, rows=0, f1=0.0), *others))
    f1s = [each.f1 for each in lacking.hardest_first]
    assert f1s == [*sorted(each.f1 or 0 for each in others), None, 0.0]


def test_names_by_a_judge_that_is_unsure_are_told_as_its_doubts(run: Path) -> None:
    failed = found(run).failures
    assert failed is not None
    assert failed.on_judge == ""
    unsure = replace(failed.suspects[0], usual=0.43, by_chance=0.24)
    doubted = replace(failed, suspects=(unsure, *failed.suspects[1:]))
    said = "gives the labels of test rows a probability of 0.43 on average, and 0.24 if they were dealt by chance"
    assert said in doubted.on_judge


def test_rows_that_all_trials_miss_are_named_with_their_texts(run: Path) -> None:
    failed = found(run).failures
    assert failed is not None
    assert failed.missed is not None
    assert failed.missed.trials == (3, 2, 1, 0)
    assert failed.missed.of == 4
    assert failed.missed.count >= 4
    assert {0, 1, 2, 3} <= {row.row for row in failed.missed.worst}
    first = next(row for row in failed.missed.worst if row.row == 2)
    assert first.text == "A validation row. Number 2."
    assert (first.label, first.prediction, first.agreeing) == (LABELS[2], LABELS[3], 4)
    shares = [make_predicted(read_record(run / "trials" / f"000{n}")).probabilities[2, 2] for n in (0, 1, 2, 3)]
    assert first.of_given == pytest.approx(float(np.mean(shares)))
    assert failed.missed.expected < 0.1
    assert "of 222 validation rows are wrong in all 4 trials" in failed.missed.verdict


def test_rows_that_all_trials_miss_are_told_beside_how_many_chance_would_make_of_their_errors() -> None:
    def said(first: int, wrong: set[int]) -> Predicted:
        rows = np.arange(first, first + 10)
        right = np.array([0.3 if row in wrong else 0.8 for row in rows.tolist()], dtype=np.float32)[:, None]
        shares = np.where(np.arange(2) == rows[:, None] % 2, right, 1 - right)
        return Predicted(shares, rows % 2, rows)

    panel = {1: said(0, {0, 2, 3, 4, 5}), 0: said(2, {4, 5, 6, 11})}  # rows 2 to 9 are those of both
    kept = Kept(plain_record(1), None, None, panel, of=2, of_all=2, configurations=2, rows={})
    found = missed(kept, ("a", "b"))
    assert found is not None
    assert (found.rows, found.count, found.of_winner) == (8, 2, 4)
    assert found.expected == pytest.approx(8 * (4 / 8) * (3 / 8))
    assert [(row.row, row.label, row.prediction, row.agreeing) for row in found.worst] == [
        (4, "a", "b", 2),
        (5, "b", "a", 2),
    ]
    assert found.worst[0].of_given == pytest.approx(0.3)
    assert "if each erred on rows of its own, about 1.5 would be. That is 2 of the winner's 4 errors there." in (
        found.verdict
    )
    assert missed(replace(kept, panel={1: said(0, set()), 0: said(10, set())}), ("a", "b")) is None
    unread = missed(replace(kept, winner=plain_record(2)), ("a", "b"))
    assert unread is not None
    assert unread.of_winner is None
    for configurations, by in ((2, "some configuration"), (1, "another seed")):
        apart = replace(kept, panel={1: said(0, {2}), 0: said(0, {3})}, configurations=configurations)
        assert (
            missed_by(apart, ("a", "b"))
            == f"No validation row is wrong in both trials: each error can be avoided by {by}."
        )


def test_a_run_under_way_is_judged_on_validation_by_its_best_trial(tmp_path: Path) -> None:
    recipe = make_recipe()
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in enumerate(recipe.grid())]
    run = keep(write_run(tmp_path / "r", recipe, records))
    (run / "best").mkdir()
    failed = found(run).failures
    assert failed is not None
    assert (failed.split, failed.rows) == ("validation", 222)
    assert failed.calibrated.mended is None
    assert failed.by_length is not None


def test_a_run_of_an_older_version_has_its_test_rows_alone(tmp_path: Path) -> None:
    said = found(whole_run(tmp_path / "old"))
    assert said.problems == ()
    assert said.failures is not None
    assert said.failures.missed is None
    assert said.failures.by_length is None
    assert said.failures.by_source is None
    assert [each.split for each in said.failures.suspects] == ["test"]
    assert "not kept" in said.failures.calibrated.remedy


def test_a_run_without_a_complete_trial_has_no_section(tmp_path: Path) -> None:
    assert found(write_run(tmp_path / "r", make_recipe(), [])).failures is None


def flip(run: Path) -> None:
    path = run / "trials" / "0002" / VALIDATION
    content = bytearray(path.read_bytes())
    content[200] ^= 4
    path.write_bytes(content)


def remove(run: Path) -> None:
    (run / "trials" / "0002" / VALIDATION).unlink()


def other_trials(run: Path) -> None:
    folder = run / "trials" / "0002"
    write_predicted(folder, make_predicted(read_record(run / "trials" / "0000")))
    write_manifest(folder)


def other_rows(run: Path) -> None:
    predicted = read_predicted(run / "trials" / "0002", classes=5)
    assert predicted is not None
    labels, shares = predicted.labels.copy(), predicted.probabilities.copy()
    labels[[100, 101]] = labels[[101, 100]]
    shares[[100, 101]] = shares[[101, 100]]
    write_predicted(run / "trials" / "0002", replace(predicted, labels=labels, probabilities=shares))
    write_manifest(run / "trials" / "0002")


def rows_out_of_range(run: Path) -> None:
    predicted = make_predicted(read_record(run / "trials" / "0002"))
    write_predicted(run / "trials" / "0002", replace(predicted, rows=predicted.rows + 1))
    write_manifest(run / "trials" / "0002")


def not_numbers(run: Path) -> None:
    predicted = make_predicted(read_record(run / "trials" / "0002"))
    shares = predicted.probabilities.copy()
    shares[5, 0] = np.nan
    write_predicted(run / "trials" / "0002", replace(predicted, probabilities=shares))
    write_manifest(run / "trials" / "0002")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flip, "validation.safetensors: is damaged"),
        (remove, "validation.safetensors: is missing"),
        (other_trials, "its validation predictions can't be trusted: its record has 212 of 222 rows right, they 206"),
        (other_rows, "trial 0002: its validation predictions can't be trusted: row 100 has another label"),
        (rows_out_of_range, "row 222 is not one of 222"),
        (not_numbers, "it holds what are not probabilities"),
    ],
)
def test_a_trials_damaged_predictions_are_one_sentence_and_the_report_goes_on(
    run: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(run)
    said = found(run)
    assert len(said.problems) == 1
    assert sentence in said.problems[0]
    assert said.failures is not None
    assert said.failures.missed is not None
    assert said.failures.missed.trials == (3, 1, 0)


def test_damaged_rows_leave_the_texts_out_and_nothing_else(run: Path) -> None:
    path = run / "rows" / ROWS_FILE
    path.write_bytes(path.read_bytes()[:-40])
    said = found(run)
    assert len(said.problems) == 1
    assert "texts of validation rows are left out" in said.problems[0]
    assert said.failures is not None
    assert said.failures.missed is not None
    assert {row.text for row in said.failures.missed.worst} == {None}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"probabilities": [0.0] * 5, "prediction": 0}, "not probabilities"),
        ({"probabilities": [-1.0, 2.0, 0, 0, 0], "prediction": 1}, "not probabilities"),
        ({"probabilities": [0.2, 0.8, 0, 0, 0], "prediction": 0}, "not the most probable class"),
    ],
)
def test_test_predictions_that_can_not_be_are_said_and_nothing_is_told_of_them(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    lines = kept_predictions()
    lines[7] |= change
    said = found(keep(whole_run(tmp_path / "r", data=FACTS, predictions=lines)))
    assert any(f"{TEST_PREDICTIONS}:8: can't be trusted" in each and sentence in each for each in said.problems)
    assert said.test is None
    assert said.failures is not None
    assert said.failures.split == "validation"
    assert "Each class on validation" in page(said, "not drawn", ())


@pytest.mark.parametrize("given", [{"tokens": -1}, {"tokens": "many"}, {"source": 7}, {"tokens": 2**40}])
def test_test_rows_with_impossible_fields_are_said_to_be_damaged(tmp_path: Path, given: dict[str, Any]) -> None:
    lines = kept_predictions()
    lines[3] |= given
    said = found(whole_run(tmp_path / "r", predictions=lines))
    assert any("test_predictions.jsonl:4: is damaged" in each for each in said.problems)


def test_rows_that_only_some_lengths_are_known_of_are_not_compared(tmp_path: Path) -> None:
    lines = kept_predictions()
    del lines[9]["tokens"]
    failed = found(whole_run(tmp_path / "r", predictions=lines)).failures
    assert failed is not None
    assert failed.by_length is None
    assert failed.by_source is not None


def test_of_a_long_search_the_best_two_dozen_trials_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(lora={"r": list(range(1, 61))}, train={})
    records = [make_record(recipe, n, point, 0.5 + n / 200) for n, point in enumerate(recipe.grid())]
    run = keep(write_run(tmp_path / "long", recipe, records))
    read: list[str] = []

    def counted(folder: Path, *rest: Any) -> Any:
        read.append(folder.name)
        return read_predicted(folder, *rest)

    monkeypatch.setattr("loraloom.report.failures.kept.read_predicted", counted)
    kept = kept_of(run)
    assert len(read) == len(kept.panel) == MOST_TRIALS
    assert list(kept.panel) == list(range(59, 59 - MOST_TRIALS, -1))
    assert kept.of == 60


def test_the_mean_of_trials_is_judged_by_its_own_predictions_and_is_none_of_the_trials(run: Path) -> None:
    soup = read_record(run / "best").model_copy(update={"marks": (f"{SOUP_OF}2 and 3",)})
    predicted = make_predicted(soup, seed=99)
    (run / "best" / RECORD).write_text(soup.model_dump_json())
    write_predicted(run / "best", predicted)
    write_manifest(run / "best")
    kept = kept_of(run)
    assert kept.validation is not None
    assert kept.validation.predictions.tolist() == predicted.predictions.tolist()
    assert list(kept.panel) == [3, 2, 1, 0]
    of_seed = make_predicted(read_record(run / "trials" / "0003")).predictions.tolist()
    assert kept.panel[3].predictions.tolist() == of_seed != predicted.predictions.tolist()
    assert "of the winner's" not in missed_by(kept)


def test_trials_on_fewer_rows_are_no_match_for_the_winner(run: Path) -> None:
    path = run / "trials" / "0002" / "trial.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"train_rows": 100}))
    write_manifest(run / "trials" / "0002")
    kept = kept_of(run)
    assert kept.winner.number == 3
    assert list(kept.panel) == [3, 1, 0]
    assert missed_by(kept).endswith("None of these trials mends those; other labels or another model may.")


def test_that_no_other_configuration_mends_a_row_is_said_where_all_were_read(tmp_path: Path) -> None:
    recipe = make_recipe(train={})
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in enumerate(recipe.grid())]

    def said(*records: TrialRecord) -> str:
        return missed_by(kept_of(keep(write_run(tmp_path / str(len(records)), recipe, records))))

    assert "Another configuration of this search does not mend those" in said(*records)
    ended = make_record(recipe, 3, {"lora.r": 16}, 0.5, state="pruned")
    assert "None of these trials mends those" in said(*records, ended)
