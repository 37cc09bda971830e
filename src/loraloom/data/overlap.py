"""Texts that are equal, or nearly: what must not stand on both sides of a split.

Equal: the same letters and digits, whatever their case and form (full width, ligatures). Near copies: the sets of word
5-grams have a Jaccard similarity above 0.9, found exactly. The 5-grams of one side are looked up by hash among those of
the other and compared word by word; where they are too few, as of nearly every row, the row is done. For the rest,
shared 5-grams are counted through the rows of each. AG News, 77,000 × 7,600 rows, takes about a second; its smaller
side 30 bytes a word.
Rejected: a dictionary of 5-grams, which takes 240 bytes a word and as long; MinHash, which is quicker on millions of
rows, but misses some; comparing candidates as sets, which took minutes on 20,000 texts from one template.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.telling import SILENT, Telling

GRAM_WORDS = 5
Gram = tuple[str, ...]
Grams = frozenset[Gram]
_GAP = -1
"""In the place of a word that no held-out row has, and between rows."""
_BATCH_WORDS = 30_000


_UNSPACED = "CJK ", "HIRAGANA ", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN "
"""How Unicode's names begin of characters in scripts that have no space between words."""


def is_unspaced(sign: str) -> bool:
    """Whether a character is of a script that has no space between words."""
    return unicodedata.name(sign, "").startswith(_UNSPACED)


class WordCharacters(dict[int, int | str | None]):
    """For str.translate: letters, marks and digits stay, every other character becomes a space.

    Of marks, those are left out that only say how the character before is drawn: an emoji's, and a keycap's.
    Where a script has no space between words, each character is one.
    """

    def __missing__(self, code: int) -> int | str | None:
        sign = chr(code)
        category, name = unicodedata.category(sign), unicodedata.name(sign, "")
        kept: int | str | None = code if category[0] in "LMN" and category != "Me" else ord(" ")
        if name.startswith("VARIATION SELECTOR-"):
            kept = None
        elif kept == code and is_unspaced(sign):
            kept = f" {sign} "
        self[code] = kept
        return kept


_WORD_CHARACTERS = WordCharacters()


def words_of(text: str) -> list[str]:
    """Words of letters and digits without their case and form; single characters of scripts that don't space words.

    Signs are taken out before forms: a trade mark's sign is no letters, and an accent that stands alone no mark. Where
    forms have changed, all is done again: a bold A is now a capital, ⑴ has brackets, half width letters have no spaces.
    ASCII has one form, and is read byte by byte, which is quicker.
    """
    if text.isascii():
        return text.encode().translate(_ASCII).decode().split()
    letters = _letters_of(unicodedata.normalize("NFC", text))
    formed = unicodedata.normalize("NFKC", letters)
    if formed != letters:
        formed = unicodedata.normalize("NFKC", _letters_of(formed))
    return formed.split()


def _letters_of(text: str) -> str:
    return text.casefold().translate(_WORD_CHARACTERS)


_ASCII = _letters_of(bytes(range(128)).decode()).encode() + bytes(128)
"""What becomes of each byte, for bytes.translate; the upper half is not ASCII."""


def text_key(text: str) -> str:
    """The same for equal texts; a text without letters and digits is equal to itself only."""
    return "".join(words_of(text)) or text.strip()


class Keys(dict[str, str]):
    """`text_key` of texts, made once for each, however often it is compared; `telling` hears how far that is."""

    def __init__(self, telling: Telling = SILENT) -> None:
        super().__init__()
        self.telling = telling

    def __missing__(self, text: str) -> str:
        key = self[text] = text_key(text)
        return key

    def of(self, texts: Sequence[str]) -> list[str]:
        """The key of each."""
        return [self[text] for text in self.telling.rows("comparing texts", texts)]


def _grams(words: Sequence[str]) -> Grams:
    """Word 5-grams; none where a text has fewer than five words."""
    return frozenset(zip(*(words[start:] for start in range(GRAM_WORDS)), strict=False))


class _Vocabulary(dict[str, int]):
    """Words and their numbers; a new word has the next one."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


@dataclass(frozen=True, slots=True)
class _Index:
    """Held-out rows by their 5-grams: G distinct ones of a row each, ordered by hash, then by row.

    No two 5-grams share a hash, so that those of one hash are the rows of one 5-gram.
    """

    vocabulary: dict[str, int]
    words: NDArray[np.int32]  # (all words and a gap after each row,) of one row after the other, _GAP between them
    factors: NDArray[np.uint64]  # (5,) of the hash
    hashes: NDArray[np.uint64]  # (G,) ascending
    places: NDArray[np.int32]  # (G,) where in `words` the 5-gram stands
    rows: NDArray[np.int32]  # (G,) ascending for each hash
    sizes: NDArray[np.int64]  # (rows,) 5-grams of each

    def find(self, words: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where in `words` a 5-gram begins that held-out rows have; and the first of G that is this one."""
        starts = _starts(words)
        hashes = _hashes(words, starts, self.factors)
        order = np.argsort(hashes)  # neighbours are looked up in neighbouring memory, which takes half of the time
        first = np.empty_like(order)
        first[order] = np.searchsorted(self.hashes, hashes[order])
        there = np.flatnonzero(first < len(self.hashes))
        there = there[self.hashes[first[there]] == hashes[there]]
        starts, first = starts[there], first[there]
        same = _are_same(words, starts, self.words, self.places[first])
        return starts[same], first[same]

    def rows_with(self, first: NDArray[np.int64]) -> NDArray[np.int32]:
        """The rows that have the 5-grams whose first of G are these, one for each time."""
        ends = np.searchsorted(self.hashes, self.hashes[first], side="right")
        return np.concatenate([self.rows[start:end] for start, end in zip(first.tolist(), ends.tolist(), strict=True)])


def near_copies(texts: Sequence[str], held_out: Sequence[str], telling: Telling = SILENT) -> dict[int, tuple[int, ...]]:
    """For each row of `texts` that is a near copy of rows of `held_out`: the numbers of those, ascending.

    Rows with the same known 5-grams and size are looked up once, so that texts from one template cost little.
    """
    index = _indexed(held_out, telling)
    seen: dict[tuple[bytes, int], tuple[int, ...]] = {}
    found = {}
    for row, words, first in _known(texts, index, telling):
        size = len(_grams(words))
        if len(first) < _needed(size):
            continue
        key = (first.tobytes(), size)
        if key not in seen:
            seen[key] = _matches(first, size, index)
        if seen[key]:
            found[row] = seen[key]
    return found


def _indexed(texts: Sequence[str], telling: Telling) -> _Index:
    vocabulary = _Vocabulary()
    numbers, ends = array("i"), array("q")
    for text in telling.rows("noting the words of rows that are held out", texts):
        numbers.extend(map(vocabulary.__getitem__, words_of(text)))
        numbers.append(_GAP)
        ends.append(len(numbers))
    words = np.asarray(numbers, dtype=np.int32)
    places = _starts(words).astype(np.int32)
    for attempt in count():
        factors = _factors(attempt)
        hashes = _hashes(words, places, factors)
        order = np.argsort(hashes, kind="stable")
        hashes, ordered = hashes[order], places[order]
        again = hashes[1:] == hashes[:-1]
        if _are_same(words, ordered[1:][again], words, ordered[:-1][again]).all():
            break
    rows = np.searchsorted(np.asarray(ends), ordered, side="right").astype(np.int32)
    once = np.ones(len(rows), dtype=bool)
    once[1:] = ~again | (rows[1:] != rows[:-1])
    sizes = np.bincount(rows[once], minlength=len(texts))
    return _Index(vocabulary, words, factors, hashes[once], ordered[once], rows[once], sizes)


def _factors(attempt: int) -> NDArray[np.uint64]:
    """Of another hash for each attempt; (5,)."""
    return np.random.default_rng(attempt).integers(1, 2**64, size=GRAM_WORDS, dtype=np.uint64)


def _starts(words: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where five words stand without a gap."""
    gaps = np.cumsum(words == _GAP)
    return np.flatnonzero(gaps[GRAM_WORDS - 1 :] == np.concatenate(([0], gaps[:-GRAM_WORDS])))


def _hashes(words: NDArray[np.int32], starts: NDArray[Any], factors: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Of the 5-grams that begin at `starts`: the sum of word times factor, modulo 2**64."""
    hashes = np.zeros(len(starts), dtype=np.uint64)
    for step, factor in enumerate(factors):
        hashes += words[starts + step].astype(np.uint64) * factor
    return hashes


def _are_same(
    words: NDArray[np.int32], starts: NDArray[Any], others: NDArray[np.int32], at: NDArray[Any]
) -> NDArray[np.bool_]:
    """For each two 5-grams whether they are one."""
    same = np.ones(len(starts), dtype=bool)
    for step in range(GRAM_WORDS):
        same &= words[starts + step] == others[at + step]
    return same


def _known(texts: Sequence[str], index: _Index, telling: Telling) -> Iterator[tuple[int, list[str], NDArray[np.int64]]]:
    """Rows that may be near copies: the number, the words, and the first of G of each 5-gram that held-out rows have.

    A row has a new 5-gram for each new word after the fourth, which rules out most before they are looked at closely.
    """
    for batch in _batches(texts):
        telling.far("looking for near copies", batch[0][0], len(texts))
        numbers, ends = array("i"), []
        for _, words in batch:
            numbers.extend(map(index.vocabulary.get, words, repeat(_GAP)))
            numbers.append(_GAP)
            ends.append(len(numbers))
        starts, first = index.find(np.asarray(numbers, dtype=np.int32))
        begin = 0
        for (row, words), end in zip(batch, np.searchsorted(starts, ends).tolist(), strict=True):
            if end > begin and end - begin >= _needed(len(set(words)) - GRAM_WORDS + 1):
                yield row, words, np.unique(first[begin:end])
            begin = end


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """Rows and their words, so many at once that numpy's calls cost little beside."""
    batch: list[tuple[int, list[str]]] = []
    held = 0
    for row, text in enumerate(texts):
        batch.append((row, words_of(text)))
        held += len(batch[-1][1])
        if held > _BATCH_WORDS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _needed(size: int) -> int:
    """The fewest shared 5-grams with which a set of `size` can have a similarity above 0.9."""
    return 9 * size // 10 + 1


def _matches(first: NDArray[np.int64], size: int, index: _Index) -> tuple[int, ...]:
    """Rows for which shared / union > 9 / 10, in whole numbers."""
    shared = np.bincount(index.rows_with(first), minlength=len(index.sizes))  # (rows,)
    alike = 10 * shared > 9 * (size + index.sizes - shared)
    return tuple(np.flatnonzero(alike).tolist())
