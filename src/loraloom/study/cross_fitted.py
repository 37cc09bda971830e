"""RUN/cross_fitted/: what classifiers say of training rows that they did not learn from.

    cross_fitted.json         what it belongs to, how it was made
    probabilities.safetensors probabilities (N, C), labels (N,), rows (N,): which of the training rows
    rows.jsonl                the rows whose label is least probable: row, text, label
    manifest.json             SHA-256 of the three, written last

The texts of a few hundred rows, since those are all that a reader will look at: 4,000 articles would be 10 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loraloom.errors import AdapterError, RunError, first_line
from loraloom.study.durable import replacing_folder, verify_manifest, write_json
from loraloom.study.embeddings import ANEW, Key
from loraloom.study.evidence import LONGEST_TEXT, KeptRow, Predicted, as_bytes, rows_in, why_impossible, write_lines

FOLDER = "cross_fitted"
ABOUT, PROBABILITIES, ROWS_FILE = "cross_fitted.json", "probabilities.safetensors", "rows.jsonl"
FORMAT = 1
MOST_TEXTS = 300


@dataclass(frozen=True, slots=True, eq=False)
class CrossFitted:
    """`predicted` is of a sample of the `of` training rows, each by a classifier fitted without its fold.

    `texts` are those of the rows whose label is least probable, by row number; `penalty` is scikit-learn's C.
    """

    key: Key
    predicted: Predicted
    texts: Mapping[int, str]
    of: int
    folds: int
    penalty: float
    seconds: float


class _About(BaseModel):
    """cross_fitted.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int
    key: Key
    of: int = Field(ge=1)
    folds: int = Field(ge=2)
    penalty: float = Field(gt=0)
    seconds: float = Field(ge=0)


def write_cross_fitted(run: Path, fitted: CrossFitted) -> None:
    """Makes RUN/cross_fitted/ anew, whole or not at all."""
    labels = dict(zip(fitted.predicted.rows.tolist(), fitted.predicted.labels.tolist(), strict=True))
    about = {
        "format": FORMAT,
        "key": asdict(fitted.key),
        "of": fitted.of,
        "folds": fitted.folds,
        "penalty": fitted.penalty,
        "seconds": round(fitted.seconds, 3),
    }
    texts = sorted(fitted.texts.items())
    with replacing_folder(run / FOLDER) as folder:
        (folder / PROBABILITIES).write_bytes(as_bytes(fitted.predicted))
        rows = ({"row": row, "text": text[:LONGEST_TEXT], "label": labels[row]} for row, text in texts)
        write_lines(folder / ROWS_FILE, rows)
        write_json(folder / ABOUT, about)


def least_probable(predicted: Predicted) -> list[int]:
    """The places of the rows whose texts are kept, the least probable label first."""
    of_given = predicted.probabilities[np.arange(len(predicted.labels)), predicted.labels]
    return [int(place) for place in np.argsort(of_given, kind="stable")[:MOST_TEXTS]]


def read_cross_fitted(run: Path, classes: int) -> CrossFitted | None:
    """What RUN/cross_fitted/ holds; None where there is none.

    Raises:
        RunError: it is damaged, of another version, or not of `classes` classes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = run / FOLDER
    if not folder.is_dir():
        return None
    try:
        verify_manifest(folder)
        about = _About.model_validate_json((folder / ABOUT).read_bytes())
        parts = load((folder / PROBABILITIES).read_bytes())
        probabilities, labels, numbers = parts["probabilities"], parts["labels"], parts["rows"]
        rows = rows_in(folder / ROWS_FILE, classes, "labels of training rows are not judged")
    except AdapterError as error:
        raise RunError(f"{error}; labels of training rows are not judged") from None
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"{folder}: can't be read: {first_line(error)}; {ANEW}") from None
    if about.format != FORMAT:
        raise RunError(f"{folder / ABOUT}: is of format {about.format}, which this version does not read; {ANEW}")
    problem = why_impossible(probabilities, labels, numbers, classes, about.of) or _disagree(labels, numbers, rows)
    if problem:
        raise RunError(f"{folder}: can't be trusted: {problem}")
    predicted = Predicted(probabilities.astype(np.float32), labels.astype(np.int64), numbers.astype(np.int64))
    texts = {number: row.text for number, row in rows.items()}
    return CrossFitted(about.key, predicted, texts, about.of, about.folds, about.penalty, about.seconds)


def _disagree(labels: np.ndarray, numbers: np.ndarray, rows: Mapping[int, KeptRow]) -> str | None:
    given = dict(zip(numbers.tolist(), labels.tolist(), strict=True))
    wrong = next((number for number, row in rows.items() if given.get(number) != row.label), None)
    return None if wrong is None else f"row {wrong} has another label beside its text"
