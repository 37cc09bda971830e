"""Several adapters over one frozen encoder in one pass: each text has its own.

The A of all adapters of a batch lie one below the other, their B likewise, so that x A^T is one product; of its columns
a row keeps those of its own adapter, the rest are zero. A trained bias is one more column, 1 in its own rows, with
what it differs by from the frozen bias as its row of B. So a layer's operations are the usual ones, compiled or plain,
over a wider low-rank product: 2·M·R·(D_in + D_out) FLOPs with R the sum of the batch's ranks, and the frozen product
once. Rejected: a product per adapter and module over its rows, which is hundreds of tiny calls a layer.

Entries of other adapters are replaced by zero and not multiplied by it: an adapter that overflows harms its own rows
alone. Trained biases of norms have no such form; adapters that have them pass by themselves (`mixable`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from loraloom.engine.loom.encoder import Encoder, mean_of_texts
from loraloom.engine.loom.layer import PostNormLayer, PreNormLayer, first_rows
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.ops import LowRank, PlainOps, Product
from loraloom.engine.loom.projection import Projection, Saved
from loraloom.engine.loom.tokens import Tokens


class Owners:
    """Which adapter of a batch each row belongs to, for rows of all tokens and for rows of first tokens."""

    def __init__(self, tokens: Tensor, texts: Tensor) -> None:
        """`tokens` is (M,), `texts` is (B,), both numbers of adapters."""
        self._tokens, self._texts = tokens, texts
        self._others: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def of(self, rows: int) -> Tensor:
        """Owners of `rows` rows; where a batch has as many tokens as texts, the two are the same."""
        return self._tokens if rows == len(self._tokens) else self._texts

    def others(self, rows: int, columns: tuple[int, ...]) -> Tensor:
        """Whether a column belongs to another adapter than the row: (rows, R)."""
        key = rows, columns
        if key not in self._others:
            own = torch.tensor(columns, device=self._tokens.device)
            self._others[key] = self.of(rows)[:, None] != own
        return self._others[key]


class MixedProjection(Projection):
    """The projections of several adapters at one place, forward only."""

    def __init__(self, members: Sequence[Projection], owners: Owners) -> None:
        first = members[0]
        self.frozen, self.parts = first.frozen, first.parts
        self.frozen_bias = self.bias = first.frozen_bias
        self.adapted = self.biased = ()
        self._owners = owners
        low = [member.low_rank() for member in members]
        self._columns = tuple(
            number for number, pair in enumerate(low) if pair is not None for _ in range(pair[0].shape[1])
        )
        self._a = torch.cat([pair[0] for pair in low if pair is not None], dim=1) if self._columns else None
        changes = {n: change for n, member in enumerate(members) if (change := member.bias_change()) is not None}
        self._changed = tuple(changes)
        rows = [pair[1] for pair in low if pair is not None] + [change.view(1, 1, -1) for change in changes.values()]
        self._b = torch.cat(rows, dim=1) if rows else None

    __slots__ = ("_changed", "_columns", "_owners")

    def product(self, x: Tensor, ops: PlainOps, drops: Sequence[Drop | None]) -> tuple[Product, Saved]:
        """What is to be computed of x (1, M, D_in): of the low-rank product each row's own columns."""
        assert not any(drops), "adapters are mixed in use, not in training"
        if self._b is None:
            return Product(self.frozen, self.bias), Saved()
        rows = x.shape[1]
        parts = []
        if self._a is not None:
            parts.append(ops.project(x, self._a).masked_fill_(self._owners.others(rows, self._columns), 0))
        if self._changed:
            parts.append((~self._owners.others(rows, self._changed)).to(x.dtype).unsqueeze(0))
        low = LowRank(torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0], self._b)
        return Product(self.frozen, self.bias, low), Saved()


def mixable(encoder: Encoder) -> bool:
    """Whether an adapter may pass together with others: none of its norms' biases is trained, nor the embeddings'."""
    norms = [own for layer in encoder.layers for own in (layer.weights.attention_norm, layer.weights.mlp_norm)]
    return encoder.lowest >= 0 and not any(norm is not None and norm.trained for norm in norms)


def columns(encoder: Encoder) -> int:
    """How many columns an adapter adds to the low-rank products, at its widest place."""
    return max(own.columns for layer in encoder.layers for own in layer.weights.projections)


def pooled(encoders: Sequence[Encoder], tokens: Tokens, owners: Owners) -> tuple[Tensor, Tensor]:
    """Vectors (1, B, D) by first tokens, and by means; where no encoder asks for means, the first twice."""
    mixed = copy.copy(encoders[0])
    mixed.layers = [_mixed([own.layers[n] for own in encoders], owners) for n in range(len(mixed.layers))]
    if all(own.pools_first for own in encoders):
        firsts = mixed.states(tokens, first=True)
        return firsts, firsts
    states = mixed.states(tokens, first=False)
    return first_rows(states, tokens), mean_of_texts(states, tokens)


def _mixed(layers: Sequence[PostNormLayer | PreNormLayer], owners: Owners) -> PostNormLayer | PreNormLayer:
    own = [layer.weights for layer in layers]
    mixed = copy.copy(layers[0])
    mixed.weights = replace(
        own[0],
        qkv=MixedProjection([weights.qkv for weights in own], owners),
        out=MixedProjection([weights.out for weights in own], owners),
        up=MixedProjection([weights.up for weights in own], owners),
        down=MixedProjection([weights.down for weights in own], owners),
    )
    return mixed
