"""Rungs of rows, promotions, brackets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.search.ladder import LEAST_ROWS, MOST_RUNGS, REDUCTION_FACTOR, brackets, first_rung, ladder, promotable


@given(st.integers(1, 10**7), st.integers(2, 200))
def test_a_ladder_rises_by_eta_to_all_rows_and_begins_with_enough(rows: int, classes: int) -> None:
    rungs = ladder(rows, classes)
    assert rungs[-1] == rows
    assert len(rungs) <= MOST_RUNGS
    assert all(low < high <= REDUCTION_FACTOR * low for low, high in pairwise(rungs))
    assert len(rungs) == 1 or rungs[0] >= max(LEAST_ROWS, 20 * classes)


def test_few_rows_are_one_rung() -> None:
    assert ladder(383, 2) == (383,)
    assert ladder(384, 2) == (128, 384)
    assert ladder(2_999, 50) == (2_999,)
    assert ladder(3_000, 50) == (1_000, 3_000)


@pytest.mark.parametrize(("finished", "promoted"), [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2), (9, 3)])
def test_the_best_third_is_promoted_as_soon_as_there_is_one(finished: int, promoted: int) -> None:
    assert promotable(finished) == promoted


def test_hyperband_s_brackets_are_those_of_the_paper() -> None:
    """Li et al. 2018, table 1: R = 81 and eta = 3 make n = 81, 34, 15, 8, 5."""
    assert brackets(5) == ((0, 81), (1, 34), (2, 15), (3, 8), (4, 5))


def test_halving_begins_all_on_the_lowest_rung_and_hyperband_some_on_each() -> None:
    assert {first_rung(place, 3, hyperband=False) for place in range(40)} == {0}
    begun = [first_rung(place, 3, hyperband=True) for place in range(17 + 3)]
    assert [begun.count(rung) for rung in range(3)] == [9 + 3, 5, 3]
    assert begun[17:] == [0, 0, 0]
