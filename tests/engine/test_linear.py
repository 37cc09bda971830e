"""Linear layers by the library that is fast here: what both promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from loraloom.engine import linear as module
from loraloom.engine.linear import linear
from loraloom.machine import read_machine

D_IN, D_OUT = 64, 33


@pytest.fixture(params=[False, True], ids=["torch", "oneDNN"])
def by_onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(module, "by_onednn", lambda: request.param)
    return bool(request.param)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(1, 17, D_IN), (3, 5, D_IN), (1, 1, D_IN), (7, D_IN), (1, 0, D_IN)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_products_of_any_shape_and_layout(
    shape: tuple[int, ...], transposed: bool, biased: bool, by_onednn: bool
) -> None:
    x, bias = drawn(*shape), drawn(D_OUT) if biased else None
    weight = drawn(D_IN, D_OUT).t() if transposed else drawn(D_OUT, D_IN)
    found = linear(x, weight, bias)
    wanted = functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert found.shape == wanted.shape
    assert found.is_contiguous()
    # a sum of 64 products, each rounded to 2^-24
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=64 * 2**-24 * 10)


def test_rows_that_lie_apart(by_onednn: bool) -> None:
    wide, weight = drawn(9, 2 * D_IN), drawn(D_OUT, D_IN)
    torch.testing.assert_close(linear(wide[:, :D_IN], weight), wide[:, :D_IN] @ weight.t())


def test_other_types_are_torchs_own(by_onednn: bool) -> None:
    x, weight = drawn(4, D_IN).double(), drawn(D_OUT, D_IN).double()
    assert torch.equal(linear(x, weight), functional.linear(x, weight))


@pytest.mark.parametrize(
    ("cpu", "instructions", "asked"),
    [
        ("AMD EPYC", ("avx2", "avx512f"), True),
        ("AMD EPYC", ("avx2",), False),
        ("Intel(R) Xeon(R) Processor", ("avx2", "avx512f"), False),
    ],
)
def test_onednn_is_asked_where_mkl_leaves_wide_vectors_idle(
    cpu: str, instructions: tuple[str, ...], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    machine = replace(read_machine(), cpu=cpu, instructions=instructions)
    monkeypatch.setattr(module, "read_machine", lambda: machine)
    by_onednn = module.by_onednn.__wrapped__
    assert by_onednn() == (there and asked)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not by_onednn()
