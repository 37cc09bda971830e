"""Logits of many texts: batches by length, each text computed once, without dropout.

Texts of like length share a batch, so that plain attention pads little; where a batch's tokens are is worked out once
for a split and kept for all trials (40 to 50 bytes a token).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loraloom.backbone.anatomy import Embedding
from loraloom.data import Encoded
from loraloom.engine.loom.tokens import Ints, Tokens, lay_out

TOKENS = 2048
"""Tokens of a batch, about: enough to keep the products busy, few enough to stay near the processor."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A batch of a split: its rows, and where their tokens are."""

    rows: Ints
    tokens: Tokens


def chunks(encoded: Encoded, embedding: Embedding, device: torch.device) -> Iterator[Chunk]:
    """All rows, in batches by length; a function of the split alone."""
    for rows in by_length(np.diff(encoded.offsets)):
        yield Chunk(rows, lay_out([encoded], [rows], embedding, device))


def by_length(lengths: NDArray[np.int64], tokens: int = TOKENS) -> Iterator[Ints]:
    """Rows in batches of about so many tokens, padding included, shortest first."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = lengths[order[start : start + tokens]]  # a text has a token at least
        # Texts are sorted: the longest of a batch is its last, and bounds what padding costs.
        count = max(1, int(np.searchsorted(longest * np.arange(1, len(longest) + 1), tokens, side="right")))
        yield order[start : start + count]
        start += count


def gather(
    parts: Iterable[Chunk],
    shape: tuple[int, int],
    logits_of: Callable[[Chunk], Tensor],
    done: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Logits of all rows in their own order; `shape` is (N, C).

    `done` hears after each batch how many rows have theirs.
    """
    logits, rows = np.zeros(shape, dtype=np.float32), 0
    for part in parts:
        logits[part.rows] = logits_of(part).float().cpu().numpy()
        rows += len(part.rows)
        done(rows)
    return logits
