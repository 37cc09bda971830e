"""What is said of the winner's confidence, and of the temperature that mends it."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
import pytest

from loraloom.calibration import Temperature, at_temperature, confidence_of, reliability
from loraloom.intervals import Interval, wilson_interval
from loraloom.report.failures.calibrated import (
    Change,
    _remedy,
    _verdict,
    as_used,
    calibrated,
    confidence_gap,
    loss_interval,
)
from loraloom.report.failures.kept import Judged
from loraloom.report.failures.selective import selective
from loraloom.wording import percent
from tests.report.failures.judged_rows import drawn_rows, judged_rows


def test_a_model_that_is_too_sure_is_said_to_be_and_a_temperature_mends_it() -> None:
    judged = drawn_rows(1, 800, 2.5)
    found = calibrated(judged, drawn_rows(2, 800, 2.5, split="validation"))
    assert "too sure of itself" in found.verdict
    assert found.mended is not None
    assert found.mended.temperature.interval[0] < 2.5 < found.mended.temperature.interval[1]
    assert found.mended.loss.is_certain
    assert found.mended.loss.interval is not None
    assert found.mended.loss.interval[0] < found.mended.loss.difference < found.mended.loss.interval[1] < 0
    assert found.mended.error < found.error
    sure = confidence_of(at_temperature(judged.probabilities, found.mended.temperature.value))
    assert found.mended.bins == reliability(judged.right, sure)
    assert found.bins == reliability(judged.right, confidence_of(judged.probabilities))
    assert "divide the logits by it" in found.remedy


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((-0.02, -0.004), "(by −0.012, 95 % interval −0.020 … −0.004)"),
        ((-0.02, -0.0003), "(by −0.0120, 95 % interval −0.0200 … −0.0003)"),
        ((-0.02, -0.000001), "(by −0.01200, 95 % interval −0.02000 … 0.00000)"),
    ],
)
def test_a_gain_that_is_certain_has_no_end_that_looks_like_zero(interval: Interval, said: str) -> None:
    found = calibrated(drawn_rows(1, 800, 2.5), drawn_rows(2, 800, 2.5, split="validation"))
    assert found.mended is not None
    mended = replace(found.mended, loss=Change(0.212, 0.2, interval))
    assert said in _remedy(drawn_rows(1, 800, 2.5), found.mended.temperature, mended)


@pytest.mark.parametrize(
    ("after", "interval", "said"),
    [
        (0.988, (-0.02, 0.004), "95 % interval −0.020 … +0.004): no gain is shown. Predictions stay the same."),
        (1.012, (-0.004, 0.02), "95 % interval −0.004 … +0.020): no gain is shown. Predictions stay the same."),
        (1.012, (0.004, 0.02), "95 % interval +0.004 … +0.020): it does harm there"),
    ],
)
def test_a_change_of_the_loss_that_may_be_none_is_no_gain_and_no_harm(
    after: float, interval: Interval, said: str
) -> None:
    found = calibrated(drawn_rows(1, 800, 2.5), drawn_rows(2, 800, 2.5, split="validation"))
    assert found.mended is not None
    mended = replace(found.mended, loss=Change(1.0, after, interval))
    assert said in _remedy(drawn_rows(1, 800), mended.temperature, mended)


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (1.8, (1.5, 2.1), "the temperature is 1.80 (95 % interval 1.50 … 2.10)"),
        (1.031, (1.002, 1.06), "the temperature is 1.031 (95 % interval 1.002 … 1.060)"),
        (0.97, (0.943, 0.998), "the temperature is 0.970 (95 % interval 0.943 … 0.998)"),
        (1.031, (0.998, 1.06), "the temperature is 1.03 (95 % interval 1.00 … 1.06): it is not shown to differ from 1"),
    ],
)
def test_a_temperature_that_is_needed_has_no_end_that_looks_like_1(value: float, interval: Interval, said: str) -> None:
    fitted = Temperature(value, interval, 4_000)
    rows = drawn_rows(1, 800, 2.5)
    mended = calibrated(rows, drawn_rows(2, 800, 2.5, split="validation")).mended if fitted.is_needed else None
    assert said in _remedy(rows, fitted, mended)


def test_a_model_that_is_not_sure_enough_is_said_to_be() -> None:
    assert calibrated(drawn_rows(1, 800, 0.3), None).verdict.startswith(
        "The winner is not sure enough: the calibration"
    )


@pytest.mark.parametrize(
    ("error", "ceiling", "said"),
    [
        (0.0412, 0.03, "the calibration error is 0.041, where 95 % of well-calibrated models stay below 0.030"),
        (0.0304, 0.03, "the calibration error is 0.0304, where 95 % of well-calibrated models stay below 0.0300"),
        (0.03001, 0.03, "the calibration error is 0.03001, where 95 % of well-calibrated models stay below 0.03000"),
    ],
)
def test_an_error_above_what_well_calibrated_models_have_does_not_look_like_it(
    error: float, ceiling: float, said: str
) -> None:
    assert said in _verdict(0.04, error, ceiling, 0.02, (0.01, 0.03))
    assert "shown to be wrong: the calibration error is 0.012, and 95 % of" in _verdict(0.6, 0.012, 0.03, 0, (0, 0.1))


def test_a_model_that_is_too_sure_is_never_said_to_be_wrong_both_ways() -> None:
    drawn = [drawn_rows(seed, 200, 2.0, spread=20) for seed in range(20)]
    verdicts = [calibrated(judged, None).verdict for judged in drawn]
    unknown = [said.startswith("The winner's confidence is wrong, though on average not") for said in verdicts]
    assert any(unknown)
    gaps = [confidence_gap(judged.right, confidence_of(judged.probabilities))[1] for judged in compress(drawn, unknown)]
    assert all(low <= 0 <= high for low, high in gaps)
    assert not [said for said in verdicts if "both ways" in said]


def test_where_no_row_is_wrong_the_gap_is_as_sure_as_so_many_rows_make_the_accuracy() -> None:
    shares = np.where(np.arange(2) == (np.arange(200) % 2)[:, None], 0.93, 0.07)
    judged = judged_rows([True] * 200, probabilities=shares)
    low, _ = wilson_interval(200, 200)
    gap, interval = confidence_gap(judged.right, confidence_of(judged.probabilities))
    assert (gap, *interval) == pytest.approx((-0.07, -0.07, 0.93 - low))
    said = calibrated(judged, None).verdict
    assert "confidence less accuracy is −7.0 pp on average (95 % interval −7.0 … −5.1 pp)" in said


def test_a_calibrated_model_is_left_alone() -> None:
    found = calibrated(drawn_rows(5, 400), drawn_rows(6, 400, split="validation"))
    assert "not shown to be wrong" in found.verdict
    assert found.mended is None
    assert "it is not shown to differ from 1" in found.remedy


@pytest.mark.parametrize(("rows", "shown"), [(19, False), (60, True)])
def test_a_winner_that_is_right_in_few_validation_rows_has_no_temperature(rows: int, *, shown: bool) -> None:
    right = judged_rows([True] * rows, split="validation")  # each with a confidence of 0.8
    found = calibrated(drawn_rows(1, 800, 2.5), right)
    assert (found.mended is not None) == shown
    assert found.remedy.startswith(f"Fitted on {rows} validation rows, the temperature is 0.")
    assert ("it is not shown to differ from 1, which changes nothing" in found.remedy) != shown


def test_a_temperature_that_fits_other_rows_is_seen_to_do_harm() -> None:
    found = calibrated(drawn_rows(1, 600, 1.0), drawn_rows(2, 600, 4.0, split="validation"))
    assert "it does harm there" in found.remedy


@pytest.mark.parametrize(("wrong", "judges"), [(0, False), (9, False), (10, True)])
def test_a_temperature_is_not_judged_by_test_rows_of_which_too_few_are_wrong(wrong: int, judges: bool) -> None:
    found = calibrated(judged_rows(np.arange(200) >= wrong), drawn_rows(2, 800, 2.5, split="validation"))
    assert found.mended is not None
    assert found.mended.loss.is_certain == judges
    assert ("does harm there" in found.remedy) == judges
    assert ("): too few test rows are wrong to judge it. Predictions stay the same." in found.remedy) != judges


def test_without_test_rows_no_temperature_is_judged() -> None:
    validation = drawn_rows(1, split="validation")
    found = calibrated(validation, validation)
    assert found.mended is None
    assert "when the search has ended" in found.remedy


def test_without_validation_rows_it_says_what_would_keep_them() -> None:
    assert "a search by this version keeps them" in calibrated(drawn_rows(1), None).remedy


def test_the_same_rows_give_the_same_words() -> None:
    rows = drawn_rows(1, 300, 2.0), drawn_rows(2, 300, 2.0, split="validation")
    assert calibrated(*rows) == calibrated(*rows)


def test_rows_that_are_all_right_and_wholly_sure_are_no_error() -> None:
    sure = judged_rows([True] * 50, probabilities=np.eye(2)[np.arange(50) % 2])
    found = calibrated(sure, sure)
    assert found.error == 0.0
    assert "not shown to be wrong" in found.verdict


def test_the_bootstrap_interval_of_a_mean_covers_it_in_95_percent() -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = loss_interval(generator.normal(0.1, 1, 150), generator)
        covered += low <= 0.1 <= high
    assert 0.90 <= covered / 200 <= 0.99
    assert loss_interval(np.full(5, 0.25), generator) == (0.25, 0.25)


def test_a_threshold_is_chosen_on_validation_and_tried_on_test() -> None:
    test, validation = drawn_rows(3, 1500, 1.0), drawn_rows(4, 1500, 1.0, split="validation")
    found = selective(test, validation)
    assert [each.wanted for each in found.targets] == [0.95, 0.98, 0.99, 0.995]
    sure = test.probabilities.max(axis=1)
    for each in found.targets:
        answered = sure >= each.threshold
        assert each.coverage == answered.mean()
        assert each.accuracy == test.right[answered].mean()
        assert validation.right[validation.probabilities.max(axis=1) >= each.threshold].mean() >= each.wanted
    assert [each.coverage for each in found.targets] == sorted((each.coverage for each in found.targets), reverse=True)
    best = found.targets[2]
    assert f"{best.right_of_chosen} are right (95 % interval " in found.verdict
    assert best.right_of_chosen / best.chosen_on >= 0.99


def sure_rows(right: int, wrong: int, sure: float) -> dict[str, Any]:
    """Of two classes, predicted with this confidence."""
    rows = judged_rows(np.arange(right + wrong) < right)
    shares = np.where(rows.probabilities > 0.5, sure, 1 - sure)
    return {"labels": rows.labels, "predictions": rows.predictions, "probabilities": shares}


def both_rows(first: dict[str, Any], second: dict[str, Any], split: str = "test") -> Judged:
    parts = {name: np.concatenate([first[name], second[name]]) for name in first}
    return judged_rows(np.ones(len(parts["labels"]), dtype=np.bool_), split=split, **parts)


@pytest.mark.parametrize(("below", "told"), [(0.6, "0.912"), (0.912, "0.9126")])
def test_a_threshold_is_told_with_what_it_does_on_test_and_how_sure_that_is(below: float, told: str) -> None:
    """In three digits, or as many as tell it from those below."""
    validation = both_rows(sure_rows(150, 0, 0.9126), sure_rows(40, 10, below), "validation")
    test = both_rows(sure_rows(79, 1, 0.9126), sure_rows(15, 5, below))
    coverage, accuracy = (
        " to ".join(map(percent, interval)) for interval in (wilson_interval(80, 100), wilson_interval(79, 80))
    )
    chosen = " to ".join(map(percent, wilson_interval(150, 150)))
    begins = (
        f"A threshold for 99 %: of the 150 validation rows of which loraloom predict is {told} sure or more, 150 are "
        f"right (95 % interval {chosen}); "
    )
    assert selective(test, validation).verdict == (
        f"{begins}on test these are 80 % of the rows ({coverage}), of which 98.8 % are right "
        f"(95 % interval {accuracy})."
    )
    none = selective(both_rows(sure_rows(70, 0, 0.6), sure_rows(25, 5, 0.6)), validation)
    assert none.verdict == f"{begins}on test these are 0 % of the rows (0 % to 3.7 %)."
    assert none.targets[0].accuracy_interval is None


@pytest.mark.parametrize(("right", "said"), [(995, "99.5"), (996, "99.6")])
def test_a_winner_that_is_right_as_often_as_is_ever_asked_for_needs_no_threshold(right: int, said: str) -> None:
    rows = both_rows(sure_rows(right, 0, 0.9), sure_rows(0, 1000 - right, 0.6))
    assert selective(rows, rows).verdict == (
        f"Answering every row, the winner is right in {said} % of the validation rows: no less than each accuracy that "
        "thresholds are sought for (99.5 % at most)."
    )


@pytest.mark.parametrize("rows", [400, 4000])
def test_a_threshold_does_what_is_said_of_it_as_it_is_written(rows: int) -> None:
    test, validation = drawn_rows(3, rows, spread=8), drawn_rows(4, rows, spread=8, split="validation")
    for each in selective(test, validation).targets:
        written = float(each.from_confidence)
        assert validation.right[confidence_of(validation.probabilities) >= written].mean() >= each.wanted
        assert each.coverage == (confidence_of(test.probabilities) >= written).mean()
        assert len(each.from_confidence) < 9


def test_thresholds_are_of_the_confidence_that_answers_are_given_with() -> None:
    test, validation = drawn_rows(3, 1500, 0.5), drawn_rows(4, 1500, 0.5, split="validation")
    believed = calibrated(test, validation)
    assert believed.mended is not None
    target = selective(as_used(test, believed), as_used(validation, believed)).targets[0]
    given = confidence_of(at_temperature(test.probabilities, believed.mended.temperature.value))
    assert target.coverage == (given >= target.threshold).mean()
    assert target.coverage != (confidence_of(test.probabilities) >= target.threshold).mean()


def test_the_area_lies_between_the_least_and_that_of_chance() -> None:
    found = selective(drawn_rows(3, 1500), None)
    assert found.least < found.curve.area < 1 - drawn_rows(3, 1500).right.mean()
    assert found.area_interval is not None
    assert found.area_interval[0] <= found.curve.area <= found.area_interval[1]
    errors = 1 - drawn_rows(3, 1500).right.mean()
    assert found.least == pytest.approx(errors + (1 - errors) * np.log(1 - errors), abs=0.002)  # Geifman 2019, 1 - eq


@pytest.mark.parametrize("wrong", [9, 10])
def test_of_fewer_than_ten_errors_it_is_not_said_how_sure_the_area_is(wrong: int) -> None:
    found = selective(judged_rows(np.arange(200) >= wrong), None)
    assert (found.area_interval is None) is (wrong < 10)


def test_a_winner_that_is_right_everywhere_needs_no_threshold() -> None:
    right = judged_rows([True] * 40)
    assert "no threshold adds to that" in selective(right, right).verdict
    assert selective(right, right).area_interval is None  # nor can it be said how sure its area is


def test_where_no_threshold_reaches_a_target_that_is_said() -> None:
    hard = judged_rows([True, False] * 40)
    assert "does not bring that to 95 %." in selective(hard, hard).verdict


@pytest.mark.parametrize(("right", "target"), [(97, "98 %"), (99, "99.5 %")])
def test_it_is_the_next_accuracy_that_no_threshold_reaches(right: int, target: str) -> None:
    rows = judged_rows(np.arange(100) < right)
    assert selective(rows, rows).verdict == (
        f"Answering every row, the winner is right in {percent(right / 100)} of the validation rows; to leave out "
        f"those that it is least sure of does not bring that to {target}."
    )


def test_where_99_percent_are_out_of_reach_the_highest_accuracy_that_is_not_is_told() -> None:
    rows = both_rows(sure_rows(197, 3, 0.9), sure_rows(70, 30, 0.6))
    found = selective(rows, rows)
    assert [each.wanted for each in found.targets] == [0.95, 0.98]
    assert found.verdict.startswith(
        "A threshold for 98 %: of the 200 validation rows of which loraloom predict is 0.900 sure or more, 197 are "
        "right (95 % interval 95.7 % to 99.5 %); "
    )


def test_without_test_rows_no_threshold_is_named() -> None:
    rows = both_rows(sure_rows(150, 0, 0.9), sure_rows(25, 25, 0.6), split="validation")
    found = selective(rows, rows)
    assert found.targets == ()
    assert found.verdict.startswith("Thresholds are chosen on validation and tried on test rows, which are read when")


def test_without_validation_rows_no_threshold_is_named() -> None:
    found = selective(both_rows(sure_rows(150, 0, 0.9), sure_rows(25, 25, 0.6)), None)
    assert found.targets == ()
    assert found.verdict.startswith("Nor can a confidence be named from which on it may be trusted: such a threshold")
