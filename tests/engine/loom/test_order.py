"""The order of rows: each once an epoch, by seed and epoch alone, in batches of like length."""

from __future__ import annotations

import math
import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.engine.loom.order import Order

LENGTHS = np.random.default_rng(0).integers(1, 60, size=203)


def order(*, lengths: np.ndarray[tuple[int], np.dtype[np.int64]] = LENGTHS, **changed: int) -> Order:
    return Order(lengths, **{"batch": 8, "accumulated": 1, "seed": 1, "window": 8, **changed})


def epoch(found: Order, number: int = 0) -> list[list[int]]:
    steps = range(number * found.steps_per_epoch, (number + 1) * found.steps_per_epoch)
    return [batch.tolist() for step in steps for batch in found.step(step)]


@given(
    rows=st.integers(1, 70),
    batch=st.integers(1, 20),
    accumulated=st.integers(1, 4),
    window=st.integers(1, 5),
    number=st.integers(0, 3),
)
def test_each_row_comes_once_an_epoch_and_an_incomplete_batch_last(
    rows: int, batch: int, accumulated: int, window: int, number: int
) -> None:
    found = order(lengths=LENGTHS[:rows], batch=batch, accumulated=accumulated, window=window)
    batches = epoch(found, number)
    assert sorted(row for own in batches for row in own) == list(range(rows))
    assert [len(own) for own in batches[:-1]] == [batch] * (math.ceil(rows / batch) - 1)
    assert len(batches[-1]) == rows - batch * (len(batches) - 1)
    assert found.steps_per_epoch == math.ceil(math.ceil(rows / batch) / accumulated)


def test_an_epochs_last_step_has_the_batches_that_are_left() -> None:
    found = order(accumulated=4)  # 26 batches
    assert [len(found.step(step)) for step in range(found.steps_per_epoch)] == [4] * 6 + [2]
    assert len(found.step(found.steps_per_epoch)) == 4


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    one, other = order(), order()
    for step in (40, 3, 90, 3):  # in any sequence
        assert [own.tolist() for own in one.step(step)] == [own.tolist() for own in other.step(step)]
    assert epoch(one, 0) != epoch(one, 1)
    assert epoch(one, 0) != epoch(order(seed=2), 0)


def test_accumulation_does_not_change_the_batches() -> None:
    assert epoch(order(accumulated=3), 1) == epoch(order(), 1)


def test_texts_of_like_length_share_a_batch() -> None:
    """Padded to each batch's longest, windows of eight need far fewer tokens than rows as they come."""

    def padded(window: int) -> int:
        return sum(len(own) * int(LENGTHS[own].max()) for own in epoch(order(window=window)))

    assert padded(8) < 1.15 * LENGTHS.sum()
    assert padded(1) > 1.5 * LENGTHS.sum()


def test_a_window_is_sorted_and_its_batches_shuffled() -> None:
    batches = epoch(order(lengths=LENGTHS[:64]))
    spans = [(min(LENGTHS[own]), max(LENGTHS[own])) for own in batches]
    ordered = sorted(spans)
    assert all(one[1] <= other[0] for one, other in pairwise(ordered))
    assert spans != ordered


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_seeds_at_the_ends_of_their_range_give_an_order(seed: int) -> None:
    assert len(epoch(order(seed=seed))) == 26


def test_an_order_is_gone_with_its_trial_and_not_at_a_later_look_for_cycles() -> None:
    found = order()
    found.step(0)
    alive = weakref.ref(found)
    del found
    assert alive() is None
