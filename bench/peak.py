"""The fastest rate of matrix products that the machine was seen to reach: what shares of the peak are shares of.

Over the shapes of the model's own layers with 1,024 tokens, and square ones; by `torch.mm` and by the engine's `linear`
(torch's, or oneDNN where that is faster), with the right factor in both layouts. A rate is that of a window of
products, not of one: single products were seen at twice the rate that the next ones had. A machine's rate moves with
what else runs on it, so it is measured once a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from bench.measure import Task
from bench.texts import model_folder
from loraloom.engine.linear import linear

TOKENS = 1024
SQUARES = (1024, 2048)
SECONDS = 0.4
"""Spent on each kind of product, in windows of WINDOW seconds."""
WINDOW = 0.05


def measure(task: Task) -> dict[str, Any]:
    """The best rate, in operations per second, the product that reached it, and the encoder's linear parameters."""
    config = AutoConfig.from_pretrained(model_folder(task.work, task.folder))
    dtype = torch.bfloat16 if task.work.bf16 else torch.float32
    rates = {name: _rate(*product, dtype) for name, product in _products(config)}
    fastest = max(rates, key=lambda name: rates[name])
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return {
        "operations_per_second": rates[fastest],
        "product": fastest,
        "linear_parameters": layers * (4 * width * width + 2 * width * inner),
        "operations_by_product": rates,
    }


def _products(config: Any) -> Iterator[tuple[str, tuple[Callable[[Tensor, Tensor], Tensor], int, int, int]]]:
    """Each product (N, D) × (D, E) by name, with N, D and E."""
    width, inner = config.hidden_size, config.intermediate_size
    shapes = [(TOKENS, width, width), (TOKENS, width, inner), (TOKENS, inner, width)]
    for n, d, e in [*shapes, *((square, square, square) for square in SQUARES)]:
        yield f"mm {n}×{d}×{e}", (torch.mm, n, d, e)
        yield f"mm {n}×{d}×{e}, right factor transposed", (_mm_transposed, n, d, e)
        yield f"linear {n}×{d}×{e}", (_linear, n, d, e)
        yield f"linear {n}×{d}×{e}, weight transposed", (_linear_transposed, n, d, e)


def _mm_transposed(left: Tensor, right: Tensor) -> Tensor:
    return torch.mm(left, right.view(right.shape[1], right.shape[0]).t())


def _linear(left: Tensor, right: Tensor) -> Tensor:
    return linear(left, right.view(right.shape[1], right.shape[0]))


def _linear_transposed(left: Tensor, right: Tensor) -> Tensor:
    return linear(left, right.t())


def _rate(product: Callable[[Tensor, Tensor], Tensor], n: int, d: int, e: int, dtype: torch.dtype) -> float:
    left, right = torch.randn(n, d).to(dtype), torch.randn(d, e).to(dtype)
    best, end = 0.0, time.perf_counter() + SECONDS
    with torch.inference_mode():
        product(left, right)
        while time.perf_counter() < end:
            best = max(best, _products_per_second(lambda: product(left, right)))
    return 2 * n * d * e * best


def _products_per_second(product: Callable[[], Tensor]) -> float:
    start, done, seconds = time.perf_counter(), 0, 0.0
    while seconds < WINDOW:
        product()
        done, seconds = done + 1, time.perf_counter() - start
    return done / seconds
