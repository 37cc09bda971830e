"""One encoder layer, forward and backward, over K trials of M tokens.

Two kinds: norm after the residual sum (BERT and its kin), and before it (ModernBERT). A forward pass gives the
layer's output and, with `keep`, what the backward needs; a backward pass takes the gradient of the output, adds the
gradients of all that is trained, and gives the gradient of the input, or None where nothing below is trained: it stops
at the lowest place with a trained parameter. With `first` the layer computes only what the first token of each text
needs: keys and values of all tokens, and everything else of B rows, not M (the last layer, where pooling reads the
first token).

Cost of a layer of 12·D² weights: 24·M·D² FLOPs forward and as many back, attention 4·T·D a token forward and 10·T·D
back. Kept between: about 10·D values a token (qkv, two sums, the MLP's inner sum, what enters an adapted product), and
the context where attention's way back reads it. Rejected: keeping attention's probabilities and norms' statistics too,
which are cheaper to compute again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from loraloom.backbone.anatomy import Dropouts
from loraloom.engine.loom.noise import Drop, Noise
from loraloom.engine.loom.ops import Attention, LowRank, Norm, PlainOps
from loraloom.engine.loom.parameters import Parameters
from loraloom.engine.loom.projection import Projection, Saved, bias_of
from loraloom.engine.loom.rotary import Rotary
from loraloom.engine.loom.tokens import Tokens

PLACES = 16
"""Numbers of places with dropout that each layer has for itself."""


@dataclass(slots=True)
class LayerNorm:
    """A norm of the model, frozen but for its bias where the recipe trains all biases."""

    name: str
    frozen: Norm
    parameters: Parameters
    now: Norm

    @property
    def trained(self) -> bool:
        return bias_of(self.name) in self.parameters.layout.shapes

    def refresh(self) -> None:
        if self.trained:
            bias = self.parameters.view(self.parameters.values, bias_of(self.name)).unsqueeze(1)  # (K, 1, D)
            self.now = replace(self.frozen, bias=bias)

    def collect(self, dh: Tensor, ops: PlainOps) -> None:
        """Adds the bias's gradient."""
        if self.trained:
            gradient = self.parameters.view(self.parameters.gradients, bias_of(self.name))
            gradient.add_(ops.column_sums(dh))


@dataclass(slots=True)
class Pass:
    """One pass over a batch: where its tokens are, and its dropout; no noise means evaluation."""

    tokens: Tokens
    noise: Noise | None
    dropouts: Dropouts
    lora_dropout: float
    relative: Tensor | None = None  # (H, T, T), or larger: biases that all layers add to attention's scores
    _drops: dict[int, Drop | None] = field(default_factory=dict)

    def drop(self, layer: int, place: int, p: float) -> Drop | None:
        """The dropout of a place: the same on the way back as on the way forward."""
        if self.noise is None:
            return None
        number = layer * PLACES + place
        if number not in self._drops:
            self._drops[number] = self.noise.drop(number, p)
        return self._drops[number]

    def attention(self, weights: Weights, *, first: bool) -> Attention:
        """A layer's attention to these texts; layers, which several threads pass, hold nothing of one pass."""
        drop = self.drop(weights.number, 0, self.dropouts.attention)
        return replace(weights.attention, bias=self.relative, drop=drop, first=first)

    def lora_drops(self, layer: int, site: int, projection: Projection) -> tuple[Drop | None, ...]:
        """A mask for each adapted module; sites 0 to 3 are qkv, out, up and down."""
        places = range(len(projection.adapted))
        return tuple(self.drop(layer, 4 + 3 * site + place, self.lora_dropout) for place in places)


@dataclass(slots=True)
class Kept:
    """What a layer's backward reads again."""

    x: Tensor | None  # the layer's input (norm before)
    qkv: Tensor
    context: Tensor | None  # where attention's way back reads it
    r1: Tensor  # after attention's residual sum
    a: Tensor  # the MLP's inner sum
    r2: Tensor | None  # after the MLP's residual sum (norm after)
    low_qkv: Saved
    low_out: Saved
    low_up: Saved
    low_down: Saved
    first: bool


@dataclass(slots=True)
class Weights:
    """A layer's projections and norms, as trials see them."""

    number: int
    qkv: Projection
    out: Projection
    up: Projection
    down: Projection
    attention_norm: LayerNorm | None
    mlp_norm: LayerNorm
    attention: Attention

    @property
    def projections(self) -> tuple[Projection, ...]:
        """In the order of the forward pass."""
        return self.qkv, self.out, self.up, self.down

    def refresh(self) -> None:
        for part in (*self.projections, self.attention_norm, self.mlp_norm):
            if part is not None:
                part.refresh()

    def lowest(self, *, pre_norm: bool) -> int:
        """The lowest place with a trained parameter, in the order of the forward pass; 6 where there is none.

        Norm after: qkv, out, attention's norm, up, down, MLP's norm. Norm before: attention's norm, qkv, out, MLP's
        norm, up, down.
        """
        norms = self.attention_norm is not None and self.attention_norm.trained
        after = (self.qkv.trained, self.out.trained, norms, self.up.trained, self.down.trained, self.mlp_norm.trained)
        before = (norms, self.qkv.trained, self.out.trained, self.mlp_norm.trained, self.up.trained, self.down.trained)
        places = before if pre_norm else after
        return places.index(True) if True in places else 6


class PostNormLayer:
    """h1 = norm(x + drop(out(attention(x)))); h2 = norm(h1 + drop(down(gelu(up(h1)))))."""

    def __init__(self, weights: Weights, ops: PlainOps) -> None:
        self.weights, self.ops = weights, ops

    def forward(self, x: Tensor, at: Pass, *, first: bool, keep: bool = True) -> tuple[Tensor, Kept | None]:
        w, ops, number = self.weights, self.ops, self.weights.number
        assert w.attention_norm is not None
        product, low_qkv = w.qkv.product(x, ops, at.lora_drops(number, 0, w.qkv))
        qkv = ops.linear(x, product)
        context = ops.attention(qkv, at.tokens, at.attention(w, first=first))
        residual = first_rows(x, at.tokens) if first else x
        product, low_out = w.out.product(context, ops, at.lora_drops(number, 1, w.out))
        drop = at.drop(number, 1, at.dropouts.attention_output)
        norm = w.attention_norm.now
        r1, h1 = ops.linear_norm(context, product, residual, drop, norm, keep=keep)
        product, low_up = w.up.product(h1, ops, at.lora_drops(number, 2, w.up))
        a, g = ops.linear_gelu(h1, product, keep=keep)
        product, low_down = w.down.product(g, ops, at.lora_drops(number, 3, w.down))
        drop = at.drop(number, 2, at.dropouts.mlp_output)
        r2, h2 = ops.linear_norm(g, product, h1, drop, w.mlp_norm.now, keep=keep)
        if not keep:
            return h2, None
        read = context if ops.reads_context and not first else None
        return h2, Kept(None, qkv, read, r1, a, r2, low_qkv, low_out, low_up, low_down, first)

    def backward(self, dh: Tensor, kept: Kept, at: Pass, *, to_input: bool) -> Tensor | None:
        w, ops, number = self.weights, self.ops, self.weights.number
        assert w.attention_norm is not None
        assert kept.r2 is not None
        stop = -1 if to_input else w.lowest(pre_norm=False)
        w.mlp_norm.collect(dh, ops)
        if stop == 5:
            return None
        drop = at.drop(number, 2, at.dropouts.mlp_output)
        dr2, dy = ops.norm_backward(dh, kept.r2, w.mlp_norm.now, drop)
        low, extra = w.down.collect(dy, kept.low_down, ops, need_input=stop < 4)
        if stop == 4:
            return None
        da = _gelu_backward(dy, w.down, low, extra, kept.a, ops)
        low, extra = w.up.collect(da, kept.low_up, ops, need_input=stop < 3)
        if stop == 3:
            return None
        dh1 = ops.linear_backward(da, w.up.frozen, low, dr2 if extra is None else dr2 + extra)
        w.attention_norm.collect(dh1, ops)
        if stop == 2:
            return None
        drop = at.drop(number, 1, at.dropouts.attention_output)
        dr1, dy = ops.norm_backward(dh1, kept.r1, w.attention_norm.now, drop)
        low, extra = w.out.collect(dy, kept.low_out, ops, need_input=stop < 1)
        if stop == 1:
            return None
        dqkv = _attention_backward(dy, low, extra, kept, w, at, ops)
        low, extra = w.qkv.collect(dqkv, kept.low_qkv, ops, need_input=stop < 0)
        if stop == 0:
            return None
        residual = _spread_first(dr1, at.tokens) if kept.first else dr1
        return ops.linear_backward(dqkv, w.qkv.frozen, low, residual if extra is None else residual + extra)


class PreNormLayer:
    """x1 = x + drop(out(attention(norm(x)))); x2 = x1 + down(drop(gelu(a) · b)), (a, b) = up(norm(x1))."""

    def __init__(self, weights: Weights, ops: PlainOps, rotary: Rotary | None) -> None:
        self.weights, self.ops, self.rotary = weights, ops, rotary

    def forward(self, x: Tensor, at: Pass, *, first: bool, keep: bool = True) -> tuple[Tensor, Kept | None]:
        w, ops, number = self.weights, self.ops, self.weights.number
        h0 = x if w.attention_norm is None else ops.norm(x, w.attention_norm.now)
        product, low_qkv = w.qkv.product(h0, ops, at.lora_drops(number, 0, w.qkv))
        qkv = ops.linear(h0, product)
        if self.rotary is not None:
            qkv = self.rotary.turn(qkv, at.tokens.places)
        context = ops.attention(qkv, at.tokens, at.attention(w, first=first))
        residual = first_rows(x, at.tokens) if first else x
        product, low_out = w.out.product(context, ops, at.lora_drops(number, 1, w.out))
        drop = at.drop(number, 1, at.dropouts.attention_output)
        x1 = ops.linear_residual(context, product, residual, drop)
        h1 = ops.norm(x1, w.mlp_norm.now)
        product, low_up = w.up.product(h1, ops, at.lora_drops(number, 2, w.up))
        a = ops.linear(h1, product)
        g = self._gated(a, at)
        product, low_down = w.down.product(g, ops, at.lora_drops(number, 3, w.down))
        x2 = ops.linear_residual(g, product, x1, None)
        if not keep:
            return x2, None
        read = context if ops.reads_context and not first else None
        return x2, Kept(x, qkv, read, x1, a, None, low_qkv, low_out, low_up, low_down, first)

    def backward(self, dh: Tensor, kept: Kept, at: Pass, *, to_input: bool) -> Tensor | None:
        w, ops, number = self.weights, self.ops, self.weights.number
        stop = -1 if to_input else w.lowest(pre_norm=True)
        low, extra = w.down.collect(dh, kept.low_down, ops, need_input=stop < 5)
        if stop == 5:
            return None
        dg = ops.linear_backward(dh, w.down.frozen, low, extra)
        da = self._gated_backward(dg, kept.a, at)
        low, extra = w.up.collect(da, kept.low_up, ops, need_input=stop < 4)
        if stop == 4:
            return None
        dh1 = ops.linear_backward(da, w.up.frozen, low, extra)
        w.mlp_norm.collect(dh1, ops)
        if stop == 3:
            return None
        dx1 = ops.norm_backward(dh1, kept.r1, w.mlp_norm.now, None)[0] + dh
        drop = at.drop(number, 1, at.dropouts.attention_output)
        dy = ops.dropout(dx1, drop)
        low, extra = w.out.collect(dy, kept.low_out, ops, need_input=stop < 2)
        if stop == 2:
            return None
        dqkv = _attention_backward(dy, low, extra, kept, w, at, ops)
        if self.rotary is not None:
            dqkv = self.rotary.turn_back(dqkv, at.tokens.places)
        low, extra = w.qkv.collect(dqkv, kept.low_qkv, ops, need_input=stop < 1)
        if stop == 1:
            return None
        dh0 = ops.linear_backward(dqkv, w.qkv.frozen, low, extra)
        residual = _spread_first(dx1, at.tokens) if kept.first else dx1
        if w.attention_norm is None:
            return dh0 + residual
        w.attention_norm.collect(dh0, ops)
        if stop == 0:
            return None
        assert kept.x is not None
        return ops.norm_backward(dh0, kept.x, w.attention_norm.now, None)[0] + residual

    def _gated(self, a: Tensor, at: Pass) -> Tensor:
        inner, gate = a.chunk(2, dim=-1)
        drop = at.drop(self.weights.number, 3, at.dropouts.mlp_inner)
        g = torch.nn.functional.gelu(inner) * gate
        return self.ops.dropout(g, drop)

    def _gated_backward(self, dg: Tensor, a: Tensor, at: Pass) -> Tensor:
        inner, gate = a.chunk(2, dim=-1)
        drop = at.drop(self.weights.number, 3, at.dropouts.mlp_inner)
        dg = self.ops.dropout(dg, drop)
        d_inner = torch.ops.aten.gelu_backward(dg * gate, inner)
        return torch.cat([d_inner, dg * torch.nn.functional.gelu(inner)], dim=-1)


def _gelu_backward(
    dy: Tensor, down: Projection, low: LowRank | None, extra: Tensor | None, a: Tensor, ops: PlainOps
) -> Tensor:
    """The gradient of the MLP's inner sum; under dropout before A the low-rank way comes as a tensor of its own."""
    da = ops.linear_gelu_backward(dy, down.frozen, low, a)
    return da if extra is None else da + torch.ops.aten.gelu_backward(extra, a)


def _attention_backward(
    dy: Tensor, low: LowRank | None, extra: Tensor | None, kept: Kept, w: Weights, at: Pass, ops: PlainOps
) -> Tensor:
    dcontext = ops.linear_backward(dy, w.out.frozen, low, extra)
    spec = at.attention(w, first=kept.first)
    return ops.attention_backward(dcontext, kept.qkv, kept.context, at.tokens, spec)


def first_rows(x: Tensor, tokens: Tokens) -> Tensor:
    """Rows of first tokens: (K, M, D) to (K, B, D)."""
    return x.reshape(-1, x.shape[-1])[tokens.first].view(tokens.trials, tokens.batch, -1)


def _spread_first(rows: Tensor, tokens: Tokens) -> Tensor:
    """The transpose of `first_rows`: (K, B, D) to (K, M, D), zero elsewhere."""
    spread = rows.new_zeros(tokens.ids.numel(), rows.shape[-1])
    spread[tokens.first] = rows.reshape(-1, rows.shape[-1])
    return spread.view(*tokens.ids.shape, -1)
