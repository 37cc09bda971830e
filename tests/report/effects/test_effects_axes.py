"""Axes: what is compared along them, and how numbers of many values are levelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.report.effects.axes import Axis, make_axis


def axis_of(values: Sequence[Any], name: str = "lora.r") -> Axis:
    made = make_axis(name, values)
    assert made is not None
    return made


def test_numbers_are_compared_with_all_that_are_higher() -> None:
    axis = axis_of([8, 2, 4, 2])
    assert [each.title for each in axis.comparisons()] == ["above 2", "above 4"]
    assert axis.comparisons()[0].weights == (-1.0, 0.5, 0.5)


def test_names_are_compared_with_the_others_as_often_as_these_were_tried() -> None:
    axis = axis_of(["adam", "adam", "sgd", "muon"], "train.optim")
    muon = axis.comparisons()[2]
    assert muon.title == "muon against adam and sgd"
    assert muon.weights == pytest.approx((-2 / 3, -1 / 3, 1.0))


def test_a_value_that_no_fitted_configuration_has_is_compared_with_the_others_and_left_out_of_theirs() -> None:
    ranks = axis_of([2, 2, 4, 4, 8, 16])
    first, *alone = ranks.comparisons(np.array([True] * 4 + [False] * 2))
    assert (first.title, first.weights) == ("above 2, without 8 and 16", (-1.0, 1.0, 0.0, 0.0))
    assert [each.title for each in alone] == ["8 against 2 and 4", "16 against 2 and 4"]
    lowest = axis_of([2, 4, 4, 8, 8]).comparisons(np.array([False] + [True] * 4))
    assert [each.title for each in lowest] == ["above 4", "2 against 4 and 8"]
    names = axis_of([*"abcdeabcdef"], "train.optim")
    of_names = [each.title for each in names.comparisons(np.array([True] * 10 + [False]))]
    assert (of_names[0], of_names[-1]) == ("a against 4 others", "f against the other 5")
    none = ranks.comparisons(np.zeros(6, dtype=np.bool_))
    assert [each.title for each in none] == [each.title for each in ranks.comparisons()]


def test_two_names_and_flags_are_one_comparison() -> None:
    assert [each.title for each in axis_of(["none", "all"]).comparisons()] == ["all against none"]
    assert [each.title for each in axis_of([False, True]).comparisons()] == ["true against false"]


def test_lists_and_absent_values_are_names() -> None:
    axis = axis_of([["query"], None, ["query", "value"]], "lora.target_modules")
    assert axis.labels == ("query", "null", "query, value")
    assert axis.numbers is None


def test_an_axis_of_one_value_is_none() -> None:
    assert make_axis("lora.r", [4, 4]) is None


def test_a_range_over_decades_is_a_curve_of_its_logarithm_with_three_levels() -> None:
    rates = np.geomspace(1e-4, 1e-2, 31)
    axis = axis_of(rates.tolist(), "train.learning_rate")
    assert axis.kind == "curve"
    assert axis.labels == ("0.00022", "0.001", "0.0046")
    assert axis.counts.sum() == 31
    assert axis.columns.shape == (31, 2)
    unit = (np.log(0.001) - np.log(1e-4)) / np.log(100) * 2 - 1
    assert axis.levels[1] == pytest.approx([unit, (3 * unit**2 - 1) / 2])


def test_many_configurations_let_a_curve_bend_more() -> None:
    assert axis_of(np.linspace(0, 1, 150).tolist()).columns.shape == (150, 4)


@pytest.mark.parametrize("share", [0.7, 0.9])
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_range_that_nearly_all_have_an_end_of_is_compared_with_the_rest(share: float, end: float) -> None:
    rest = np.linspace(0.2, 0.8, 20)
    axis = axis_of([*rest, *[end] * round(20 * share / (1 - share))], "train.weight_decay")
    (comparison,) = axis.comparisons()
    assert axis.counts.tolist()[:: 1 if end == 0 else -1][0] > 20
    assert np.abs(np.array(comparison.weights) @ axis.levels).max() > 0.1


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, unique_by=lambda number: round(number, 3)), st.data())
def test_no_range_is_without_a_comparison(numbers: list[float], data: st.DataObject) -> None:
    often = data.draw(st.lists(st.sampled_from(numbers), max_size=99))
    axis = axis_of(numbers + often)
    compared = [np.array(each.weights) @ axis.levels for each in axis.comparisons()]
    assert compared
    assert all(np.abs(contrast).max() > 0 for contrast in compared)


def test_a_range_down_to_the_least_number_is_seen_by_its_logarithm() -> None:
    axis = axis_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 2.2e-309])
    assert np.isfinite(axis.columns).all()
    assert axis.comparisons()


SETTINGS = st.one_of(st.integers(-9, 9), st.floats(1e-12, 1), st.booleans(), st.text(max_size=3))


@given(st.lists(SETTINGS, max_size=30))
def test_weights_of_a_comparison_are_a_difference_of_means(values: list[object]) -> None:
    axis = make_axis("any", values)
    if axis is None:
        return
    for comparison in axis.comparisons():
        weights = np.array(comparison.weights)
        assert weights.sum() == pytest.approx(0)
        assert np.abs(weights).sum() == pytest.approx(2)
        assert not set(comparison.upper) & set(comparison.lower)
        assert all(axis.counts[level] for level in (*comparison.upper, *comparison.lower))
