"""How tests are put in words: differences in percentage points, and what is too little to tell."""

from __future__ import annotations

from loraloom.metrics import Interval

LEVEL = 0.05
FEWEST_ERRORS = 5
"""Fewer wrong rows than these show no pattern, whatever a test says."""


def points(difference: float) -> str:
    """A difference of shares: +1.2 pp, −0.3 pp."""
    text = f"{100 * difference:+.1f}"
    return ("0.0" if float(text) == 0 else text.replace("-", "−")) + " pp"


def points_span(interval: Interval) -> str:
    """95 % interval −1.8 … +0.4 pp."""
    low, high = (points(end).removesuffix(" pp") for end in interval)
    return f"95 % interval {low} … {high} pp"


def percent(share: float) -> str:
    """42 %, 3.1 %, 99.7 %: two digits where the first are not all there is."""
    value = 100 * share
    return f"{value:.0f} %" if 10 <= value <= 90 or value in (0, 100) else f"{value:.1f} %"


def too_few(wrong: int, rows: int, split: str) -> str:
    """Why nothing can be said of a few errors, and what it would take."""
    errors = "error" if wrong == 1 else "errors"
    return (
        f"Only {wrong} {errors} in {rows:,} {split} rows: no pattern can be told from so few. More rows would show one."
    )
