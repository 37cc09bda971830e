"""Predicted rows as CSV, TSV, JSONL or Parquet: their own columns first, as they were read, then what is predicted.

A window becomes bytes, or a table for Parquet; windows are saved as parts, and parts joined to the output. What the
output holds is a function of the windows alone, not of which part a window was saved in, also where it is compressed.
A line of JSONL keeps its own characters, and Parquet its own arrays. CSV is written as CSV says: quoted where needed.
"""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import io
import json
import lzma
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.data.opening import COMPRESSIONS, kind_and_compression
from loraloom.data.record import Record
from loraloom.errors import DataError, MissingExtraError
from loraloom.study.csv_rows import CsvRows

PREDICTION, CONFIDENCE, PROBABILITIES = ADDED = ("prediction", "confidence", "probabilities")
KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
_BLOCK_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Rows to be written. A row without a prediction (it is bad, or the model abstains) has None there."""

    records: Sequence[Record]
    labels: Sequence[str | None]
    confidences: Sequence[float | None]
    probabilities: NDArray[np.float64]  # (N, C), NaN in rows without any
    by_member: Sequence[Sequence[str | None]]  # (K, N) where there are several adapters, else nothing


@dataclass(frozen=True, slots=True)
class Added:
    """What is added: the labels that probabilities are of, and names of the adapters, where there are several."""

    labels: tuple[str, ...]
    members: tuple[str, ...]

    @property
    def member_columns(self) -> tuple[str, ...]:
        return tuple(f"{PREDICTION}_{name}" for name in self.members)

    def check(self, columns: Collection[str], source: str) -> None:
        """Refuses a column of a name that is to be added.

        Raises:
            DataError: there is one.
        """
        taken = [name for name in (*ADDED, *self.member_columns) if name in columns]
        if taken:
            raise DataError(f"{source}: has a column {taken[0]!r} already, which predictions would be written over")


class Output(Protocol):
    """A kind of file: how windows become parts, and parts the file."""

    suffix: str

    def render(self, rows: Predicted) -> Any:
        """What `save` takes of a window.

        Raises:
            DataError: a row can't be written as this kind.
        """
        ...

    def go_on(self, part: Path) -> None:
        """Takes from the first part of a run that was broken off what later ones have to agree with."""

    def save(self, rendered: Sequence[Any], file: IO[bytes]) -> None: ...

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None: ...


def output_of(out: Path, added: Added, source: str) -> Output:
    """By the output's name.

    Raises:
        DataError: its name is not one of a kind that is written.
    """
    kind, compression = kind_and_compression(out)
    if kind not in KINDS or (kind == ".parquet" and compression):
        raise DataError(
            f"{out}: predictions are written as {', '.join(KINDS)}; the first three also with {', '.join(COMPRESSIONS)}"
        )
    if compression == ".zst":
        _zstd()
    if kind == ".parquet":
        from loraloom.use.parquet_output import ParquetOutput

        return ParquetOutput(added, source)
    if kind == ".jsonl":
        return JsonlOutput(added, source, compression)
    return CsvOutput(added, source, "\t" if kind == ".tsv" else ",", compression)


class _TextOutput:
    """Parts are bytes, one after the other; they are compressed when they are joined, in blocks of one size."""

    def __init__(self, added: Added, source: str, suffix: str, compression: str) -> None:
        self._added, self._source, self.suffix, self._compression = added, source, suffix, compression

    def go_on(self, part: Path) -> None:
        """Lines of JSON agree with nothing but themselves."""

    def save(self, rendered: Sequence[bytes], file: IO[bytes]) -> None:
        file.writelines(rendered)

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None:
        with _compressed(file, self._compression) as whole:
            held = bytearray()
            for part in parts:
                with part.open("rb") as opened:
                    while block := opened.read(_BLOCK_BYTES):
                        held += block
                        while len(held) >= _BLOCK_BYTES:
                            whole.write(bytes(held[:_BLOCK_BYTES]))
                            del held[:_BLOCK_BYTES]
            whole.write(bytes(held))


class JsonlOutput(_TextOutput):
    """A line of JSON for each row; `probabilities` are by label."""

    def __init__(self, added: Added, source: str, compression: str = "") -> None:
        super().__init__(added, source, ".jsonl", compression)
        self._keys = [f"{json.dumps(label, ensure_ascii=False)}: " for label in added.labels]
        self._member_keys = [f", {json.dumps(name, ensure_ascii=False)}: " for name in added.member_columns]

    def render(self, rows: Predicted) -> bytes:
        lines = []
        for number, record in enumerate(rows.records):
            self._added.check(record.cells, f"{self._source}: row {record.number}")
            lines.append(
                _begun(record)
                + self._prediction(rows.labels[number], rows.confidences[number], rows.probabilities[number])
                + "".join(
                    key + json.dumps(labels[number], ensure_ascii=False)
                    for key, labels in zip(self._member_keys, rows.by_member, strict=True)
                )
                + "}\n"
            )
        return _encoded("".join(lines))

    def _prediction(self, label: str | None, confidence: float | None, probabilities: NDArray[np.float64]) -> str:
        shares = "null"
        if confidence is not None:
            pairs = zip(self._keys, probabilities.tolist(), strict=True)
            shares = "{" + ", ".join(f"{key}{round(share, 6)!r}" for key, share in pairs) + "}"
        return (
            f'"{PREDICTION}": {json.dumps(label, ensure_ascii=False)}, '
            f'"{CONFIDENCE}": {"null" if confidence is None else repr(round(confidence, 6))}, '
            f'"{PROBABILITIES}": {shares}'
        )


def _begun(record: Record) -> str:
    """The row's own object, up to what is added: as it stood, if it was a line of JSON."""
    if not record.cells:
        return "{"
    line = record.line or _json(record.cells)
    return line[:-1].rstrip() + ", "


def _json(value: Any) -> str:
    """JSON of cells; dates in ISO 8601, bytes in base64, and null for NaN and infinity, which JSON has not."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def best_first(records: Sequence[Record]) -> list[Record]:
    """Those with any cells, good ones first: a bad row, which may lack a column, is not to say which there are."""
    return sorted((record for record in records if record.cells), key=lambda record: bool(record.problem))


class CsvOutput(_TextOutput):
    """The first row's columns. Text stands as it is, nothing is an empty cell, and all else is written as JSON.

    A TSV's header is quoted, so that the rows can't be taken for those of a TSV without quoting (`data/tsv.py`).
    """

    def __init__(self, added: Added, source: str, delimiter: str, compression: str) -> None:
        super().__init__(added, source, ".tsv" if delimiter == "\t" else ".csv", compression)
        self._delimiter = delimiter
        self._columns: tuple[str, ...] | None = None
        self._headed = False

    def go_on(self, part: Path) -> None:
        with part.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file, delimiter=self._delimiter))
        self._columns, self._headed = tuple(header[: -2 - len(self._added.members)]), True

    def render(self, rows: Predicted) -> bytes:
        text = io.StringIO()
        written = CsvRows(text, self._delimiter)
        columns = self._columns = self._columns or self._columns_of(rows.records)
        if not self._headed:
            self._headed = True
            names = [*columns, PREDICTION, CONFIDENCE, *self._added.member_columns]
            written.write(names, quoted=self.suffix == ".tsv")
        own = list(zip(*rows.by_member, strict=True)) if rows.by_member else [()] * len(rows.records)
        known = set(columns)
        for number, record in enumerate(rows.records):
            if not record.cells.keys() <= known:
                name = next(name for name in record.cells if name not in known)
                raise DataError(
                    f"{self._source}: row {record.number} has {name!r}, which the first row has not and a CSV has no "
                    "column for; write .jsonl"
                )
            try:
                cells = [_cell(record.cells.get(name)) for name in columns]
            except RecursionError:
                raise DataError(
                    f"{self._source}: row {record.number} is nested too deeply for a CSV; write .jsonl"
                ) from None
            confidence = rows.confidences[number]
            cells += [
                rows.labels[number] or "",
                "" if confidence is None else f"{confidence:.6f}",
                *(label or "" for label in own[number]),
            ]
            written.write(cells)
        return _encoded(text.getvalue())

    def _columns_of(self, records: Sequence[Record]) -> tuple[str, ...]:
        """Those of the first row, of a good one if there is any."""
        columns = next((tuple(record.cells) for record in best_first(records)), None)
        if columns is None:
            raise DataError(f"{self._source}: none of its first {len(records):,} rows can be read")
        self._added.check(columns, self._source)  # `predict` has looked at the first row, which may be a bad one
        return columns


def _encoded(text: str) -> bytes:
    """UTF-8, with U+FFFD for halves of surrogate pairs."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return without_halves(text).encode("utf-8")


def without_halves(text: str) -> str:
    """A text with U+FFFD for each half of a surrogate pair, which JSON can hold and UTF-8 can't."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return str(value)  # NaN and infinity too, which JSON has not
    if isinstance(value, dict | list | tuple | bool | int):
        return _json(value)
    return _plain(value)


@contextmanager
def _compressed(file: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    """Writes into `file`, which is left open; the same bytes always, so without a time or a name."""
    if not compression:
        yield file
    elif compression == ".gz":
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            yield cast(IO[bytes], packed)
    elif compression == ".zst":
        with _zstd().ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed:
            yield packed
    else:
        opens: Any = bz2.open if compression == ".bz2" else lzma.open
        with opens(file, "wb") as packed:
            yield packed


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("writing .zst files", "zstd") from None
    return zstandard
