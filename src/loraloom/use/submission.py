"""A contest's submission as a file of ids and labels: read, compared with the contest's template, written.

Ids and labels are text, as they stand: '07' is not '7'. Nothing is put before cells that begin with '=' or '-', as is
done in tables for people: a contest compares cells with its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from loraloom.data.columns import LABEL_NAMES
from loraloom.data.csv_records import separated_by_tabs
from loraloom.data.labels import is_whole, ordered
from loraloom.data.tables import read_table
from loraloom.data.wording import labels_listed, listed
from loraloom.errors import DataError
from loraloom.study.csv_rows import CsvRows
from loraloom.study.durable import replacing
from loraloom.wording import plural

ID_NAMES = {"id", "ids", "row_id", "rowid", "test_id", "text_id", "sample_id", "example_id", "index", "idx"}
"""Columns that hold ids, where there is one of them alone."""
DEFAULT_COLUMNS = ("ID", "Label")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """A file of two columns; a cell that is missing or blank is None."""

    path: str
    columns: tuple[str, str]  # in the file's order
    id_column: str
    ids: tuple[str | None, ...]
    labels: tuple[str | None, ...]
    padded: Mapping[int, str] = field(default_factory=dict)
    """As it stands, by its row: a label with blanks around it, by which a contest would take it for another."""
    padded_ids: Mapping[int, str] = field(default_factory=dict)
    """Ids with blanks around them, likewise."""
    separator: str = ","

    @property
    def kinds(self) -> tuple[str, ...]:
        """The distinct labels."""
        return ordered(label for label in self.labels if label is not None)

    @property
    def blanks(self) -> tuple[str, str]:
        """What stands before each label, and after it; nothing where labels differ in that."""
        around = {_blanks(self.padded.get(row, one)) for row, one in enumerate(self.labels, start=1) if one is not None}
        return around.pop() if len(around) == 1 else ("", "")


def read_submission(path: Path) -> Submission:
    """A submission or a template.

    Raises:
        DataError: it can't be read, or has not two columns.
    """
    table = read_table(str(path))
    columns = tuple(table.columns)
    if len(columns) != 2:
        has = f"has {plural(len(columns), 'column')} ({listed(columns)}); an id and a label are two"
        raise DataError(f"{path}: {has}{separated_by_tabs(columns)}")
    named = [name for name in columns if name.strip().lower() in ID_NAMES]
    named = named or [name for name in columns if name.strip().lower() not in LABEL_NAMES]
    id_column = named[0] if len(named) == 1 else columns[0]
    label_column = columns[1] if id_column == columns[0] else columns[0]
    ids, labels = table.cells(id_column), table.cells(label_column)
    return Submission(
        str(path),
        (columns[0], columns[1]),
        id_column,
        tuple(map(cell_text, ids)),
        tuple(map(cell_text, labels)),
        _padded(labels),
        _padded(ids),
        table.separator or ",",
    )


def _padded(cells: Sequence[Any]) -> dict[int, str]:
    """Cells with blanks around them, by their rows."""
    texts = ((row, cell) for row, cell in enumerate(cells, start=1) if isinstance(cell, str))
    return {row: cell for row, cell in texts if cell.strip() not in ("", cell)}


def _blanks(cell: str) -> tuple[str, str]:
    before, _, after = cell.partition(cell.strip())
    return before, after


def read_template(path: Path) -> Submission:
    """A contest's sample submission, whose ids must be sound.

    Raises:
        DataError: it can't be read, or an id is missing or doubled.
    """
    template = read_submission(path)
    refuse(unsound_ids(template.ids, f"{path}: column {template.id_column!r}"))
    return template


def cell_text(cell: Any) -> str | None:
    """An id or a label as text: whole numbers without a point, which Parquet, or a database, may have given them."""
    if cell is None:
        return None
    if isinstance(cell, float | Decimal) and math.isfinite(cell) and cell == int(cell):
        cell = int(cell)
    return str(cell).strip() or None


def refuse(problems: Iterable[str]) -> None:
    """Raises DataError of all problems, a line each, unless there are none."""
    if sentences := list(problems):
        raise DataError("\n".join(sentences))


def problems_of(
    given: Submission, template: Submission, allowed: Sequence[str] | None, *, others: str = ""
) -> Iterator[str]:
    """All that is wrong with a submission, a sentence each.

    `allowed` are the labels that it may have, if known, and `others` says what to do if the contest has more.
    """
    if given.columns != template.columns:
        yield f"{given.path}: has the columns {listed(given.columns)}, the template {listed(template.columns)}"
    if given.separator != template.separator:
        yield f"{given.path}: its cells are separated by {given.separator!r}, the template's by {template.separator!r}"
    yield from unsound_ids(given.ids, f"{given.path}: column {given.id_column!r}")
    if len(given.ids) != len(template.ids):
        yield f"{given.path}: has {len(given.ids):,} rows, the template {len(template.ids):,}"
    yield from ids_apart(given.ids, template.ids, given.path, template.path)
    if blank := [number for number, label in enumerate(given.labels, start=1) if label is None]:
        yield f"{given.path}: has no label in {_rows(blank)}"
    asked = {template.ids[row - 1]: cell for row, cell in template.padded_ids.items()}
    written = ((row, one, given.padded_ids.get(row, one)) for row, one in enumerate(given.ids, start=1))
    ids = [row for row, one, cell in written if cell != asked.get(one, one)]
    labelled, blanks = ((row, one) for row, one in enumerate(given.labels, start=1) if one is not None), template.blanks
    labels = [row for row, one in labelled if _blanks(given.padded.get(row, one)) != blanks]
    for what, rows in (("id", ids), ("label", labels)):
        if rows:
            other = f"has other blanks around the {what} than the template in {_rows(rows)}"
            yield f"{given.path}: {other}: for a contest it is another one"
    kinds = given.kinds
    if allowed is not None and (outside := [kind for kind in kinds if kind not in allowed]):
        rows = [number for number, label in enumerate(given.labels, start=1) if label and label not in allowed]
        yield f"{given.path}: has the {labels_listed(outside)} in {_rows(rows)}; it may have {listed(allowed)}{others}"
    if template.kinds and all(map(is_whole, template.kinds)):
        pointed = [kind for kind in kinds if "." in kind]  # as pandas writes them where a column had gaps
        if not all(map(is_whole, kinds)):
            yield f"{given.path}: has labels that are no whole numbers, which the template's are"
        elif allowed is None and pointed and not any("." in kind for kind in template.kinds):
            yield f"{given.path}: has the {labels_listed(pointed)}, with a point that the template's have not"
    yield from constant_labels([label for label in given.labels if label is not None], given.path)


def ids_apart(ids: Sequence[str | None], expected: Sequence[str | None], place: str, template: str) -> Iterator[str]:
    """What the one has and the other has not."""
    here, there = set(ids), set(expected)
    if unknown := [one for one in dict.fromkeys(ids) if one is not None and one not in there]:
        yield f"{place}: has {plural(len(unknown), 'id')} that {template} has not: {listed(unknown)}"
    if lacking := [one for one in expected if one is not None and one not in here]:
        yield f"{place}: lacks {plural(len(lacking), 'id')} of {template}: {listed(lacking)}"


def unsound_ids(ids: Sequence[str | None], place: str) -> Iterator[str]:
    """Ids that are missing or doubled."""
    if missing := [number for number, one in enumerate(ids, start=1) if one is None]:
        yield f"{place} has no id in {_rows(missing)}"
    if doubled := [one for one, count in Counter(ids).items() if count > 1 and one is not None]:
        yield f"{place} has ids that stand more than once: {listed(doubled)}"


def constant_labels(labels: Sequence[str], place: str) -> Iterator[str]:
    """One label for all rows, two at least."""
    if len(labels) > 1 and len(set(labels)) == 1:
        yield (
            f"{place}: all {len(labels):,} rows have the label {labels[0]!r}: something is wrong with the rows (the "
            "text column, say) or with the adapter"
        )


def write_submission(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], separator: str = ",") -> None:
    """Writes CSV, cells as they are; whole or not at all."""
    with replacing(path) as file:
        written = CsvRows(file, separator)
        for row in chain([columns], rows):
            written.write(row)


def _rows(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _LISTED:,} more" if len(numbers) > _LISTED else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {', '.join(map(str, numbers[:_LISTED]))}{more}"
