"""Holding out: deterministic, disjoint, equal texts on one side, and the same share of each class."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loraloom.data import Split
from loraloom.data.overlap import text_key
from loraloom.data.splitting import held_out_rows, hold_out

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=120)
SHARES = st.floats(0.05, 0.96)  # of a recipe 0.49 at most, which is 0.96 of what the test rows leave
SEEDS = st.integers(0, 2**32 - 1)


def _split(rows: list[tuple[int, int]]) -> tuple[list[str], Split]:
    keys = [f"text{key}" for key, _ in rows]
    return keys, Split(tuple(keys), np.array([label for _, label in rows], dtype=np.int64))


@given(ROWS, SHARES, SEEDS)
def test_equal_texts_are_on_one_side(rows: list[tuple[int, int]], share: float, seed: int) -> None:
    kept, held = hold_out(_split(rows)[1], share, seed)
    assert not set(map(text_key, kept.texts)) & set(map(text_key, held.texts))


@given(ROWS, SHARES, SEEDS)
def test_every_row_is_on_one_side_in_its_order(rows: list[tuple[int, int]], share: float, seed: int) -> None:
    keys, split = _split(rows)
    held = held_out_rows(keys, split.labels, share, seed)
    kept, out = hold_out(split, share, seed)
    assert out.texts == tuple(key for key, is_held in zip(keys, held, strict=True) if is_held)
    assert kept.texts == tuple(key for key, is_held in zip(keys, held, strict=True) if not is_held)


@given(ROWS, SHARES, SEEDS, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_rows(
    rows: list[tuple[int, int]], share: float, seed: int, random: st.DataObject
) -> None:
    distinct = list(dict(rows).items())  # one row per text, so that no group has two labels
    shuffled = sorted(distinct, key=lambda row: row[0] * 7919 % 31)
    chosen = [set(hold_out(_split(order)[1], share, seed)[1].texts) for order in (distinct, shuffled)]
    assert chosen[0] == chosen[1]


@given(st.lists(st.integers(2, 200), min_size=1, max_size=4), SHARES, SEEDS)
@example([10], 0.96, 0)
@settings(max_examples=50)
def test_each_class_is_held_out_in_its_share(sizes: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = held_out_rows([f"t{row}" for row in range(len(labels))], labels, share, seed)
    for label, size in enumerate(sizes):
        assert held[labels == label].sum() == min(size - 1, max(1, round(share * size)))


@given(ROWS, SHARES, SEEDS)
def test_a_class_with_two_texts_is_on_both_sides(rows: list[tuple[int, int]], share: float, seed: int) -> None:
    keys, split = _split([(key * 4 + label, label) for key, label in rows])
    held = held_out_rows(keys, split.labels, share, seed)
    for label in set(split.labels.tolist()):
        of_class = split.labels == label
        texts = {key for key, is_of in zip(keys, of_class, strict=True) if is_of}
        assert held[of_class].any() == (len(texts) > 1)
        assert not held[of_class].all()


def test_where_no_text_of_a_class_fits_its_share_the_one_of_the_fewest_rows_is_held_out() -> None:
    keys = ["often"] * 5 + ["thrice"] * 3 + ["four times"] * 4
    for seed in range(6):
        held = held_out_rows(keys, np.zeros(12, dtype=np.int64), 0.1, seed)
        assert {key for key, is_held in zip(keys, held, strict=True) if is_held} == {"thrice"}


def test_a_text_under_several_labels_is_of_its_commonest() -> None:
    keys, labels = ["both", "both", "both", "zero", "one"], np.array([0, 1, 1, 0, 1])
    for seed in range(6):
        held = held_out_rows(keys, labels, 0.2, seed)
        assert [key for key, is_held in zip(keys, held, strict=True) if is_held] == ["one"]  # "zero" is alone


def test_another_seed_is_another_choice() -> None:
    _, split = _split([(number, 0) for number in range(100)])
    assert hold_out(split, 0.2, 1)[1].texts != hold_out(split, 0.2, 2)[1].texts


def test_the_choice_is_what_it_always_was() -> None:
    _, split = _split([(number, number % 2) for number in range(20)])
    assert hold_out(split, 0.2, 42)[1].texts == ("text1", "text2", "text4", "text9")
