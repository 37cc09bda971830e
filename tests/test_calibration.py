"""Calibration against scikit-learn, by hand, and by simulation with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, norm
from sklearn.calibration import calibration_curve

from loraloom import calibration
from loraloom.calibration import (
    COLDEST,
    HOTTEST,
    SPREAD,
    Temperature,
    at_temperature,
    calibration_test,
    confidence_of,
    coverage_curve,
    drawn_areas,
    fit_temperature,
    least_area,
    portions,
    reliability,
    temperature_towards,
    threshold_for,
)
from loraloom.intervals import Floats, wilson_interval
from loraloom.metrics import calibration_errors, expected_calibration_error, log_loss, row_losses, softmax


def drawn(
    seed: int, rows: int = 400, temperature: float = 1.0, classes: int = 4, scale: float = 2.0
) -> tuple[NDArray[np.int64], Floats]:
    """Labels drawn from softmax(logits), and what a model says whose logits are `temperature` times too large."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, scale, size=(rows, classes))
    truth = softmax(logits)
    labels = (truth.cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    return labels, softmax(temperature * logits)


def right_of(labels: NDArray[np.int64], probabilities: Floats) -> NDArray[np.bool_]:
    return np.asarray(probabilities.argmax(axis=1) == labels)


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_bins_are_scikit_learns(bins: int) -> None:
    labels, shares = drawn(1)
    right, sure = right_of(labels, shares), confidence_of(shares)
    theirs = calibration_curve(right, sure, n_bins=bins, strategy="uniform")
    ours = reliability(right, sure, bins)
    assert [each.accuracy for each in ours] == pytest.approx(theirs[0].tolist())
    assert [each.confidence for each in ours] == pytest.approx(theirs[1].tolist())
    assert sum(each.rows for each in ours) == 400
    assert all(each.low < each.confidence <= each.high for each in ours)
    assert [each.high - each.low for each in ours] == pytest.approx([1 / bins] * len(ours))
    assert all(each.interval[0] <= each.accuracy <= each.interval[1] for each in ours)


def test_errors_of_many_outcomes_are_those_of_each() -> None:
    labels, shares = drawn(2)
    right, sure = right_of(labels, shares), confidence_of(shares)
    outcomes = np.stack([right, ~right, np.ones_like(right)])
    alone = [float(calibration_errors(each, sure)[0]) for each in outcomes]
    assert calibration_errors(outcomes, sure).tolist() == pytest.approx(alone)
    assert alone[0] == pytest.approx(expected_calibration_error(labels, shares))


def test_the_calibration_test_holds_its_level_where_confidence_is_the_chance_to_be_right() -> None:
    found = []
    for seed in range(400):
        labels, shares = drawn(seed, rows=150)
        generator = np.random.default_rng(10_000 + seed)
        found.append(calibration_test(right_of(labels, shares), confidence_of(shares), generator, draws=199)[0])
    rejected = np.mean(np.array(found) <= 0.05)
    assert 0.02 <= rejected <= 0.085  # 0.05, and three standard errors of 400 tries


def test_the_calibration_test_finds_a_model_that_is_too_sure() -> None:
    found = []
    for seed in range(60):
        labels, shares = drawn(seed, rows=400, temperature=2.0)
        right, sure = right_of(labels, shares), confidence_of(shares)
        found.append(calibration_test(right, sure, np.random.default_rng(seed), draws=199))
    assert np.mean([p <= 0.05 for p, _ in found]) > 0.9


@pytest.mark.parametrize(("right", "rows", "sure", "p"), [(False, 20, 0.99, 1 / 200), (True, 1, 0.8, 1.0)])
def test_what_no_draw_comes_to_has_the_least_p_value_and_what_each_comes_to_has_one(
    right: bool, rows: int, sure: float, p: float
) -> None:
    found = calibration_test(np.full(rows, right), np.full(rows, sure), np.random.default_rng(0), draws=199)
    assert found[0] == p


@pytest.mark.parametrize(("draws", "rows"), [(550, 20_000), (1000, 7), (3, 3_000_000), (101, 0)])
def test_portions_are_all_draws_and_none_is_of_more_rows_than_are_drawn_at_once(draws: int, rows: int) -> None:
    assert sum(portions(draws, rows)) == draws
    assert max(portions(draws, rows)) <= max(1, calibration.MOST_DRAWN // max(1, rows))


def test_the_ceiling_is_what_few_rows_make_of_good_calibration() -> None:
    _, shares = drawn(1, rows=50)
    _, many = drawn(1, rows=5000)
    ceilings = [
        calibration_test(right_of(s.argmax(axis=1), s), confidence_of(s), np.random.default_rng(0))[1]
        for s in (shares, many)
    ]
    assert ceilings[0] > 3 * ceilings[1] > 0


@pytest.mark.parametrize(("seen", "above"), [(0.9497, False), (0.95, False), (0.9503, True)])
def test_an_error_is_above_the_ceiling_just_where_its_p_is_below_5_percent(
    monkeypatch: pytest.MonkeyPatch, seen: float, above: bool
) -> None:
    """Of draws of 0, 0.001, … 0.999, of which a quantile between two would lie at 0.94905."""
    errors = iter([np.array([seen]), np.arange(1000) / 1000])
    monkeypatch.setattr(calibration, "calibration_errors", lambda *_: next(errors))
    p, ceiling = calibration_test(np.full(4, True), np.full(4, 0.9), np.random.default_rng(0))
    assert (p <= 0.05, seen > ceiling) == (above, above)


def test_a_temperature_divides_the_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3)) * 4
    assert at_temperature(softmax(logits), 2.5) == pytest.approx(softmax(logits / 2.5))
    assert at_temperature(softmax(logits), 1.0) == pytest.approx(softmax(logits))


def test_a_temperature_takes_what_is_next_to_impossible_for_what_it_is() -> None:
    assert at_temperature([[1.0, 1e-30]], 2.0)[0, 1] == pytest.approx(1e-15)


def test_a_temperature_keeps_every_prediction_and_stands_a_probability_of_zero() -> None:
    shares = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    for temperature in (0.1, 1.0, 7.0):
        after = at_temperature(shares, temperature)
        assert after.argmax(axis=1).tolist() == [0, 1]
        assert np.isfinite(after).all()


def test_a_temperature_is_the_same_to_the_bit_however_many_probabilities_are_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, shares = drawn(3, rows=60, temperature=1.7)
    fitted = []
    for at_once in (1, 7, 100, 10_000):
        monkeypatch.setattr(calibration, "MOST_AT_ONCE", at_once)
        fitted.append((fit_temperature(labels, shares), temperature_towards(shares, at_temperature(shares, 0.7))))
    assert len(set(fitted)) == 1


@pytest.mark.parametrize("spread", [0.1, SPREAD, math.inf])
def test_the_fitted_temperature_has_the_least_log_loss_and_loss_of_its_prior_and_its_interval_hardly_more(
    spread: float,
) -> None:
    labels, shares = drawn(3, rows=60, temperature=1.7)
    fitted = fit_temperature(labels, shares, spread)
    assert fitted.rows == 60
    grid = np.linspace(0.5, 4, 1000)
    of_rows = [log_loss(labels, at_temperature(shares, float(each))) for each in grid]
    losses = 60 * np.array(of_rows) - norm.logpdf(np.log(grid) / spread)
    assert fitted.value == pytest.approx(float(grid[int(np.argmin(losses))]), abs=0.005)
    assert fitted.interval == pytest.approx(
        tuple(grid[losses <= losses.min() + chi2.isf(0.05, 1) / 2][[0, -1]]), abs=0.005
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_interval_without_a_prior_covers_the_truth_in_95_percent(temperature: float) -> None:
    covered = 0
    for seed in range(300):
        labels, shares = drawn(seed, rows=200, temperature=temperature)
        low, high = fit_temperature(labels, shares, math.inf).interval
        covered += low <= temperature <= high
    assert 0.915 <= covered / 300 <= 0.985  # 0.95, and under three standard errors of 300 tries


def test_the_interval_covers_temperatures_that_are_drawn_from_the_prior_in_95_percent() -> None:
    covered, generator = 0, np.random.default_rng(0)
    for seed in range(300):
        temperature = math.exp(generator.normal(0, SPREAD))
        labels, shares = drawn(seed, rows=30, temperature=temperature)
        low, high = fit_temperature(labels, shares).interval
        covered += low <= temperature <= high
    assert 0.915 <= covered / 300 <= 0.985


def test_before_rows_are_seen_95_percent_of_temperatures_lie_between_a_half_and_twice() -> None:
    assert norm.cdf(math.log(2), scale=SPREAD) == pytest.approx(0.975, abs=1e-4)


def test_few_rows_leave_a_temperature_near_one_and_many_make_it_the_likeliest() -> None:
    labels, shares = drawn(3, rows=20_000, temperature=1.7)
    parts = []
    for rows in (5, 50, 500, 20_000):
        fitted, likeliest = (fit_temperature(labels[:rows], shares[:rows], spread) for spread in (SPREAD, math.inf))
        parts.append(math.log(fitted.value) / math.log(likeliest.value))
    assert parts == sorted(parts)
    assert 0 < parts[0] < 0.2
    assert 0.99 < parts[-1] < 1


@pytest.mark.parametrize("rows", [20, 44])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.6])
def test_a_temperature_of_few_rows_does_no_harm_to_others(rows: int, temperature: float) -> None:
    labels, shares = drawn(99, 2_000, temperature, scale=4)
    changes = []
    for seed in range(60):
        fitted = fit_temperature(*drawn(seed, rows, temperature, scale=4))
        after = at_temperature(shares, fitted.value) if fitted.is_needed else shares
        changes.append(log_loss(labels, after) - log_loss(labels, shares))
    assert np.mean(changes) < 0.001  # without a prior, of 20 rows: 0.05 where the truth is 1, or below


def test_rows_that_are_all_right_ask_for_a_colder_one_and_without_a_prior_for_the_coldest() -> None:
    shares = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature([0, 1], shares, math.inf).value == pytest.approx(COLDEST, rel=1e-3)
    fitted = fit_temperature([0, 1], shares)
    assert 0.9 < fitted.value < 1
    assert not fitted.is_needed


def test_rows_that_are_all_wrong_ask_for_a_hotter_one_and_without_a_prior_for_the_hottest() -> None:
    shares = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert HOTTEST == 1 / COLDEST
    assert fit_temperature([1, 0], shares, math.inf).value == pytest.approx(HOTTEST, rel=1e-3)
    assert 1 < fit_temperature([1, 0], shares).value < HOTTEST


def test_of_44_rows_one_error_shows_no_temperature() -> None:
    right = np.linspace(0.84, 0.995, 43)
    shares = np.column_stack([[*right, 0.3], [*(1 - right), 0.7]])
    labels = np.zeros(44, dtype=np.int64)
    assert fit_temperature(labels, shares, math.inf).is_needed
    assert not fit_temperature(labels, shares).is_needed


@pytest.mark.parametrize(
    ("interval", "needed"), [((0.5, 0.9), True), ((0.5, 1.1), False), ((1.0, 1.5), False), ((1.1, 1.5), True)]
)
def test_a_temperature_is_needed_where_its_interval_leaves_one_out(interval: tuple[float, float], needed: bool) -> None:
    assert Temperature(sum(interval) / 2, interval, 100).is_needed == needed


def test_no_rows_have_no_temperature() -> None:
    with pytest.raises(ValueError, match="no rows"):
        fit_temperature([], np.zeros((0, 2)))


def test_a_temperature_towards_labels_is_the_likeliest_and_towards_a_tempered_self_its_own() -> None:
    generator = np.random.default_rng(5)
    shares = generator.dirichlet(np.ones(4), size=300)
    labels = (generator.random((300, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    towards = temperature_towards(shares, np.eye(4)[labels])
    assert towards == pytest.approx(fit_temperature(labels, shares, math.inf).value, rel=1e-4)
    for temperature in (0.3, 1.0, 4.0):
        assert temperature_towards(shares, at_temperature(shares, temperature)) == pytest.approx(temperature, rel=1e-4)


def test_row_losses_have_the_log_loss_as_their_mean() -> None:
    labels, shares = drawn(4)
    assert row_losses(labels, shares).mean() == pytest.approx(log_loss(labels, shares))


def test_coverage_answers_rows_of_equal_confidence_together() -> None:
    right = np.array([True, False, True, True, False])
    sure = np.array([0.9, 0.9, 0.8, 0.6, 0.6])
    curve = coverage_curve(right, sure)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.6]
    assert curve.coverage.tolist() == pytest.approx([0.4, 0.6, 1.0])
    assert curve.accuracy.tolist() == pytest.approx([1 / 2, 2 / 3, 3 / 5])
    ends = [wilson_interval(hits, answered) for hits, answered in ((1, 2), (2, 3), (3, 5))]
    assert np.stack([curve.low, curve.high], axis=1) == pytest.approx(np.array(ends))


def test_the_ends_of_a_curve_without_an_error_are_wilsons() -> None:
    curve = coverage_curve(np.array([True, True]), np.array([0.9, 0.8]))
    assert (curve.low[1], curve.high[1]) == pytest.approx(wilson_interval(2, 2))
    curve = coverage_curve(np.array([False, False]), np.array([0.9, 0.8]))
    assert (curve.low[1], curve.high[1]) == pytest.approx(wilson_interval(0, 2))


def test_the_least_area_is_that_of_a_model_least_sure_where_it_errs() -> None:
    right = np.array([True, False, True, True, False, True])
    best = coverage_curve(right, np.where(right, 0.9, 0.1) - np.arange(6) / 100).area
    assert least_area(right) == pytest.approx(best)


def test_the_area_is_the_mean_over_coverages_and_over_orders_within_ties() -> None:
    generator = np.random.default_rng(5)
    right, sure = generator.random(60) < 0.8, np.round(generator.random(60), 1)
    areas = []
    for _ in range(4000):
        order = np.lexsort((generator.random(60), -sure))
        areas.append(np.mean(1 - np.cumsum(right[order]) / np.arange(1, 61)))
    assert coverage_curve(right, sure).area == pytest.approx(float(np.mean(areas)), abs=0.002)


def test_areas_are_drawn_of_every_row() -> None:
    """Of a wrong row and a surer right one: both are drawn, or one of them twice."""
    areas = drawn_areas(np.array([False, True]), np.array([0.8, 0.9]), np.random.default_rng(0), 2000, 2)
    assert sorted(set(areas)) == [0.0, 0.25, 1.0]
    assert np.mean(areas) == pytest.approx(0.25 * 0 + 0.5 * 0.25 + 0.25 * 1, abs=0.03)


def test_the_threshold_is_the_lowest_that_reaches_the_accuracy() -> None:
    right = np.array([True, True, False, True, True, True, False])
    sure = np.array([0.99, 0.98, 0.9, 0.8, 0.7, 0.6, 0.5])
    assert threshold_for(right, sure, 0.8) == 0.6
    assert threshold_for(right, sure, 0.9) == 0.98
    assert threshold_for(~right[:2], sure[:2], 0.5) is None
    assert threshold_for(np.arange(20) < 19, np.arange(20, 0, -1) / 20, 0.95) == 0.05  # just reached


def test_a_curve_is_thinned_evenly_and_keeps_both_ends() -> None:
    curve = coverage_curve(np.ones(100, dtype=np.bool_), np.arange(100) / 100)
    assert curve.spread(4).tolist() == [0, 33, 66, 99]
    assert curve.spread(1_000).tolist() == list(range(100))
