"""From the host to the device without a wait: a copy from pageable memory would let the device run dry first.

What goes over in a step, its tokens' numbers or their kept states, is copied once more on the host, into pinned memory.
On a processor nothing is copied.
"""

from __future__ import annotations

import torch
from torch import Tensor


def onto(values: Tensor, device: torch.device | None) -> Tensor:
    """`values` on `device`; on a GPU by way of pinned memory, which torch keeps until the copy is done."""
    if device is None or device.type != "cuda" or values.device.type == "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
