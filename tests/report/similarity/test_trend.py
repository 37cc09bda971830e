"""Accuracy by distance: its bins, its slope, and how often it is wrong about either."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from loraloom.intervals import wilson_interval
from loraloom.report.similarity.trend import at_equal_distance, trend
from tests.report.similarity.simulated import LEVEL, generator_of, most_rejections, right_by

ROWS = 400


def test_the_slope_holds_its_level_and_its_interval_covers() -> None:
    generator, studies = generator_of(1), 300
    rejected = missed = 0
    for _ in range(studies):
        slope = trend("test", generator.gamma(4, 0.1, size=ROWS), generator.random(ROWS) < 0.94).slope
        assert slope is not None
        rejected += slope.p < LEVEL
        missed += not slope.interval[0] <= 1 <= slope.interval[1]
    assert rejected <= most_rejections(studies)
    assert missed == rejected


def test_a_planted_slope_is_found_nine_times_in_ten() -> None:
    generator, studies, found = generator_of(2), 60, 0
    for _ in range(studies):
        distances = generator.gamma(4, 0.1, size=ROWS)
        z = (distances - distances.mean()) / distances.std()
        slope = trend("test", distances, right_by(generator, 2.5 - 0.8 * z)).slope
        found += slope is not None and slope.p < LEVEL and slope.odds_ratio < 1
    assert found >= 0.9 * studies


def test_the_odds_ratio_is_that_of_an_unpenalised_logistic_regression() -> None:
    generator = generator_of(3)
    distances = generator.gamma(4, 0.1, size=ROWS)
    correct = right_by(generator, 2 - 3 * distances)
    slope = trend("test", distances, correct).slope
    regression: Any = LogisticRegression  # scikit-learn has no types
    oracle = regression(C=np.inf, tol=1e-9).fit(distances[:, None] / distances.std(), correct)
    assert slope is not None
    assert np.log(slope.odds_ratio) == pytest.approx(float(oracle.coef_[0, 0]), abs=1e-4)
    assert slope.near > slope.far


def test_bins_hold_every_row_once_with_wilsons_interval() -> None:
    generator = generator_of(4)
    distances, correct = generator.random(ROWS), generator.random(ROWS) < 0.9
    bins = trend("test", distances, correct).bins
    assert sum(one.rows for one in bins) == ROWS
    assert sum(one.correct for one in bins) == int(correct.sum())
    assert all(one.high <= two.low for one, two in pairwise(bins))
    assert bins[0].interval == wilson_interval(bins[0].correct, bins[0].rows)


def test_equal_distances_stay_in_one_bin() -> None:
    distances = np.repeat([0.0, 0.5], [300, 100])
    bins = trend("test", distances, np.ones(400, dtype=np.bool_)).bins
    assert [(one.low, one.high, one.rows) for one in bins] == [(0, 0, 300), (0.5, 0.5, 100)]


def test_few_errors_are_not_made_a_trend() -> None:
    correct = np.ones(200, dtype=np.bool_)
    correct[:9] = False
    found = trend("test", np.linspace(0, 1, 200), correct)
    assert found.slope is None
    assert found.why_not == "only 9 of 200 rows are wrong; it takes 10"


def test_distance_that_tells_right_from_wrong_perfectly_has_no_odds_ratio() -> None:
    distances = np.linspace(0, 1, 100)
    found = trend("test", distances, distances < 0.8)
    assert found.slope is None
    assert found.why_not == "beyond some distance all rows are right, or all wrong, so no odds ratio can be told"


def test_errors_that_lie_at_one_distance_alone_have_no_odds_ratio() -> None:
    found = trend("test", np.repeat([0.0, 0.5], [40, 20]), np.array([True] * 30 + [False] * 10 + [True] * 20))
    assert found.slope is None
    assert found.why_not is not None
    assert "no odds ratio" in found.why_not


def test_rows_equally_far_have_no_trend() -> None:
    found = trend("test", np.full(100, 0.3), np.arange(100) % 3 > 0)
    assert found.why_not == "all rows are equally far from the training rows"


def test_at_equal_distance_a_difference_by_distance_alone_vanishes() -> None:
    generator = generator_of(5)
    near, far = generator.uniform(0, 0.6, size=2_000), generator.uniform(0.2, 0.8, size=2_000)
    found = at_equal_distance((near, right_by(generator, 3 - 4 * near)), (far, right_by(generator, 3 - 4 * far)))
    assert found is not None
    assert found[1][0] < 1 < found[1][1]
    worse = at_equal_distance((near, right_by(generator, 3 - 4 * near)), (far, right_by(generator, 2 - 4 * far)))
    assert worse is not None
    assert worse[1][1] < 1


def test_sets_that_have_no_distance_in_common_or_one_alone_are_not_compared_at_equal_distance() -> None:
    correct = np.arange(100) % 4 > 0
    near, far, same = np.linspace(0, 0.1, 100), np.linspace(0.5, 0.6, 100), np.full(100, 0.3)
    assert at_equal_distance((near, correct), (far, correct)) is None
    assert at_equal_distance((same, correct), (same, correct)) is None
    assert at_equal_distance((near, np.ones(100, dtype=np.bool_)), (near, correct)) is None
