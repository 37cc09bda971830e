"""docs/study.md and its pictures, from study/results/: `python -m study.claims --page`. No number is typed by hand."""

from __future__ import annotations

from pathlib import Path

from loraloom.study.durable import write_text
from study.claims import pictures
from study.claims.page import claims_section
from study.claims.results import judge_all, write
from study.curve import curve_section, read_curves, write_curves

_HEAD = """\
# The study

<!-- Made by `python -m study.claims --page` of study/results/; its text is in study/. Don't edit it here. -->

What is true of AG News, LoRA and small budgets, measured.
"""
_ORDER = """\
First what to choose for the rows and the minutes that one has, then what became of a contest's claims.
"""


def write_page(results: Path, docs: Path) -> None:
    """Judges what was trained: claims.json and curve.json go into `results`, the page and its pictures into `docs`."""
    found = judge_all(results / "claims")
    write(found, results / "claims.json")
    curves = read_curves(results / "curve")
    write_curves(curves, results / "curve.json")
    place = docs / "study"
    place.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD]
    if curves:
        parts += [_ORDER, curve_section(curves, place / "curve.svg", "study/curve.svg")]
    if found:
        contest, preset = ([one for one in found if one.family == family] for family in ("contest", "preset"))
        pictures.draw_effects(contest, place / "claims.svg")
        pictures.draw_levels(contest, place / "levels.svg")
        if preset:
            pictures.draw_effects(preset, place / "preset.svg")
        parts.append(claims_section(found, sorted((results / "similarity").glob("*.json")), "study"))
    write_text(docs / "study.md", "\n".join(parts))
