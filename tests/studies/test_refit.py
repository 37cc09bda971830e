"""What the study keeps of refits, how it sums draws up, and that docs/log.md has what they come to."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from study import refit
from study.draws import Case, key_of, read_kept
from study.refit import CASES, RESULT, Draw, lines, measure
from tests.studies.made_draws import make_draws

LOG = Path(__file__).parent.parent.parent / "docs" / "log.md"


def test_a_draw_counts_right_rows_before_and_after(
    tiny_model: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_draws(monkeypatch, refit, tiny_model, rows_file)
    draw = measure(Case("tiny", 60, 1, 1), 1)
    assert asked == [1]
    assert (draw.seed, draw.rows, draw.tested) == (1, (48, 60), 40)
    assert draw.right[0] - draw.alone[0] == draw.right[1] - draw.alone[1]  # those that both have


def test_what_a_refit_brings_is_the_mean_over_sets_of_which_one_may_have_two_cases() -> None:
    draws = {
        key_of(CASES[0], 0): Draw(0, (28, 32), 100, (80, 81), (0, 1)),
        key_of(CASES[1], 0): Draw(0, (86, 96), 100, (80, 84), (1, 5)),
        key_of(CASES[3], 0): Draw(0, (900, 1000), 100, (90, 92), (1, 3)),
    }
    table, gain = lines({"draws": {key: asdict(draw) | {"machine": {}} for key, draw in draws.items()}})
    assert "| subj16 | 28 | 32 | 1 | 0.8000 | 0.8100 | +1.00 pp | +1.0 |" in table
    assert "| trec | 900 | 1,000 | 1 | 0.9000 | 0.9200 | +2.00 pp | +2.0 |" in table
    assert gain == "\nRefitted − winner: +2.00 points, 95 % interval -10.71 to +14.71, 3 draws of 2 sets."


def test_the_log_has_the_mean_over_sets() -> None:
    _, gain = lines(read_kept(RESULT))
    figures = re.fullmatch(
        r"\nRefitted − winner: (\S+) points, 95 % interval (\S+) to (\S+), (17) draws of (3) sets\.", gain
    )
    assert figures is not None
    mean, low, high = (f"{float(each):+.1f}".replace("-", "−") for each in figures.groups()[:3])
    page = " ".join(LOG.read_text(encoding="utf-8").split())
    assert f"The mean over the three sets is {mean} ({low} to {high}): nothing that can be told from luck" in page
