"""A table: the named columns of one source, be it a file, a folder, pandas, `datasets` or two lists."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.data.cells import without_nan
from loraloom.data.opening import format_of
from loraloom.data.record import Record, check_columns
from loraloom.data.rows import good_records
from loraloom.data.saved_dataset import is_saved, load_saved
from loraloom.data.telling import SILENT, Telling
from loraloom.data.text_data import Finding, Severity
from loraloom.data.text_folder import files_left_out, files_not_utf8
from loraloom.data.wording import MAX_EXAMPLES, shorten
from loraloom.errors import DataError
from loraloom.wording import plural

if TYPE_CHECKING:
    import pandas as pd
    from datasets.arrow_dataset import Dataset

_MISSING = ("NAType", "NaTType")
"""Types of pandas, which need not be there, of what stands for nothing; NaN is a number's."""
_SECRET = ("", "-1", "-1.0")
"""In the place of labels that are kept secret, as those of a contest's test set."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length; `source` is what errors call it."""

    source: str
    columns: Mapping[str, Sequence[Any]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of ClassLabel columns, by id
    findings: tuple[Finding, ...] = ()
    has_header: bool = False  # names of columns come from the first line of a file
    known: bool = False  # the columns are text and label by the kind of source
    coded: bool = True  # ids of class_names are the source's own numbers, and not made for its names
    separator: str = ""  # of a CSV, where it is no comma

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def cells(self, column: str) -> list[Any]:
        """What stands in a column, None where nothing does."""
        return [without_nan(cell) for cell in self.columns[column][:]]

    @property
    def said(self) -> tuple[str, ...]:
        """What was found when it was read, in sentences without an end."""
        return tuple(finding.sentence.removesuffix(".") for finding in self.findings)

    def lacks_labels(self, column: str) -> bool:
        """Whether no row has a label in this column: all are missing, blank or -1."""
        return all(cell is None or str(cell).strip() in _SECRET for cell in self.cells(column))


@dataclass(frozen=True, slots=True)
class Source:
    """Tables of the splits that are given."""

    name: str
    train: Table
    validation: Table | None = None
    test: Table | None = None
    revision: str | None = None
    findings: tuple[Finding, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)  # its licence and where it is described, where known


def read_table(path: str, telling: Telling = SILENT) -> Table:
    """All rows of a file or folder (`~` is the home folder); a key that some JSONL rows lack is None there.

    Raises:
        DataError: it has no rows, or can't be read.
    """
    path = os.path.expanduser(path)  # noqa: PTH111 - names the file as it was given
    if is_saved(Path(path)):
        return _saved_table(path)
    kind = format_of(Path(path)).kind
    columns: dict[str, list[Any]] = {}
    class_names: dict[str, tuple[str, ...]] = {}
    rows = 0
    for record in good_records(path):
        if not rows and record.batch is not None:
            class_names = _parquet_class_names(record.batch.schema.metadata or {})
        row = record.cells
        if row.keys() != columns.keys():
            columns.update({name: [None] * rows for name in row if name not in columns})
        for name, cells in columns.items():
            cells.append(row.get(name))
        rows += 1
        telling.far(f"reading {path}", rows)
    if not rows:
        raise DataError(f"{path}: has a header but no rows")
    return Table(
        path,
        columns,
        class_names=class_names,
        findings=(*_folder_findings(Path(path)), *_separated(path, record, rows)),
        has_header=kind in ("csv", "tsv"),
        known=kind == "folder",
        separator=record.separator,
    )


def _separated(source: str, record: Record, rows: int) -> Iterator[Finding]:
    if record.separator:
        yield Finding("separated", "note", rows, f"{source}: {record.separated}.")


def _saved_table(path: str) -> Table:
    table = dataset_table(load_saved(Path(path)), path)
    if not len(table):
        raise DataError(f"{path}: has no rows")
    return table


def _parquet_class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Names that `datasets` wrote beside the rows."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            str(column): tuple(unicodedata.normalize("NFC", str(name)) for name in feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _folder_findings(path: Path) -> tuple[Finding, ...]:
    if not path.is_dir():
        return ()

    def found(kind: str, severity: Severity, files: list[str], noun: str, what: str) -> Iterator[Finding]:
        if files:
            is_so = f"{plural(len(files), noun)} of {path.name} {'is' if len(files) == 1 else 'are'} {what}."
            yield Finding(kind, severity, len(files), is_so, tuple(map(shorten, files[:MAX_EXAMPLES])))

    return (
        *found("not_utf8", "note", files_not_utf8(path), "file", "not UTF-8: read as Latin-1"),
        *found("not_read", "warning", files_left_out(path), "other entry", "not read: texts end in .txt"),
    )


def table_of(value: Any, source: str) -> Table:
    """A table as it is, a pandas.DataFrame, a datasets.Dataset, or a pair of sequences: texts and labels.

    Neither library is imported: a value can only be theirs where they are imported already.

    Raises:
        DataError: it is none of these, or two of its columns have one name.
    """
    if isinstance(value, Table):
        return value
    if _is_a(value, "datasets", "Dataset"):
        return dataset_table(value, source)
    if _is_a(value, "pandas", "DataFrame"):
        return _frame_table(value, source)
    if isinstance(value, tuple | list) and len(value) == 2:
        return _pair_table(value[0], value[1], source)
    raise DataError(
        f"{source}: a {type(value).__name__} can't be read; give a pandas.DataFrame, a datasets.Dataset, "
        "or a pair (texts, labels)"
    )


def _is_a(value: Any, module: str, name: str) -> bool:
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def dataset_table(dataset: Dataset, source: str) -> Table:
    """Columns stay on disk until they are read, as plain values whatever format or transform the data set has.

    Sounds and pictures stay as they are stored: to read one takes a library of its own, and it is no text.
    """
    dataset = dataset.with_format(None)
    for column, feature in dataset.features.items():
        if getattr(feature, "decode", False) and type(feature).__name__ != "Json":  # which may be text
            dataset = dataset.cast_column(column, replace(feature, decode=False))
    names = {
        column: tuple(unicodedata.normalize("NFC", name) for name in feature.names)
        for column, feature in dataset.features.items()
        if type(feature).__name__ == "ClassLabel" and feature.names
    }
    return Table(source, {column: dataset[column] for column in dataset.column_names}, names)


def _frame_table(frame: pd.DataFrame, source: str) -> Table:
    """NaN, NaT and NA become None; names of columns become text."""
    columns = [str(column) for column in frame.columns]
    check_columns(columns, source)
    cells = (frame.iloc[:, number] for number in range(len(columns)))
    return Table(
        source,
        {
            column: [None if missing else cell for cell, missing in zip(series, series.isna(), strict=True)]
            for column, series in zip(columns, cells, strict=True)
        },
    )


def _pair_table(texts: Any, labels: Any, source: str) -> Table:
    """NaT and NA, which columns of pandas can have, become None."""
    for what, values in (("texts", texts), ("labels", labels)):
        if isinstance(values, str | Mapping) or not hasattr(values, "__getitem__"):  # a set has no order
            raise DataError(f"{source}: {what} must be a sequence, not a {type(values).__name__}")
        if len(getattr(values, "shape", (1,))) != 1:
            raise DataError(f"{source}: {what} must be one column, as df['text'], not a {type(values).__name__}")
    if len(texts) != len(labels):
        raise DataError(f"{source}: has {len(texts)} texts but {len(labels)} labels")
    pair = {"text": texts, "label": labels}
    cells = {name: [None if type(cell).__name__ in _MISSING else cell for cell in pair[name]] for name in pair}
    return Table(source, cells, known=True)
