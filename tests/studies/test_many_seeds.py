"""What the study keeps of soups of three to nine seeds, how it sums draws up, and what docs/log.md says of them."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from study import many_seeds
from study.draws import Case, key_of, read_kept
from study.many_seeds import CASES, COUNTS, RESULT, Draw, lines, measure
from tests.pages import text_of
from tests.studies.made_draws import make_draws


def test_a_draw_counts_right_rows_of_each_seed_and_of_each_soup(
    tiny_model: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_draws(monkeypatch, many_seeds, tiny_model, rows_file)
    draw = measure(Case("tiny", 60, 1, 1), 1)
    assert asked == [11]  # none of study/seeds.py
    assert (draw.seed, draw.rows, draw.tested) == (1, 48, 40)
    assert (len(draw.seeds), len(draw.soups)) == (9, len(COUNTS))
    assert all(0 <= right <= 40 for right in (*draw.seeds, *draw.soups))


def test_what_more_seeds_bring_is_summed_up_over_draws() -> None:
    draws = {
        key_of(CASES[0], 0): Draw(0, 28, 200, (150,) * 9, (160, 162, 164, 166)),
        key_of(CASES[1], 0): Draw(0, 86, 100, (80,) * 9, (82, 84, 84, 81)),
    }
    table, *gains = lines({"draws": {key: asdict(draw) | {"machine": {}} for key, draw in draws.items()}})
    assert "| subj16 | 28 | 1 | 75.00 | 80.00 | 81.00 | 82.00 | 83.00 |" in table
    assert "| trec | 86 | 1 | 80.00 | 82.00 | 84.00 | 84.00 | 81.00 |" in table
    assert [line.split(" points, ")[0].strip() for line in gains] == [
        "Soup of 5 − soup of 3: +1.50",
        "Soup of 7 − soup of 3: +2.00",
        "Soup of 9 − soup of 3: +1.00",
    ]
    assert all(line.endswith("2 draws of 2 sets.") for line in gains)


def test_a_draw_alone_has_no_interval() -> None:
    (_,) = lines({"draws": {key_of(CASES[0], 0): asdict(Draw(0, 28, 200, (150,) * 9, (160, 162, 164, 166)))}})


def test_what_the_log_says_of_more_seeds_is_what_was_measured() -> None:
    _, *gains = lines(read_kept(RESULT))
    form = re.compile(r"\+(\S+) points, 95 % interval (\S+) to (\S+), (\d+) draws of 3 sets\.")
    found = [figures.groups() for gain in gains if (figures := form.search(gain))]
    five, seven, nine = (f"{gain} ({low} to {high})".replace("-", "−") for gain, low, high, _ in found)
    said = f"Five are {five.replace(' (', ' points better than three (')}, seven {seven}, nine {nine}: not shown"
    log = text_of("docs/log.md")
    assert said in log
    assert f"{found[0][3]} of its {sum(case.draws for case in CASES)} draws, others than above" in log
