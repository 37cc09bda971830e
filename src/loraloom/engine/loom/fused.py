"""The operations of a layer in fp32 on a CPU, one trial a pack: products by torch's library, the rest by kernels.

The same functions as `ops.py`, in which their meaning stands. Products of fp32 are near a processor's peak by MKL or
oneDNN; what lies between them was 30 % of a training of base size in plain torch, most of it attention over padded
texts and dropout's masks (docs/log.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from loraloom.backbone.anatomy import Anatomy
from loraloom.engine.linear import by_onednn
from loraloom.engine.loom import kernels
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.ops import Attention, Norm, PlainOps, Product, attending, dropping, flat
from loraloom.engine.loom.tokens import Tokens


def why_not(found: Anatomy, intermediate: int, embedding: int) -> str | None:
    """Why the kernels can't be used for an encoder here, in a sentence; None where they can. Compiles them at first."""
    depth = found.hidden // found.heads
    if intermediate % 16 or embedding % 16 or depth % 16:  # LoRA's dropout is drawn over each width
        return f"The kernels need widths and heads in multiples of 16: {intermediate}, {embedding}, {depth}."
    return kernels.load_fp32()


class FusedOps(PlainOps):
    """The operations by the kernels; what has none of its own is plain torch's."""

    sorted_batches = 1
    """As of `CompiledOps`."""

    @property
    def name(self) -> str:
        return "fused, oneDNN" if by_onednn() else "fused"

    def linear_norm(
        self, x: Tensor, product: Product, residual: Tensor, drop: Drop | None, norm: Norm, *, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        r = self.linear(x, replace(product, bias=None))
        h = torch.empty_like(r) if keep else r
        torch.ops.loraloom_fp32.add_norm(
            r[0], flat(product.bias), residual[0], *dropping(drop), norm.gain, flat(norm.bias), norm.eps, h[0]
        )
        return (r if keep else r.new_empty(0)), h

    def linear_residual(self, x: Tensor, product: Product, residual: Tensor, drop: Drop | None) -> Tensor:
        return self._added(self.linear(x, replace(product, bias=None)), product.bias, residual, drop)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        h: Tensor = torch.ops.loraloom_fp32.norm(x[0], norm.gain, flat(norm.bias), norm.eps)
        return h.unsqueeze(0)

    def norm_backward(self, dh: Tensor, r: Tensor, norm: Norm, drop: Drop | None) -> tuple[Tensor, Tensor]:
        dr, dy = torch.ops.loraloom_fp32.norm_backward(dh[0], r[0], norm.gain, norm.eps, *dropping(drop))
        return dr.unsqueeze(0), dy.unsqueeze(0)

    def attention(self, qkv: Tensor, tokens: Tokens, spec: Attention) -> Tensor:
        context: Tensor = torch.ops.loraloom_fp32.attention(qkv[0], tokens.offsets, *attending(spec), spec.first)
        return context.unsqueeze(0)

    def attention_backward(
        self, dcontext: Tensor, qkv: Tensor, context: Tensor | None, tokens: Tokens, spec: Attention
    ) -> Tensor:
        del context
        dqkv: Tensor = torch.ops.loraloom_fp32.attention_backward(
            dcontext[0], qkv[0], tokens.offsets, *attending(spec), spec.first
        )
        return dqkv.unsqueeze(0)

    def dropout(self, x: Tensor, drop: Drop | None) -> Tensor:
        return x if drop is None else self._added(x, None, None, drop)

    def _added(self, x: Tensor, bias: Tensor | None, residual: Tensor | None, drop: Drop | None) -> Tensor:
        added = None if residual is None else residual[0]
        y: Tensor = torch.ops.loraloom_fp32.add(x[0], flat(bias), added, *dropping(drop))
        return y.unsqueeze(0)
