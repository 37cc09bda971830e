"""Differences of shares in percentage points, rounded to what their interval allows: +0.3 pp, −0.4 … +0.2.

Decimals are those of half the interval's first digit, where `rounding.py` may keep two: it writes a share that people
copy, and this what is held against zero beside its interval, whose ends must not look like zero.
"""

from __future__ import annotations

import math

from loraloom.intervals import Interval


def decimals(interval: Interval | None) -> int:
    """Decimals of a percentage point that an interval's width leaves a meaning; one more where an end would be 0."""
    reach = 50 * (interval[1] - interval[0]) if interval else 0.0
    if not interval or reach <= 0:
        return 1
    places = max(1, min(3, -math.floor(math.log10(reach))))
    while places < 3 and any(end and float(f"{100 * end:.{places}f}") == 0 for end in interval):
        places += 1
    return places


def signed(number: float, places: int) -> str:
    """`+0.3`, `−1.2`, and `0.0` of all that rounds to it."""
    text = f"{number:+.{places}f}".replace("-", "−")
    return text if round(number, places) else text[1:]


def points(share: float | None, interval: Interval | None = None) -> str:
    """`+0.3 pp`"""
    return "–" if share is None else f"{signed(100 * share, decimals(interval))} pp"


def spread(interval: Interval | None) -> str:
    """`−0.4 … +0.2`"""
    if interval is None:
        return "–"
    places = decimals(interval)
    return f"{signed(100 * interval[0], places)} … {signed(100 * interval[1], places)}"


def size(share: float, interval: Interval | None = None) -> str:
    """`0.3 pp`, without a sign."""
    return f"{abs(100 * share):.{decimals(interval)}f} pp"


def points_span(interval: Interval) -> str:
    """`95 % interval −1.8 … +0.4 pp`"""
    return f"95 % interval {spread(interval)} pp"
