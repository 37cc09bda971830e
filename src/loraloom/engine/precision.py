"""fp32, bf16 or fp16, chosen by the measured products of a layer and not by a processor's name (`gemm_rates.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from loraloom.engine.gemm_rates import measure
from loraloom.engine.linear import whole_fp32
from loraloom.recipe import Train
from loraloom.study.record import Dtype

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

WORTHWHILE = 1.3
"""bf16 is taken where a base-size layer's products are faster than in fp32 by this ratio; fp16, whose numbers end at
65,504, where they are as much faster than in bf16 too."""


def choose_dtype(train: Train) -> Dtype:
    """The recipe's choice, or by measurement where it leaves it open."""
    return explain_dtype(train)[0]


def explain_dtype(train: Train) -> tuple[Dtype, str]:
    """As `choose_dtype`, with the reason."""
    if (said := train.number_type) is not None:
        by = "fp16 is true" if said == "fp16" else f"bf16 is {str(train.bf16).lower()}"
        return said, f"as the recipe says: train.{by}"
    rates = measure()
    half: Dtype = "fp16" if train.fp16 == "auto" and rates.fp16 > WORTHWHILE * rates.bf16 else "bf16"
    ratio = rates.layer(half) / rates.fp32
    if ratio > WORTHWHILE:
        return half, f"a base-size layer's products are {ratio:.1f} × as fast as in fp32"
    slow = f"a base-size layer's products are {ratio:.1f} × as fast in {half}"
    return "fp32", f"{slow}, which is worth it only over {WORTHWHILE} ×"


def name_of(dtype: torch.dtype) -> Dtype:
    """The number type's name; what is wider than fp32 goes as that."""
    return "bf16" if dtype == torch.bfloat16 else "fp16" if dtype == torch.float16 else "fp32"


@contextmanager
def in_own_type(device: torch.device) -> Iterator[None]:
    """Within, what is computed on `device` is in its own type and in all its bits, whatever the caller has set.

    Its torch.autocast and its torch.set_float32_matmul_precision are not heard.
    """
    with torch.autocast(device.type, enabled=False), whole_fp32():
        yield


def without_fp16(train: Train) -> Train:
    """As engine: trainer has it: transformers' fp16 skips steps, and has a scale that no checkpoint of ours holds."""
    return train.model_copy(update={"fp16": False})
