"""The compiled kernels against plain torch in fp64, on the same bf16 inputs.

Sums are held in fp32, so what differs is the rounding of results to bf16 (half of 2^-8 of a value) and, in attention,
of probabilities; tolerances are stated where they are used.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from loraloom.engine.loom import kernels
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.ops import Attention, PlainOps
from tests.engine.loom import kernel_inputs
from tests.engine.loom.kernel_inputs import EPS, KEYS, dropping, strided, tokens_of

REASON = kernels.load()
pytestmark = [pytest.mark.skipif(REASON is not None, reason=REASON or ""), pytest.mark.usefixtures("threads")]
ops = torch.ops.loraloom

ROUNDED: dict[str, Any] = {"rtol": 2**-8, "atol": 2e-3}
"""One result rounded to bf16; the second term is for sums of about a thousand products near zero."""
SIZES = (1, 17, 33, 848)
DEPTH, WIDTH = 96, 128


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return kernel_inputs.drawn(*shape, seed=seed, scale=scale).bfloat16()


def factors(p: float, rows: int, columns: int) -> Tensor:
    return factors_of(p, torch.arange(rows * columns).view(rows, columns))


def factors_of(p: float, index: Tensor) -> Tensor:
    """What the elements `index` are multiplied by."""
    drop = Drop(p, (KEYS,))
    return drop.kept((1, *index.shape), lambda: index[None])[0].double() * drop.scale


class Layer:
    """A random layer's inputs, and the sums that the kernels should find."""

    def __init__(self, n: int, rank: int, *, depth: int = DEPTH, width: int = WIDTH, bias: bool = True) -> None:
        self.x = drawn(n, depth)
        self.weight = drawn(width, depth, scale=depth**-0.5)
        self.packed = ops.pack(self.weight)
        self.bias = drawn(width, seed=1).float() if bias else None
        self.u = drawn(n, rank, seed=2) if rank else None
        self.b = drawn(width, rank, seed=3, scale=0.3) if rank else None
        self.residual = drawn(n, width, seed=4)
        self.gamma = 1 + 0.1 * drawn(width, seed=5).float()
        self.beta = drawn(width, seed=6).float()
        self.sums = self.x.double() @ self.weight.double().T
        if self.u is not None and self.b is not None:
            self.sums += self.u.double() @ self.b.double().T
        if self.bias is not None:
            self.sums += self.bias.double()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rank", [0, 1, 8, 40])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_linear_is_product_plus_low_rank_plus_bias_dropped_plus_residual(n: int, rank: int, p: float) -> None:
    for bias, residual in ((True, True), (False, False), (True, False)):
        layer = Layer(n, rank, bias=bias)
        y = ops.linear(
            layer.x, layer.packed, WIDTH, layer.bias, layer.u, layer.b, layer.residual if residual else None, p, *KEYS
        )
        expected = layer.sums * factors(p, n, WIDTH)
        if residual:
            expected += layer.residual.double()
        torch.testing.assert_close(y.double(), expected, **ROUNDED)


@pytest.mark.parametrize(("depth", "width"), [(768, 768), (384, 1536), (3072, 768), (768, 2304)])
@pytest.mark.parametrize("n", [17, 848])
def test_linear_of_a_models_sizes(depth: int, width: int, n: int) -> None:
    layer = Layer(n, 8, depth=depth, width=width)
    y = ops.linear(layer.x, layer.packed, width, layer.bias, layer.u, layer.b, None, 0.0, 0, 0)
    torch.testing.assert_close(y.double(), layer.sums, **ROUNDED)


def test_rows_may_lie_apart() -> None:
    layer = Layer(33, 8)
    assert layer.u is not None
    arguments = (layer.packed, WIDTH, layer.bias)
    y = ops.linear(strided(layer.x), *arguments, strided(layer.u), layer.b, strided(layer.residual), 0.0, 0, 0)
    assert torch.equal(y, ops.linear(layer.x, *arguments, layer.u, layer.b, layer.residual, 0.0, 0, 0))


def test_pack_takes_a_transposed_view() -> None:
    weight = drawn(DEPTH, WIDTH)
    assert torch.equal(ops.pack(weight.T), ops.pack(weight.T.contiguous()))
    layer = Layer(33, 9)
    assert layer.u is not None
    assert layer.b is not None
    arguments = (layer.x, layer.packed, WIDTH, None, layer.u)
    for b in (layer.b.T.contiguous().T, strided(layer.b)):
        y = ops.linear(*arguments, b, None, 0.0, 0, 0)
        assert torch.equal(y, ops.linear(*arguments, layer.b, None, 0.0, 0, 0))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rank", [0, 8])
def test_linear_gelu(n: int, rank: int) -> None:
    layer = Layer(n, rank)
    a, g = ops.linear_gelu(layer.x, layer.packed, WIDTH, layer.bias, layer.u, layer.b)
    torch.testing.assert_close(a.double(), layer.sums, **ROUNDED)
    torch.testing.assert_close(g.double(), functional.gelu(layer.sums), **ROUNDED)
    none, same = ops.linear_gelu(layer.x, layer.packed, WIDTH, layer.bias, layer.u, layer.b, keep=False)
    assert torch.equal(same, g)
    assert not none.numel()


def test_gelu_and_its_slope_over_their_range() -> None:
    """Against erf in fp64: within 2e-6 beside the rounding to bf16."""
    values = torch.linspace(-12, 12, 64 * 64).bfloat16()
    zero = torch.zeros(64, 32, dtype=torch.bfloat16)
    packed = ops.pack(torch.zeros(64, 32, dtype=torch.bfloat16))
    for row in values.view(64, 64):
        _, g = ops.linear_gelu(zero, packed, 64, row.float(), None, None)
        torch.testing.assert_close(g[0].double(), functional.gelu(row.double()), rtol=2**-8, atol=2e-6)
    one = torch.zeros(64, 32, dtype=torch.bfloat16)
    one[:, 0] = 1
    ones = torch.zeros(64, 32, dtype=torch.bfloat16)
    ones[:, 0] = 1
    slope = ops.linear_gelu_backward(one, ops.pack(ones), 64, None, None, values.view(64, 64))
    wide = values.double().requires_grad_()
    torch.autograd.backward(functional.gelu(wide).sum())
    assert wide.grad is not None
    torch.testing.assert_close(slope.double().view(-1), wide.grad, rtol=2**-8, atol=2e-6)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rank", [0, 8])
def test_linear_gelu_backward(n: int, rank: int) -> None:
    layer = Layer(n, rank, bias=False)
    a = drawn(n, WIDTH, seed=9)
    da = ops.linear_gelu_backward(layer.x, layer.packed, WIDTH, layer.u, layer.b, strided(a))
    wide = a.double().requires_grad_()
    torch.autograd.backward(functional.gelu(wide), layer.sums)
    torch.testing.assert_close(da.double(), wide.grad, **ROUNDED)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("rank", "p", "bias"), [(0, 0.0, True), (8, 0.1, True), (8, 0.0, False)])
def test_linear_norm(n: int, rank: int, p: float, bias: bool) -> None:
    for depth, width in ((DEPTH, WIDTH), (3072, 768)) if rank and p else ((DEPTH, WIDTH),):
        layer = Layer(n, rank, depth=depth, width=width, bias=bias)
        arguments = (layer.x, layer.packed, width, layer.bias, layer.u, layer.b, layer.residual, p, *KEYS)
        r, h = ops.linear_norm(*arguments, layer.gamma, layer.beta, EPS)
        expected = layer.sums * factors(p, n, width) + layer.residual.double()
        torch.testing.assert_close(r.double(), expected, **ROUNDED)
        normed = functional.layer_norm(r.double(), (width,), layer.gamma.double(), layer.beta.double(), EPS)
        torch.testing.assert_close(h.double(), normed, **ROUNDED)
        assert torch.equal(h, ops.norm(r, layer.gamma, layer.beta, EPS))
        none, same = ops.linear_norm(*arguments, layer.gamma, layer.beta, EPS, keep=False)
        assert torch.equal(same, h)
        assert not none.numel()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("width", [32, 384, 768])
@pytest.mark.parametrize("p", [0.0, 0.1])
def test_norm_and_its_backward(n: int, width: int, p: float) -> None:
    r, dh = drawn(n, width) + 3, drawn(n, width, seed=1)
    gamma = 1 + 0.1 * drawn(width, seed=2).float()
    wide = r.double().requires_grad_()
    expected = functional.layer_norm(wide, (width,), gamma.double(), None, EPS)
    torch.autograd.backward(expected, dh.double())
    assert wide.grad is not None
    torch.testing.assert_close(ops.norm(strided(r), gamma, None, EPS).double(), expected.detach(), **ROUNDED)
    dr, dy = ops.norm_backward(strided(dh), strided(r), gamma, EPS, p, *KEYS)
    torch.testing.assert_close(dr.double(), wide.grad, **ROUNDED)
    torch.testing.assert_close(dy.double(), wide.grad * factors(p, n, width), **ROUNDED)
    assert (dy.data_ptr() == dr.data_ptr()) == (p == 0)


class Batch:
    """Sequences one after the other, and attention over each of them in fp64."""

    def __init__(self, lengths: tuple[int, ...], heads: int, depth: int) -> None:
        self.lengths, self.heads, self.depth = lengths, heads, depth
        n = sum(lengths)
        self.qkv = drawn(n, 3 * heads * depth)
        self.dctx = drawn(n, heads * depth, seed=1)
        self.offsets = torch.tensor([0, *lengths]).cumsum(0).int()
        self.bias = drawn(heads, max(lengths) + 3, max(lengths) + 3, seed=2).float()
        self.scale = depth**-0.5

    def reference(self, bias: Tensor | None, window: int, p: float) -> tuple[Tensor, Tensor]:
        """The context (N, D) and the gradient (N, 3D)."""
        qkv = self.qkv.double().requires_grad_()
        contexts = []
        for begin, end in pairwise(self.offsets.tolist()):
            length = end - begin
            q, k, v = qkv[begin:end].view(length, 3, self.heads, self.depth).permute(1, 2, 0, 3)
            scores = q @ k.mT * self.scale
            if bias is not None:
                scores = scores + bias[:, :length, :length].double()
            place = torch.arange(length)
            if window:
                scores = scores.masked_fill((place[:, None] - place).abs() > window, float("-inf"))
            weights = scores.softmax(-1)
            if p:
                rows, heads = (begin + place)[None, :, None], torch.arange(self.heads)[:, None, None]
                index = (((rows * self.heads + heads) << 13) + place) & 0xFFFFFFFF
                weights = weights * factors_of(p, index)
            contexts.append((weights @ v).permute(1, 0, 2).reshape(length, -1))
        context = torch.cat(contexts)
        torch.autograd.backward(context, self.dctx.double())
        assert qkv.grad is not None
        return context.detach(), qkv.grad


ATTENTION: dict[str, Any] = {"rtol": 2**-6, "atol": 1e-2}
"""Probabilities, and their gradients, are rounded to bf16 before they are summed with values of about 1."""


@pytest.mark.parametrize("lengths", [(1,), (1, 2, 17, 16, 31), (33, 53, 64), (65, 1, 100), (300, 129, 7)], ids=str)
@pytest.mark.parametrize(("heads", "depth"), [(2, 32), (3, 64), (1, 16), (2, 48), (1, 128)])
@pytest.mark.parametrize(("window", "bias", "p"), [(0, False, 0.0), (0, True, 0.1), (5, False, 0.0), (40, True, 0.2)])
def test_attention_and_its_backward(
    lengths: tuple[int, ...], heads: int, depth: int, window: int, bias: bool, p: float
) -> None:
    batch = Batch(lengths, heads, depth)
    added = batch.bias if bias else None
    context, gradient = batch.reference(added, window, p)
    spec = (batch.offsets, heads, batch.scale, added, window, p, *KEYS)
    ctx = ops.attention(strided(batch.qkv), *spec)
    torch.testing.assert_close(ctx.double(), context, **ATTENTION)
    dqkv = ops.attention_backward(strided(batch.dctx), strided(batch.qkv), strided(ctx), *spec)
    # The context comes rounded, and its product with dctx, a sum of `depth`, is taken from each probability's gradient.
    torch.testing.assert_close(dqkv.double(), gradient, rtol=2**-5, atol=0.05)
    difference = (dqkv.double() - gradient).norm() / gradient.norm()
    assert difference < 0.01, "the whole gradient is off by no more than a rounding to bf16, or two"


def test_gelu_and_its_slope_hide_no_value_that_is_not_a_number() -> None:
    layer = Layer(17, 0)
    layer.x[3, 5] = float("nan")
    touched = torch.zeros(17, WIDTH, dtype=torch.bool)
    touched[3] = True
    a, g = ops.linear_gelu(layer.x, layer.packed, WIDTH, layer.bias, None, None)
    da = ops.linear_gelu_backward(drawn(17, DEPTH), layer.packed, WIDTH, None, None, a)
    assert torch.equal(g.isnan(), touched)
    assert torch.equal(da.isnan(), touched)


@pytest.mark.parametrize("part", [0, 1], ids=["query", "key"])
def test_attention_hides_no_value_that_is_not_finite(part: int) -> None:
    batch = Batch((33, 5), 2, 32)
    batch.qkv[3, part * 64] = float("nan")
    ctx = ops.attention(batch.qkv, batch.offsets, 2, batch.scale, None, 0, 0.0, *KEYS)
    touched = torch.zeros_like(ctx, dtype=torch.bool)
    touched[slice(3, 4) if part == 0 else slice(0, 33), :32] = True
    assert torch.equal(ctx.isnan(), touched)


@pytest.mark.parametrize("first", [False, True])
def test_scores_that_are_all_far_below_zero_are_weighed_as_others(first: bool) -> None:
    """By their distance from the greatest: the exponentials of all of them are as good as 0."""
    tokens, spec = tokens_of([33, 5]), Attention(2, 0.2, first=first)
    below = replace(spec, bias=torch.full((2, 40, 40), -200.0))
    qkv, gradient = drawn(1, 38, 3 * 64), drawn(1, 2 if first else 38, 64, seed=1)
    context = PlainOps().attention(qkv.float(), tokens, spec)
    found = CompiledOps().attention(qkv, tokens, below)
    torch.testing.assert_close(found.float(), context, **ATTENTION)
    expected = PlainOps().attention_backward(gradient.float(), qkv.float(), context, tokens, spec)
    back = CompiledOps().attention_backward(gradient, qkv, found, tokens, below)
    assert (back.float() - expected).norm() / expected.norm() < 0.01


def test_attention_of_a_long_text() -> None:
    batch = Batch((1100,), 1, 32)
    for window, p in ((0, 0.1), (64, 0.0)):
        context, gradient = batch.reference(None, window, p)
        spec = (batch.offsets, 1, batch.scale, None, window, p, *KEYS)
        ctx = ops.attention(batch.qkv, *spec)
        torch.testing.assert_close(ctx.double(), context, **ATTENTION)
        dqkv = ops.attention_backward(batch.dctx, batch.qkv, ctx, *spec)
        assert (dqkv.double() - gradient).norm() / gradient.norm() < 0.01


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rank", [1, 8, 33])
def test_thin_products(n: int, rank: int) -> None:
    x, a, y = drawn(n, 96), drawn(rank, 96, seed=1, scale=0.1), drawn(n, 160, seed=2)
    z = ops.lowrank_project(strided(x), a)
    torch.testing.assert_close(z.double(), x.double() @ a.double().T, **ROUNDED)
    gradient = ops.lowrank_gradient(strided(z), strided(y))
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient.double(), z.double().T @ y.double(), rtol=1e-4, atol=1e-4)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    batch, layer = Batch((53, 300, 7), 3, 64), Layer(848, 8)
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        ctx = ops.attention(batch.qkv, batch.offsets, 3, 0.125, None, 0, 0.1, *KEYS)
        found.append(
            (
                ctx,
                ops.attention_backward(batch.dctx, batch.qkv, ctx, batch.offsets, 3, 0.125, None, 0, 0.1, *KEYS),
                ops.linear(layer.x, layer.packed, WIDTH, layer.bias, layer.u, layer.b, None, 0.1, *KEYS),
                ops.lowrank_gradient(layer.u, layer.x),
            )
        )
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_operations_are_named_for_the_kernels_that_they_are_by() -> None:
    """States that are kept are told apart by it: the last bits of the two differ."""
    by_amx = "amx_bf16" in kernels._processor() and os.environ.get("LORALOOM_KERNELS") != "avx512"
    assert CompiledOps().name == f"compiled, {'AMX' if by_amx else 'AVX512'}"


def test_a_row_too_large_for_a_norm_is_not_taken_for_zeros() -> None:
    """As where a trial diverges: its loss has to say so."""
    x, gamma = drawn(3, 64), torch.ones(64)
    x[1] *= 1e25
    for rows in (ops.norm(x, gamma, None, EPS), ops.norm_backward(drawn(3, 64, seed=1), x, gamma, EPS, 0.0, 0, 0)[0]):
        assert rows[1].isnan().all()
        assert rows[[0, 2]].isfinite().all()


def test_what_does_not_fit_is_refused() -> None:
    layer = Layer(17, 8)
    with pytest.raises(RuntimeError, match="packed: not a matrix"):
        ops.linear(layer.x[:, :64], layer.packed, WIDTH, None, None, None, None, 0.0, 0, 0)
    with pytest.raises(RuntimeError, match="bias"):
        ops.linear(layer.x, layer.packed, WIDTH, layer.gamma[:-1], None, None, None, 0.0, 0, 0)
    with pytest.raises(RuntimeError, match="u and b come together"):
        ops.linear(layer.x, layer.packed, WIDTH, None, layer.u, None, None, 0.0, 0, 0)
    with pytest.raises(RuntimeError, match="residual"):
        ops.linear(layer.x, layer.packed, WIDTH, None, None, None, layer.residual[:-1], 0.0, 0, 0)
    with pytest.raises(RuntimeError, match="bf16 matrix"):
        ops.norm(layer.x.float(), layer.gamma, None, EPS)
    with pytest.raises(RuntimeError, match="heads of a multiple of 16"):
        ops.attention(drawn(4, 3 * 24), torch.tensor([0, 4], dtype=torch.int32), 1, 1.0, None, 0, 0.0, 0, 0)
    with pytest.raises(RuntimeError, match="offsets"):
        ops.attention(drawn(4, 3 * 32), torch.tensor([0, 5], dtype=torch.int32), 1, 1.0, None, 0, 0.0, 0, 0)
    whole = torch.tensor([0, 4], dtype=torch.int32)
    for attention in (ops.attention, ops.attention_first):
        with pytest.raises(RuntimeError, match="3 is followed by 2"):
            attention(drawn(4, 96), torch.tensor([0, 3, 2, 4], dtype=torch.int32), 2, 1.0, None, 0, 0.0, 0, 0)
        with pytest.raises(RuntimeError, match="T of at least 4"):
            attention(drawn(4, 96), whole, 2, 1.0, torch.zeros(2, 3, 3), 0, 0.0, 0, 0)


@pytest.mark.parametrize("n", SIZES)
def test_dropout_keeps_what_its_twin_keeps(n: int) -> None:
    x = drawn(n, WIDTH)
    expected = x.double() * factors(0.3, n, WIDTH)
    torch.testing.assert_close(ops.dropout(strided(x), 0.3, *KEYS).double(), expected, **ROUNDED)


@pytest.mark.parametrize("n", SIZES)
def test_sums_of_columns_are_held_in_fp32(n: int) -> None:
    y = drawn(n, WIDTH)
    # n sums of values that fp32 holds exactly
    torch.testing.assert_close(ops.column_sums(strided(y)).double(), y.double().sum(0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("p", [0.0, 0.2])
@pytest.mark.parametrize(("window", "biased"), [(0, False), (5, False), (0, True)])
def test_attention_of_first_tokens_is_that_of_plain_torch(window: int, biased: bool, p: float) -> None:
    lengths = [1, 2, 53, 17, 300]
    tokens = tokens_of(lengths)
    bias = torch.randn(2, 320, 320, generator=torch.Generator().manual_seed(1)) if biased else None
    spec = Attention(2, 0.2, window, bias, dropping(p), first=True)
    qkv, gradient = drawn(sum(lengths), 3 * 64).unsqueeze(0), drawn(len(lengths), 64, seed=1).unsqueeze(0)
    wide, plain, compiled = qkv.float(), PlainOps(), CompiledOps()
    context = plain.attention(wide, tokens, spec)
    found = compiled.attention(qkv, tokens, spec)
    torch.testing.assert_close(found.float(), context, **ROUNDED)
    dqkv = plain.attention_backward(gradient.float(), wide, context, tokens, spec)
    back = compiled.attention_backward(gradient, qkv, found, tokens, spec)
    torch.testing.assert_close(back.float(), dqkv, **ROUNDED)
