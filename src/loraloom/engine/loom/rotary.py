"""Rotary positions (Su et al. 2021, "RoFormer", equation 34), applied to the queries and keys of a layer.

Halves are turned against each other, as transformers does it: (x1, x2) to (x1 cos - x2 sin, x2 cos + x1 sin), in fp32
or more. The backward pass turns by the opposite angle. Memory-bound: reads and writes 2·D values a token.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Rotary:
    """The angles of one layer: `theta` is the base, `depth` a head's width."""

    def __init__(self, theta: float, heads: int, depth: int, device: torch.device) -> None:
        self._heads, self._depth = heads, depth
        # fp32 whatever the type of the rest, as transformers computes them
        frequencies = 1.0 / (theta ** (torch.arange(0, depth, 2, dtype=torch.float32) / depth))  # (d/2,)
        self._frequencies = frequencies.to(device)

    def turn(self, qkv: Tensor, places: Tensor) -> Tensor:
        """Queries and keys of (K, M, 3D) turned by their places (K, M)."""
        return self._turned(qkv, places, 1.0)

    def turn_back(self, dqkv: Tensor, places: Tensor) -> Tensor:
        """The transpose of `turn`."""
        return self._turned(dqkv, places, -1.0)

    def _turned(self, qkv: Tensor, places: Tensor, direction: float) -> Tensor:
        angles = places[..., None].float() * self._frequencies  # (K, M, d/2)
        wide = torch.promote_types(qkv.dtype, torch.float32)
        cos = angles.cos().to(wide)[:, :, None, None]
        sin = angles.sin().to(wide)[:, :, None, None] * direction
        hidden = qkv.shape[-1] // 3
        shape = (*qkv.shape[:-1], 2, self._heads, self._depth)
        both = qkv[..., : 2 * hidden].reshape(shape).to(wide)  # (K, M, 2, H, d)
        left, right = both.chunk(2, dim=-1)
        turned = torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)
        return torch.cat([turned.flatten(2).to(qkv.dtype), qkv[..., 2 * hidden :]], dim=-1)
