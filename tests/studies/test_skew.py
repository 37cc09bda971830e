"""What the study of skewed rows keeps of a draw, and what the docs say of it."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from loraloom.calibration import at_odds
from study import skew
from study.draws import key_of, read_kept
from study.skew import CASES, METHODS, RESULT, TARGETS, Draw, Skew, estimated, lines, measure
from tests.pages import text_of
from tests.studies.made_draws import make_set


def test_a_draw_is_asked_for_rows_that_it_was_not_trained_on_by_all_methods(
    tiny_model: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(monkeypatch, skew, tiny_model, rows_file, passes=4)
    draw = measure(Skew("made", 300, 1, 1, ratio=10), 0)
    assert 60 < draw.rows < 160
    assert set(draw.accuracies) == set(TARGETS)
    assert all(set(found) == set(METHODS) for found in draw.accuracies.values())
    assert all(0 <= one <= 100 for found in draw.accuracies.values() for one in found.values())
    assert draw.accuracies["reversed"]["told"] >= draw.accuracies["reversed"]["as it is"]


def test_shares_are_estimated_where_probabilities_are_true() -> None:
    generator = np.random.default_rng(0)
    true, expected = np.array([0.2, 0.8]), np.array([0.7, 0.3])
    labels = (generator.random(20_000) < true[1]).astype(int)
    places = generator.normal(np.where(labels, 1.0, -1.0), 1.0)
    densities = np.exp(-0.5 * (places[:, None] - np.array([-1.0, 1.0])) ** 2)
    given = at_odds(densities / densities.sum(axis=1, keepdims=True), expected)
    assert estimated(given, expected, np.full(20_000, 1 / 20_000)) == pytest.approx(true, abs=0.015)


def test_gains_are_of_what_is_told_over_what_is_not() -> None:
    def found(told: float) -> dict[str, dict[str, float]]:
        return {target: dict(zip(METHODS, (70, 75, told, 79, 60), strict=True)) for target in TARGETS}

    told = {(CASES[1], 0): 80, (CASES[1], 1): 81, (CASES[-1], 0): 90}
    draws = {key_of(case, seed): asdict(Draw(seed, 800, found(one))) for (case, seed), one in told.items()}
    said = "\n".join(lines({"draws": draws}))
    assert "| agnews | 1:10 | 800 | 2 | 70.0 | 75.0 | 80.5 | 79.0 | 60.0 |" in said
    assert "told − as it is, alike: +15.25 points" in said  # 10.5 and 20: each set weighs the same
    assert "told − weighed, reversed: +10.25 points, 95 % interval -50.10 to +70.60, 3 draws of 2 sets." in said


def test_what_the_docs_say_of_other_class_shares_is_what_was_measured() -> None:
    text = text_of("docs/predict.md")
    said = list(lines(read_kept(RESULT)))
    table = next(one for one in said if one.startswith("| set"))
    for line in table.splitlines()[2:]:
        name, ratio, _, _, plain, weighed, told, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        assert f"| {name} | {ratio} | {plain} | {weighed} | {told} |" in text
    for what in ("told − as it is, alike", "told − weighed, alike"):
        (gain,) = (one for one in said if one.startswith(f"\n{what}:"))
        figures = re.search(r": \+(\S+) points, 95 % interval \+(\S+) to \+(\S+), (\d+ draws of \d+ sets)", gain)
        assert figures
        points, low, high = (f"{float(one):.1f}" for one in figures.groups()[:3])
        assert f"+{points} points (+{low} to +{high}" in text
        assert figures[4] in text


def test_what_the_log_says_of_what_was_not_taken_is_what_was_measured() -> None:
    said, log = list(lines(read_kept(RESULT))), text_of("docs/log.md")
    alike = next(one for one in said if one.startswith("| set"))
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in alike.splitlines()[2:])
    by_case = {(name, ratio): figures for name, ratio, _, _, *figures in rows}
    plain, _, told, by_rows, of_news = by_case["agnews", "1:100"]
    assert f"skewed 1:100, {plain} % as it is, {told} told by the mean of validation probabilities, {by_rows} " in log
    plain, _, told, by_rows, of_bbc = by_case["bbc", "1:10"]
    assert f"and {of_news} estimated; of BBC News 1:10 {plain}, {told}, {by_rows} and {of_bbc};" in log
    over = {
        other: float(gain[1])
        for other in METHODS[:2]
        for one in said
        if (gain := re.match(rf"\ntold − {other}, alike: \+(\S+) points", one))
    }
    weighing, telling = over["as it is"] - over["weighed"], over["as it is"]
    assert (
        f"brings {weighing:.1f} points where classes are alike, in the mean over sets, and telling {telling:.1f}."
        in log
    )
