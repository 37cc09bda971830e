"""The operations of a layer in plain torch: any device, any type; what the compiled kernels are checked against.

Each is the forward or the backward of one step of an encoder layer over K trials of M rows; nothing here is known to
autograd. A frozen product costs 2·K·M·D_in·D_out FLOPs, its low-rank addition 2·K·M·R·(D_in + D_out). Backward passes
compute no gradient of frozen weights, and compute attention's probabilities again instead of keeping them: a layer
keeps about 10·D values a token. Dropout masks are kept beside these, a byte an element (noise.py); the kernels draw
them again.

Rejected, with what was measured, in docs/log.md: torch's flash attention for short texts, torch.compile.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from loraloom.engine.linear import by_onednn, linear
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.tokens import Tokens


@dataclass(frozen=True, slots=True)
class LowRank:
    """A low-rank product to be added to a frozen one: left (K, M, R) times right (K, R, D_out)."""

    left: Tensor
    right: Tensor


@dataclass(frozen=True, slots=True)
class Product:
    """What a linear layer computes of x: x W^T + bias + low, (K, M, D_in) to (K, M, D_out)."""

    frozen: FrozenLinear
    bias: Tensor | None = None  # (D_out,) or (K, 1, D_out)
    low: LowRank | None = None


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm: gain (D,) frozen in fp32 or more, bias (D,) or (K, 1, D), or none."""

    gain: Tensor
    bias: Tensor | None
    eps: float


@dataclass(frozen=True, slots=True)
class Attention:
    """What the attention of one layer is beside its input. With `first`, first tokens alone ask."""

    heads: int
    scale: float
    window: int = 0
    bias: Tensor | None = None  # (H, T, T), or larger
    drop: Drop | None = None
    first: bool = False


class FrozenLinear:
    """A frozen weight (D_out, D_in) as the products of both directions read it."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.out_features, self.in_features = weight.shape


class PlainOps:
    """The operations in plain torch."""

    sorted_batches = 8
    """Batches that are sorted by length together: attention pays for the longest text of a batch."""
    reads_context = False
    """Whether `attention_backward` reads the context of the way forward: of first tokens alone it never does."""
    ready_seconds = 0.0
    """What it took until they could be used: kernels are compiled where this machine has none of theirs yet."""

    @property
    def name(self) -> str:
        """Whose results these are: those of others differ in their last bits."""
        return "plain, oneDNN" if by_onednn() else "plain"

    def freeze(self, weight: Tensor, *, backward: bool) -> FrozenLinear:
        """Lays a weight out; `backward` says whether gradients will pass it."""
        del backward
        return FrozenLinear(weight.contiguous())

    def linear(self, x: Tensor, product: Product) -> Tensor:
        """The product alone."""
        frozen, bias, low = product.frozen, product.bias, product.low
        if bias is not None and bias.numel() == frozen.out_features:
            y = linear(x, frozen.weight, bias.reshape(-1).to(x.dtype))
        else:
            y = linear(x, frozen.weight)
            if bias is not None:
                y += bias.to(x.dtype)
        return y if low is None else y.baddbmm_(low.left, low.right)

    def linear_backward(
        self, dy: Tensor, frozen: FrozenLinear, low: LowRank | None, residual: Tensor | None = None
    ) -> Tensor:
        """dy W + low + residual: (K, M, D_out) to (K, M, D_in)."""
        dx = linear(dy, frozen.weight.t())
        if low is not None:
            dx = dx.baddbmm_(low.left, low.right)
        return dx if residual is None else dx.add_(residual)

    def linear_gelu(self, x: Tensor, product: Product, *, keep: bool = True) -> tuple[Tensor, Tensor]:
        """(a, gelu(a)) of the product a, which has no elements where it need not be kept for a way back."""
        a = self.linear(x, product)
        return (a if keep else a.new_empty(0)), functional.gelu(a)

    def linear_gelu_backward(self, dy: Tensor, frozen: FrozenLinear, low: LowRank | None, a: Tensor) -> Tensor:
        """(dy W + low) · gelu'(a)."""
        dg = self.linear_backward(dy, frozen, low)
        da: Tensor = torch.ops.aten.gelu_backward(dg, a)
        return da

    def linear_norm(
        self, x: Tensor, product: Product, residual: Tensor, drop: Drop | None, norm: Norm, *, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(r, norm(r)) of r = dropout(product) + residual; r as `a` of `linear_gelu`."""
        r = self.linear_residual(x, product, residual, drop)
        return (r if keep else r.new_empty(0)), self.norm(r, norm)

    def linear_residual(self, x: Tensor, product: Product, residual: Tensor, drop: Drop | None) -> Tensor:
        """dropout(product) + residual."""
        y = self.linear(x, product)
        return (y if drop is None else drop.apply(y)).add_(residual)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        """Layer norm of (K, M, D)."""
        shape, gain = (x.shape[-1],), norm.gain.to(x.dtype)
        if norm.bias is None or norm.bias.ndim == 1:
            bias = None if norm.bias is None else norm.bias.to(x.dtype)
            return functional.layer_norm(x, shape, gain, bias, norm.eps)
        return functional.layer_norm(x, shape, gain, None, norm.eps) + norm.bias.to(x.dtype)

    def norm_backward(self, dh: Tensor, r: Tensor, norm: Norm, drop: Drop | None) -> tuple[Tensor, Tensor]:
        """(dr, dy): the gradient of r, and that of the dropped branch of the sum that r is."""
        shape, gain = r.shape[-1:], norm.gain.to(r.dtype)
        _, mean, deviation = torch.native_layer_norm(r, shape, None, None, norm.eps)
        back = torch.ops.aten.native_layer_norm_backward
        dr: Tensor = back(dh, r, shape, mean, deviation, gain, None, [True, False, False])[0]
        return dr, dr if drop is None else drop.apply(dr)

    def attention(self, qkv: Tensor, tokens: Tokens, spec: Attention) -> Tensor:
        """Softmax attention of (K, M, 3D): all queries to (K, M, D), or first tokens' only to (K, B, D)."""
        _, _, v, probabilities, factors = _probabilities(qkv, tokens, spec)
        weights = probabilities if factors is None else probabilities * factors
        return _scatter(weights @ v, tokens, qkv.shape[1], first=spec.first)

    def attention_backward(
        self, dcontext: Tensor, qkv: Tensor, context: Tensor | None, tokens: Tokens, spec: Attention
    ) -> Tensor:
        """The gradient (K, M, 3D) of qkv; `context` may be None where `reads_context` says that it is not read."""
        del context
        q, k, v, probabilities, factors = _probabilities(qkv, tokens, spec)
        texts, heads, _, depth = q.shape
        if spec.first:
            dc = dcontext.reshape(texts, 1, heads, depth).transpose(1, 2)  # (S, H, 1, d)
        else:
            padded = dcontext.reshape(-1, heads, depth)[tokens.index].mul_(tokens.real[:, :, None, None])
            dc = padded.transpose(1, 2).contiguous()  # (S, H, T, d)
        weights = probabilities if factors is None else probabilities * factors
        dv = weights.mT @ dc  # (S, H, T, d)
        dp = dc @ v.mT  # (S, H, Q, T)
        if factors is not None:
            dp.mul_(factors)
        ds: Tensor = torch.ops.aten._softmax_backward_data(dp, probabilities, -1, dp.dtype)
        dqkv = qkv.new_zeros(texts, tokens.longest, 3, heads, depth)
        dqkv[:, : q.shape[2], 0] = _scaled(ds, k, spec.scale).transpose(1, 2)
        dqkv[:, :, 1] = _scaled(ds.mT, q, spec.scale).transpose(1, 2)
        dqkv[:, :, 2] = dv.transpose(1, 2)
        rows = dqkv.view(texts * tokens.longest, -1)  # (S·T, 3D)
        return _placed(rows[tokens.real_flat], tokens, qkv.shape[1])

    def dropout(self, x: Tensor, drop: Drop | None) -> Tensor:
        """x (K, M, C) with elements dropped, the others scaled."""
        return x if drop is None else drop.apply(x)

    def column_sums(self, y: Tensor) -> Tensor:
        """Sums over the rows: (K, M, C) to (K, C), in fp32 or more."""
        return y.sum(dim=1, dtype=torch.promote_types(y.dtype, torch.float32))

    def project(self, x: Tensor, a: Tensor) -> Tensor:
        """x a^T: (K, M, D) and (K, R, D) to (K, M, R)."""
        return torch.bmm(x, a.mT)

    def gram(self, left: Tensor, right: Tensor) -> Tensor:
        """left^T right over the rows: (K, M, R) and (K, M, C) to (K, R, C), in fp32 or more."""
        return _wide(torch.bmm(left.mT, right))


def flat(vector: Tensor | None) -> Tensor | None:
    """One trial's vector (1, 1, D) or (D,) as kernels read it."""
    return None if vector is None else vector.reshape(-1)


def dropping(drop: Drop | None) -> tuple[float, int, int]:
    """One trial's dropout as kernels read it: its probability and keys."""
    return (0.0, 0, 0) if drop is None else (drop.p, *drop.keys[0])


def attending(spec: Attention) -> tuple[int, float, Tensor | None, int, float, int, int]:
    """An attention as kernels read it, of one trial."""
    return spec.heads, spec.scale, spec.bias, spec.window, *dropping(spec.drop)


def _wide(x: Tensor) -> Tensor:
    """At least fp32."""
    return x.float() if x.dtype.itemsize == 2 else x


def _scaled(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale · left right, (S, H, N, I) and (S, H, I, M) to (S, H, N, M), without a pass for the scale."""
    product = left.new_empty(*left.shape[:-1], right.shape[-1])
    product.flatten(0, 1).baddbmm_(left.flatten(0, 1), right.flatten(0, 1), beta=0, alpha=scale)
    return product


def _probabilities(
    qkv: Tensor, tokens: Tokens, spec: Attention
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """q (S, H, Q, d), k and v (S, H, T, d), probabilities and dropout factors (S, H, Q, T)."""
    hidden = qkv.shape[-1] // 3
    depth = hidden // spec.heads
    padded = qkv.reshape(-1, 3, spec.heads, depth)[tokens.index]  # (S, T, 3, H, d)
    # One copy: else each product would make its own.
    q, k, v = padded.permute(2, 0, 3, 1, 4).contiguous().unbind(0)  # (S, H, T, d)
    if spec.first:
        q = q[:, :, :1]
    scores = _wide(_scaled(q, k.mT, spec.scale))  # (S, H, Q, T)
    queries, keys = scores.shape[-2:]
    if spec.bias is not None:
        scores += spec.bias[:, :queries, :keys]
    seen = tokens.real[:, None, None, :]
    if spec.window:
        place = torch.arange(keys, device=qkv.device)
        near = (place[:queries, None] - place).abs() <= spec.window
        # A padded query's own window may hold no real key; it sees the first one, and nobody reads it.
        seen = (seen & near) | (place == 0) & ~tokens.real[:, None, :queries, None]
    probabilities = scores.masked_fill_(~seen, float("-inf")).softmax(-1).to(qkv.dtype)
    if spec.drop is None:
        return q, k, v, probabilities, None
    drop = spec.drop

    # An element's number is counted within its trial: ((row · H + head) << 13) + key.
    def numbers() -> Tensor:
        rows = tokens.index[:, :queries].reshape(len(drop.keys), -1, 1, queries, 1) % qkv.shape[1]
        head = torch.arange(spec.heads, device=qkv.device).view(1, 1, -1, 1, 1)
        key = torch.arange(keys, device=qkv.device)
        return ((rows * spec.heads + head) << 13) + key  # (K, B, H, Q, T)

    shape = (len(drop.keys), probabilities.shape[0] // len(drop.keys), *probabilities.shape[1:])
    factors = drop.kept(shape, numbers).reshape(probabilities.shape).to(qkv.dtype).mul_(drop.scale)
    return q, k, v, probabilities, factors


def _scatter(context: Tensor, tokens: Tokens, width: int, *, first: bool) -> Tensor:
    """(S, H, Q, d) to rows: (K, M, D), or (K, B, D) where only first tokens asked."""
    texts, heads, queries, depth = context.shape
    flat = context.transpose(1, 2).reshape(texts * queries, heads * depth)
    if first:
        return flat.view(tokens.trials, tokens.batch, -1)
    return _placed(flat[tokens.real_flat], tokens, width)


def _placed(rows: Tensor, tokens: Tokens, width: int) -> Tensor:
    """Rows of real tokens (tokens, C) at their places in (K, M, C); zero elsewhere."""
    if len(rows) == tokens.trials * width:  # no filler: the rows are in order already
        return rows.view(tokens.trials, width, -1)
    placed = rows.new_zeros(tokens.trials * width, rows.shape[-1])
    placed[tokens.real_rows] = rows
    return placed.view(tokens.trials, width, -1)
