"""The operations of a layer by the compiled kernels: bf16 on a CPU, one trial a pack.

The same functions as `ops.py`, in which their meaning stands; `kernels/` says what they cost. A weight is laid out once
for the forward product and, where gradients pass, once more for the backward one, and is not kept as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from loraloom.backbone.anatomy import Anatomy
from loraloom.engine.loom import kernels
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.ops import (
    Attention,
    FrozenLinear,
    LowRank,
    Norm,
    PlainOps,
    Product,
    attending,
    dropping,
    flat,
)
from loraloom.engine.loom.tokens import Tokens


def why_not(found: Anatomy, intermediate: int, embedding: int) -> str | None:
    """Why the kernels can't be used for an encoder here, in a sentence; None where they can. Compiles them at first."""
    depth = found.hidden // found.heads
    if found.hidden % 64 or intermediate % 64 or embedding % 32 or depth % 16:
        return f"The kernels need widths in multiples of 64, and heads of 16: {found.hidden}, {intermediate}, {depth}."
    return kernels.load()


class PackedLinear(FrozenLinear):
    """A weight in the kernels' layouts."""

    def __init__(self, weight: Tensor, *, backward: bool) -> None:
        self.out_features, self.in_features = weight.shape
        self.forward: Tensor = torch.ops.loraloom.pack(weight)
        self.backward: Tensor | None = torch.ops.loraloom.pack(weight.t()) if backward else None


class CompiledOps(PlainOps):
    """The operations by the kernels; what has none of its own is plain torch's."""

    sorted_batches = 1
    """Not sorted: attention pays for each text's own length, and batches of equal size are the fastest."""
    reads_context = True

    @property
    def name(self) -> str:
        return f"compiled, {'AMX' if torch.ops.loraloom.amx() else 'AVX512'}"

    def freeze(self, weight: Tensor, *, backward: bool) -> FrozenLinear:
        return PackedLinear(weight, backward=backward)

    def linear(self, x: Tensor, product: Product) -> Tensor:
        return self._sum(x, product, None, None)

    def linear_backward(
        self, dy: Tensor, frozen: FrozenLinear, low: LowRank | None, residual: Tensor | None = None
    ) -> Tensor:
        added = None if residual is None else residual[0]
        dx: Tensor = torch.ops.loraloom.linear(
            dy[0], _backward(frozen), frozen.in_features, None, *_pair(low), added, *dropping(None)
        )
        return dx.unsqueeze(0)

    def linear_gelu(self, x: Tensor, product: Product, *, keep: bool = True) -> tuple[Tensor, Tensor]:
        a, g = torch.ops.loraloom.linear_gelu(x[0], *_read(product), keep)
        return a.unsqueeze(0), g.unsqueeze(0)

    def linear_gelu_backward(self, dy: Tensor, frozen: FrozenLinear, low: LowRank | None, a: Tensor) -> Tensor:
        da: Tensor = torch.ops.loraloom.linear_gelu_backward(
            dy[0], _backward(frozen), frozen.in_features, *_pair(low), a[0]
        )
        return da.unsqueeze(0)

    def linear_norm(
        self, x: Tensor, product: Product, residual: Tensor, drop: Drop | None, norm: Norm, *, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        if norm.bias is None:
            return super().linear_norm(x, product, residual, drop, norm, keep=keep)
        r, h = torch.ops.loraloom.linear_norm(
            x[0], *_read(product), residual[0], *dropping(drop), norm.gain, flat(norm.bias), norm.eps, keep
        )
        return r.unsqueeze(0), h.unsqueeze(0)

    def linear_residual(self, x: Tensor, product: Product, residual: Tensor, drop: Drop | None) -> Tensor:
        return self._sum(x, product, residual, drop)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        h: Tensor = torch.ops.loraloom.norm(x[0], norm.gain, flat(norm.bias), norm.eps)
        return h.unsqueeze(0)

    def norm_backward(self, dh: Tensor, r: Tensor, norm: Norm, drop: Drop | None) -> tuple[Tensor, Tensor]:
        dr, dy = torch.ops.loraloom.norm_backward(dh[0], r[0], norm.gain, norm.eps, *dropping(drop))
        return dr.unsqueeze(0), dy.unsqueeze(0)

    def attention(self, qkv: Tensor, tokens: Tokens, spec: Attention) -> Tensor:
        operation = torch.ops.loraloom.attention_first if spec.first else torch.ops.loraloom.attention
        context: Tensor = operation(qkv[0], tokens.offsets, *attending(spec))
        return context.unsqueeze(0)

    def attention_backward(
        self, dcontext: Tensor, qkv: Tensor, context: Tensor | None, tokens: Tokens, spec: Attention
    ) -> Tensor:
        found = tokens.offsets, *attending(spec)
        dqkv: Tensor
        if spec.first:
            dqkv = torch.ops.loraloom.attention_first_backward(dcontext[0], qkv[0], *found)
        else:
            assert context is not None
            dqkv = torch.ops.loraloom.attention_backward(dcontext[0], qkv[0], context[0], *found)
        return dqkv.unsqueeze(0)

    def dropout(self, x: Tensor, drop: Drop | None) -> Tensor:
        if drop is None:
            return x
        dropped: Tensor = torch.ops.loraloom.dropout(x[0], *dropping(drop))
        return dropped.unsqueeze(0)

    def column_sums(self, y: Tensor) -> Tensor:
        sums: Tensor = torch.ops.loraloom.column_sums(y[0])
        return sums.unsqueeze(0)

    def project(self, x: Tensor, a: Tensor) -> Tensor:
        u: Tensor = torch.ops.loraloom.lowrank_project(x[0], a[0])
        return u.unsqueeze(0)

    def gram(self, left: Tensor, right: Tensor) -> Tensor:
        product: Tensor = torch.ops.loraloom.lowrank_gradient(left[0], right[0])
        return product.unsqueeze(0)

    def _sum(self, x: Tensor, product: Product, residual: Tensor | None, drop: Drop | None) -> Tensor:
        added = None if residual is None else residual[0]
        y: Tensor = torch.ops.loraloom.linear(x[0], *_read(product), added, *dropping(drop))
        return y.unsqueeze(0)


def _packed(frozen: FrozenLinear) -> PackedLinear:
    assert isinstance(frozen, PackedLinear)
    return frozen


def _backward(frozen: FrozenLinear) -> Tensor:
    packed = _packed(frozen).backward
    if packed is None:
        raise AssertionError("gradients pass a layer that was laid out without them")
    return packed


def _read(product: Product) -> tuple[Tensor, int, Tensor | None, Tensor | None, Tensor | None]:
    """A product as kernels read it: the weight, D_out, the bias, u and b."""
    frozen = _packed(product.frozen)
    return frozen.forward, frozen.out_features, flat(product.bias), *_pair(product.low)


def _pair(low: LowRank | None) -> tuple[Tensor | None, Tensor | None]:
    """u (N, R) and b (D_out, R)."""
    return (None, None) if low is None else (low.left[0], low.right[0].t())
