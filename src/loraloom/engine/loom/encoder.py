"""A frozen encoder with the trained parts of K trials: from tokens to pooled vectors, and back.

The backward pass ends at the lowest trained place: no gradient is computed below it, and nothing is kept there. Where
pooling reads the first token, the last layer is computed for first tokens alone, but for its keys and values.

Cost for W weights in L layers: 2·W FLOPs a token forward, as many back through the layers from the lowest trained one;
7 % less where the last of 12 layers has first tokens alone. Its queries are computed for all tokens, although few are
read: a product of their own would save 0.7 % more, and split the weights of one layer in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from loraloom.engine.loom.frozen import FrozenEncoder, FrozenModule, NamedNorm
from loraloom.engine.loom.layer import PLACES, Kept, LayerNorm, Pass, PostNormLayer, PreNormLayer, Weights
from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.ops import Attention
from loraloom.engine.loom.parameters import Parameters
from loraloom.engine.loom.projection import Projection, bias_of
from loraloom.engine.loom.rotary import Rotary
from loraloom.engine.loom.tokens import Tokens

EMBEDDING_PLACE = PLACES * 4096
"""The place of the embeddings' dropout, beyond those of any layer."""


@dataclass(slots=True)
class Travelled:
    """What the way forward left for the way back."""

    at: Pass
    kept: list[Kept]
    last: Tensor | None  # the input of the final norm


class Encoder:
    """`scales` are the trials' alpha / r (or alpha / sqrt(r)), `lora_dropout` their common dropout before A."""

    def __init__(
        self,
        frozen: FrozenEncoder,
        parameters: Parameters,
        scales: Sequence[float],
        lora_dropout: float,
    ) -> None:
        self.frozen, self.ops, self._parameters = frozen, frozen.ops, parameters
        self._dropouts = frozen.anatomy.dropouts
        self._lora_dropout = lora_dropout
        self._scales = torch.tensor(scales, dtype=parameters.values.dtype, device=frozen.device).view(-1, 1, 1)
        self.layers: list[PostNormLayer | PreNormLayer] = [self._layer(number) for number in range(len(frozen.layers))]
        final = frozen.final_norm
        self._final = None if final is None else self._norm(final)
        self._embedding_norm = self._norm(frozen.embedding.norm)
        self.lowest = self._lowest()

    @property
    def pools_first(self) -> bool:
        return not self.frozen.anatomy.mean_pooling

    def refresh(self) -> None:
        """Takes over the parameters of a new step."""
        for layer in self.layers[max(0, self.lowest) :]:
            layer.weights.refresh()
        for norm in (self._final, self._embedding_norm):
            if norm is not None:
                norm.refresh()

    def prefix(self, tokens: Tokens, upto: int) -> Tensor:
        """The hidden states (K, M, D) that enter layer `upto`, in evaluation."""
        at = self._pass(tokens, None)
        x = self._embed(at)
        for number in range(upto):
            x, _ = self.layers[number].forward(x, at, first=False, keep=False)
        return x

    def forward(self, tokens: Tokens, noise: Noise | None, prefix: Tensor | None = None) -> tuple[Tensor, Travelled]:
        """Pooled vectors (K, B, D). `prefix` are the hidden states that enter the lowest trained layer, where they are
        known; `noise` None means evaluation, which keeps nothing."""
        x, way = self._through(tokens, noise, prefix, first=self.pools_first)
        return (x if self.pools_first else mean_of_texts(x, tokens)), way

    def states(self, tokens: Tokens, *, first: bool) -> Tensor:
        """Last hidden states in evaluation: of all tokens (K, M, D), or of first ones (K, B, D)."""
        return self._through(tokens, None, None, first=first)[0]

    def _through(
        self, tokens: Tokens, noise: Noise | None, prefix: Tensor | None, *, first: bool
    ) -> tuple[Tensor, Travelled]:
        at = self._pass(tokens, noise)
        x = prefix if prefix is not None else self._embed(at)
        way = Travelled(at, [], None)
        start = max(0, self.lowest) if prefix is not None else 0
        last = len(self.layers) - 1
        for number in range(start, len(self.layers)):
            keep = noise is not None and number >= self.lowest
            x, kept = self.layers[number].forward(x, at, first=number == last and first, keep=keep)
            if kept is not None:
                way.kept.append(kept)
        if self._final is not None:
            way.last = x
            x = self.ops.norm(x, self._final.now)
        return x, way

    def backward(self, dpooled: Tensor, way: Travelled) -> None:
        """Adds the gradients of all that is trained, from the gradient (K, B, D) of the pooled vectors."""
        dx: Tensor | None = dpooled if self.pools_first else _mean_backward(dpooled, way.at.tokens)
        if self._final is not None:
            assert way.last is not None
            assert dx is not None
            self._final.collect(dx, self.ops)
            dx = self.ops.norm_backward(dx, way.last, self._final.now, None)[0]
        start = max(0, self.lowest)
        for number in range(len(self.layers) - 1, start - 1, -1):
            assert dx is not None
            to_input = number > self.lowest
            dx = self.layers[number].backward(dx, way.kept.pop(), way.at, to_input=to_input)
        if self.lowest < 0:
            assert dx is not None
            self._embed_backward(dx, way)

    def _pass(self, tokens: Tokens, noise: Noise | None) -> Pass:
        relative = self.frozen.relative
        positions = None if relative is None else relative.up_to(tokens.longest)
        return Pass(tokens, noise, self._dropouts, self._lora_dropout, positions)

    def _embed(self, at: Pass) -> Tensor:
        table, tokens = self.frozen.embedding, at.tokens
        summed = functional.embedding(tokens.ids, table.word)  # (K, M, E)
        if table.position is not None:
            summed = summed + functional.embedding(tokens.positions, table.position)
        x = self.ops.norm(summed, self._embedding_norm.now)
        drop = at.drop(0, EMBEDDING_PLACE, self._dropouts.embedding)
        x = self.ops.dropout(x, drop)
        if table.project is not None:
            x = functional.linear(x, table.project)
            bias = self._project_bias()
            x = x if bias is None else x + bias.to(x.dtype)
        return x

    def _embed_backward(self, dx: Tensor, way: Travelled) -> None:
        """The embeddings have no trained weights but biases."""
        table, gradients = self.frozen.embedding, self._parameters.gradients
        if table.project is not None:
            name = bias_of(table.project_name)
            if name in self._parameters.layout.shapes:
                self._parameters.view(gradients, name).add_(self.ops.column_sums(dx))
            dx = dx @ table.project
        drop = way.at.drop(0, EMBEDDING_PLACE, self._dropouts.embedding)
        self._embedding_norm.collect(self.ops.dropout(dx, drop), self.ops)

    def _project_bias(self) -> Tensor | None:
        name = bias_of(self.frozen.embedding.project_name)
        if name in self._parameters.layout.shapes:
            return self._parameters.view(self._parameters.values, name).unsqueeze(1)
        return self.frozen.embedding.project_bias

    def _lowest(self) -> int:
        """The lowest layer with a trained parameter; -1 where the embeddings have one."""
        names = self._parameters.layout.shapes
        embedding = self.frozen.embedding
        if self._embedding_norm.trained or bias_of(embedding.project_name) in names:
            return -1
        pre_norm = self.frozen.anatomy.pre_norm
        trained = [layer.weights.lowest(pre_norm=pre_norm) < 6 for layer in self.layers]
        return trained.index(True) if True in trained else len(trained)

    def _layer(self, number: int) -> PostNormLayer | PreNormLayer:
        frozen, anatomy = self.frozen.layers[number], self.frozen.anatomy
        depth = anatomy.hidden // anatomy.heads
        window = anatomy.windows[number] if anatomy.windows else 0
        weights = Weights(
            number=number,
            qkv=self._projection(frozen.qkv),
            out=self._projection(frozen.out),
            up=self._projection(frozen.up),
            down=self._projection(frozen.down),
            attention_norm=None if frozen.attention_norm is None else self._norm(frozen.attention_norm),
            mlp_norm=self._norm(frozen.mlp_norm),
            attention=Attention(anatomy.heads, depth**-0.5, window),
        )
        if not anatomy.pre_norm:
            return PostNormLayer(weights, self.ops)
        theta = anatomy.rope_thetas[number] if anatomy.rope_thetas else None
        rotary = None if theta is None else Rotary(theta, anatomy.heads, depth, self.frozen.device)
        return PreNormLayer(weights, self.ops, rotary)

    def _projection(self, frozen: FrozenModule) -> Projection:
        return Projection(frozen.linear, frozen.parts, frozen.bias, self._parameters, self._scales)

    def _norm(self, named: NamedNorm) -> LayerNorm:
        return LayerNorm(named.name, named.norm, self._parameters, named.norm)


def mean_of_texts(x: Tensor, tokens: Tokens) -> Tensor:
    """The mean over each text's tokens: (K, M, D) to (K, B, D), summed in fp32 or more."""
    wide = torch.promote_types(x.dtype, torch.float32)
    padded = x.reshape(-1, x.shape[-1])[tokens.index].to(wide) * tokens.real.unsqueeze(-1)  # (S, T, D)
    mean = padded.sum(dim=1) / tokens.real.sum(dim=1, keepdim=True)
    return mean.to(x.dtype).view(tokens.trials, tokens.batch, -1)


def _mean_backward(dpooled: Tensor, tokens: Tokens) -> Tensor:
    """(K, B, D) to (K, M, D), divided in fp32 or more: in bf16 257 tokens would count as 256."""
    of_text, wide = tokens.real.sum(dim=1), torch.promote_types(dpooled.dtype, torch.float32)
    rows = dpooled.reshape(-1, dpooled.shape[-1]).to(wide)
    shares = (rows / of_text.unsqueeze(1)).to(dpooled.dtype)  # (S, D)
    dx = shares.new_zeros(tokens.ids.numel(), shares.shape[-1])
    dx[tokens.real_rows] = shares.repeat_interleave(of_text, dim=0, output_size=len(tokens.real_rows))
    return dx.view(*tokens.ids.shape, -1)
