"""fp32 or bf16, chosen by the measured products of a layer and not by a processor's name (`gemm_rates.py` measures)."""

from __future__ import annotations

import torch

from loraloom.engine.gemm_rates import measure
from loraloom.recipe import Train
from loraloom.study.record import Dtype

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

WORTHWHILE = 1.3
"""bf16 is taken where a base-size layer's products are faster than in fp32 by this ratio."""


def choose_dtype(train: Train) -> Dtype:
    """The recipe's choice, or by measurement where it leaves it open."""
    return explain_dtype(train)[0]


def explain_dtype(train: Train) -> tuple[Dtype, str]:
    """As `choose_dtype`, with the reason."""
    if train.bf16 != "auto":
        return "bf16" if train.bf16 else "fp32", f"as the recipe says: train.bf16 is {str(train.bf16).lower()}"
    ratio = measure().ratio
    if ratio > WORTHWHILE:
        return "bf16", f"a base-size layer's products are {ratio:.1f} × as fast as in fp32"
    slow = f"a base-size layer's products are {ratio:.1f} × as fast in bf16"
    return "fp32", f"{slow}, which is worth it only over {WORTHWHILE} ×"
