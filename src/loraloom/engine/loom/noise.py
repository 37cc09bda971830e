"""Dropout masks from counters: a mask is a function of (trial's seed, step, place, element) and of nothing else.

So a trial draws the same masks alone and in any pack, and a resumed trial needs no generator's state, only its step.
The hash is a 32-bit mixer of two multiplications ("lowbias32" of C. Wellons, with a second key between them); the
compiled kernels compute the same bits. Cost: about 10 integer operations an element, as int32 tensors here, in 16
lanes at once and fused with other work in the kernels.

Rejected: torch's generators, which draw one after the other (a mask would depend on the order of trials), and whose
CPU form runs on one thread; int64 tensors, and masks drawn again for the way back, which took half of a step in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loraloom.engine.loom.transfer import onto

_WORD = 0xFFFFFFFF
_LOWEST = -(2**31)
_WORD64 = 0xFFFFFFFFFFFFFFFF


@dataclass(slots=True)
class Drop:
    """Dropout of one place in one step: its probability, and two 32-bit keys for each of K trials.

    Plain torch draws a mask once, and keeps it (a byte an element) for the way back; the kernels draw it again.
    """

    p: float
    keys: tuple[tuple[int, int], ...]
    _kept: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def scale(self) -> float:
        return 1 / (1 - self.p)

    def kept(self, shape: Sequence[int], index: Callable[[], Tensor]) -> Tensor:
        """Which elements stay, of `shape` (K, …); `index` gives their numbers within a trial, and is asked once."""
        if self._kept is None or self._kept.shape != torch.Size(shape):
            numbers = index().to(torch.int32)
            by_trial = (len(self.keys), *[1] * (numbers.ndim - 1))
            words = torch.tensor([[_signed(word) for word in own] for own in self.keys], dtype=torch.int32)  # (K, 2)
            key0, key1 = onto(words, numbers.device).unbind(-1)
            mixed = _mixed(numbers, key0.view(by_trial), key1.view(by_trial))
            # Both sides with their highest bit turned: what is less unsigned is then less signed.
            self._kept = mixed.bitwise_xor_(_LOWEST) >= _signed(round(self.p * 2**32) ^ 0x80000000)
        return self._kept

    def apply(self, x: Tensor) -> Tensor:
        """`x` (K, M, C) with elements dropped, the others scaled."""
        shape = (len(self.keys), *x.shape[1:])

        def index() -> Tensor:
            numbers = torch.arange(shape[1] * shape[2], dtype=torch.int32, device=x.device)
            return numbers.view(1, *shape[1:]).expand(shape)

        return (x * self.kept(shape, index)).mul_(self.scale)


@dataclass(frozen=True, slots=True)
class Noise:
    """All masks of one pass of K trials; `steps` count each trial's batches."""

    seeds: tuple[int, ...]
    steps: tuple[int, ...]

    def drop(self, place: int, p: float) -> Drop | None:
        """The dropout of one place, or None where nothing is dropped."""
        if p == 0:
            return None
        keys = (_mix64(_mix64(_mix64(seed) ^ step) ^ place) for seed, step in zip(self.seeds, self.steps, strict=True))
        return Drop(p, tuple((key >> 32, key & _WORD) for key in keys))


def _mixed(index: Tensor, key0: Tensor, key1: Tensor) -> Tensor:
    """The hash, on int32 tensors that hold the words' bits: products wrap, shifts are made those of unsigned words."""
    x = index ^ key0
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x21F0AAAD
    x ^= key1
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= 0x735A2D97
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    return x


def _signed(word: int) -> int:
    """A 32-bit word as int32 holds it."""
    return word - 2**32 if word >= 2**31 else word


def _mix64(x: int) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014, figure 16)."""
    x = (x + 0x9E3779B97F4A7C15) & _WORD64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD64
    return x ^ (x >> 31)
