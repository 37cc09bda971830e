"""Which rows were right, as results keep it for paired tests: a bit for each row, most significant first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import DataError


def packed(right: NDArray[np.bool_]) -> bytes:
    """(rows,) as bits."""
    return np.packbits(right).tobytes()


def unpacked(bits: bytes, rows: int, correct: int, of: str) -> NDArray[np.bool_]:
    """(rows,) whether each is right; `of` names the result.

    Raises:
        DataError: they are not as many as the result says, or not as many are right.
    """
    right = np.unpackbits(np.frombuffer(bits, dtype=np.uint8))[:rows]
    if len(right) != rows or int(right.sum()) != correct:
        raise DataError(
            f"{of}: of {len(right)} kept rows {int(right.sum())} are right, where {correct} of {rows} were measured: "
            "it was changed"
        )
    return right.astype(np.bool_)
