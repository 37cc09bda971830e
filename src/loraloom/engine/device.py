"""The device that trains, and whether this torch can use it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from loraloom.errors import LoraloomError


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first of the GPUs that torch sees; memory in 10^9 bytes."""

    name: str
    count: int
    memory_gb: float
    memory_free_gb: float


def device() -> torch.device:
    """The device that trains.

    Raises:
        LoraloomError: it is a GPU for which this torch was not built.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    _check_gpu()
    return torch.device("cuda")


@functools.cache
def _check_gpu() -> None:
    if torch.version.cuda and not _built_for(torch.cuda.get_device_capability(), torch.cuda.get_arch_list()):
        major, minor = torch.cuda.get_device_capability()
        raise LoraloomError(
            f"this torch has no kernels for {torch.cuda.get_device_name()} (sm_{major}{minor}); install one that has, "
            "or set CUDA_VISIBLE_DEVICES= to train on the processor"
        )


def _built_for(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether one of torch's builds (`sm_86`, `compute_90`) runs on a GPU.

    Binaries run within their generation, from their number on; PTX on all that come later. True where torch does not
    say what it was built for.
    """
    major, minor = capability
    found = [(kind, int(digits)) for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(built))]
    return not found or any(
        number // 10 == major and number % 10 <= minor if kind == "sm" else number <= 10 * major + minor
        for kind, number in found
    )


def read_gpu() -> Gpu | None:
    """The GPU that trains, or None."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return Gpu(torch.cuda.get_device_name(), torch.cuda.device_count(), total / 1e9, free / 1e9)


def device_is_lost() -> bool:
    """Whether the GPU answers this process no more, as after an assertion on it: all that came next would fail too."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
