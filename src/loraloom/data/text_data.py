"""What the rest of loraloom sees of the data: splits and findings, under one fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["note", "warning"]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split, in the order of their source."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]  # (rows,), ids 0..C-1
    sources: tuple[str, ...] | None = None  # where each row comes from, if a column `source` says so
    numbers: NDArray[np.int64] | None = None  # (rows,), from 1: which row of its source each is

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> Split:
        """The rows with these numbers, in the order given."""
        wanted = np.fromiter(rows, dtype=np.int64)
        sources = None if self.sources is None else tuple(self.sources[row] for row in wanted)
        numbers = None if self.numbers is None else self.numbers[wanted]
        return Split(tuple(self.texts[row] for row in wanted), self.labels[wanted], sources, numbers)

    def number(self, row: int) -> int:
        """Which row of its source this is, from 1."""
        return row + 1 if self.numbers is None else int(self.numbers[row])


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, or a guess that was made, and what was done about it.

    `kind` is a stable slug: guessed_column, rewritten_labels, label_codes, class_shares, alike_classes, joined_classes,
    missing_class, empty_text, duplicate, conflict, leak, near_copy, split_made, split_guessed, split_unused, not_utf8,
    not_read, separated, truncated, unknown_tokens, warm_up.
    `splits` are those that it is about, where `count` is of rows of the first.
    """

    kind: str
    severity: Severity
    count: int
    sentence: str
    examples: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TextData:
    """Checked text classification data: three disjoint splits under one mapping of labels."""

    name: str
    labels: tuple[str, ...]  # names by id
    label_codes: tuple[str, ...]  # what stood in the source, by id: "1", "2", … or the names themselves
    train: Split
    validation: Split
    test: Split
    findings: tuple[Finding, ...]
    fingerprint: str  # SHA-256 over labels, texts and splits as used
    revision: str | None  # commit on the hub
    leak_kept: bool  # training rows that are in validation or test were kept on request
    text_column: tuple[str, ...] = ("text",)  # the columns that were read, guessed ones too
    label_column: str = "label"
    card: Mapping[str, str] = field(default_factory=dict)  # licence and where it is described, where known


def fingerprint(labels: Sequence[str], splits: Sequence[Split]) -> str:
    """SHA-256 over label names and every split's rows, each part framed by its length."""
    digest = hashlib.sha256()
    for texts in (labels, *(split.texts for split in splits)):
        update_with_texts(digest, texts)
    for split in splits:
        digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def update_with_texts(digest: hashlib._Hash, texts: Sequence[str]) -> None:
    """Adds texts so that no other list of texts adds the same bytes."""
    digest.update(len(texts).to_bytes(8, "little"))
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
