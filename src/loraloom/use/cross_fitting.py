"""Makes RUN/cross_fitted/: what a linear probe says of training rows that it did not learn from, fold by fold.

A trained model is no judge of the labels that it has learnt, so each row is judged by a logistic regression on the
frozen model's embeddings that was fitted without the row's fold. The embeddings are there already, so that this takes
seconds. Rejected: training the winner's configuration once for each fold, which is a better judge and takes as many
trials' time; scikit-learn's cross_val_predict, which can't be left off between two folds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Split
from loraloom.data.overlap import text_key
from loraloom.errors import LoraloomError
from loraloom.study.cross_fitted import CrossFitted, least_probable, read_cross_fitted, write_cross_fitted
from loraloom.study.embeddings import Embeddings, Key
from loraloom.study.evidence import Predicted

FOLDS = 5
PENALTY = 1.0
"""scikit-learn's C, and its default: the most precise of those that `python -m bench.label_noise` compares."""
MOST_STEPS = 1_000
CAUTION = 2.0
FLOPS = 1e9
"""What the slowest machine does in a second of small products: the first fold's time is estimated by it."""


def cross_fit(
    run: Path, embeddings: Embeddings, train: Split, classes: int, seed: int, left: Callable[[], float] | None = None
) -> bool:
    """Judges the training rows that have embeddings, and writes what was found; False where that can't be done.

    A class with fewer different texts than folds is left out with its rows: some fit would know nothing of it, its
    threshold in confident learning would be 0, and any row would look like it. With `left`, the seconds to a deadline,
    it is given up as soon as what remains would take more than half of them.
    """
    numbers = embeddings.train.numbers
    labels = train.labels[numbers]
    keys = _numbered([text_key(train.texts[row]) for row in numbers])
    different = np.bincount(np.unique(np.stack([labels, keys]), axis=1)[0], minlength=classes)
    if np.count_nonzero(different >= FOLDS) < 2:
        return False  # it takes two classes that can be told apart
    judged = np.flatnonzero(different[labels] >= FOLDS)
    numbers, labels, keys = numbers[judged], labels[judged], keys[judged]
    begun = time.monotonic()
    probabilities = out_of_fold(embeddings.train.vectors[judged], labels, keys, classes, seed, left)
    if probabilities is None:
        return False
    predicted = Predicted(probabilities.astype(np.float32), labels, numbers)
    texts = {int(numbers[place]): train.texts[numbers[place]] for place in least_probable(predicted)}
    seconds = time.monotonic() - begun
    write_cross_fitted(run, CrossFitted(embeddings.key, predicted, texts, len(train), FOLDS, PENALTY, seconds))
    return True


def _numbered(keys: Sequence[str]) -> NDArray[np.int64]:
    """(N,) the place of each key among all in order; an array of texts would have each take what the longest takes."""
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([places[key] for key in keys], dtype=np.int64)


def is_cross_fitted(run: Path, key: Key, classes: int) -> bool:
    """Whether what is kept can be read and is not stale."""
    try:
        kept = read_cross_fitted(run, classes)
    except LoraloomError:
        return False
    return kept is not None and kept.key == key


def out_of_fold(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[Any],
    classes: int,
    seed: int,
    left: Callable[[], float] | None = None,
    penalty: float = PENALTY,
) -> NDArray[np.float64] | None:
    """Probabilities (N, C) of rows with `vectors` (N, D) by regressions fitted to the other folds.

    None out of time, and where one of them would have rows of one class only.

    Folds hold each class in about its share, and rows of one of `groups` (N,), equal texts, lie in one fold: the copy
    of a row would give away its label. A class that a fit has no row of gets probability 0.
    """
    from sklearn.linear_model import LogisticRegression

    regression: Any = LogisticRegression  # scikit-learn has no types
    features = vectors.astype(np.float64)
    found = np.zeros((len(labels), classes))
    fold_seconds = 4.0 * features.size * classes * MOST_STEPS / FLOPS
    for fold, (seen, unseen) in enumerate(_folds(labels, groups, seed)):
        if left is not None and CAUTION * fold_seconds * (FOLDS - fold) > left():
            return None
        if (labels[seen] == labels[seen][0]).all():
            return None
        begun = time.monotonic()
        model = regression(C=penalty, max_iter=MOST_STEPS).fit(features[seen], labels[seen])
        found[np.ix_(unseen, model.classes_)] = model.predict_proba(features[unseen])
        fold_seconds = time.monotonic() - begun
    return found


def _folds(labels: NDArray[np.int64], groups: NDArray[Any], seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    from sklearn.model_selection import StratifiedGroupKFold

    kind: Any = StratifiedGroupKFold  # scikit-learn has no types
    splitter = kind(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer rows than folds is no reason to stop
        folds: list[tuple[NDArray[Any], NDArray[Any]]] = list(splitter.split(np.zeros(len(labels)), labels, groups))
    return folds
