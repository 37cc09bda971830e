"""Renders the findings as one HTML page that asks nothing of a network and can be read without its script.

Everything that came from outside is text: Jinja escapes it, control characters become U+FFFD, and the content security
policy lets one script run, that of `templates`, which it knows by its hash. Only pictures that we drew are let through
as markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loraloom.report import points, wording
from loraloom.report.against import MOST_TEXTS
from loraloom.report.effects.verdicts import BADGES
from loraloom.report.failures.suspects import MOST_ROWS
from loraloom.report.findings import Findings
from loraloom.report.gap import MOST_MOVED
from loraloom.report.leaderboard import Leaderboard, Row
from loraloom.report.pictures import Picture
from loraloom.report.pictures.dataset import MOST_CLASSES
from loraloom.report.pictures.details import confusions_drawn
from loraloom.report.pictures.effects import MOST_INTERACTIONS, drawn_effects
from loraloom.report.pictures.similarity import distances_sentence
from loraloom.report.policy import source_hash
from loraloom.report.rounding import rounded, rounded_span
from loraloom.study.evidence import LONGEST_TEXT
from loraloom.study.evidence import MOST_ROWS as ROWS_KEPT
from loraloom.wording import percent, plural

SECTIONS = {
    "answer": "Answer",
    "leaderboard": "Leaderboard",
    "tradeoffs": "Size and time",
    "effects": "Effects",
    "training": "Training",
    "failures": "Where it fails",
    "data": "Data",
    "similarity": "Similarity",
    "against": "Two runs",
    "making": "How it was made",
}
"""What the navigation calls each section, in their order: a template `<name>.html.jinja` whose `<section>` has that id.

One that has nothing to say renders nothing, and then has no entry in the navigation either.
"""
ROWS_OPEN = 25
"""Leaderboard rows that are seen at once without a script; the rest is folded away."""
ERRORS_OPEN = 2
CLASSES_OPEN = 40
SUSPECTS_SHOWN = 12
TEXT_SHOWN = 420
TEXT_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Script:
    """The page's script, and what the content security policy knows it by."""

    text: Markup
    hash: str


def page(found: Findings, drawn: Mapping[str, Picture] | str, files: tuple[str, ...]) -> str:
    """The page's HTML; `drawn` may say why there are no pictures, `files` stand beside the page."""
    environment = _environment()
    return environment.get_template("page.html.jinja").render(
        found=found,
        sections=SECTIONS,
        script=_script(environment),
        pictures={} if isinstance(drawn, str) else {name: picture.svg for name, picture in drawn.items()},
        why_no_pictures=drawn if isinstance(drawn, str) else None,
        files=files,
        scale=Scale.of(found.board),
        detailed={detail.number for detail in found.details},
        shade=_shade,
        badges=BADGES,
        drawn_effects=drawn_effects,
        most_interactions=MOST_INTERACTIONS,
        rows_open=ROWS_OPEN,
        errors_open=ERRORS_OPEN,
        classes_open=CLASSES_OPEN,
        classes_drawn=MOST_CLASSES,
        confusions_drawn=len(confusions_drawn(found.details)),
        suspects_shown=SUSPECTS_SHOWN,
        most_suspects=MOST_ROWS,
        text_shown=TEXT_SHOWN,
        text_kept=TEXT_KEPT,
        run_keeps=LONGEST_TEXT,
        rows_kept=ROWS_KEPT,
        most_moved=MOST_MOVED,
        most_changed=MOST_TEXTS,
        distances_sentence=distances_sentence,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loraloom.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.policies["json.dumps_kwargs"] = {}  # not sorted: recipes are written in this order
    environment.filters |= {
        "count": wording.count,
        "duration": wording.duration,
        "loss": wording.loss,
        "percent": percent,
        "plural": plural,
        "rounded": rounded,
        "rounded_span": rounded_span,
        "points": points.points,
        "p_value": wording.p_value,
        "share": wording.share,
        "shortened": wording.shortened,
        "named": wording.named,
        "told_apart": wording.told_apart,
        "spread": points.spread,
        "told": _told,
    }
    return environment


def _script(environment: Environment) -> Script:
    """The files of the script in one function, so that no name of theirs is the window's."""
    assert environment.loader is not None
    parts = [environment.loader.get_source(environment, name)[0] for name in ("board.js", "page.js")]
    text = "\n".join(["", "(() => {", "'use strict';", *parts, "})();", ""])
    return Script(Markup(text), source_hash(text))  # noqa: S704  # a file of ours


def _shown(value: Any) -> Any:
    """What a template prints: None as nothing, text without what HTML can't hold, our own markup as it is."""
    if value is None:
        return ""
    return wording.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _told(sentence: str) -> Markup:
    """A sentence of ours, in which commands stand between backticks."""
    parts = enumerate(wording.clean(sentence).split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in parts)


@dataclass(frozen=True, slots=True)
class Scale:
    """What the leaderboard's small intervals share: its ends are those of the better half of rows and the winner."""

    low: float
    high: float

    @classmethod
    def of(cls, board: Leaderboard) -> Scale:
        better = sorted((row for row in board.ranked if row.accuracy is not None), key=lambda row: -(row.accuracy or 0))
        better = better[: max(4, len(better) // 2)] + [row for row in better if row.is_winner]
        ends = [end for row in better for end in (row.accuracy or 0.0, *(row.interval or ()))]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        return cls(low, high) if high > low else cls(max(0.0, low - 0.05), high + 0.05)

    def percent(self, value: float) -> float:
        """Of the width; what lies beyond an end stands at it."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def whisker(self, row: Row) -> str:
        """CSS: the ends of a row's interval (a from the left, b from the right), and its accuracy (m)."""
        start, end = row.interval or (self.low, self.high)
        at = self.percent(row.accuracy or self.low)
        return f"--a:{self.percent(start):.0f}%;--b:{100 - self.percent(end):.0f}%;--m:{at:.0f}%"

    def band(self, row: Row | None) -> str:
        """CSS: where this row's interval lies in every row."""
        start, end = (row.interval if row else None) or (self.low, self.low)
        return f"--from:{self.percent(start):.0f}%;--to:{self.percent(end):.0f}%"


def _shade(number: int, of: int, right: bool) -> str:
    """How strongly a confusion cell is tinted, in percent; few errors must show beside many hits."""
    part = number / of if of else 0.0
    return f"{(45 if right else 50) * part ** (1 if right else 0.6):.1f}"
