"""Renders the findings as one HTML page that asks nothing of a network and runs no script.

Everything that came from outside is text: Jinja escapes it, control characters become U+FFFD, and the content
security policy leaves a script nothing to start from. Only pictures that we drew are let through as markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loraloom.report import points, wording
from loraloom.report.against import MOST_TEXTS
from loraloom.report.effects.verdicts import BADGES
from loraloom.report.findings import Findings
from loraloom.report.leaderboard import Leaderboard, Row
from loraloom.report.pictures import Picture
from loraloom.report.pictures.effects import drawn_effects
from loraloom.report.pictures.similarity import distances_sentence
from loraloom.report.rounding import rounded, rounded_span

ROWS_OPEN = 25
"""Leaderboard rows that are seen at once; the rest is folded away."""
TEXT_SHOWN = 420
TEXT_KEPT = 20_000


def page(found: Findings, drawn: Mapping[str, Picture] | None, files: tuple[str, ...]) -> str:
    """The page's HTML; `drawn` is None where matplotlib is missing, `files` stand beside the page."""
    low, high = _scale(found.board)
    template = _environment().get_template("page.html.jinja")
    return template.render(
        found=found,
        pictures={name: picture.svg for name, picture in (drawn or {}).items()},
        has_matplotlib=drawn is not None,
        files=files,
        whisker=lambda row: _whisker(row, low, high),
        shade=_shade,
        badges=BADGES,
        drawn_effects=drawn_effects,
        rows_open=ROWS_OPEN,
        text_shown=TEXT_SHOWN,
        text_kept=TEXT_KEPT,
        most_changed=MOST_TEXTS,
        distances_sentence=distances_sentence,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loraloom.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "count": wording.count,
        "duration": wording.duration,
        "loss": wording.loss,
        "plural": wording.plural,
        "rounded": rounded,
        "rounded_span": rounded_span,
        "points": points.points,
        "share": wording.share,
        "shortened": wording.shortened,
        "span": wording.span,
        "spread": points.spread,
    }
    return environment


def _shown(value: Any) -> Any:
    """What a template prints: None as nothing, text without what HTML can't hold, our own markup as it is."""
    if value is None:
        return ""
    return wording.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _scale(board: Leaderboard) -> tuple[float, float]:
    """The ends of the scale that the leaderboard's small intervals share."""
    ends = [end for row in board.ranked for end in (row.interval or ())]
    ends += [row.accuracy for row in board.ranked if row.accuracy is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return (low, high) if high > low else (max(0.0, low - 0.05), high + 0.05)


def _whisker(row: Row, low: float, high: float) -> str:
    """CSS: the ends of a row's interval (a from the left, b from the right), and its accuracy (m)."""
    start, end = row.interval or (low, high)

    def percent(value: float) -> float:
        return 100 * min(1.0, max(0.0, (value - low) / (high - low)))

    return f"--a:{percent(start):.1f}%;--b:{100 - percent(end):.1f}%;--m:{percent(row.accuracy or low):.1f}%"


def _shade(number: int, of: int, right: bool) -> str:
    """How strongly a confusion cell is tinted, in percent; few errors must show beside many hits."""
    part = number / of if of else 0.0
    return f"{(50 if right else 85) * part ** (1 if right else 0.6):.1f}"
