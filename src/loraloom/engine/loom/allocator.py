"""Keeps the memory of a step for the next one, where the C library would give it back in between.

A step takes and frees a few hundred MB of activations. glibc returns what is free at the heap's end to the system,
and maps large blocks one by one, so that each step begins with pages that must be zeroed and mapped anew: 24 % of a
step of a base-size encoder (75 of 300 ms; measured with MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ set, and
not). The process keeps what its largest step needed, no more. Rejected: buffers of our own for all activations, which
would have to follow every shape; huge pages, which gained nothing.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_NEVER, _LARGE = 2**31 - 1, 2**30
_LARGEST_OF_OLD = 2**25  # what older glibc allows; it refuses more


@functools.cache
def keep_freed_memory() -> bool:
    """Asks the C library to keep what is freed; whether it has such a wish. Holds for the whole process."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    in_the_heap = bool(mallopt(_MMAP_THRESHOLD, _LARGE)) or bool(mallopt(_MMAP_THRESHOLD, _LARGEST_OF_OLD))
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER)) and in_the_heap
