"""Confident learning: equation by equation, and on labels that were turned on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.metrics import softmax
from loraloom.report.failures.suspects import confident_learning, suspects
from tests.report.failures.judged_rows import judged_rows


def by_the_paper(labels: list[int], shares: list[list[float]]) -> dict[int, int]:
    """The rows off the confident joint's diagonal and what they look like: Northcutt et al. 2021, equations 1 and 2."""
    classes = len(shares[0])
    thresholds = []
    for j in range(classes):
        own = [row[j] for row, label in zip(shares, labels, strict=True) if label == j]
        thresholds.append(sum(own) / len(own) if own else float("inf"))
    suspicious = {}
    for number, (row, label) in enumerate(zip(shares, labels, strict=True)):
        reached = [j for j in range(classes) if row[j] >= thresholds[j] - 1e-12]
        if reached:
            looks = max(reached, key=lambda j: (row[j], -j))
            if looks != label:
                suspicious[number] = looks
    return suspicious


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40))
def test_rows_off_the_confident_joint_are_the_papers(seed: int, classes: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    shares = softmax(generator.normal(0, 2, size=(rows, classes)))
    labels = generator.integers(0, classes, rows)
    found = confident_learning(labels, shares)
    named = dict(zip(found.rows.tolist(), found.suggested.tolist(), strict=True))
    assert named == by_the_paper(labels.tolist(), shares.tolist())
    of_given = shares[found.rows, labels[found.rows]]
    assert (np.diff(of_given) >= 0).all()


def test_a_class_without_a_row_has_no_threshold_and_is_no_suggestion() -> None:
    found = confident_learning([0, 0, 1], [[0.7, 0.1, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    assert np.isnan(found.thresholds).tolist() == [False, False, True]
    assert found.rows.tolist() == []


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_labels_that_were_turned_are_most_of_those_named(noise: float) -> None:
    generator = np.random.default_rng(4)
    true = generator.integers(0, 4, 2000)
    shares = softmax(generator.normal(0, 1, size=(2000, 4)) + 4 * np.eye(4)[true])
    turned = generator.random(2000) < noise
    given_labels = np.where(turned, (true + generator.integers(1, 4, 2000)) % 4, true)
    named = np.zeros(2000, dtype=np.bool_)
    named[confident_learning(given_labels, shares).rows] = True
    assert turned[named].mean() > 10 * noise if noise < 0.05 else turned[named].mean() > 0.8
    assert named[turned].mean() > 0.6


def test_a_suspect_is_named_with_its_row_and_what_it_looks_like() -> None:
    judged = judged_rows([True] * 30)
    labels = judged.labels.copy()
    labels[7] = 1 - labels[7]
    turned = judged_rows([True] * 30, labels=labels, numbers=np.arange(30) * 10)
    found = suspects(turned, ("cat", "dog"), {})
    assert found.count == 1
    assert (found.worst[0].row, found.worst[0].label, found.worst[0].suggested) == (70, "cat", "dog")
    assert found.worst[0].of_given == pytest.approx(0.2)
    assert found.verdict.startswith(
        "1 of 30 test rows has a label that looks wrong to the winner (3.3 %, 95 % interval "
    )
    assert found.verdict.endswith("), which answers otherwise than the label in 1 row.")


def test_of_very_many_suspects_the_most_suspicious_are_listed_and_all_are_counted() -> None:
    sure = np.linspace(0.99, 0.8, 900)
    labels = np.where(np.arange(900) < 250, 1, np.arange(900) % 2)
    said = np.where(np.arange(900) < 250, 0, labels)
    shares = np.where(np.arange(2) == said[:, None], sure[:, None], 1 - sure[:, None])
    found = suspects(judged_rows([True] * 900, labels=labels, predictions=said, probabilities=shares), ("a", "b"), {})
    assert (found.count, len(found.worst)) == (250, 200)
    assert [each.row for each in found.worst] == list(range(200))


def test_a_judge_that_finds_labels_less_likely_than_not_is_unsure() -> None:
    shares = np.full((30, 3), 0.28) + 0.16 * np.eye(3)[np.arange(30) % 3]
    unsure = judged_rows([True] * 30, labels=(np.arange(30) + (np.arange(30) == 7)) % 3, probabilities=shares)
    found = suspects(unsure, ("a", "b", "c"), {})
    assert (found.count, found.unsure) == (1, True)
    assert found.usual == pytest.approx((29 * 0.44 + 0.28) / 30)
    assert not suspects(judged_rows([True] * 20 + [False] * 10), ("a", "b"), {}).unsure


def test_a_judge_that_knows_the_shares_of_the_classes_alone_is_unsure() -> None:
    """Of nine rows in ten of one class it finds labels far likelier than not, whatever the texts."""
    labels, generator = np.arange(200) % 10 // 9, np.random.default_rng(0)
    rare = np.clip(0.1 + generator.normal(0, 0.02, 200), 0, 1)
    blind = judged_rows([True] * 200, labels=labels, probabilities=np.column_stack([1 - rare, rare]))
    found = suspects(blind, ("a", "b"), {})
    assert found.count > 50
    assert (found.usual, found.by_chance) == pytest.approx((0.82, 0.82), abs=0.01)
    assert found.unsure
    told = np.where(labels == 1, 0.7, 0.05)
    assert not suspects(replace(blind, probabilities=np.column_stack([1 - told, told])), ("a", "b"), {}).unsure


def test_no_suspect_is_said() -> None:
    said = suspects(judged_rows([True] * 4), ("a", "b"), {}).verdict
    assert said == "No label of the 4 test rows looks wrong to the winner."
