"""Files for the tests of data: small, real, and written into pytest's folder."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from loraloom.data import Finding, TextData, load_data
from loraloom.errors import DataError
from loraloom.recipe import Data

CLASSES = ("Business", "Sports", "World")
WORDS = (
    "alpha",
    "bravo",
    "carbon",
    "delta",
    "ember",
    "falcon",
    "garnet",
    "harbor",
    "indigo",
    "jasper",
    "kernel",
)


def sentence(number: int, words: int = 8) -> str:
    """A text of its own for each number, without 5-grams in common with most others."""
    return " ".join(f"{WORDS[(number + step) % len(WORDS)]}{number}" for step in range(words))


def rows(count: int, classes: Sequence[str] = CLASSES, start: int = 0) -> list[tuple[str, str]]:
    """(text, label) with the classes in turn."""
    return [(sentence(number), classes[number % len(classes)]) for number in range(start, start + count)]


def write_csv(
    path: Path,
    content: Iterable[Sequence[str]],
    header: Sequence[str] = ("text", "label"),
    delimiter: str = ",",
) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([header, *content])
    return str(path)


def write_jsonl(path: Path, content: Iterable[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return str(path)


def compress(suffix: str, content: bytes) -> bytes:
    """As files with this suffix are, in one stream."""
    if suffix == ".zst":
        compressed: bytes = pytest.importorskip("zstandard").compress(content)
        return compressed
    if suffix == ".gz":
        return gzip.compress(content)
    return bz2.compress(content) if suffix == ".bz2" else lzma.compress(content)


def load(*, allow_leak: bool = False, seed: int = 1, memory: dict[str, Any] | None = None, **fields: Any) -> TextData:
    """`load_data` by the fields of a recipe's data section."""
    return load_data(Data(**fields), seed=seed, allow_leak=allow_leak, **(memory or {}))


def refusal(**fields: Any) -> str:
    """The one line that `load` refuses with."""
    with pytest.raises(DataError) as caught:
        load(**fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def finding(data: TextData, kind: str, number: int = 0) -> Finding:
    return [found for found in data.findings if found.kind == kind][number]


def kinds(data: TextData) -> set[str]:
    return {found.kind for found in data.findings}
