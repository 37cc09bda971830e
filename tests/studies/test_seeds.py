"""What the study keeps of three seeds, their soup and their mean probabilities, and how it sums draws up."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from study import seeds
from study.draws import Case, key_of, read_kept
from study.seeds import CASES, RESULT, Draw, lines, measure
from tests.pages import text_of
from tests.studies.made_draws import make_draws


def test_a_draw_counts_right_rows_of_each_seed_of_the_soup_and_of_all_together(
    tiny_model: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_draws(monkeypatch, seeds, tiny_model, rows_file)
    draw = measure(Case("made", 90, 1, 1), 2)
    assert draw.tested == 40
    assert len(draw.seeds) == 3
    assert draw.winner in draw.seeds
    assert draw.taken in (draw.winner, draw.soup)
    assert all(0 <= right <= 40 for right in (*draw.seeds, draw.soup, draw.together))
    assert 0 < draw.kept <= 1


def test_draws_of_few_rows_are_summed_up_apart_from_those_of_more() -> None:
    (few, other), (more, another) = (CASES[1], CASES[0]), (CASES[-1], CASES[6])
    draws = {
        key_of(few, 0): Draw(0, 86, 200, (100, 102, 104), 104, 106, 108, (0.7, 0.8), 0.8),
        key_of(few, 1): Draw(1, 86, 200, (100, 102, 104), 104, 108, 108, (0.7, 0.6), 0.8),
        key_of(more, 0): Draw(0, 2_700, 1_000, (900, 902, 904), 904, 894, 910, (0.9, 0.8), 0.5),
        key_of(more, 1): Draw(1, 2_700, 1_000, (900, 902, 904), 902, 892, 910, (0.9, 0.8), 0.5),
        key_of(other, 0): Draw(0, 28, 200, (100, 102, 104), 104, 108, 108, (0.7, 0.8), 0.8),
        key_of(another, 0): Draw(0, 2_700, 1_000, (900, 902, 904), 904, 898, 910, (0.9, 0.8), 0.5),
    }
    table, *means = lines({"draws": {key: asdict(draw) | {"machine": {}} for key, draw in draws.items()}})
    assert "| trec | 86 | 2 | 51.00 | 52.00 | 53.50 | 54.00 | 53.50 | 0.80 |" in table
    assert "| agnews | 2,700 | 2 | 90.20 | 90.30 | 89.30 | 91.00 | 90.30 | 0.50 |" in table
    said = "\n".join(means)
    assert "soup − a seed, fewer than 1,000 rows: +2.75 points" in said
    assert "taken − winner, fewer than 1,000 rows: +1.75 points" in said
    assert "soup − winner, 1,000 rows or more: -0.80 points" in said
    assert "taken − winner, 1,000 rows or more: +0.00 points" in said
    assert all(line.endswith("3 draws of 2 sets.") for line in means)


def test_what_the_docs_say_of_few_rows_is_what_was_measured() -> None:
    said = "\n".join(lines(read_kept(RESULT)))
    for what in ("a seed", "winner"):
        form = r"(\S+) points, 95 % interval (\S+) to (\S+), (\d+) draws of 4 sets"
        figures = re.search(rf"soup − {what}, fewer than 1,000 rows: {form}", said)
        assert figures
        gain, low, high = (f"{float(figure):+.1f}".replace("-", "−") for figure in figures.groups()[:3])
        for page in ("contest.md", "defaults.md"):
            text = text_of(f"docs/{page}")
            assert re.search(rf"\b{re.escape(gain[1:])} points [^(]*\({re.escape(f'{low} to {high}')}[;,)]", text), (
                what,
                page,
            )
            assert "over four sets" in text
        assert f"{figures[4]} draws of 28 to 693 training rows" in text_of("docs/contest.md")
