"""How fast this machine multiplies, by measurement.

They are those of the engine's own `linear`; in fp32 torch's, which engine: trainer has, may be slower (`linear.py`).
Rates take about 0.1 s a type where both are fast (on a GPU 0.2 s), once in a process and size, and are the only
measurement that the choice of type, the estimates of time and the share of the peak are built on. One square product
was rejected as the measure: for some shapes torch uses a single thread, so that one shape can be off by a factor of two
from what a layer reaches.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from loraloom.engine.device import device
from loraloom.engine.linear import linear, whole_fp32
from loraloom.machine import MOST_WAITED, read_machine, waited_seconds
from loraloom.study.record import Dtype

_SECONDS = 0.1
"""Time given to a type's measurement; whole passes over the layer's products, so it may take somewhat more."""
_SLOW_SECONDS = 0.5
"""Where the first pass took this long, there is no second."""
_TOKENS, _FEW_TOKENS = 1024, 128
_MANY_TOKENS = 8192
"""So many fill a GPU, whose best product is the peak; a batch has fewer, and what it takes is told by `_TOKENS`."""
_DOUBTFUL, _DOUBTS = 1.5, 2
"""A processor with bf16 that looks no faster in it than this was measured in a busy moment: it is measured again."""
_SLOW_RATE = 20e9
"""FLOP/s under which products have few tokens: a type that the processor only emulates would take seconds."""
_REFUSED = "CUBLAS_STATUS_NOT_SUPPORTED"
"""What torch says of bf16 on GPUs before Volta (P100, M40), although they hold its tensors."""
_GPU_REPEATS = 20
"""Products between two clock readings on a GPU: a single one is shorter than its launch."""


@dataclass(frozen=True, slots=True)
class LayerSize:
    """The widths that an encoder layer's products have."""

    name: str
    hidden: int
    intermediate: int

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """(D_in, D_out) of query, key and value as one, the attention's output, and the two of the MLP."""
        wide, narrow = self.intermediate, self.hidden
        return ((narrow, 3 * narrow), (narrow, narrow), (wide, narrow), (narrow, wide))


BASE = LayerSize("base", hidden=768, intermediate=3072)
DEMO = LayerSize("demo", hidden=384, intermediate=1536)


@dataclass(frozen=True, slots=True)
class GemmRates:
    """FLOPs per second of an encoder layer's products, as measured: over one whole layer, and the best product's.

    0 in a type that the device can't multiply, and in fp16 on a processor, where it is slow and not measured.
    """

    fp32: float
    bf16: float
    fp32_best: float
    bf16_best: float
    one_thread: bool = False
    """The rates are those of one thread, since other programs took the cores and all threads together were slower."""
    fp16: float = 0.0
    fp16_best: float = 0.0
    busy: tuple[Dtype, ...] = ()
    """Types that were measured while other programs took the cores: their best product is not the machine's peak."""

    def layer(self, dtype: Dtype) -> float:
        """FLOP/s over a whole layer in this type."""
        return {"fp32": self.fp32, "bf16": self.bf16, "fp16": self.fp16}[dtype]

    @property
    def ratio(self) -> float:
        """How many times as fast a layer is in bf16."""
        return self.bf16 / self.fp32


def measure(size: LayerSize = BASE) -> GemmRates:
    """Rates of each type on the device that trains; measured once in a process for each size."""
    return _measured(size.hidden, size.intermediate)


def gemm_peak(dtype: Dtype) -> float | None:
    """FLOP/s of the best product of a base-size layer: what a share of the machine's peak is a share of.

    None where other programs took the cores while it was measured.
    """
    rates = measure()
    if dtype == "fp16" and not rates.fp16_best:  # a processor is asked only where the recipe wants it
        half = _half()
        return None if half.busy else half.best
    best = {"fp32": rates.fp32_best, "bf16": rates.bf16_best, "fp16": rates.fp16_best}[dtype]
    return None if dtype in rates.busy else best


@functools.cache
def _measured(hidden: int, intermediate: int) -> GemmRates:
    products = LayerSize("", hidden, intermediate).products
    found = _each(products)
    for _ in range(_DOUBTS):
        has_bf16 = device().type == "cpu" and any("bf16" in name for name in read_machine().instructions)
        if found.ratio > _DOUBTFUL or not has_bf16:
            break
        found = max(found, _each(products), key=lambda rates: rates.ratio)
    return found


def _each(products: tuple[tuple[int, int], ...]) -> GemmRates:
    fp32, bf16 = (_rates(dtype, products) for dtype in (torch.float32, torch.bfloat16))
    fp16 = _rates(torch.float16, products) if device().type == "cuda" else _Rates(0.0, 0.0, one_thread=False)
    types: dict[Dtype, _Rates] = {"fp32": fp32, "bf16": bf16}
    busy = tuple(dtype for dtype, rates in types.items() if rates.busy)
    one_thread = fp32.one_thread or bf16.one_thread
    return GemmRates(fp32.layer, bf16.layer, fp32.best, bf16.best, one_thread, fp16.layer, fp16.best, busy)


@functools.cache
def _half() -> _Rates:
    return _rates(torch.float16, BASE.products)


@dataclass(frozen=True, slots=True)
class _Rates:
    """One type's FLOP/s."""

    layer: float
    best: float
    one_thread: bool
    busy: bool = False


@whole_fp32()
def _rates(dtype: torch.dtype, products: tuple[tuple[int, int], ...]) -> _Rates:
    """FLOP/s over the layer and of its best product, each product by its fastest run.

    Where other programs take a core, threads wait for each other at every product, for longer than a quick product
    takes, and both types look alike. There a single thread is the faster one, and the rate is that of single threads.
    """
    probe = _Product(dtype, _FEW_TOKENS, *products[1])
    try:
        probe.seconds()  # torch prepares each type on its first use
    except RuntimeError as error:
        if _REFUSED not in str(error):
            raise
        return _Rates(0.0, 0.0, one_thread=False)
    tokens = _TOKENS if probe.flops / probe.seconds() > _SLOW_RATE else _FEW_TOKENS
    layer = [_Product(dtype, tokens, *product) for product in products]
    work = [product.flops for product in layer]
    waited, start = waited_seconds(), time.perf_counter()
    fastest, crowded = _fastest(layer), False
    if device().type == "cpu" and torch.get_num_threads() > 1:
        with _one_thread():
            crowded = probe.flops / min(probe.seconds() for _ in range(3)) > sum(work) / sum(fastest)
            if crowded:
                fastest = list(map(min, fastest, _fastest(layer)))
    had_to_wait = waited_seconds() - waited > MOST_WAITED * (time.perf_counter() - start)
    busy = crowded or (had_to_wait and device().type == "cpu")
    best = _best(layer, fastest)
    if device().type == "cuda" and sum(fastest) * _GPU_REPEATS * _MANY_TOKENS / tokens < _SLOW_SECONDS:
        layer = [_Product(dtype, _MANY_TOKENS, *product) for product in products]
        best = max(best, _best(layer, _fastest(layer)))
    return _Rates(sum(work) / sum(fastest), best, crowded, busy)


def _best(layer: list[_Product], fastest: list[float]) -> float:
    """FLOP/s of the best product, from each one's seconds."""
    return max(product.flops / seconds for product, seconds in zip(layer, fastest, strict=True))


def _fastest(layer: list[_Product]) -> list[float]:
    """Seconds of each product's fastest run.

    Passes go round the layer, so that what disturbs one moment does not fall on one product alone.
    """
    fastest = [math.inf] * len(layer)
    start = time.perf_counter()
    for passes in itertools.count(1):
        fastest = [min(best, product.seconds()) for best, product in zip(fastest, layer, strict=True)]
        spent = time.perf_counter() - start
        if spent > _SLOW_SECONDS or (spent > _SECONDS and passes > 1):
            break
    return fastest


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Product:
    """(N, D_in) × (D_in, D_out) as a linear layer has it, ready to be timed."""

    def __init__(self, dtype: torch.dtype, tokens: int, d_in: int, d_out: int) -> None:
        self.flops = 2 * tokens * d_in * d_out
        self._place = device()
        self._repeats = _GPU_REPEATS if self._place.type == "cuda" else 1
        self._input = self._filled(dtype, tokens, d_in)
        self._weight = self._filled(dtype, d_out, d_in)
        self._bias = self._filled(dtype, 1, d_out)[0]

    def _filled(self, dtype: torch.dtype, rows: int, columns: int) -> torch.Tensor:
        """Values that differ, without taking any from the global random generator, which seeds are set for."""
        return torch.linspace(-1, 1, rows * columns, device=self._place).view(rows, columns).to(dtype)

    def seconds(self) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(self._repeats):
            linear(self._input, self._weight, self._bias)  # (N, D_out)
        self._wait()
        return (time.perf_counter() - start) / self._repeats

    def _wait(self) -> None:
        if self._place.type == "cuda":
            torch.cuda.synchronize()
