"""The fp32 kernels against plain torch in fp64, on the same inputs.

Sums of up to some thousand products are held in fp32, in another order than torch's: results differ by some 2^-22 of a
value of size 1. In which order a compiler's vectors sum is the processor's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from loraloom.engine.loom import kernels
from loraloom.engine.loom.fused import FusedOps
from loraloom.engine.loom.ops import Attention, LowRank, Norm, PlainOps, Product
from tests.engine.loom.kernel_inputs import EPS, drawn, dropping, strided, tokens_of
from tests.numerics.covering import covering

REASON = kernels.load_fp32()
pytestmark = [pytest.mark.skipif(REASON is not None, reason=REASON or ""), pytest.mark.usefixtures("threads")]
ops = torch.ops.loraloom_fp32

NEAR: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-6}
LENGTHS = (
    (1,), (2, 1, 53, 17), (96, 97), (300, 5, 31, 32, 33),
)  # fmt: skip
"""Of texts: one token alone, and around the sizes of vectors, tiles and blocks of queries."""


def norm_of(width: int, *, bias: bool, trained: bool) -> Norm:
    beta = drawn(1, 1, width, seed=6) if trained else drawn(width, seed=6)
    return Norm(1 + 0.1 * drawn(width, seed=5), beta if bias else None, EPS)


def wide(norm: Norm) -> Norm:
    return Norm(norm.gain.double(), None if norm.bias is None else norm.bias.double(), norm.eps)


ATTENTIONS = covering(
    {
        "lengths": LENGTHS,
        "heads and depth": [(1, 16), (2, 48), (3, 64)],
        "window and biased": [(0, False), (1, False), (40, False), (0, True)],
        "p and first": [(0.0, True), (0.2, False), (0.2, True)],
    },
    3,
)


@pytest.mark.parametrize("row", ATTENTIONS, ids=lambda row: "-".join(map(str, row.values())))
def test_attention_and_its_backward_are_those_of_plain_torch(row: dict[str, Any]) -> None:
    lengths, (heads, depth), (window, biased), (p, first) = row.values()
    tokens, size = tokens_of(lengths), heads * depth
    bias = drawn(heads, max(lengths) + 3, max(lengths) + 3, seed=1) if biased else None
    spec = Attention(heads, 0.2, window, bias, dropping(p), first)
    in_fp64 = replace(spec, bias=None if bias is None else bias.double())
    qkv = drawn(1, sum(lengths), 3 * size)
    gradient = drawn(1, len(lengths) if first else sum(lengths), size, seed=1)
    expected = PlainOps().attention(qkv.double(), tokens, in_fp64)
    found = FusedOps().attention(strided(qkv), tokens, spec)
    torch.testing.assert_close(found.double(), expected, **NEAR)
    back = PlainOps().attention_backward(gradient.double(), qkv.double(), expected, tokens, in_fp64)
    own = FusedOps().attention_backward(strided(gradient), qkv, found, tokens, spec)
    torch.testing.assert_close(own.double(), back, **NEAR)


@pytest.mark.parametrize("first", [False, True])
def test_scores_that_are_all_far_below_zero_are_weighed_as_others(first: bool) -> None:
    """By their distance from the greatest: the exponentials of all of them are as good as 0."""
    tokens, spec = tokens_of([33, 5]), Attention(2, 0.2, first=first)
    below = replace(spec, bias=torch.full((2, 40, 40), -200.0))
    qkv, gradient = drawn(1, 38, 3 * 64), drawn(1, 2 if first else 38, 64, seed=1)
    found, expected = (FusedOps().attention(qkv, tokens, own) for own in (below, spec))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # a score of 200 is rounded to 2^-17
    found, expected = (FusedOps().attention_backward(gradient, qkv, qkv, tokens, own) for own in (below, spec))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("rows", [1, 7, 848])
@pytest.mark.parametrize(("bias", "trained"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("keep", [False, True])
def test_a_product_with_its_residual_and_norm_is_that_of_plain_torch(
    p: float, rows: int, bias: bool, trained: bool, keep: bool
) -> None:
    x, residual, weight = drawn(1, rows, 64), drawn(1, rows, 96, seed=4), drawn(96, 64, scale=0.1)
    low, norm = LowRank(drawn(1, rows, 5), drawn(1, 5, 96, scale=0.1)), norm_of(96, bias=bias, trained=trained)
    own = drawn(1, 1, 96, seed=1) if trained else drawn(96, seed=1)
    plain, fused = PlainOps(), FusedOps()
    in_fp64 = Product(
        plain.freeze(weight.double(), backward=False), own.double() if bias else None,
        LowRank(low.left.double(), low.right.double()),
    )  # fmt: skip
    expected = plain.linear_norm(x.double(), in_fp64, residual.double(), dropping(p), wide(norm))
    given = Product(fused.freeze(weight, backward=False), own if bias else None, low), strided(residual), dropping(p)
    r, h = fused.linear_norm(x, *given, norm, keep=keep)
    torch.testing.assert_close(h.double(), expected[1], **NEAR)
    if keep:
        torch.testing.assert_close(r.double(), expected[0], **NEAR)
        assert torch.equal(fused.norm(r, norm), h)
    else:
        assert not r.numel()
    torch.testing.assert_close(fused.linear_residual(x, *given).double(), expected[0], **NEAR)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("rows", "width"), [(1, 96), (7, 16), (7, 112), (848, 96)])
def test_a_norms_backward_is_that_of_plain_torch(p: float, rows: int, width: int) -> None:
    norm, r = norm_of(width, bias=True, trained=False), drawn(1, rows, width) + 3
    dh = drawn(1, rows, width, seed=1)
    expected = PlainOps().norm_backward(dh.double(), r.double(), wide(norm), dropping(p))
    found = FusedOps().norm_backward(strided(dh), strided(r), norm, dropping(p))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, **NEAR)


@pytest.mark.parametrize("rows", [1, 7, 848])
def test_dropout_keeps_what_its_twin_keeps(rows: int) -> None:
    x = drawn(1, rows, 96)
    assert torch.equal(FusedOps().dropout(strided(x), dropping(0.3)), PlainOps().dropout(x, dropping(0.3)))
    assert FusedOps().dropout(x, None) is x


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_text_is_computed_alike_with_any_neighbours(lengths: tuple[int, ...]) -> None:
    """Numbers of dropout go by a row's place in its batch: without it, bits are a text's own."""
    qkv, spec, start = drawn(1, sum(lengths), 3 * 64), Attention(2, 0.2), 0
    together = FusedOps().attention(qkv, tokens_of(lengths), spec)
    for length in lengths:
        own = qkv[:, start : start + length]
        alone = FusedOps().attention(own, tokens_of([length]), spec)
        assert torch.equal(alone, together[:, start : start + length])
        start += length


def test_attention_that_is_sharp_has_no_denormal_gradients() -> None:
    """Each would cost a hundred cycles: 1.3 s where 33 ms suffice."""
    tokens, spec, qkv = tokens_of([64]), Attention(2, 1.0, first=True), drawn(1, 64, 3 * 64)
    qkv[..., :64] *= 4
    back = FusedOps().attention_backward(1e-4 * drawn(1, 1, 64, seed=1), qkv, qkv, tokens, spec)
    assert not ((back != 0) & (back.abs() < torch.finfo().tiny)).any()


def test_callers_at_once_get_the_bits_of_each_alone_whatever_the_threads() -> None:
    """As of adapters in use; memory of a thread's own is of the longest text that it has had."""
    tokens, spec = [tokens_of((53 + 60 * own, 1, 97)) for own in range(4)], Attention(2, 0.2, 40, drop=dropping(0.2))
    given = [(drawn(1, len(of.places[0]), 3 * 64), drawn(1, len(of.places[0]), 64, seed=1)) for of in tokens]

    def computed(own: int) -> Tensor:
        qkv, gradient = given[own]
        return FusedOps().attention_backward(gradient, qkv, qkv, tokens[own], spec)

    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(computed, [0, 1, 2, 3] * 5))
    torch.set_num_threads(1)
    for number, own in enumerate(found):
        assert torch.equal(own, computed(number % 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_in_its_own_text(value: float) -> None:
    qkv = drawn(1, 40, 3 * 64)
    qkv[0, 3] = value
    tokens, spec = tokens_of([8, 32]), Attention(2, 0.2)
    context = FusedOps().attention(qkv, tokens, spec)
    back = FusedOps().attention_backward(drawn(1, 40, 64), qkv, context, tokens, spec)
    for found in (context, back):
        assert not found[0, :8].isfinite().any(dim=0).all()
        assert found[0, 8:].isfinite().all()


def test_a_row_too_large_for_a_norm_is_not_taken_for_zeros() -> None:
    """As where a trial diverges: its loss has to say so."""
    x, norm = drawn(1, 3, 64), norm_of(64, bias=True, trained=False)
    x[0, 1] *= 1e25
    found = FusedOps().norm(x, norm)[0], FusedOps().norm_backward(drawn(1, 3, 64, seed=1), x, norm, None)[0][0]
    for rows in found:
        assert rows[1].isnan().all()
        assert rows[[0, 2]].isfinite().all()


def test_what_does_not_fit_is_refused() -> None:
    x, gamma, offsets = drawn(4, 96), drawn(96), torch.tensor([0, 4], dtype=torch.int32)
    with pytest.raises(RuntimeError, match="fp32 matrix"):
        ops.norm(x.double(), gamma, None, 1e-5)
    with pytest.raises(RuntimeError, match="multiple of 16"):
        ops.norm(drawn(4, 40), drawn(40), None, 1e-5)
    with pytest.raises(RuntimeError, match="gamma: 96 contiguous"):
        ops.norm(x, gamma[:-1], None, 1e-5)
    with pytest.raises(RuntimeError, match="residual: 3 rows; 4 are needed"):
        ops.add(x, None, x[:3], 0.0, 0, 0)
    with pytest.raises(RuntimeError, match="p: 1 is not a dropout probability"):
        ops.add(x, None, None, 1.0, 0, 0)
    with pytest.raises(RuntimeError, match="heads of a multiple of 16"):
        ops.attention(x, offsets, 4, 1.0, None, 0, 0.0, 0, 0, False)
    with pytest.raises(RuntimeError, match="offsets: from 0 to 5"):
        ops.attention(x, torch.tensor([0, 5], dtype=torch.int32), 2, 1.0, None, 0, 0.0, 0, 0, False)
    with pytest.raises(RuntimeError, match="3 is followed by 2"):
        ops.attention(x, torch.tensor([0, 3, 2, 4], dtype=torch.int32), 2, 1.0, None, 0, 0.0, 0, 0, False)
    with pytest.raises(RuntimeError, match="T of at least 4"):
        ops.attention(x, offsets, 2, 1.0, torch.zeros(2, 3, 3), 0, 0.0, 0, 0, False)
    with pytest.raises(RuntimeError, match="a text has no token"):
        ops.attention(x, torch.tensor([0, 0, 4], dtype=torch.int32), 2, 1.0, None, 0, 0.0, 0, 0, True)
    with pytest.raises(RuntimeError, match="dctx: 4 rows; 1 are needed"):
        ops.attention_backward(drawn(4, 32), x, offsets, 2, 1.0, None, 0, 0.0, 0, 0, True)
