"""What the tests of compiled kernels are given, of either type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from loraloom.backbone.anatomy import Embedding
from loraloom.data import Encoded
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.tokens import Tokens, lay_out

KEYS = (0x9E3779B9, 0x7F4A7C15)
EPS = 0.1
"""Of norms: large enough to be seen beside variances of about 1."""


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator) * scale


def strided(x: Tensor) -> Tensor:
    """The same rows, further apart."""
    wide = x.new_full((*x.shape[:-1], x.shape[-1] + 32), float("nan"))
    wide[..., : x.shape[-1]] = x
    return wide[..., : x.shape[-1]]


def tokens_of(lengths: Sequence[int]) -> Tokens:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    encoded = Encoded(np.ones(offsets[-1], dtype=np.int32), offsets, 0)
    return lay_out([encoded], [np.arange(len(lengths))], Embedding("word", "norm"))


def dropping(p: float) -> Drop | None:
    return Drop(p, (KEYS,)) if p else None
