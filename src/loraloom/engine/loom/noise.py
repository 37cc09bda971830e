"""Dropout masks from counters: a mask is a function of (trial's seed, step, place, element) and of nothing else.

So a trial draws the same masks alone and in any pack, a forward mask is drawn again in the backward and not kept, and
a resumed trial needs no generator's state, only its step. The hash is a 32-bit mixer of two multiplications
("lowbias32" of C. Wellons, with a second key between them); the compiled kernels compute the same bits. Cost: about 8
integer operations an element here as int64 tensors, and 16 lanes at once in the kernels.

Rejected: torch's generators, which draw one after the other (a mask would depend on the order of trials), and whose
CPU form runs on one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_WORD64 = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Drop:
    """Dropout of one place in one step: its probability, and two 32-bit keys for each of K trials."""

    p: float
    keys: tuple[tuple[int, int], ...]

    @property
    def scale(self) -> float:
        return 1 / (1 - self.p)

    def factors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """0 or 1 / (1 - p) for elements `index` (K, …) int64, each counted within its trial."""
        shape = (len(self.keys), *[1] * (index.ndim - 1))
        key0, key1 = (
            torch.tensor([keys[part] for keys in self.keys], dtype=torch.int64, device=index.device).view(shape)
            for part in (0, 1)
        )
        kept = _mixed(index & _WORD, key0, key1) >= round(self.p * 2**32)
        return kept.to(dtype) * self.scale

    def apply(self, x: Tensor) -> Tensor:
        """`x` (K, M, C) with elements dropped, the others scaled."""
        rows, columns = x.shape[1:]
        index = torch.arange(rows * columns, device=x.device).view(1, rows, columns)
        return x * self.factors(index.expand(len(self.keys), rows, columns), x.dtype)


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
    """The hash, on int64 tensors that hold 32-bit words; products wrap at 64 bits, which keeps the low word right."""
    x = index ^ key0
    x = x ^ (x >> 16)
    x = (x * 0x21F0AAAD) & _WORD
    x = x ^ key1
    x = x ^ (x >> 15)
    x = (x * 0x735A2D97) & _WORD
    return x ^ (x >> 15)


def _mix64(x: int) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014, figure 16)."""
    x = (x + 0x9E3779B97F4A7C15) & _WORD64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD64
    return x ^ (x >> 31)
