"""Numbers rounded to what their interval allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.intervals import wilson_interval
from loraloom.report.rounding import decimals, rounded, rounded_span, with_span


@pytest.mark.parametrize(
    ("half", "places"),
    [
        (0.2, 2),
        (0.0354, 3),
        (0.0355, 2),
        (0.0161, 3),
        (0.0094, 3),
        (0.00951, 3),
        (0.00949, 3),
        (0.0095, 3),
        (0.00354, 4),
        (1e-9, 5),
    ],
)
def test_decimals_follow_the_particle_data_groups_rule(half: float, places: int) -> None:
    assert decimals((0.5 - half, 0.5 + half)) == places


def test_a_share_has_whole_per_cents_at_least_and_three_decimals_where_how_sure_it_is_is_not_known() -> None:
    assert decimals((0.1, 0.9)) == 2
    assert decimals((0.5, 0.5)) == decimals(None) == 3


@given(st.integers(1, 100_000), st.data())
def test_rounding_moves_a_share_by_less_than_a_fifth_of_its_uncertainty(rows: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, rows))
    interval = wilson_interval(correct, rows)
    shown = rounded(correct / rows, interval)
    if not shown.startswith(">"):
        half = (interval[1] - interval[0]) / 2
        assert abs(float(shown) - correct / rows) <= max(half / 5, 0.5e-5) or decimals(interval) == 2


def test_only_a_whole_share_is_written_as_one() -> None:
    interval = (0.9989, 0.99999)
    assert rounded(0.99999, interval) == ">0.9999"
    assert rounded(1.0, interval) == "1.0000"
    assert (rounded(None, None), rounded_span(None), rounded(0.5, None)) == ("–", "–", "0.500")
    assert rounded_span((0.876, 0.948)) == "0.88–0.95"


def test_in_a_column_a_larger_share_does_not_look_smaller() -> None:
    known = (256 / 286, wilson_interval(256, 286)), (257 / 286, wilson_interval(257, 286))
    assert [rounded(*each) for each in known] == ["0.90", "0.899"]
    assert [rounded(*each, 3) for each in known] == ["0.895", "0.899"]


@pytest.mark.parametrize(
    ("correct", "rows", "said"),
    [
        (56, 60, ("0.933", "0.841–0.974")),
        (432, 445, ("0.971", "0.951–0.983")),
        (99_990, 100_000, ("0.99990", "0.99982–0.99995")),
        (3, 3, ("1.000", "0.439–1.000")),
    ],
)
def test_a_share_beside_its_interval_has_as_many_decimals_and_more_where_many_rows_tell_it(
    correct: int, rows: int, said: tuple[str, str]
) -> None:
    assert with_span(correct / rows, wilson_interval(correct, rows)) == said


def test_what_is_no_whole_share_is_not_written_as_one_beside_its_interval() -> None:
    assert with_span(0.99996, (0.9939, 0.9999)) == (">0.9999", "0.9939–0.9999")
