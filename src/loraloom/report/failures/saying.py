"""How tests are put in words: shares in percent, and what is too little to tell."""

from __future__ import annotations

LEVEL = 0.05
"""Below it a p, corrected where there are several, is said to be more than chance."""
FEWEST_ERRORS = 5
"""Fewer wrong rows than these show no pattern, whatever a test says."""


def percent(share: float) -> str:
    """42 %, 3.1 %, 99.7 %: two digits where the first are not all there is."""
    value = 100 * share
    if 10 <= value <= 90 or value in (0, 100):
        return f"{value:.0f} %"
    text = f"{value:.1f} %"
    return {"0.0 %": "<0.1 %", "100.0 %": ">99.9 %"}.get(text, text)


def too_few(wrong: int, rows: int, split: str) -> str:
    """Why nothing can be said of a few errors, and what it would take."""
    if not wrong:
        return f"None of {rows:,} {split} rows is wrong: there is no pattern to tell. More rows may show one."
    errors = "error" if wrong == 1 else "errors"
    return (
        f"Only {wrong} {errors} in {rows:,} {split} rows: no pattern can be told from so few. More rows would show one."
    )
