"""Parts of the rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loraloom.data import Split
from loraloom.data.sampling import part_of, stratified_order

Ints = NDArray[np.int64]

_LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda found: np.array(found, dtype=np.int64))


@given(_LABELS, st.integers(0, 5))
def test_an_order_holds_every_row_once(labels: Ints, seed: int) -> None:
    assert sorted(stratified_order(labels, seed)) == list(range(len(labels)))


@given(_LABELS, st.integers(0, 5), st.data())
def test_any_part_holds_each_class_in_its_share_give_or_take_a_row_or_two(
    labels: Ints,
    seed: int,
    data: st.DataObject,
) -> None:
    rows = data.draw(st.integers(1, len(labels)))
    part = labels[stratified_order(labels, seed)[:rows]]
    classes = len(np.unique(labels))
    for label in np.unique(labels):
        expected = rows * np.mean(labels == label)
        assert abs(np.sum(part == label) - expected) <= 1 + classes / 2


def test_a_part_of_unequal_classes_holds_each_in_its_share() -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    of_class = labels[stratified_order(labels, 1)][:, None] == np.arange(3)
    shares = np.arange(1, 1001)[:, None] * [0.9, 0.09, 0.01]
    assert np.abs(of_class.cumsum(axis=0) - shares)[2:].max() < 2


@given(_LABELS, st.integers(0, 5))
def test_a_part_as_large_as_the_number_of_classes_has_them_all(labels: Ints, seed: int) -> None:
    classes = np.unique(labels)
    assert set(labels[stratified_order(labels, seed)[: len(classes)]]) == set(classes)


@given(_LABELS, st.integers(0, 5))
def test_an_unbiased_order_holds_every_row_once(labels: Ints, seed: int) -> None:
    assert sorted(stratified_order(labels, seed, unbiased=True)) == list(range(len(labels)))


def test_an_unbiased_part_has_no_more_of_rare_classes_than_all_rows_have() -> None:
    labels = np.concatenate([np.zeros(19_000, np.int64), np.repeat(np.arange(1, 101), 10)])
    rare = [np.mean(labels[stratified_order(labels, seed, unbiased=True)[:200]] > 0) for seed in range(50)]
    assert abs(np.mean(rare) - 0.05) < 0.01
    assert max(rare) < 0.1
    assert np.mean(labels[stratified_order(labels, 0)[:200]] > 0) > 0.4  # where no class is left out


def test_a_smaller_part_lies_within_a_larger_one_and_keeps_the_order_of_the_source() -> None:
    split = Split(tuple(f"text {i}" for i in range(50)), np.arange(50) % 3)
    small, large = part_of(split, 10, 1), part_of(split, 30, 1)
    assert set(small.texts) < set(large.texts)
    assert [split.texts.index(text) for text in large.texts] == sorted(split.texts.index(text) for text in large.texts)


def test_another_seed_makes_another_part() -> None:
    split = Split(tuple(f"text {i}" for i in range(50)), np.arange(50) % 3)
    assert part_of(split, 10, 1).texts != part_of(split, 10, 2).texts


def test_a_part_of_no_fewer_rows_is_the_whole() -> None:
    split = Split(("a", "b"), np.array([0, 1]))
    assert part_of(split, 2, 0) is split
