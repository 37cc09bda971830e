"""Predicted rows as Parquet: their own arrays as they were read, or columns whose types pyarrow infers.

What Parquet can't hold of rows is refused in a sentence, and never left out.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from loraloom.data.parquet_records import replaced_text
from loraloom.data.record import Record
from loraloom.errors import DataError, first_line
from loraloom.use.writing import CONFIDENCE, PREDICTION, Added, Predicted, best_first, without_halves

_LISTS = {
    "is_list": "list_",
    "is_large_list": "large_list",
    "is_list_view": "list_view",
    "is_large_list_view": "large_list_view",
}
"""Of pyarrow's: what tells a type of lists, and what makes it."""

_SHOWN = 40
"""Characters of a value in a sentence."""


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

        records = rows.records
        try:
            if records[0].batch is not None:
                # pyarrow writes dictionaries that are too many together for their type, and then can't read them
                return _pyarrow().Table.from_batches(list(_taken(records))).unify_dictionaries()
            return self._columns(records)
        except (ArrowException, OverflowError) as error:
            raise self._no_columns(records, first_line(error)) from None
        except (RecursionError, OSError):  # an OSError of pyarrow's, which reads no schema that is deeper than 100
            raise self._no_columns(records, "they are nested too deeply") from None

    def _columns(self, records: Sequence[Record]) -> Any:
        """Rows that are no Parquet as a table, of the types of the first ones."""
        cells = [_whole(record.cells) for record in records]
        if self._schema is None:
            self._schema = self._schema_of([_whole(record.cells) for record in best_first(records)], len(records))
            self._added.check(self._schema.names, self._source)
        kinds = {field.name: field.type for field in self._schema}  # pyarrow makes its names and fields anew each time
        extra = next((name for row in cells for name in row if name not in kinds), None)
        if extra is not None:
            raise DataError(f"{self._source}: a row has {extra!r}, which the first rows have not; write .jsonl")
        for record, row in zip(records, cells, strict=True):
            for name, kind in kinds.items():
                if (found := _misfit(row.get(name), kind)) is not None:
                    raise DataError(f"{self._source}: row {record.number} {_told(name, *found)}; write .jsonl")
        return _pyarrow().Table.from_pylist(cells, schema=self._schema)

    def _schema_of(self, cells: Sequence[dict[str, Any]], rows: int) -> Any:
        """That of the rows that could be read, of so many; the first says which columns there are."""
        pa = _pyarrow()
        read = pa.Table.from_pylist(cells).schema
        if not read.names:
            raise DataError(f"{self._source}: none of its first {rows:,} rows can be read")
        if empty := next((field.name for field in read if _is_empty(field.type)), None):
            lost = "has an empty object, of which Parquet can't make a column"
            raise DataError(f"{self._source}: {empty!r} {lost}; write .jsonl")
        schema = pa.schema([pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in read])
        tried = io.BytesIO()
        pa.parquet.write_table(schema.empty_table(), tried)
        pa.parquet.read_schema(tried)  # of what is nested more deeply than it reads, pyarrow writes a file all the same
        return schema

    def _no_columns(self, records: Sequence[Record], why: str) -> DataError:
        which = f"rows {records[0].number}-{records[-1].number}"
        return DataError(f"{self._source}: {which} can't be columns of Parquet ({why}); write .jsonl")

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
    """The records' rows out of the batches that they are in; pyarrow takes rows of no views, so these are copied."""
    pa = _pyarrow()
    schema = records[0].batch.schema
    plain = pa.schema([field.with_type(_without_views(field.type)) for field in schema], schema.metadata)
    start = 0
    while start < len(records):
        batch, end = records[start].batch, start
        while end < len(records) and records[end].batch is batch:
            end += 1
        places = [record.place for record in records[start:end]]
        taken = (batch if plain.equals(schema) else batch.cast(plain)).take(places)
        yield _in_utf8(taken) if any(record.problem for record in records[start:end]) else taken
        start = end


def _in_utf8(batch: Any) -> Any:
    """The batch with bytes of its texts that are not UTF-8 replaced, which no reader could make texts of."""
    pa = _pyarrow()

    def replaced(column: Any) -> Any:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return column
        return pa.array(map(replaced_text, column), column.type)

    return pa.RecordBatch.from_arrays([replaced(column) for column in batch.columns], schema=batch.schema)


def _without_views(kind: Any) -> Any:
    """A type with string and binary in the place of string_view and binary_view, however deep."""
    pa = _pyarrow()
    types = pa.types
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    if types.is_map(kind):
        key, item = (field.with_type(_without_views(field.type)) for field in (kind.key_field, kind.item_field))
        return pa.map_(key, item, kind.keys_sorted)
    for is_kind, make in _LISTS.items():
        if getattr(types, is_kind)(kind):
            return getattr(pa, make)(kind.value_field.with_type(_without_views(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_without_views(kind.value_type)), kind.list_size)
    return kind


def _write_groups(tables: Iterator[Any], file: IO[bytes]) -> None:
    writer: Any = None
    try:
        for table in tables:
            if writer is None:
                writer = _pyarrow().parquet.ParquetWriter(file, _described(table.schema), compression="zstd")
            writer.write_table(table.replace_schema_metadata(writer.schema.metadata), row_group_size=len(table))
    finally:  # one that is left open complains of its closed file when it is collected
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
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        metadata.pop(b"huggingface", None)
    return schema.with_metadata(metadata or None)


def _whole(value: Any) -> Any:
    """A value of JSON without halves of pairs, however deep."""
    if isinstance(value, str):
        return without_halves(value)
    if isinstance(value, dict):
        return {without_halves(str(key)): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _misfit(value: Any, kind: Any) -> tuple[Any, Any] | None:
    """What of a value, however deep, a type of pyarrow's can't hold as it stands, and that type.

    pyarrow would take it all the same: 3.75 as 3, true as 1.0, "ab" as ["a", "b"], [] as {}, an object without the keys
    that the type has not. It refuses whole numbers that a float can't hold.
    """
    types = _pyarrow().types
    if value is None:
        return None
    if isinstance(value, bool):
        fits = types.is_boolean(kind)
    elif isinstance(value, int):
        fits = types.is_integer(kind) or types.is_floating(kind)
    elif isinstance(value, float):
        fits = types.is_floating(kind) or (types.is_integer(kind) and value.is_integer())
    elif isinstance(value, str):
        fits = types.is_string(kind)
    elif isinstance(value, list) and types.is_list(kind):
        return next(filter(None, (_misfit(one, kind.value_type) for one in value)), None)
    elif isinstance(value, dict) and types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        if value.keys() <= known.keys():
            return next(filter(None, (_misfit(own, known[key]) for key, own in value.items())), None)
        fits = False
    else:
        fits = False
    return None if fits else (value, kind)


def _told(column: str, value: Any, kind: Any) -> str:
    """What `_misfit` has found in a column."""
    if isinstance(value, dict) and _pyarrow().types.is_struct(kind):
        return f"has keys in {column!r} that the first rows have not"
    text = json.dumps(value, ensure_ascii=False)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"has {shown} in {column!r}, where the first rows have {kind}"


def _is_empty(kind: Any) -> bool:
    """Whether a type of pyarrow's is, or holds, an object without keys, which Parquet can't store."""
    types = _pyarrow().types
    if types.is_struct(kind):
        return kind.num_fields == 0 or any(_is_empty(field.type) for field in kind)
    return bool(types.is_list(kind)) and _is_empty(kind.value_type)


def _pyarrow() -> Any:
    """Without its types, which say little."""
    import pyarrow.parquet

    return pyarrow
