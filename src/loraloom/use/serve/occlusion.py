"""Which words mattered: the probability of the label with each word left out, against that with all of them.

Occlusion (Zeiler and Fergus 2014, section 4.2, on words): N words cost N + 1 texts of the same length, computed as one
batch. It needs no gradients, holds for any architecture, and says what it measured. Rejected: integrated gradients,
which need a way back through the kernels and a baseline text that means nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loraloom.data.overlap import is_unspaced
from loraloom.use.serve.messages import Word

MOST_PARTS = 64
MOST_CHARACTERS = 200_000
"""Of all texts that a long text's parts make."""


def parts_of(text: str, most: int) -> list[tuple[int, int]]:
    """Places of the parts to leave out, `most` at most: words, characters of a lone word, several together of many."""
    words = [*_words(text)]
    if len(words) < 2:
        words = [(place, place + 1) for place, sign in enumerate(text) if not sign.isspace()]
    if most < 1:
        return []
    most = min(most, max(2, min(MOST_PARTS, MOST_CHARACTERS // max(1, len(text)))))
    size = -(-len(words) // most)
    groups = [words[first : first + size] for first in range(0, len(words), max(1, size))]
    return [(group[0][0], group[-1][1]) for group in groups]


def _words(text: str) -> Iterator[tuple[int, int]]:
    """What stands between blanks; where a script has none between words, each character with the marks on it."""
    for match in re.finditer(r"\S+", text):
        start, alone = match.start(), [is_unspaced(sign) for sign in match.group()]
        for place, (before, this) in enumerate(pairwise(alone), match.start() + 1):
            if (before or this) and not unicodedata.category(text[place]).startswith("M"):
                yield start, place
                start = place
        yield start, match.end()


def without(text: str, parts: list[tuple[int, int]]) -> list[str]:
    """The text, and then the text without each part."""
    return [text, *(text[:start] + text[stop:] for start, stop in parts)]


def weighed(parts: list[tuple[int, int]], probabilities: NDArray[np.float64]) -> list[Word]:
    """What the label of the whole text loses without each part; `probabilities` (N + 1, C) are of `without`'s texts."""
    label = int(probabilities[0].argmax())
    losses = probabilities[0, label] - probabilities[1:, label]
    return [Word(start=start, stop=stop, weight=float(loss)) for (start, stop), loss in zip(parts, losses, strict=True)]
