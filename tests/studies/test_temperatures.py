"""What the study of temperatures measures of a model, and what the rule that was taken does beside the one before."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest

from loraloom.calibration import at_temperature
from loraloom.metrics import log_loss, softmax
from study.temperatures import (
    BEFORE,
    FOUND,
    RESULT,
    ROWS,
    RULES,
    TAKEN,
    Given,
    changes_of,
    lines,
    measure,
    temperatures,
)
from tests.pages import text_of


def given(temperature: float, rows: int = 1_100) -> Given:
    """Three seeds and a soup whose logits are `temperature` times too large."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, size=(rows, 3))
    labels = (softmax(logits).cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    seeds = [softmax(temperature * (logits + generator.normal(0, 0.1, size=logits.shape))) for _ in range(4)]
    return Given(labels, tuple(seeds[:3]), seeds[3])


def test_each_rule_is_judged_by_the_rows_that_were_not_drawn() -> None:
    model = given(2.5)
    changes = changes_of(model, 3)
    assert set(changes) == {(found, rule, rows) for found in FOUND for rule in RULES for rows in ROWS}
    assert all(each.shape == (3, 2) for each in changes.values())
    order = np.random.default_rng(0).permutation(1_100)  # the first draw
    drawn, others = order[: ROWS[0]], order[ROWS[0] :]
    expected = temperatures(model.labels[drawn], model.soup[drawn])["likeliest, always"]
    losses = [log_loss(model.labels[others], at_temperature(model.soup[others], each)) for each in (1, expected)]
    assert changes["soup", "likeliest, always", ROWS[0]][0, 0] == pytest.approx(losses[1] - losses[0])
    assert changes["winner", TAKEN, 1_000][:, 0].max() < -0.05


def test_a_rule_that_shows_nothing_changes_nothing() -> None:
    labels, shares = np.arange(10) % 2, np.where(np.arange(2) == (np.arange(10) % 2)[:, None], 0.9, 0.1)
    found = temperatures(labels, shares)
    assert found["likeliest, always"] < 0.03
    assert 0.8 < found["up to twice, always"] < 1
    assert {value for rule, value in found.items() if not rule.endswith("always")} == {1.0}


def test_the_table_has_mean_worst_unlucky_and_error_in_thousandths() -> None:
    found = measure({"one": given(1.0), "other": given(2.5)}, 2)
    figures = found["changes"]["soup"][TAKEN]["1000"]
    assert len(figures["loss"]) == 2
    *_, table = lines(found)
    parts = fmean(figures["loss"]), max(figures["loss"]), figures["unlucky"], figures["error"]
    assert " / ".join(f"{1000 * part:+.0f}" for part in parts) in table


def test_the_rule_that_was_taken_harms_no_model_and_loses_nothing_of_many_rows() -> None:
    changes = json.loads(RESULT.read_text(encoding="utf-8"))["changes"]
    worst = {
        (rule, rows): max(max(changes[found][rule][rows]["loss"]) for found in FOUND)
        for rule in (TAKEN, BEFORE)
        for rows in map(str, ROWS)
    }
    page = text_of("docs/predict.md")
    figures = (
        f"by up to {worst[BEFORE, '20']:+.3f} in the mean of an adapter's draws, with it by {worst[TAKEN, '20']:+.3f}"
    )
    assert figures in page
    assert max(worst[TAKEN, str(rows)] for rows in ROWS) < 0.0015
    for found in FOUND:
        taken, before = (fmean(changes[found][rule]["1000"]["loss"]) for rule in (TAKEN, BEFORE))
        assert taken == pytest.approx(before, rel=0.01)
