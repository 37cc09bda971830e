"""What is said of a trend, and of the rank: which way it goes, and where its interval and its test do not agree."""

from __future__ import annotations

import pytest

from loraloom.intervals import Interval
from loraloom.report.similarity.rank import RankSlope
from loraloom.report.similarity.trend import Slope, Trend
from loraloom.report.similarity.verdicts import on_rank, on_trend, ratio

LEAVES_OUT = "The interval leaves 1 out; one in twenty does where nothing depends on distance."
UNSURE = "So few errors can't rule out one that matters (odds by 0.67 or 1.50)."


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0004, "4.0e-04"),
        (0.0042, "0.0042"),
        (0.05, "0.05"),
        (0.4, "0.40"),
        (2.5, "2.50"),
        (31.4, "31"),
        (1e4, "1.0e+04"),
    ],
)
def test_an_odds_ratio_never_looks_like_zero(value: float, said: str) -> None:
    assert ratio(value) == said


@pytest.mark.parametrize(
    ("odds", "interval", "p", "head", "end"),
    [
        (0.5, (0.40, 0.62), 0.049, "Accuracy falls with the distance from the training rows", "a tenth is farther."),
        (2.0, (1.61, 2.50), 0.049, "Accuracy rises with the distance from the training rows", "a tenth is farther."),
        (0.9, (0.70, 1.16), 0.05, "No dependence on distance found", "445 rows, 30 wrong)."),
        (0.9, (0.66, 1.23), 0.05, "No dependence on distance found", f"wrong). {UNSURE}"),
        (1.3, (0.80, 1.51), 0.05, "No dependence on distance found", f"wrong). {UNSURE}"),
        (0.8, (0.68, 0.94), 0.05, "No dependence on distance found", f"wrong). {LEAVES_OUT}"),
        (0.9, (0.81, 0.996), 0.05, "No dependence on distance found", "445 rows, 30 wrong)."),  # 0.81–1.00, it says
        (1.3, (1.06, 1.60), 0.05, "No dependence on distance found", f"wrong). {LEAVES_OUT} {UNSURE}"),
    ],
)
def test_a_trend_is_told_by_its_way_and_by_what_its_interval_leaves_open(
    odds: float, interval: Interval, p: float, head: str, end: str
) -> None:
    slope = Slope(odds, interval, p / 3, 0.1, near=0.96, far=0.91)
    verdict = on_trend(Trend("test", 445, 30, (), slope, None), p)
    assert verdict.head == head
    assert verdict.figures.endswith(end)


def test_an_accuracy_that_falls_from_almost_all_is_not_told_as_falling_from_all() -> None:
    slope = Slope(0.4, (0.3, 0.5), 0.001, 0.1, near=0.9997, far=0.91)
    figures = on_trend(Trend("test", 7_600, 60, (), slope, None), 0.003).figures
    assert "from >0.999 where a tenth of the rows is nearer to 0.910 where" in figures


@pytest.mark.parametrize(
    ("odds", "interval", "p", "head", "end"),
    [
        (1.3, (1.10, 1.54), 0.049, "A higher rank helps more far from the training rows", "is not held fixed."),
        (0.8, (0.70, 0.91), 0.049, "A higher rank helps more near the training rows", "is not held fixed."),
        (1.1, (0.90, 1.34), 0.05, "That a higher rank helps more, or less, far from", "on 222 validation rows)."),
        (
            1.2,
            (1.02, 1.41),
            0.05,
            "That a higher rank helps more, or less, far from",
            f"validation rows). {LEAVES_OUT}",
        ),
    ],
)
def test_where_a_higher_rank_helps_more_is_told_by_its_way(
    odds: float, interval: Interval, p: float, head: str, end: str
) -> None:
    verdict = on_rank(RankSlope(odds, interval, p / 3, 12, (2, 8), 222), p)
    assert verdict.head.startswith(head)
    assert verdict.figures.endswith(end)


def test_whose_seeds_trials_are_is_said_beside_their_number() -> None:
    found = RankSlope(1.3, (1.1, 1.54), 0.01, 18, (2, 8), 222, configurations=6)
    assert "; 18 trials of 6 configurations, of rank 2, 8 on 222 validation rows)." in on_rank(found, 0.01).figures
