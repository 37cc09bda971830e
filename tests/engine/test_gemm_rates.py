"""What the measurement of products promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from loraloom.engine import gemm_rates
from loraloom.engine.gemm_rates import LayerSize
from loraloom.machine import read_machine


def test_the_layer_is_no_faster_than_its_best_product() -> None:
    rates = gemm_rates.measure(LayerSize("tiny", hidden=32, intermediate=64))
    assert 0 < rates.fp32 <= rates.fp32_best
    assert 0 < rates.bf16 <= rates.bf16_best


@pytest.mark.parametrize("busy", [False, True])
def test_a_size_is_measured_once_and_the_peak_is_of_the_same_measurement_where_the_machine_was_not_busy(
    monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    rates = {torch.float32: gemm_rates._Rates(1, 2, False), torch.bfloat16: gemm_rates._Rates(3, 4, True, busy)}
    measured = []

    def fake(dtype: torch.dtype, products: tuple[tuple[int, int], ...]) -> gemm_rates._Rates:
        measured.append((dtype, products))
        return rates[dtype]

    monkeypatch.setattr(gemm_rates, "_rates", fake)
    gemm_rates._measured.cache_clear()
    try:
        base = LayerSize("the same by another name", gemm_rates.BASE.hidden, gemm_rates.BASE.intermediate)
        expected = gemm_rates.GemmRates(1, 3, 2, 4, one_thread=True, busy=("bf16",) if busy else ())
        assert gemm_rates.measure() == gemm_rates.measure(base) == expected
        assert (gemm_rates.gemm_peak("fp32"), gemm_rates.gemm_peak("bf16")) == (2, None if busy else 4)
        assert [dtype for dtype, _ in measured] == [torch.float32, torch.bfloat16]
        assert measured[0][1] == ((768, 2304), (768, 768), (3072, 768), (768, 3072))
    finally:
        gemm_rates._measured.cache_clear()


class FakeProduct:
    """Takes the seconds that `rate` (FLOP/s) says for the threads that torch has now; remembers how it was made."""

    made: ClassVar[list[int]] = []
    rate: ClassVar[Callable[[int], float]]

    def __init__(self, dtype: torch.dtype, tokens: int, d_in: int, d_out: int) -> None:
        self.flops, self.tokens = 2 * tokens * d_in * d_out, tokens
        self.made.append(tokens)

    def seconds(self) -> float:
        return self.flops / type(self).rate(torch.get_num_threads())


class FilledProduct(FakeProduct):
    """The more rows, the faster: `rate` is of their number."""

    def seconds(self) -> float:
        return self.flops / type(self).rate(self.tokens)


def measured_as(
    monkeypatch: pytest.MonkeyPatch,
    rate: Callable[[int], float],
    threads: int = 1,
    *,
    place: str = "cpu",
    product: type[FakeProduct] = FakeProduct,
) -> gemm_rates._Rates:
    """What the measurement makes of a machine whose products have this rate at a number of threads."""
    current = [threads]
    monkeypatch.setattr(torch, "get_num_threads", lambda: current[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: current.__setitem__(0, count))
    monkeypatch.setattr(gemm_rates, "device", lambda: torch.device(place))
    monkeypatch.setattr(gemm_rates, "_SECONDS", 0)
    monkeypatch.setattr(FakeProduct, "made", [])
    monkeypatch.setattr(FakeProduct, "rate", staticmethod(rate), raising=False)
    monkeypatch.setattr(gemm_rates, "_Product", product)
    rates = gemm_rates._rates(torch.float32, gemm_rates.DEMO.products)
    assert current == [threads]
    return rates


@pytest.mark.parametrize(("faster", "tokens"), [(1.1, gemm_rates._TOKENS), (0.9, gemm_rates._FEW_TOKENS)])
def test_a_type_that_is_only_emulated_is_measured_on_few_tokens(
    monkeypatch: pytest.MonkeyPatch, faster: float, tokens: int
) -> None:
    rate = faster * gemm_rates._SLOW_RATE
    rates = measured_as(monkeypatch, lambda _: rate)
    assert FakeProduct.made[1:] == [tokens] * len(gemm_rates.DEMO.products)
    assert (rates.layer, rates.best) == pytest.approx((rate, rate))


@pytest.mark.parametrize(("together", "alone"), [(8e11, 1e11), (1e10, 1e11)])
def test_where_threads_wait_for_other_programs_the_rate_is_that_of_one(
    monkeypatch: pytest.MonkeyPatch, together: float, alone: float
) -> None:
    rates = measured_as(monkeypatch, lambda threads: alone if threads == 1 else together, threads=8)
    assert (rates.layer, rates.best) == pytest.approx((max(together, alone),) * 2)
    assert rates.one_thread == (alone > together)
    assert rates.busy or not rates.one_thread


@pytest.mark.parametrize(
    ("waited", "place", "busy"), [(0.0, "cpu", False), (3600.0, "cpu", True), (3600.0, "cuda", False)]
)
def test_what_was_measured_while_it_waited_for_a_core_is_no_peak(
    monkeypatch: pytest.MonkeyPatch, waited: float, place: str, *, busy: bool
) -> None:
    monkeypatch.setattr(gemm_rates, "waited_seconds", iter((0.0, waited)).__next__)
    assert measured_as(monkeypatch, lambda _: 1e11, place=place).busy == busy


@pytest.mark.parametrize(
    ("place", "of_a_row", "peak_of"),
    [
        ("cuda", 1e10, gemm_rates._MANY_TOKENS),
        ("cuda", 1e9, gemm_rates._TOKENS),  # whose many rows would take over half a second
        ("cpu", 1e10, gemm_rates._TOKENS),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_so_many_rows_as_fill_it_and_the_layer_s_rate_that_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, place: str, of_a_row: float, peak_of: int
) -> None:
    rates = measured_as(monkeypatch, lambda rows: of_a_row * rows, place=place, product=FilledProduct)
    assert rates.layer == pytest.approx(of_a_row * gemm_rates._TOKENS)
    assert rates.best == pytest.approx(of_a_row * peak_of)


@pytest.mark.parametrize("said", ["CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`", "device-side assert"])
def test_a_type_that_a_gpu_cannot_multiply_has_no_rate_and_other_errors_are_raised(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    multiply: Any = vars(gemm_rates)["linear"]

    def refusing(x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError(f"CUDA error: {said}")
        product: torch.Tensor = multiply(x, *others)
        return product

    monkeypatch.setattr(gemm_rates, "linear", refusing)
    products = LayerSize("tiny", hidden=16, intermediate=32).products
    if "device" in said:
        with pytest.raises(RuntimeError, match="device-side assert"):
            gemm_rates._each(products)
        return
    rates = gemm_rates._each(products)
    assert (rates.bf16, rates.bf16_best, rates.ratio) == (0, 0, 0)
    assert rates.fp32 > 0


def test_measuring_takes_nothing_from_the_random_generator_that_seeds_are_set_for() -> None:
    before = torch.random.get_rng_state()
    gemm_rates._rates(torch.float32, LayerSize("tiny", hidden=16, intermediate=32).products)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("instructions", "ratios", "asked", "ratio"),
    [
        (("avx2", "amx_bf16"), (1.0, 5.0), 2, 5.0),
        (("avx2", "amx_bf16"), (1.1, 1.2, 1.0, 9.0), 3, 1.2),
        (("avx2", "amx_bf16"), (4.0,), 1, 4.0),
        (("avx2",), (1.0, 5.0), 1, 1.0),
    ],
)
def test_a_processor_with_bf16_that_looks_slow_in_it_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, instructions: tuple[str, ...], ratios: tuple[float, ...], asked: int, ratio: float
) -> None:
    coming = iter(ratios)
    times: list[float] = []

    def both(products: object) -> gemm_rates.GemmRates:
        times.append(next(coming))
        return gemm_rates.GemmRates(1.0, times[-1], 1.0, times[-1])

    facts = replace(read_machine(), instructions=instructions)
    monkeypatch.setattr(gemm_rates, "_each", both)
    monkeypatch.setattr(gemm_rates, "read_machine", lambda: facts)
    assert gemm_rates._measured.__wrapped__(768, 3072).ratio == ratio
    assert len(times) == asked
