"""What the study of blends keeps of a draw, and what the docs say of it."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from study import blends
from study.blends import CASES, METHODS, RESULT, Draw, lines, measure
from study.draws import Case, key_of, read_kept
from tests.pages import text_of
from tests.studies.made_draws import make_set


def test_a_draw_is_asked_for_rows_that_it_was_not_trained_on_in_all_ways(
    tiny_model: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(monkeypatch, blends, tiny_model, rows_file)
    draw = measure(Case("made", 200, 1, 1), 0)
    assert 100 < draw.rows < 200
    assert set(draw.accuracies) == set(METHODS)
    assert all(0 <= one <= 100 for one in draw.accuracies.values())
    assert draw.accuracies["TF-IDF"] > 95  # a word tells these classes, and it read the rows in the labels' order
    assert draw.accuracies["adapter"] < draw.accuracies["fitted"] <= 100


def test_gains_are_over_the_adapter_and_each_set_weighs_the_same() -> None:
    def found(case: Case, blend: float) -> dict[str, Any]:
        accuracies = dict(zip(METHODS, (90.0, 80.0, blend, 91.0, 89.0, 90.5, 90.2), strict=True))
        return {key_of(case, seed): asdict(Draw(seed, 800, accuracies)) | {"machine": {}} for seed in (0, 1)}

    (few, many), other = ([case for case in CASES if case.name == name] for name in ("sst2", "r8"))
    said = "\n".join(lines({"draws": found(few, 90.2) | found(many, 90.6) | found(other[0], 91.4)}))
    assert "| sst2 | 800 | 2 | 90.0 | 80.0 | 90.2 | 91.0 | 89.0 | 90.5 | 90.2 |" in said
    assert "| r8 | 800 | 2 | 90.0 | 80.0 | 91.4 |" in said
    assert "blend − adapter: +0.90 points, 95 % interval -5.45 to +7.25, 6 draws of 2 sets." in said
    assert "a half − adapter: -1.00 points" in said


def test_what_the_docs_say_of_blends_is_what_was_measured() -> None:
    text = text_of("docs/predict.md")
    said = list(lines(read_kept(RESULT)))
    table = next(one for one in said if one.startswith("| set"))
    for line in table.splitlines()[2:]:
        name, rows, _, adapter, tfidf, blend, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        assert f"| {name} | {rows} | {adapter} | {tfidf} | {blend} |" in text
    (gain,) = (one for one in said if one.startswith("\nblend − adapter:"))
    figures = re.search(r": (\S+) points, 95 % interval (\S+) to (\S+), (\d+ draws of \d+ sets)", gain)
    assert figures
    points, low, high = (f"{float(one):+.2f}".replace("-", "−") for one in figures.groups()[:3])
    assert f"{points} points ({low} to {high}, 95 %; {figures[4]})" in text
