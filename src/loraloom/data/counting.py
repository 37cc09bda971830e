"""How many classes and training rows data have, told without checking them where that is possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import NamedTuple

from loraloom.data.columns import choose_columns
from loraloom.data.labels import refuse_one_class
from loraloom.data.loading import load_data, training_rows
from loraloom.data.tables import read_table
from loraloom.data.telling import Telling
from loraloom.recipe import Data

_AG_NEWS = (30_000,) * 4, True
KNOWN_DATASETS: dict[str, tuple[tuple[int, ...], bool]] = {
    "fancyzhx/ag_news": _AG_NEWS,
    "ag_news": _AG_NEWS,
    "demo": ((510, 386, 417, 511, 401), False),
}
"""Training rows of each class, and whether there are test rows, of data sets that are counted without being loaded."""
SAMPLE = 500
"""Texts by which it is told how long all are; up to twice as many are taken."""


class Counted(NamedTuple):
    """Classes, and rows to train on and to choose by; None where those are not known."""

    classes: int
    train: int | None
    validation: int | None = None
    texts: tuple[str, ...] = ()
    """Some of the training rows', by which it can be told how long they are; none where the rows are not read."""


def count_classes(data: Data, revision: str | None = None, note: Callable[[str], None] = lambda _: None) -> Counted:
    """Counts without checking the data, of which a search may drop some; those of `data.validation_file` are not read.

    `revision` and `note` are as for `load_data`.

    Raises:
        DataError: they can't be told; the file or the column is not one that a search could read.
    """
    if data.dataset in KNOWN_DATASETS:
        of_classes, has_test = KNOWN_DATASETS[data.dataset]
        return Counted(len(of_classes), *_split(of_classes, data, has_test=has_test))
    if data.train_file:
        table = read_table(data.train_file, Telling(note))
        columns, _ = choose_columns(table, data.text_column, data.label_column)
        labels, rows, _ = training_rows(table, columns)
        refuse_one_class(labels.names, table.source)
        train, validation = _split(Counter(rows.labels.tolist()).values(), data, has_test=False)
        return Counted(len(labels.names), train, validation, _some(rows.texts))
    loaded = load_data(data, seed=0, allow_leak=True, revision=revision, note=note)
    return Counted(len(loaded.labels), len(loaded.train), len(loaded.validation), _some(loaded.train.texts))


def _split(of_classes: Collection[int], data: Data, *, has_test: bool) -> tuple[int, int | None]:
    """Rows to train on and, where they are held out of these, to choose by: as a search holds out different texts.

    `has_test`: whether test rows come with the training rows.
    """
    share, given = data.validation_share, has_test or data.test_file is not None
    rest = [rows - (0 if given else _held(rows, share)) for rows in of_classes]
    if data.validation_file:
        return sum(rest), None
    held = sum(_held(rows, share if given else share / (1 - share)) for rows in rest)
    return sum(rest) - held, held


def _held(rows: int, share: float) -> int:
    """Of a class: one at least, and one at least stays."""
    return min(max(1, round(share * rows)), rows - 1)


def _some(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts[:: max(1, len(texts) // SAMPLE)]
