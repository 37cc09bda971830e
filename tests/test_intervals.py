"""Intervals and tests: scipy and statsmodels are the oracles, coverage is simulated, and bad input is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import multitest

from loraloom.intervals import (
    Paired,
    difference_interval,
    holm,
    least_lead,
    mcnemar,
    mean_interval,
    paired,
    paired_bootstrap,
    wilson_interval,
)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy(counts: tuple[int, int], confidence: float) -> None:
    correct, total = counts
    theirs = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(correct, total, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_wilson_covers_the_truth_about_as_often_as_it_says(share: float) -> None:
    hits = np.random.default_rng(7).binomial(400, share, size=2000)
    intervals = {int(count): wilson_interval(int(count), 400) for count in np.unique(hits)}
    covered = np.mean([intervals[int(count)][0] <= share <= intervals[int(count)][1] for count in hits])
    assert 0.93 <= covered <= 0.975


def test_wilson_is_exact_at_its_ends() -> None:
    assert {wilson_interval(0, total)[0] for total in range(1, 500)} == {0}
    assert {wilson_interval(total, total)[1] for total in range(1, 500)} == {1}


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_mean_interval_agrees_with_scipy(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval is not None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if spread > 1e-9:
        theirs = stats.t.interval(0.95, len(values) - 1, loc=float(np.mean(values)), scale=spread)
        assert interval == pytest.approx(tuple(map(float, theirs)))


def test_one_seed_has_no_interval() -> None:
    assert mean_interval([0.9]) is None


def test_equal_seeds_have_an_interval_of_no_width() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_the_exact_binomial_test_of_the_rows_that_differ(rows: list[tuple[bool, bool]]) -> None:
    a, b = [row[0] for row in rows], [row[1] for row in rows]
    only_a, only_b = sum(x and not y for x, y in rows), sum(y and not x for x, y in rows)
    differing = only_a + only_b
    expected = stats.binomtest(only_a, differing, 0.5).pvalue if differing else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)
    assert mcnemar(a, b) == pytest.approx(mcnemar(b, a))


@pytest.mark.parametrize("level", [0.05, 0.025])
def test_the_least_lead_is_the_least_that_mcnemar_tells_from_chance(level: float) -> None:
    for changed in range(40):
        ahead = {lead: np.arange(changed) < (changed + lead) // 2 for lead in range(changed % 2, changed + 1, 2)}
        told = [lead for lead, first in ahead.items() if changed and mcnemar(first, ~first) < level]
        assert least_lead(changed, level) == min(told, default=None)


def test_rounding_to_whole_rows_widens_the_interval_of_seeds_with_the_same_count() -> None:
    low, high = mean_interval([0.5, 0.5], rows=100) or (0.5, 0.5)
    assert high - 0.5 == pytest.approx(stats.t.isf(0.025, 1) * math.sqrt(1 / 12 / 2) / 100)
    assert low == pytest.approx(1 - high)


def judged(only_a: int, only_b: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    counts = (only_a, only_b, both, neither)
    a = np.repeat([True, False, True, False], counts)
    b = np.repeat([False, True, True, False], counts)
    return a.tolist(), b.tolist()


@given(st.integers(5, 60), st.integers(5, 60), st.integers(0, 400), st.integers(0, 40))
def test_the_paired_bootstrap_is_near_the_normal_interval_of_the_rows_differences(
    only_a: int, only_b: int, both: int, neither: int
) -> None:
    a, b = judged(only_a, only_b, both, neither)
    interval = paired_bootstrap(a, b)
    assert interval is not None
    difference = (only_a - only_b) / len(a)
    deviation = float(np.std(np.subtract(a, b, dtype=float))) / math.sqrt(len(a))
    assert interval[0] <= difference <= interval[1]
    assert interval[0] == pytest.approx(difference - 1.96 * deviation, abs=0.4 * deviation + 2 / len(a))
    assert interval[1] == pytest.approx(difference + 1.96 * deviation, abs=0.4 * deviation + 2 / len(a))


def test_the_paired_bootstrap_is_that_of_rows_drawn_again_as_pairs() -> None:
    a, b = judged(18, 9, 150, 12)
    drawn = stats.bootstrap(
        (np.subtract(a, b, dtype=float),),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert paired_bootstrap(a, b) == pytest.approx((float(drawn.low), float(drawn.high)), abs=1.5 / len(a))


def test_the_paired_bootstrap_is_the_same_each_time_and_mirrored_when_the_two_change_places() -> None:
    a, b = judged(20, 10, 100, 5)
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b)
    low, high = paired_bootstrap(a, b) or (0.0, 0.0)
    assert paired_bootstrap(b, a) == pytest.approx((-high, -low), abs=1.5 / len(a))
    narrow = paired_bootstrap(a, b, 0.5) or (0.0, 0.0)
    assert low < narrow[0] < narrow[1] < high


def test_a_pair_is_the_first_less_the_second_with_the_rows_that_one_alone_has_right() -> None:
    a, b = judged(18, 9, 150, 12)
    assert paired(a, b) == Paired(189, 27, 9 / 189, paired_bootstrap(a, b), mcnemar(a, b))


def test_too_few_rows_that_tell_two_classifiers_apart_have_no_bootstrap() -> None:
    assert paired_bootstrap(*judged(5, 4, 500, 5)) is None
    assert paired_bootstrap(*judged(0, 0, 5, 0)) is None
    assert paired_bootstrap(*judged(5, 5, 500, 5)) is not None


def test_newcombes_interval_is_made_of_wilsons_and_is_his_example() -> None:
    low, high = difference_interval((56, 70), (48, 80))  # Newcombe 1998, table II, example (a), method 10
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    one, other = wilson_interval(56, 70), wilson_interval(48, 80)
    assert low == pytest.approx(0.2 - np.hypot(0.8 - one[0], other[1] - 0.6))


def test_newcombes_interval_covers_the_truth_near_1() -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        one, other = (int(generator.binomial(220, share)) for share in (0.98, 0.95))
        low, high = difference_interval((one, 220), (other, 220))
        covered += low <= 0.03 <= high
    assert 0.93 <= covered / 1000 <= 0.98


def test_holm_corrects_by_the_tests_that_were_made() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, 1.0, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holms_p_values_are_those_of_statsmodels() -> None:
    multipletests: Any = multitest.multipletests  # statsmodels has no types
    given = [0.01, 0.2, 0.011, 0.9]
    assert holm(given) == pytest.approx(multipletests(given, method="holm")[1].tolist())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: wilson_interval(0, 0), "total: 0 rows"),
        (lambda: wilson_interval(3, 2), "correct: 3 is not a count out of 2"),
        (lambda: wilson_interval(-1, 2), "correct: -1"),
        (lambda: wilson_interval(1, 2, 0.0), r"confidence: 0.0 is not within \(0, 1\)"),
        (lambda: wilson_interval(1, 2, 1.0), r"confidence: 1.0 is not within \(0, 1\)"),
        (lambda: mean_interval([]), "no mean"),
        (lambda: mean_interval([0.5, 0.6], 1.0), r"confidence: 1.0 is not within \(0, 1\)"),
        (lambda: mean_interval([0.5, math.nan]), "values: 1 of 2 are not finite .*NaN"),
        (lambda: mcnemar([True], [True, False]), "do not match"),
        (lambda: mcnemar([2], [1]), "not true or false"),
        (lambda: mcnemar([1.0], [0.0]), "not true or false"),
        (lambda: mcnemar([], []), "not a list of rows"),
        (lambda: mcnemar([[1], [0]], [[1], [1]]), r"correct_a: shape \(2, 1\) is not a list of rows"),
        (lambda: mean_interval([0.5, 0.6], rows=0), "rows: 0 rows have no accuracy"),
        (lambda: paired_bootstrap([True], [True, False]), "do not match"),
        (lambda: paired_bootstrap([2], [1]), "not true or false"),
        (lambda: paired_bootstrap([True], [True], 1.0), r"confidence: 1.0 is not within \(0, 1\)"),
    ],
)
def test_bad_input_is_refused_with_its_reason(call: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
