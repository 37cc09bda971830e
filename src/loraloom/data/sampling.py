"""A part of the rows that stands for all: stratified by class, nested, a function of labels and seed alone.

A smaller part lies within a larger one, so that what was learnt on it says something of the larger. Every class has
a row in any part to learn from that is as large as the number of classes. Rejected: scikit-learn's train_test_split,
whose parts of different sizes are not nested.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loraloom.data.text_data import Split


def part_of(split: Split, rows: int, seed: int, *, unbiased: bool = False) -> Split:
    """`rows` rows of `split`, in the order of their source; all where it has no more. `unbiased`: see below."""
    if rows >= len(split):
        return split
    return split.take(part_rows(split.labels, rows, seed, unbiased=unbiased))


def part_rows(labels: NDArray[np.int64], rows: int, seed: int, *, unbiased: bool = False) -> NDArray[np.int64]:
    """(rows,) numbers, ascending, of the rows that `part_of` takes; `unbiased` as in `stratified_order`."""
    if rows >= len(labels):
        return np.arange(len(labels))
    return np.sort(stratified_order(labels, seed, unbiased=unbiased)[:rows])


def stratified_order(labels: NDArray[np.int64], seed: int, *, unbiased: bool = False) -> NDArray[np.int64]:
    """(rows,) row numbers, of which any first ones hold the classes in about their shares.

    No class is left out of a small part, which then has more of rare ones than all rows have; unless it is to be
    `unbiased`, as what tells the accuracy on all: then rows of each class are as likely to be among the first ones.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    place = np.empty(len(labels))
    order, (_, sizes) = np.argsort(labels, kind="stable"), np.unique(labels, return_counts=True)
    for size, end in zip(sizes, np.cumsum(sizes), strict=True):
        own = generator.permutation(order[end - size : end])
        place[own] = (np.arange(len(own)) + (generator.random() if unbiased else 0.5)) / len(own)
        if not unbiased:
            place[own[0]] = 0
    # Classes of one size would always come in the same order; the second key, drawn, mixes them.
    return np.lexsort((generator.random(len(labels)), place))
