"""Texts made worse as people and machines make them worse: each change is a pure function of a text (and a generator).

A row's change depends on the seed and the row's number alone, so that first rows are changed as among all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

Change = Callable[[str, np.random.Generator], str]

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD = re.compile(r"\S+")


def _neighbours() -> dict[str, str]:
    """Keys that touch a key on a QWERTY keyboard, whose rows are each half a key further to the right."""
    places = {key: (row, place + row / 2) for row, keys in enumerate(_KEYS) for place, key in enumerate(keys)}
    return {
        key: "".join(
            other
            for other, (its_row, its_place) in places.items()
            if other != key and abs(its_row - row) <= 1 and abs(its_place - place) <= 1
        )
        for key, (row, place) in places.items()
    }


NEIGHBOURS = _neighbours()


def with_typos(text: str, share: float, generator: np.random.Generator) -> str:
    """Typos in `share` of the text's characters: two letters swapped, one dropped, doubled, or the next key's.

    Only letters are mistyped, as many as `share` asks for or as there are that do not touch one another; what stands
    between words stays as it is.
    """
    signs = list(text)
    for place in _places(text, round(share * len(text)), generator):
        signs[place : place + 2] = _mistyped(
            text[place], text[place + 1 : place + 2], int(generator.integers(4)), generator
        )
    return "".join(signs)


def _places(text: str, count: int, generator: np.random.Generator) -> list[int]:
    """Letters to mistype, the last one first, so that the places before it stay true; no two touch."""
    letters = np.array([place for place, sign in enumerate(text) if sign.isalpha()], dtype=np.int64)
    chosen: set[int] = set()
    for place in generator.permutation(letters).tolist():
        if len(chosen) == count:
            break
        if not {place - 1, place + 1} & chosen:
            chosen.add(place)
    return sorted(chosen, reverse=True)


def _mistyped(letter: str, after: str, kind: int, generator: np.random.Generator) -> list[str]:
    """What stands in place of a letter and the sign after it; always something else than before."""
    if kind == 0 and after.isalpha() and after != letter:
        return [after, letter]
    if kind == 1:
        return [after]
    keys = NEIGHBOURS.get(letter.lower())
    if kind == 2 or keys is None:
        return [letter, letter, after]
    key = keys[int(generator.integers(len(keys)))]
    return [key.upper() if letter.isupper() else key, after]


def first_words(text: str, words: int) -> str:
    """The text up to the end of its `words`-th word."""
    ends = [match.end() for match in _WORD.finditer(text)]
    return text if len(ends) <= words else text[: ends[words - 1]]


def first_half(text: str) -> str:
    """The first half of the text's words, the middle one included."""
    return first_words(text, max(1, -(-len(_WORD.findall(text)) // 2)))


def without_punctuation(text: str) -> str:
    """The text without Unicode's punctuation; spaces stay as they are, and so do symbols such as $ and +."""
    return "".join(sign for sign in text if not unicodedata.category(sign).startswith("P"))


def changed(texts: Sequence[str], change: Change, seed: int) -> list[str]:
    """Each text changed, by a generator of its own."""
    return [change(text, np.random.default_rng((seed, row))) for row, text in enumerate(texts)]
