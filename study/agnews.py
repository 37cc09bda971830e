"""AG News, as every part of the study takes it: rows for training, others for comparing, the official test rows.

The place is LORALOOM_AGNEWS, by default ../shared/agnews: train.csv and test.csv with the columns `text` and `label`.
Rows for comparing are train rows, always the same ones and never trained on; training rows of different numbers are
nested, and hold the classes in their shares.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loraloom.data import TextData, load_data
from loraloom.data.sampling import stratified_order
from loraloom.data.text_data import fingerprint
from loraloom.errors import DataError
from loraloom.recipe import Data
from study.agnews_files import agnews_file, agnews_rows

COMPARED_ON = 3_000
"""Train rows that are kept for comparing: so many that half a point shows."""
SKEW = {"Business": 1.0, "Sports": 10 ** (-1 / 3), "World": 10 ** (-2 / 3), "Sci/Tech": 0.1}
"""Rows of each class under the 1:10 skew, as shares of the largest."""
RAREST = "Sci/Tech"
_SEED = 0

Rows = tuple[list[str], list[str]]


def load(train: int | None, compared: int = COMPARED_ON) -> TextData:
    """`train` rows (None: all that there are) and `compared` others, with the test rows; checked as loraloom does.

    At most `COMPARED_ON` are kept to compare on.

    Raises:
        DataError: AG News is not there, or has fewer rows.
    """
    texts, labels = read("train.csv")
    order = stratified_order(np.unique(labels, return_inverse=True)[1], _SEED)
    if train is not None and COMPARED_ON + train > len(order):
        raise DataError(f"{agnews_file('train.csv')}: has {len(order):,} rows, too few to train on {train:,}")
    chosen = order[COMPARED_ON : None if train is None else COMPARED_ON + train]
    return load_data(
        Data(),
        seed=_SEED,
        train=_taken(texts, labels, chosen),
        validation=_taken(texts, labels, order[: min(compared, COMPARED_ON)]),
        test=read("test.csv"),
    )


def read(name: str) -> Rows:
    """Texts and labels of a file of AG News."""
    rows = list(agnews_rows(name))
    return [text for text, _ in rows], [label for _, label in rows]


def skewed(data: TextData) -> TextData:
    """The same rows, but fewer of three classes: from the most to the fewest 10 to 1."""
    sizes = _skewed_sizes(data)
    return _with_training(data, sizes)


def even(data: TextData) -> TextData:
    """As many rows as `skewed` has, as many of each class."""
    rows = sum(_skewed_sizes(data))
    return _with_training(data, [rows // len(data.labels)] * len(data.labels))


def _skewed_sizes(data: TextData) -> list[int]:
    most = int(np.bincount(data.train.labels).min())
    return [max(1, round(most * SKEW[name])) for name in data.labels]


def _with_training(data: TextData, sizes: list[int]) -> TextData:
    order = stratified_order(data.train.labels, _SEED)
    kept = [order[data.train.labels[order] == label][:size] for label, size in enumerate(sizes)]
    train = data.train.take(np.sort(np.concatenate(kept)))
    splits = train, data.validation, data.test
    return replace(data, train=train, fingerprint=fingerprint(data.labels, splits))


def _taken(texts: list[str], labels: list[str], rows: NDArray[np.int64]) -> Rows:
    rows = np.sort(rows)
    return [texts[row] for row in rows], [labels[row] for row in rows]
