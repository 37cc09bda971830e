"""T5's relative position biases, as MPNet has them: one table for all layers and for all adapters over an encoder.

Kept are H·T² values for the longest text that was seen, computed when a longer one comes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from loraloom.engine.loom.transfer import onto


class RelativePositions:
    """Biases of attention's scores by the distance of query and key, kept for the longest text that was seen."""

    def __init__(self, table: Tensor) -> None:
        """`table` is (buckets, H)."""
        self._table = table
        self._kept: Tensor | None = None

    def up_to(self, tokens: int) -> Tensor:
        """(H, T, T) for texts of `tokens` tokens or more; T is a multiple of 64."""
        kept = self._kept  # another thread may replace it by that of shorter texts
        if kept is None or kept.shape[-1] < tokens:
            kept = self._kept = relative_positions(self._table, 64 * math.ceil(tokens / 64))
        return kept


def relative_positions(table: Tensor, size: int) -> Tensor:
    """T5's bucketed relative position biases (Raffel et al. 2020, section 2.1) as MPNet has them: (H, size, size)."""
    buckets, farthest = 16, 128  # MPNet gives its encoder 32 buckets, half of them for keys that come after
    distance = torch.arange(size)[:, None] - torch.arange(size)  # query - key
    after = (distance < 0).long() * buckets
    distance = distance.abs()
    exact = buckets // 2
    wide = exact + (torch.log(distance.float() / exact) / math.log(farthest / exact) * (buckets - exact)).nan_to_num(
        neginf=0
    ).long().clamp_max(buckets - 1 - exact)
    bucket = after + torch.where(distance < exact, distance, wide)
    return table[onto(bucket, table.device)].permute(2, 0, 1).contiguous()
