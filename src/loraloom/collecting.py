"""When Python looks for cycles of objects that nobody uses any more, in processes that are a command's own.

torch, transformers and their like make half a million objects while they are imported, and all of them stay. By
Python's own thresholds a command looks through them a dozen times before it begins, a second in all, and every so often
later, a quarter of a second each time in which a server answers nobody.
"""

from __future__ import annotations

import gc

_OWN = gc.get_threshold()
_LOADING = 20_000, 50, 5
"""Net allocations between two looks at the youngest objects; looks at those for one at the older, and at all."""


def expect_libraries() -> None:
    """For the start of a process: what is imported from here on is hardly looked through."""
    gc.set_threshold(*_LOADING)


def settle() -> None:
    """For the beginning of long work: what there is now is never looked through again, and what comes as ever.

    Nothing is done in a process that is not a command's own.
    """
    if gc.get_threshold() == _LOADING:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_OWN)
