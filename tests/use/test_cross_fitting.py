"""Cross-fitting judges training rows by what was fitted without them, and finds labels that were turned on purpose."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from loraloom.data import Split
from loraloom.report.failures.suspects import confident_learning
from loraloom.study.cross_fitted import MOST_TEXTS, read_cross_fitted
from loraloom.study.embeddings import Embedded, Embeddings, Key
from loraloom.use.cross_fitting import cross_fit, is_cross_fitted, out_of_fold

KEY = Key("sha256:data", "demo", "sha256:model", 96, 600)
CLASSES = 4


def embedded(rows: int, seed: int, spread: float = 0.17) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors (rows, 32) of unit length about the centres of their classes, and their true classes."""
    generator = np.random.default_rng(seed)
    true = np.arange(rows) % CLASSES
    vectors = np.eye(CLASSES, 32)[true] + generator.normal(0, spread, (rows, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), true


def turned(true: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels of which about `share` are another class than the true one, and which."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(true)) < share
    return np.where(wrong, (true + generator.integers(1, CLASSES, len(true))) % CLASSES, true), wrong


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2])
def test_planted_label_noise_is_named_with_precision_and_recall(share: float) -> None:
    vectors, true = embedded(1_200, seed=1)
    labels, wrong = turned(true, share, seed=2)
    found = out_of_fold(vectors, labels, np.arange(len(labels)), CLASSES, seed=42)
    assert found is not None
    named = confident_learning(labels, found).rows
    hits = int(wrong[named].sum())
    assert hits / len(named) > 0.85
    assert hits / int(wrong.sum()) > 0.7
    assert wrong[named[:12]].all()  # those that the page shows first


def test_a_judge_that_has_learnt_the_labels_finds_fewer() -> None:
    """Why rows are cross-fitted: the same regression, fitted to all rows, believes labels that it was given."""
    from sklearn.linear_model import LogisticRegression

    vectors, true = embedded(300, seed=3, spread=0.3)
    vectors = np.concatenate([vectors, np.random.default_rng(4).normal(0, 0.3, (300, 400))], axis=1).astype(np.float32)
    labels, wrong = turned(true, 0.1, seed=5)
    regression: Any = LogisticRegression  # scikit-learn has no types
    learnt = regression(C=1e4, max_iter=5_000).fit(vectors, labels).predict_proba(vectors)
    fitted = out_of_fold(vectors, labels, np.arange(300), CLASSES, seed=1)
    assert fitted is not None
    of_given = np.arange(300), labels
    assert learnt[of_given][wrong].mean() > 0.9
    assert fitted[of_given][wrong].mean() < 0.3


def test_rows_with_equal_texts_lie_in_one_fold() -> None:
    """A row's copy in the other folds would give away its label, whatever the text says."""
    generator = np.random.default_rng(6)
    half = generator.normal(size=(60, 200)).astype(np.float32)
    vectors, labels = np.repeat(half, 2, axis=0), np.repeat(generator.integers(0, 2, 60), 2)
    grouped = out_of_fold(vectors, labels, np.repeat(np.arange(60), 2), 2, seed=0)
    apart = out_of_fold(vectors, labels, np.arange(120), 2, seed=0)
    assert grouped is not None
    assert apart is not None
    assert (grouped.argmax(axis=1) == labels).mean() < 0.7  # texts and labels are drawn apart: there is nothing to know
    assert (apart.argmax(axis=1) == labels).mean() > 0.8


def test_probabilities_sum_to_one_and_a_class_that_a_fit_lacks_has_none() -> None:
    vectors, labels = embedded(200, seed=7)
    labels[labels == 3] = 2
    labels[0] = 3  # the only row of its class: its own fit has not seen it
    found = out_of_fold(vectors, labels, np.arange(200), CLASSES, seed=0)
    assert found is not None
    assert np.allclose(found.sum(axis=1), 1)
    assert found[0, 3] == 0


def given(rows: int = 600, share: float = 0.1) -> tuple[Embeddings, Split]:
    vectors, true = embedded(rows, seed=8)
    labels, _ = turned(true, share, seed=9)
    none = Embedded(0, np.zeros(0, np.int64), np.zeros((0, 32), np.float32))
    train = Embedded(rows, np.arange(rows), vectors)
    texts = tuple(f"text number {row}" for row in range(rows))
    return Embeddings(KEY, train, none, none, 1.0), Split(texts, labels)


def test_what_is_written_is_read_again_and_belongs_to_its_key(tmp_path: Path) -> None:
    embeddings, train = given()
    assert cross_fit(tmp_path, embeddings, train, CLASSES, seed=42)
    kept = read_cross_fitted(tmp_path, CLASSES)
    assert kept is not None
    assert (kept.folds, kept.of, len(kept.predicted.labels)) == (5, 600, 600)
    assert kept.predicted.labels.tolist() == train.labels.tolist()
    assert len(kept.texts) == MOST_TEXTS
    assert all(text == train.texts[row] for row, text in kept.texts.items())
    assert is_cross_fitted(tmp_path, KEY, CLASSES)
    assert not is_cross_fitted(tmp_path, Key("sha256:other", "demo", "sha256:model", 96, 600), CLASSES)


def test_one_long_text_takes_no_memory_for_each_row(tmp_path: Path) -> None:
    embeddings, train = given(200)
    long = Split(("of many words " * 20_000, *train.texts[1:]), train.labels)
    tracemalloc.start()
    try:
        assert cross_fit(tmp_path, embeddings, long, CLASSES, seed=42)
        assert tracemalloc.get_traced_memory()[1] < 40e6  # four bytes a letter and row would be 190 MB
    finally:
        tracemalloc.stop()


def test_it_is_given_up_where_the_time_does_not_suffice(tmp_path: Path) -> None:
    embeddings, train = given()
    assert not cross_fit(tmp_path, embeddings, train, CLASSES, seed=42, left=lambda: 0.0)
    assert list(tmp_path.iterdir()) == []
    assert cross_fit(tmp_path, embeddings, train, CLASSES, seed=42, left=lambda: 1e6)


def test_a_class_alone_can_not_be_judged(tmp_path: Path) -> None:
    embeddings, train = given(40, share=0.0)
    labels = np.where(np.arange(40) < 3, 1, 0)
    assert not cross_fit(tmp_path, embeddings, Split(train.texts, labels), 2, seed=42)


def test_a_class_of_one_row_is_left_out_and_no_row_looks_like_it(tmp_path: Path) -> None:
    """No fit has seen it where its row is judged, so its threshold in confident learning would be 0."""
    embeddings, train = given(601, share=0.0)
    labels = np.where(np.arange(601) == 600, 2, train.labels % 2)
    assert cross_fit(tmp_path, embeddings, Split(train.texts, labels), 3, seed=42)
    kept = read_cross_fitted(tmp_path, 3)
    assert kept is not None
    assert kept.predicted.rows.tolist() == list(range(600))
    assert kept.of == 601
    found = confident_learning(kept.predicted.labels, kept.predicted.probabilities)
    assert 2 not in found.suggested
    assert np.isnan(found.thresholds[2])


def test_copies_of_one_text_are_one_where_a_class_needs_five(tmp_path: Path) -> None:
    embeddings, train = given(26, share=0.0)
    split = Split((*train.texts[:20], *["the same"] * 6), np.repeat([0, 1], [20, 6]))
    assert not cross_fit(tmp_path, embeddings, split, 2, seed=42)
    assert list(tmp_path.iterdir()) == []
