"""Predicts a file of any size: rows are read, predicted and written window by window, in their order."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from loraloom.data import stream_rows, text_of
from loraloom.data.rows import text_problem
from loraloom.errors import DataError
from loraloom.study.durable import replacing
from loraloom.use.adapter import WINDOW, Classifier, Prediction

ADDED = ("prediction", "confidence", "probabilities")
TEXT_NAMES = ("text", "sentence", "content", "document")


class _Writer(Protocol):
    def write(self, row: dict[str, Any], prediction: Prediction) -> None: ...


def predict_file(
    classifier: Classifier,
    source: str,
    out: Path | None,
    stdout: IO[str],
    *,
    text_column: tuple[str, ...] | None = None,
) -> int:
    """Adds predictions to the rows of `source` ('-' is standard input); returns how many rows there were.

    They go to `out` (CSV, TSV or JSONL by its name; whole or not at all), or to `stdout` as JSONL.

    Raises:
        DataError: the file can't be read, has no text column, or has a column that would be written over.
    """
    if out is None:
        return _copy(classifier, source, _Jsonl(classifier, stdout), text_column)
    kinds: dict[str, type[_Csv | _Jsonl]] = {".csv": _Csv, ".tsv": _Tsv, ".jsonl": _Jsonl}
    if out.suffix.lower() not in kinds:
        raise DataError(f"{out}: predictions are written as .csv, .tsv or .jsonl")
    if source != "-" and out.exists() and out.samefile(source):
        raise DataError(f"{out}: is the file that is read; choose another --out")
    with replacing(out) as file:
        return _copy(classifier, source, kinds[out.suffix.lower()](classifier, file), text_column)


def predict_texts(classifier: Classifier, texts: list[str], stdout: IO[str]) -> None:
    """Prints a line of JSON for each text."""
    for text in texts:
        if problem := text_problem(text):
            raise DataError(f"--text {text!a}: {problem}")
    writer = _Jsonl(classifier, stdout)
    for text, prediction in zip(texts, classifier.stream(texts), strict=True):
        writer.write({"text": text}, prediction)


def _copy(classifier: Classifier, source: str, writer: _Writer, text_column: tuple[str, ...] | None) -> int:
    rows = iter(stream_rows(source))
    count = 0
    columns: tuple[str, ...] | None = None
    while window := list(itertools.islice(rows, WINDOW)):
        if columns is None:
            columns = _text_columns(window[0], text_column or classifier.record.configuration.data.text_column, source)
        for row, prediction in zip(window, classifier.stream(_texts(window, columns, source, count)), strict=True):
            writer.write(row, prediction)
        count += len(window)
    if count == 0:
        raise DataError(f"{source}: has no rows")
    return count


def _texts(rows: Iterable[dict[str, Any]], columns: tuple[str, ...], source: str, before: int) -> Iterator[str]:
    for number, row in enumerate(rows, start=before + 1):
        try:
            yield text_of(row, columns)
        except DataError as error:
            raise DataError(f"{source}: row {number}: {error}") from None


def _text_columns(row: dict[str, Any], wanted: tuple[str, ...] | None, source: str) -> tuple[str, ...]:
    """The text columns: those named, else the one that is beyond doubt."""
    taken = [name for name in ADDED if name in row]
    if taken:
        raise DataError(f"{source}: has a column {taken[0]!r} already, which predictions would be written over")
    if wanted is not None:
        missing = [name for name in wanted if name not in row]
        if missing:
            raise DataError(
                f"{source}: has no column {missing[0]!r}; it has {', '.join(row)}; name the text's by --text_column"
            )
        return wanted
    known = [name for name in row if name.lower() in TEXT_NAMES]
    if len(known) == 1 or len(row) == 1:
        return (known[0] if known else next(iter(row)),)
    raise DataError(f"{source}: which column is the text? name it by --text_column; it has {', '.join(row)}")


class _Jsonl:
    def __init__(self, classifier: Classifier, file: IO[str]) -> None:
        self._labels, self._file = classifier.labels, file

    def write(self, row: dict[str, Any], prediction: Prediction) -> None:
        probabilities = {
            name: round(float(p), 6) for name, p in zip(self._labels, prediction.probabilities, strict=True)
        }
        added = {
            "prediction": prediction.label,
            "confidence": round(prediction.confidence, 6),
            "probabilities": probabilities,
        }
        self._file.write(json.dumps({**row, **added}, ensure_ascii=False, default=str) + "\n")


class _Csv:
    delimiter = ","

    def __init__(self, classifier: Classifier, file: IO[str]) -> None:
        self._writer = csv.writer(file, delimiter=self.delimiter, lineterminator="\n")
        self._columns: tuple[str, ...] | None = None

    def write(self, row: dict[str, Any], prediction: Prediction) -> None:
        if self._columns is None:
            self._columns = tuple(row)
            self._writer.writerow([*self._columns, *ADDED[:2]])
        self._writer.writerow(
            [*(row.get(name, "") for name in self._columns), prediction.label, f"{prediction.confidence:.6f}"]
        )


class _Tsv(_Csv):
    delimiter = "\t"
