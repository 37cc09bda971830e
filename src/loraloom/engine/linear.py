"""x W^T + b by the library that is fast on this processor; 2·N·D_in·D_out FLOPs.

In fp32 torch asks MKL, which uses the widest vectors (AVX-512) of Intel's processors alone. On an AMD EPYC that has
them, two threads, oneDNN had 0.38 to 0.49 TFLOP/s at the sizes of base and small layers and MKL 0.19 to 0.21; on one
with AVX2 alone MKL had 0.14 to 0.18 and oneDNN 0.10 to 0.17 (docs/log.md).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from loraloom.machine import read_machine


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, D_in) and (D_out, D_in), in any layout, to (…, D_out); not known to autograd where oneDNN computes it."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() and by_onednn():
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return y
    return functional.linear(x, weight, bias)


@contextmanager
def whole_fp32() -> Iterator[None]:
    """Within, fp32 is multiplied in all its bits, though the process has it be of fewer where that is quicker.

    By torch.set_float32_matmul_precision a program has TF32 or bf16 in its place, and by a variable of its own an
    environment: a trial would depend on where it is trained, and its record say fp32 of all of them.
    """
    places = [cast(Any, backend).matmul for backend in (torch.backends.cuda, torch.backends.mkldnn)]
    fewer = [(place, place.fp32_precision) for place in places if place.fp32_precision not in ("none", "ieee")]
    for place, _ in fewer:
        place.fp32_precision = "ieee"
    try:
        yield
    finally:
        for place, precision in fewer:
            place.fp32_precision = precision


@functools.cache
def by_onednn() -> bool:
    """Whether oneDNN multiplies in fp32 here: where torch would ask MKL, which has wide vectors lie idle."""
    machine = read_machine()
    idle = "avx512f" in machine.instructions and "Intel" not in machine.cpu
    there = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return idle and there and hasattr(torch.ops.mkldnn, "_linear_pointwise")
