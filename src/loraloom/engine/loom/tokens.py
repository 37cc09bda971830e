"""A batch of texts without padding: K trials × B texts, their tokens one after the other in K × M rows.

Linear layers see M rows a trial; attention sees texts, found by `offsets` (one trial) or by `index` (any number).
Rows of a trial beyond its tokens are filler that nothing reads, and texts beyond a trial's own are one filler token
with no weight in the loss, so that all shapes are rectangles. Building a batch of 16 texts costs about 0.5 ms and 50
bytes a token. Rejected: padding to the longest text, which would be a third of the rows of a batch of AG News in
random order, and torch's nested tensors, whose operations are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loraloom.backbone.anatomy import Embedding
from loraloom.data import Encoded
from loraloom.engine.loom.transfer import onto

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where the tokens of a batch are. Rows are counted over all trials: row = trial × M + place."""

    ids: Tensor  # (K, M) int64
    positions: Tensor  # (K, M) int64: rows of the position table
    places: Tensor  # (K, M) int64: 0, 1, 2 … within each text
    offsets: Tensor  # (K·B + 1,) int32: where texts begin; of use where K = 1
    index: Tensor  # (K·B, T) int64: rows of each text's tokens, its first row beyond its end
    real: Tensor  # (K·B, T) bool
    first: Tensor  # (K·B,) int64: rows of first tokens
    real_flat: Tensor  # (tokens,) int64: places of real tokens in K·B × T
    real_rows: Tensor  # (tokens,) int64: their rows
    trials: int
    batch: int

    @property
    def longest(self) -> int:
        return int(self.index.shape[1])


def lay_out(
    encoded: Sequence[Encoded], rows: Sequence[Ints], embedding: Embedding, device: torch.device | None = None
) -> Tokens:
    """The rows `rows[k]` of `encoded[k]` as trial k's batch.

    Raises:
        ValueError: a text without tokens (special ones count).
    """
    batch = max(len(chosen) for chosen in rows)
    texts = [
        [np.asarray(of.input_ids[of.offsets[row] : of.offsets[row + 1]]) for row in chosen]
        for of, chosen in zip(encoded, rows, strict=True)
    ]
    filler = np.zeros(1, dtype=np.int32)
    for own in texts:
        if any(len(text) == 0 for text in own):
            raise ValueError("a text has no tokens")
        own.extend([filler] * (batch - len(own)))
    lengths = np.array([[len(text) for text in own] for own in texts])  # (K, B)
    width = int(lengths.sum(axis=1).max())  # M
    longest = int(lengths.max())  # T
    ids = np.zeros((len(texts), width), dtype=np.int64)
    for trial, own in enumerate(texts):
        flat = np.concatenate(own)
        ids[trial, : len(flat)] = flat
    starts = np.zeros_like(lengths)
    np.cumsum(lengths[:, :-1], axis=1, out=starts[:, 1:])
    starts += width * np.arange(len(texts))[:, None]
    first, long = starts.reshape(-1), lengths.reshape(-1)
    place = np.arange(longest)
    real = place < long[:, None]  # (K·B, T)
    index = np.where(real, first[:, None] + place, first[:, None])
    places = np.zeros(ids.size, dtype=np.int64)
    places[index[real]] = np.broadcast_to(place, real.shape)[real]
    places = places.reshape(ids.shape)

    def tensor(values: NDArray[np.generic]) -> Tensor:
        return onto(torch.from_numpy(values), device)

    return Tokens(
        ids=tensor(ids),
        positions=tensor(_positions(ids, places, index, real, embedding)),
        places=tensor(places),
        offsets=torch.from_numpy(np.append(first, first[-1] + long[-1]).astype(np.int32)),
        index=tensor(index),
        real=tensor(real),
        first=tensor(first),
        real_flat=tensor(np.flatnonzero(real)),
        real_rows=tensor(index[real]),
        trials=len(texts),
        batch=batch,
    )


def _positions(ids: Ints, places: Ints, index: Ints, real: NDArray[np.bool_], embedding: Embedding) -> Ints:
    """RoBERTa counts tokens other than the padding token, which stays at the padding's own position."""
    if embedding.pad is None:
        return places
    counted = (ids.reshape(-1)[index] != embedding.pad) & real  # (K·B, T)
    by_text = np.where(counted, np.cumsum(counted, axis=1) + embedding.pad, embedding.pad)
    positions = np.full(ids.size, embedding.pad, dtype=np.int64)
    positions[index[real]] = by_text[real]
    return positions.reshape(ids.shape)
