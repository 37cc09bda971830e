"""Numbers rounded to what their interval allows.

The rule is the Particle Data Group's (Review of Particle Physics, Introduction, section 5.3 "Rounding"): of the
uncertainty's three leading digits, 100 to 354 keep two digits, 355 to 949 keep one, and 950 to 999 are 1000 with two;
the value has as many decimals as the uncertainty. Here the uncertainty is half of a 95 % interval. Differences are
rounded by `points.py`, which says why.
"""

from __future__ import annotations

import math

from loraloom.intervals import Interval
from loraloom.report.wording import share

LEAST, MOST, UNKNOWN = 2, 5, 3
"""Decimals of a share: whole per cents at least; without an interval, three."""


def decimals(interval: Interval | None) -> int:
    """The decimals of a share that is known to this interval."""
    if interval is None or not interval[1] > interval[0]:
        return UNKNOWN
    half = (interval[1] - interval[0]) / 2
    place = math.floor(math.log10(half))
    leading = round(half / 10.0 ** (place - 2))
    digits = 1 if 355 <= leading < 950 else 2
    return max(LEAST, min(MOST, digits - 1 - place - (leading >= 950)))


def rounded(value: float | None, interval: Interval | None, places: int | None = None) -> str:
    """A share as its interval allows: 0.971 of 0.951–0.983, 0.93 of 0.88–0.97. Only a whole one is written 1.

    In a column that is ordered all have as many `places`, or a smaller one might look larger.
    """
    if value is None:
        return share(None)
    places = decimals(interval) if places is None else places
    text = f"{value:.{places}f}"
    return f">{1 - 10.0**-places:.{places}f}" if value < 1 and float(text) == 1 else text


def rounded_span(interval: Interval | None, places: int | None = None) -> str:
    """The interval itself, to its own decimals, or to as many `places`: 0.951–0.983."""
    if interval is None:
        return "–"
    places = decimals(interval) if places is None else places
    return "–".join(f"{end:.{places}f}" for end in interval)


def with_span(value: float, interval: Interval, least: int = UNKNOWN) -> tuple[str, str]:
    """A share and its interval, all of as many decimals: `least`, or more where the interval allows them.

    With three alone, 99,990 of 100,000 rows were >0.999, between 1.000 and 1.000.
    """
    places = max(least, decimals(interval))
    return rounded(value, interval, places), rounded_span(interval, places)
