"""Whether trials gain by being trained together, measured: a joint step of K trials against K steps of one.

A processor that one trial's batch keeps busy gains nothing by a pack, and loses what joining costs; one that is idle
between small products gains up to K times. The measure is a step of a layer of the model's widths with random weights,
over a batch of 16 texts of 50 tokens a trial: under a second on a CPU, where 8 trials joined were 0.8 × as fast as one
after another (docs/log.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloom.engine.gemm_rates import LayerSize
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.ops import LowRank, PlainOps, Product

TRIALS = 8
WORTHWHILE = 1.1
_TOKENS, _RANK = 16 * 50, 8
_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class PackAdvice:
    """How many trials to train together, and the measured gain of TRIALS joined over one after another."""

    trials: int
    gain: float
    reason: str


def measure_pack(size: LayerSize, dtype: torch.dtype, device: torch.device, *, by_kernels: bool = False) -> PackAdvice:
    """Measures a layer's products, there and back, with low-rank products beside them.

    `by_kernels` says whether the compiled kernels compute a trial that is trained alone (`setting.why_plain`).
    """
    alone = CompiledOps() if by_kernels and dtype == torch.bfloat16 else PlainOps()  # in fp32 products are torch's
    one = _seconds(_step(alone, 1, size, dtype, device), device)
    joined = _seconds(_step(PlainOps(), TRIALS, size, dtype, device), device)
    gain = TRIALS * one / joined
    said = f"{TRIALS} trials joined were measured {gain:.1f} × as fast as one after another"
    if device.type == "cpu":
        # Sums over more rows are rounded in another order: joined, a trial's bits would depend on its neighbours.
        return PackAdvice(1, gain, f"{said}; on a CPU a trial's result is kept the same alone and in a pack")
    return PackAdvice(TRIALS if gain > WORTHWHILE else 1, gain, said)


def _step(
    ops: PlainOps, trials: int, size: LayerSize, dtype: torch.dtype, device: torch.device
) -> Callable[[], object]:
    """The products of a layer's linear modules, forward and backward."""

    def draw(*shape: int) -> Tensor:
        return torch.full(shape, 0.01, dtype=dtype, device=device)

    modules = []
    for inputs, outputs in size.products:
        frozen = ops.freeze(draw(outputs, inputs), backward=True)
        left = LowRank(draw(trials, _TOKENS, _RANK), draw(trials, _RANK, outputs))
        back = LowRank(draw(trials, _TOKENS, _RANK), draw(trials, _RANK, inputs))
        product = Product(frozen, low=left)
        modules.append((product, draw(trials, _TOKENS, inputs), draw(trials, _TOKENS, outputs), left, back))

    def step() -> None:
        for product, x, dy, left, back in modules:
            ops.linear(x, product)
            ops.linear_backward(dy, product.frozen, back)
            ops.gram(left.left, dy)

    return step


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    """The fastest of the runs that fit into a tenth of a second, after one to warm up."""
    step()
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        begun = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return best
