"""Measures one form of a model on labelled rows: its logits beside the adapter's, accuracy, and texts a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraloom import intervals
from loraloom.errors import LoraloomError
from loraloom.use.export.subject import Rows

TOLERANCE = 1e-4
"""Of the largest logit. fp32 rounds to 6e-8 of a number; weights that are merged are rounded once more, and products
are added up in another order in each of some 100 layers. An error of meaning is seen in the first digits."""
WARM_UP = 32
"""Texts that are not timed: the first pass prepares memory and kernels."""
TIMED_SECONDS = 0.5
"""Rows that take less are computed again: of a few hundredths of a second one sees what else the machine did."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One form of the model on N rows.

    `difference` is the largest between one of its logits and the adapter's, as a share of the adapter's largest logit;
    `same_labels` counts rows, `p` is McNemar's for its accuracy and the adapter's. `texts_per_second` is from text to
    label on this machine, tokenising included.
    """

    name: str
    bytes: int
    rows: int
    accuracy: float
    accuracy_interval: intervals.Interval
    same_labels: int
    difference: float
    p: float
    texts_per_second: float
    logits: NDArray[np.float32]  # (N, C)

    @property
    def exact(self) -> bool:
        """Whether it is the same function but for rounding.

        Labels follow: one turns only where the two best logits are within twice the tolerance of each other.
        """
        return self.difference <= TOLERANCE


def measure(
    name: str,
    size: int,
    logits_of: Callable[[Sequence[str]], NDArray[np.float32]],
    rows: Rows,
    adapter: NDArray[np.float32] | None = None,
) -> Measured:
    """Computes all rows, after a warm-up, once, or for `TIMED_SECONDS` where they are few.

    `adapter` (N, C) are the logits to compare with, None for its own.

    Raises:
        LoraloomError: a logit is not finite.
    """
    logits_of(rows.texts[:WARM_UP])
    start = time.perf_counter()
    logits, rounds = logits_of(rows.texts), 1
    while (seconds := time.perf_counter() - start) < TIMED_SECONDS:
        logits_of(rows.texts)
        rounds += 1
    if not np.isfinite(logits).all():
        raise LoraloomError(f"{name}: gives logits that are not finite; nothing was written")
    reference = logits if adapter is None else adapter
    labels, expected = logits.argmax(axis=1), reference.argmax(axis=1)
    right, right_before = labels == rows.labels, expected == rows.labels
    total = len(labels)
    return Measured(
        name=name,
        bytes=size,
        rows=total,
        accuracy=float(right.mean()),
        accuracy_interval=intervals.wilson_interval(int(right.sum()), total),
        same_labels=int((labels == expected).sum()),
        difference=float(np.abs(logits - reference).max() / np.abs(reference).max()),
        p=intervals.mcnemar(right, right_before),
        texts_per_second=rounds * total / seconds,
        logits=logits,
    )


def refuse_other(found: Measured) -> None:
    """Raises LoraloomError where a form that must be the same function is another."""
    if not found.exact:
        raise LoraloomError(
            f"{found.name}: differs from the adapter: another label in {found.rows - found.same_labels:,} of "
            f"{found.rows:,} rows, logits by up to {found.difference:.1e} of the largest (allowed: {TOLERANCE:.0e}); "
            "nothing was written, please report this configuration"
        )
