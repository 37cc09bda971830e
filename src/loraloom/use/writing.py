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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.data.opening import COMPRESSIONS, kind_and_compression
from loraloom.data.rows import Record
from loraloom.errors import DataError, MissingExtraError, first_line
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
    members: tuple[str, ...] = ()

    @property
    def member_columns(self) -> tuple[str, ...]:
        return tuple(f"{PREDICTION}_{name}" for name in self.members)

    def check(self, cells: dict[str, Any], source: str) -> None:
        """Refuses a row with a column of a name that is to be added.

        Raises:
            DataError: it has one.
        """
        taken = [name for name in (*ADDED, *self.member_columns) if name in cells]
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


class CsvOutput(_TextOutput):
    """The first row's columns. Text stands as it is, nothing is an empty cell, and all else is written as JSON."""

    def __init__(self, added: Added, source: str, delimiter: str, compression: str = "") -> None:
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
        columns = self._columns
        if columns is None:
            columns = self._columns = next((tuple(record.cells) for record in rows.records if record.cells), None)
        if columns is None:
            raise DataError(f"{self._source}: none of its first {len(rows.records):,} rows can be read")
        if not self._headed:
            self._headed = True
            written.write([*columns, PREDICTION, CONFIDENCE, *self._added.member_columns])
        own = list(zip(*rows.by_member, strict=True)) if rows.by_member else [()] * len(rows.records)
        known = set(columns)
        for number, record in enumerate(rows.records):
            if not record.cells.keys() <= known:
                name = next(name for name in record.cells if name not in known)
                raise DataError(
                    f"{self._source}: row {record.number} has {name!r}, which the first row has not and a CSV has no "
                    "column for; write .jsonl"
                )
            confidence = rows.confidences[number]
            cells = [
                *(_cell(record.cells.get(name)) for name in columns),
                rows.labels[number] or "",
                "" if confidence is None else f"{confidence:.6f}",
                *(label or "" for label in own[number]),
            ]
            written.write(cells)
        return _encoded(text.getvalue())


def _encoded(text: str) -> bytes:
    """UTF-8, with U+FFFD for halves of surrogate pairs."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _without_halves(text).encode("utf-8")


def _without_halves(text: str) -> str:
    """A text with U+FFFD for each half of a surrogate pair, which JSON can hold and UTF-8 can't."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole(value: Any) -> Any:
    """A value of JSON without halves of pairs, however deep."""
    if isinstance(value, str):
        return _without_halves(value)
    if isinstance(value, dict):
        return {_without_halves(str(key)): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _has_no_place(value: Any, kind: Any) -> bool:
    """Whether a value has keys, however deep, that a type of pyarrow's has not: pyarrow leaves them out."""
    types = _pyarrow().types
    if isinstance(value, dict) and types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        return any(key not in known or _has_no_place(own, known[key]) for key, own in value.items())
    return isinstance(value, list) and types.is_list(kind) and any(_has_no_place(one, kind.value_type) for one in value)


def _is_empty(kind: Any) -> bool:
    """Whether a type of pyarrow's is, or holds, an object without keys, which Parquet can't store."""
    types = _pyarrow().types
    if types.is_struct(kind):
        return kind.num_fields == 0 or any(_is_empty(field.type) for field in kind)
    return bool(types.is_list(kind)) and _is_empty(kind.value_type)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple | bool | int | float):
        return _json(value)
    return _plain(value)


class ParquetOutput:
    """Windows are row groups. Columns of a Parquet file keep their types; pyarrow infers those of other rows."""

    suffix = ".parquet"

    def __init__(self, added: Added, source: str) -> None:
        self._added, self._source = added, source
        self._schema: Any = None

    def render(self, rows: Predicted) -> Any:
        pa = _pyarrow()

        own = self._arrays(rows)
        labels: list[list[str | None]] = [list(rows.labels), *(list(names) for names in rows.by_member)]
        added = [pa.array(names, pa.string()) for names in labels]
        added.insert(1, pa.array(rows.confidences, pa.float64()))
        table = own
        for name, values in zip((PREDICTION, CONFIDENCE, *self._added.member_columns), added, strict=True):
            table = table.append_column(name, values)
        return table

    def go_on(self, part: Path) -> None:
        pa = _pyarrow()
        self._schema = pa.schema(list(pa.parquet.read_schema(part))[: -2 - len(self._added.members)])

    def _arrays(self, rows: Predicted) -> Any:
        """The rows' own columns as a table."""
        from pyarrow.lib import ArrowException

        pa = _pyarrow()

        if rows.records[0].batch is not None:
            return pa.Table.from_batches(list(_taken(rows.records)))
        cells = [_whole(record.cells) for record in rows.records]
        try:
            if self._schema is None:  # of the rows that could be read: columns are those of the first
                read = pa.Table.from_pylist([row for row in cells if row])
                if empty := next((field.name for field in read.schema if _is_empty(field.type)), None):
                    lost = "has an empty object, of which Parquet can't make a column"
                    raise DataError(f"{self._source}: {empty!r} {lost}; write .jsonl")
                fields = [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in read.schema]
                self._schema = pa.schema(fields)
            table = pa.Table.from_pylist(cells, schema=self._schema)
        except (ArrowException, OverflowError) as error:
            first = rows.records[0].number
            raise DataError(
                f"{self._source}: rows {first}-{rows.records[-1].number} can't be columns of Parquet "
                f"({first_line(error)}); write .jsonl"
            ) from None
        extra = next((name for row in cells for name in row if name not in self._schema.names), None)
        if extra is not None:
            raise DataError(f"{self._source}: a row has {extra!r}, which the first rows have not; write .jsonl")
        for field in (field for field in self._schema if pa.types.is_nested(field.type)):
            for record, row in zip(rows.records, cells, strict=True):
                if _has_no_place(row.get(field.name), field.type):
                    where = f"{self._source}: row {record.number}"
                    raise DataError(f"{where} has keys in {field.name!r} that the first rows have not; write .jsonl")
        return table

    def save(self, rendered: Sequence[Any], file: IO[bytes]) -> None:
        _write_groups(iter(rendered), file)

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None:
        open_parquet = _pyarrow().parquet.ParquetFile

        def groups() -> Iterator[Any]:
            for part in (part for part in parts if part.stat().st_size):
                with open_parquet(part) as opened:
                    for group in range(opened.num_row_groups):
                        yield opened.read_row_group(group)

        _write_groups(groups(), file)


def _taken(records: Sequence[Record]) -> Iterator[Any]:
    """The records' rows out of the batches that they are in."""
    start = 0
    while start < len(records):
        batch, end = records[start].batch, start
        while end < len(records) and records[end].batch is batch:
            end += 1
        yield batch.take([record.place for record in records[start:end]])
        start = end


def _write_groups(tables: Iterator[Any], file: IO[bytes]) -> None:
    writer: Any = None
    for table in tables:
        if writer is None:
            writer = _pyarrow().parquet.ParquetWriter(file, _described(table.schema), compression="zstd")
        writer.write_table(table.replace_schema_metadata(writer.schema.metadata), row_group_size=len(table))
    if writer is not None:
        writer.close()


def _described(schema: Any) -> Any:
    """The schema; what `datasets` keeps there of its features is told of columns that it does not know."""
    metadata = dict(schema.metadata or {})
    try:
        told = json.loads(metadata[b"huggingface"])
        features = told["info"]["features"]
        kinds = {name: str(schema.field(name).type) for name in schema.names if name not in features}
        features.update(
            {name: {"dtype": kind.replace("double", "float64"), "_type": "Value"} for name, kind in kinds.items()}
        )
        metadata[b"huggingface"] = json.dumps(told).encode()
    except (KeyError, ValueError, TypeError, AttributeError):
        metadata.pop(b"huggingface", None)
    return schema.with_metadata(metadata or None)


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


def _pyarrow() -> Any:
    """Without its types, which say little."""
    import pyarrow.parquet

    return pyarrow


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("writing .zst files", "zstd") from None
    return zstandard
