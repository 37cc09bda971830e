"""Dropout masks are functions of seed, step, place and element, as an independent reading of the hash has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loraloom.engine.loom.noise import Drop, Noise

WORD = st.integers(0, 2**32 - 1)


def lowbias32(x: int, key0: int, key1: int) -> int:
    """C. Wellons' lowbias32, its first multiplier from his improved search, with a key before and one in the midst."""
    x ^= key0
    x ^= x >> 16
    x = x * 0x21F0AAAD % 2**32
    x ^= key1
    x ^= x >> 15
    x = x * 0x735A2D97 % 2**32
    return x ^ x >> 15


def splitmix(x: int) -> int:
    """The output of SplitMix64 for a state, as java.util.SplittableRandom has it."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def factors(drop: Drop, index: Tensor) -> Tensor:
    """What elements `index` (1, …) of one trial are multiplied by."""
    return drop.kept(index.shape, lambda: index)[0].double() * drop.scale


def test_the_mixer_of_keys_is_splitmix64() -> None:
    """The first outputs for the seed 1234567, as published with the test vectors of the reference code."""
    state, found = 1234567, []
    for _ in range(3):
        found.append(splitmix(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(seed=WORD, step=st.integers(0, 2**40), place=st.integers(0, 2**21), p=st.floats(0.01, 0.99))
def test_a_mask_is_the_hash_of_seed_step_place_and_element(seed: int, step: int, place: int, p: float) -> None:
    drop = Noise((seed,), (step,)).drop(place, p)
    assert drop is not None
    key = splitmix(splitmix(splitmix(seed) ^ step) ^ place)
    assert drop.keys == ((key >> 32, key % 2**32),)
    index = [0, 1, 511, 512, 2**31, 2**32 - 1, 2**32, 2**40 + 3]
    expected = [lowbias32(i % 2**32, *drop.keys[0]) >= round(p * 2**32) for i in index]
    assert factors(drop, torch.tensor([index])).tolist() == [element / (1 - p) for element in expected]


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_elements_are_dropped_at_their_rate_and_the_mean_is_kept(p: float) -> None:
    """Over 10^6 elements: within five deviations of a binomial."""
    drop = Noise((3,), (5,)).drop(1, p)
    assert drop is not None
    dropped = drop.apply(torch.ones(1, 1000, 1000, dtype=torch.float64))
    assert float((dropped == 0).double().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / 1e6) ** 0.5)
    assert float(dropped.mean()) == pytest.approx(1, abs=5 * (p / (1 - p) / 1e6) ** 0.5)


@pytest.mark.parametrize("shift", [1, 512, 1000])
def test_neighbouring_elements_are_dropped_independently(shift: int) -> None:
    drop = Noise((3,), (5,)).drop(1, 0.5)
    assert drop is not None
    kept = factors(drop, torch.arange(1_000_000)[None]) - 1
    assert float((kept[shift:] * kept[:-shift]).mean()) == pytest.approx(0, abs=5e-3)


@pytest.mark.parametrize("changed", [((4,), (5,), 1), ((3,), (6,), 1), ((3,), (5,), 2)], ids=["seed", "step", "place"])
def test_another_seed_step_or_place_gives_another_mask(changed: tuple[tuple[int], tuple[int], int]) -> None:
    seeds, steps, place = changed
    one, other = Noise((3,), (5,)).drop(1, 0.5), Noise(seeds, steps).drop(place, 0.5)
    assert one is not None
    assert other is not None
    index = torch.arange(100_000)[None]
    agree = (factors(one, index) == factors(other, index)).double().mean()
    assert float(agree) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_trial_draws_the_same_masks_alone_and_at_any_place_of_a_pack(dtype: torch.dtype) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 17, 33))).to(dtype)
    seeds, steps = (1, 2, 1), (4, 4, 9)
    together = Noise(seeds, steps).drop(6, 0.3)
    assert together is not None
    dropped = together.apply(x)
    for trial, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
        alone = Noise((seed,), (step,)).drop(6, 0.3)
        assert alone is not None
        assert torch.equal(dropped[trial], alone.apply(x[trial : trial + 1])[0])


def test_an_elements_number_does_not_depend_on_how_many_rows_there_are() -> None:
    """A trial's rows are first in its share of a batch, and a neighbour's length does not move its masks."""
    drop = Drop(0.5, ((1, 2),))
    assert torch.equal(drop.apply(torch.ones(1, 9, 7))[:, :4], drop.apply(torch.ones(1, 4, 7)))


def test_nothing_is_dropped_at_rate_zero() -> None:
    assert Noise((1,), (1,)).drop(1, 0.0) is None
