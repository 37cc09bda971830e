"""How far rows are from the nearest training row: 1 − cosine of their embeddings, exactly, by blocks of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 512


def nearest(
    vectors: NDArray[np.float32], training: NDArray[np.float32], *, others: bool = False
) -> NDArray[np.float64]:
    """Distances (N,) of `vectors` (N, D) to the nearest of `training` (M, D); all of unit length. 0 is the same.

    With `others` the vectors are the training rows themselves, and each is compared with the others: what is usual.
    """
    distances = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ training.T  # (B, M)
        if others:
            np.fill_diagonal(cosines[:, start:], -np.inf)
        distances[start : start + BLOCK] = 1 - cosines.max(axis=1)
    return np.maximum(distances, 0)
