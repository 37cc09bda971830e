"""What stands in the docs is what study/results/ says: the study's page, and the figures of docs/defaults.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from loraloom.report.points import points, spread
from study.claims.page import claims_section
from study.claims.results import judge_all
from study.curve import curve_section, read_curves

ROOT = Path(__file__).parent.parent.parent
RESULTS, DOCS = ROOT / "study" / "results", ROOT / "docs"


def test_the_studys_page_is_what_the_trials_say(tmp_path: Path) -> None:
    curves = read_curves(RESULTS / "curve")
    assert curves is not None
    curve = curve_section(curves, tmp_path / "curve.svg", "study/curve.svg")
    claims = claims_section(judge_all(RESULTS / "claims"), sorted((RESULTS / "similarity").glob("*.json")), "study")
    page = (DOCS / "study.md").read_text(encoding="utf-8")
    assert page.endswith(f"{curve}\n{claims}"), "python -m study.claims --page writes it"


def figures(family: str) -> set[str]:
    """Of each contrast: points and their interval, as docs/defaults.md has them."""
    encoders = json.loads((RESULTS / "claims.json").read_text(encoding="utf-8"))["encoders"]
    claims = [claim for encoder in encoders if encoder["family"] == family for claim in encoder["claims"]]
    found = [contrast["estimate"] for claim in claims for contrast in claim["contrasts"]]
    spans = [(one["mean"], tuple(one["interval"])) for one in found]
    return {f"{points(mean, interval)} ({spread(interval)})".replace(" pp", "") for mean, interval in spans}


def test_the_table_of_defaults_has_all_figures_of_the_preset_and_no_others_but_the_contests() -> None:
    page = (DOCS / "defaults.md").read_text(encoding="utf-8")
    written = set(re.findall(r"[+−]?\d+\.\d+ \([^()]* … [^()]*\)", page))
    assert figures("preset") <= written <= figures("preset") | figures("contest")
