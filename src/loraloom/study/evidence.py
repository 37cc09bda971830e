"""What a run keeps of single rows: each complete trial's validation predictions, and the validation rows themselves.

    trials/0007/validation.safetensors   probabilities (N, C), labels (N,), rows (N,): which of the run's rows
    rows/validation.jsonl                a line for each row: row, text, label, tokens, source

A trial's file is named in its manifest, rows/ has a manifest of its own. Read without torch. Some 40 bytes a row and
trial for five classes; probabilities are float32, since float16 makes ties of what a trial told apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loraloom.errors import AdapterError, RunError
from loraloom.recipe.problems import reason_of
from loraloom.study.durable import MANIFEST, is_whole, replacing_folder, verify_manifest
from loraloom.study.record import TrialRecord

VALIDATION = "validation.safetensors"
ROWS = "rows"
ROWS_FILE = "validation.jsonl"
MOST_ROWS = 10_000
"""Rows whose texts are kept, from the first on."""
LONGEST_TEXT = 5_000
"""Characters of a text that are kept."""
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Rows as a trial saw them: `labels` are given, `rows` are numbers within the run's split, ascending."""

    probabilities: NDArray[np.float32]  # (N, C)
    labels: NDArray[np.int64]  # (N,)
    rows: NDArray[np.int64]  # (N,)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class of each row (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether that is the row's label (N,)."""
        return np.asarray(self.predictions == self.labels, dtype=np.bool_)


class KeptRow(BaseModel):
    """A validation row; `tokens` are counted before the text is cut at data.max_length."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    row: int = Field(ge=0)
    text: str
    label: int = Field(ge=0)
    tokens: int | None = Field(default=None, ge=0, lt=2**31)
    source: str | None = None


def in_float32(probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    """Probabilities (N, C) of which each row keeps its most probable class, the first one of a tie.

    Two that lie nearer than float32 tells apart would become a tie, and the row be predicted as it was not scored.
    """
    rounded, best = probabilities.astype(np.float32), probabilities.argmax(axis=1)
    (tied,) = np.nonzero(rounded.argmax(axis=1) != best)
    rounded[tied, best[tied]] = np.nextafter(rounded[tied, best[tied]], np.float32(1))
    return rounded


def write_predicted(folder: Path, predicted: Predicted) -> None:
    """Writes a trial's validation predictions into its folder, which is synced with its manifest."""
    (folder / VALIDATION).write_bytes(as_bytes(predicted))


def as_bytes(predicted: Predicted) -> bytes:
    """Predictions as safetensors."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {
        "probabilities": np.ascontiguousarray(predicted.probabilities, dtype=np.float32),
        "labels": np.ascontiguousarray(predicted.labels, dtype=np.int32),
        "rows": np.ascontiguousarray(predicted.rows, dtype=np.int32),
    }
    return save(tensors)


def read_predicted(folder: Path, classes: int, rows: int | None = None) -> Predicted | None:
    """The validation predictions in a finished trial's folder; None where the run's version kept none.

    Raises:
        RunError: they are not as the run wrote them, or can't be of a trial of `classes` on `rows` rows.
    """
    path = folder / VALIDATION
    if not path.is_file() and not _is_named(folder):
        return None
    try:
        verify_manifest(folder, (VALIDATION,))
    except AdapterError as error:
        raise RunError(f"{error}; its rows are left out") from None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        parts = load_file(path)
        probabilities, labels, numbers = parts["probabilities"], parts["labels"], parts["rows"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: can't be read: {type(error).__name__}; its rows are left out") from None
    if problem := why_impossible(probabilities, labels, numbers, classes, rows):
        raise RunError(f"{path}: can't be trusted: {problem}; its rows are left out")
    return Predicted(probabilities.astype(np.float32, copy=False), labels.astype(np.int64), numbers.astype(np.int64))


def agrees(predicted: Predicted, record: TrialRecord) -> bool:
    """Whether predictions are of the trial that they lie beside: as many rows, of which as many are right."""
    if record.result is None:
        return True
    scored, right = record.result.validation, predicted.right
    return (scored.examples, scored.correct) == (right.size, int(right.sum()))


def _is_named(folder: Path) -> bool:
    """Whether the folder's manifest knows of predictions, so that they are missing where they are not there."""
    try:
        return VALIDATION in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True  # a manifest that can't be read is said by what verifies it


def why_impossible(
    probabilities: NDArray[Any], labels: NDArray[Any], numbers: NDArray[Any], classes: int, rows: int | None
) -> str | None:
    """What makes these arrays impossible, in a few words."""
    shapes = probabilities.shape, labels.shape, numbers.shape
    if len(shapes[0]) != 2 or shapes[0][1] != classes or not shapes[0][0] == (labels.size or -1) == numbers.size:
        return f"its shapes {', '.join(map(str, shapes))} are not (N, {classes}), (N,), (N,)"
    if labels.ndim != 1 or numbers.ndim != 1:
        return "its labels and rows are not lists"
    if probabilities.dtype.kind != "f" or labels.dtype.kind not in "iu" or numbers.dtype.kind not in "iu":
        return "it holds other types than numbers of the right kind"
    are_shares = np.isfinite(probabilities).all() and probabilities.min() >= 0
    if not are_shares or np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() > SUM_TOLERANCE:
        return "it holds what are not probabilities"
    if labels.min() < 0 or labels.max() >= classes:
        return f"a label is not one of {classes} classes"
    if numbers.min() < 0 or (np.diff(numbers.astype(np.int64)) <= 0).any():
        return "its row numbers do not ascend from 0"
    if rows is not None and numbers.max() >= rows:
        return f"row {int(numbers.max())} is not one of {rows:,}"
    return None


def write_rows(run: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes RUN/rows/ anew: whole or not at all."""
    with replacing_folder(run / ROWS) as folder:
        write_lines(folder / ROWS_FILE, rows)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A row in each line, as `rows_in` reads them; for a folder that is synced with its manifest."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def has_rows(run: Path) -> bool:
    """Whether RUN/rows/ is there and is what was written."""
    try:
        verify_manifest(run / ROWS)
    except AdapterError:
        return False
    return True


def read_rows(run: Path, classes: int) -> dict[int, KeptRow]:
    """The validation rows by their numbers; none where the run's version kept none.

    Raises:
        RunError: they are not as the run wrote them.
    """
    folder = run / ROWS
    path = folder / ROWS_FILE
    if not is_whole(folder):
        return {}
    try:
        verify_manifest(folder, (ROWS_FILE,))
    except AdapterError as error:
        raise RunError(f"{error}; texts of validation rows are left out") from None
    return rows_in(path, classes, "texts of validation rows are left out")


def rows_in(path: Path, classes: int, then: str) -> dict[int, KeptRow]:
    """The rows of a file with a row in each line, by their numbers; `then` is what follows where one is damaged.

    Raises:
        RunError: a line is not as it was written.
    """
    kept: dict[int, KeptRow] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = KeptRow.model_validate_json(line)
        except ValidationError as error:
            raise RunError(f"{path}:{number}: is damaged ({reason_of(error)}); {then}") from None
        if row.label >= classes:
            raise RunError(f"{path}:{number}: can't be trusted: label {row.label} is not one of {classes} classes")
        kept[row.row] = row
    return kept
