"""What is told of a run's data beside its findings: rows of each class, what splits share, how long texts are.

Lengths are of a stratified part of each split, 2,000 rows at most, fewer of long texts, so that a large split costs a
second at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.encoding import default_cache, encode
from loraloom.data.sampling import part_of
from loraloom.data.text_data import Finding, Split, TextData
from loraloom.study.provenance import SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_MEASURED, FEWEST_MEASURED = 2_000, 100
MEASURED_CHARACTERS = 4_000_000
QUANTILES = (0, 5, 25, 50, 75, 95, 100)
"""Percent."""


def class_rows(data: TextData) -> dict[str, dict[str, int]]:
    """By split, rows of each class under its name."""
    counts = {name: np.bincount(getattr(data, name).labels, minlength=len(data.labels)) for name in SPLITS}
    return {name: dict(zip(data.labels, map(int, of), strict=True)) for name, of in counts.items()}


def overlaps(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For each two splits: how many rows of the first are equal to rows of the other, and near copies of them."""
    pairs = [("train", "validation"), ("train", "test"), ("validation", "test")]

    def rows(kind: str, pair: tuple[str, str]) -> int:
        return sum(finding.count for finding in findings if finding.kind == kind and finding.splits == pair)

    return [{"splits": list(pair), "equal": rows("leak", pair), "near": rows("near_copy", pair)} for pair in pairs]


def measured_lengths(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int) -> NDArray[np.int64]:
    """(rows,) tokens of the texts of a stratified part, before they are cut at `max_length`."""
    characters = sum(map(len, split.texts)) / max(1, len(split))
    most = min(MOST_MEASURED, max(FEWEST_MEASURED, int(MEASURED_CHARACTERS / max(1.0, characters))))
    part = part_of(split, most, seed, unbiased=True)
    return encode(tokenizer, part.texts, max_length=max_length, cache=default_cache()).lengths


def token_lengths(data: TextData, tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int) -> dict[str, Any]:
    """Tokens of texts before they are cut at `max_length`: by split, quantiles and the share that is cut."""
    splits = {}
    for name in SPLITS:
        lengths = measured_lengths(getattr(data, name), tokenizer, max_length, seed)
        splits[name] = {
            "measured": len(lengths),
            "quantiles": np.percentile(lengths, QUANTILES, method="nearest").astype(int).tolist(),
            "cut": int((lengths > max_length).sum()),
        }
    return {"max_length": max_length, "at": list(QUANTILES), "splits": splits}
