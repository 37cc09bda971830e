"""Training rows made worse: wrong labels, rare classes, few rows. Pure functions of labels and a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def with_noise(labels: Labels, share: float, classes: int, seed: int) -> Labels:
    """The labels (N,), of which exactly `share` (rounded to a row) are another class, each other one alike."""
    generator = np.random.default_rng((seed, 1))
    turned = generator.choice(len(labels), size=round(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[turned] = (labels[turned] + generator.integers(1, classes, len(turned))) % classes
    return noisy


def skewed(labels: Labels, ratio: int, classes: int, seed: int) -> Labels:
    """Numbers, ascending, of rows whose classes' sizes fall as a geometric row from 1 down to 1 : `ratio`.

    So do Cui et al. 2019, "Class-balanced loss based on effective number of samples", section 5.1. Which class is the
    largest and which the smallest is drawn.

    Raises:
        ValueError: a class has too few rows for the smallest to have any.
    """
    generator = np.random.default_rng((seed, 2))
    most = int(np.bincount(labels, minlength=classes).min())
    if most < ratio:
        raise ValueError(f"ratio: 1:{ratio} needs {ratio} rows of each class; one has {most}")
    sizes = [round(most * ratio ** (-place / max(1, classes - 1))) for place in range(classes)]
    order = generator.permutation(classes)
    return _drawn(labels, {int(label): size for label, size in zip(order, sizes, strict=True)}, generator)


def few(labels: Labels, rows: int, classes: int, seed: int) -> Labels:
    """Numbers, ascending, of `rows` rows of each class.

    Raises:
        ValueError: a class has fewer.
    """
    if (least := int(np.bincount(labels, minlength=classes).min())) < rows:
        raise ValueError(f"rows: {rows} of each class are asked for; one has {least}")
    return _drawn(labels, dict.fromkeys(range(classes), rows), np.random.default_rng((seed, 3)))


def _drawn(labels: Labels, sizes: dict[int, int], generator: np.random.Generator) -> Labels:
    parts = [
        generator.choice(np.flatnonzero(labels == label), size=size, replace=False) for label, size in sizes.items()
    ]
    return np.sort(np.concatenate(parts))
