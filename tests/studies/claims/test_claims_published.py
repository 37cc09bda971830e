"""What stands in the docs is what study/results/ says: the study's page, and the figures of docs/defaults.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from loraloom.report.points import points, spread
from study.claims.page import claims_section
from study.claims.results import judge_all, write
from study.curve import curve_section, read_curves, write_curves

ROOT = Path(__file__).parents[3]
RESULTS, DOCS = ROOT / "study" / "results", ROOT / "docs"
FIGURE = re.compile(r"[+−]?\d+\.\d+ \([^()]* … [^()]*\)")
OF_THE_PRESET = {
    "modules": ["query and value against all linear layers"],
    "layers": ["all layers against the upper half", "all layers once against the upper half twice"],
    "backbone dropout": ["dropout kept against off"],
    "head": ["mean of tokens against native"],
    "label smoothing": ["no smoothing against 0.1"],
    "rate": ["rate 5e-4 against 1e-3", "rate 2e-3 against 1e-3", "constant against linear"],
    "rank": ["rank 4 against 16"],
    "epochs": ["1 epoch against 2", "4 epochs against 2"],
}
OF_THE_CONTEST = {
    "batch": ["batch 32 and 64 against 16", "batch 8 against 16"],
    "biases": ["bias none against lora_only"],
    "dropout before A": [
        "dropout 0.05 and 0.1 against 0",
        "dropout 0.3 against 0",
        "dropout 0.1 against 0 (strong base)",
    ],
    "weight decay": ["decay 0.01 and 0.1 against 0"],
    "optimizer": ["AdamW against Adam", "Muon against Adam", "SGD against Adam"],
}
"""By rows of docs/defaults.md, the contrasts whose figures stand there."""


def values(path: Path) -> Any:
    """Those of a file, its numbers to eight digits: the last ones are the processor's, and the libraries'."""
    return json.loads(path.read_text(encoding="utf-8"), parse_float=lambda digits: f"{float(digits):.8g}")


def test_the_studys_page_and_its_verdicts_are_what_the_trials_say(tmp_path: Path) -> None:
    curves, found = read_curves(RESULTS / "curve"), judge_all(RESULTS / "claims")
    assert curves is not None
    curve = curve_section(curves, tmp_path / "curve.svg", "study/curve.svg")
    claims = claims_section(found, sorted((RESULTS / "similarity").glob("*.json")), "study")
    page = (DOCS / "study.md").read_text(encoding="utf-8")
    assert page.endswith(f"{curve}\n{claims}"), "python -m study.claims --page writes it"
    write(found, tmp_path / "claims.json")
    write_curves(curves, tmp_path / "curve.json")
    for name in ("claims.json", "curve.json"):
        assert values(RESULTS / name) == values(tmp_path / name), f"python -m study.claims --page writes {name}"


def figures(family: str) -> dict[str, str]:
    """By contrast, of the six-layer encoder: points and their interval, as docs/defaults.md has them."""
    encoders = json.loads((RESULTS / "claims.json").read_text(encoding="utf-8"))["encoders"]
    (claims,) = (one["claims"] for one in encoders if (one["family"], one["name"]) == (family, "demo"))
    spans = {one["name"]: one["estimate"] for claim in claims for one in claim["contrasts"]}
    return {
        name: f"{points(one['mean'], tuple(one['interval']))} ({spread(tuple(one['interval']))})".replace(" pp", "")
        for name, one in spans.items()
    }


def test_the_tables_of_defaults_have_each_figure_in_its_row_and_all_of_the_preset() -> None:
    written = {
        line.strip("| ").split(" | ")[0]: found
        for line in (DOCS / "defaults.md").read_text(encoding="utf-8").splitlines()
        if (found := FIGURE.findall(line))
    }
    preset, contest = figures("preset"), figures("contest")
    expected = {part: [preset[name] for name in names] for part, names in OF_THE_PRESET.items()}
    expected |= {part: [contest[name] for name in names] for part, names in OF_THE_CONTEST.items()}
    assert written == expected
    assert sorted(name for names in OF_THE_PRESET.values() for name in names) == sorted(preset)
