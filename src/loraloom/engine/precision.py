"""fp32 or bf16, chosen by a measured matrix product and not by a processor's name.

Costs about a tenth of a second, once in a process.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Literal

import torch

from loraloom.recipe import Train

WORTHWHILE = 1.3
"""bf16 is taken where its products are faster than fp32's by this ratio."""
_SIZE = 768


@dataclass(frozen=True, slots=True)
class GemmRates:
    """FLOPs per second of a D × D product, as measured."""

    fp32: float
    bf16: float

    @property
    def dtype(self) -> Literal["fp32", "bf16"]:
        return "bf16" if self.bf16 > WORTHWHILE * self.fp32 else "fp32"


def choose_dtype(train: Train) -> Literal["fp32", "bf16"]:
    """The recipe's choice, or by measurement where it leaves it open."""
    if train.bf16 == "auto":
        return measure().dtype
    return "bf16" if train.bf16 else "fp32"


@functools.cache
def measure() -> GemmRates:
    """Measures both types on the device that trains."""
    return GemmRates(_rate(torch.float32), _rate(torch.bfloat16))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _rate(dtype: torch.dtype, repeats: int = 5) -> float:
    """The fastest of a few runs of (N, D) × (D, D), N = D, as a layer has it."""
    place = device()
    left = torch.ones(_SIZE, _SIZE, dtype=dtype, device=place)
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        _ = left @ left
        if place.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return float(2 * _SIZE**3 / best)
