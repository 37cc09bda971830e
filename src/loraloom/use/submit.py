"""`loraloom submit`: a contest's submission from its unlabelled test rows, or a look at one that was made elsewhere.

Whatever would make a contest score something else than what was meant is refused before a file is written: ids, their
count, labels outside of the template, an answer that is the same for all rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loraloom.data.columns import choose_text, named_columns, texts_of
from loraloom.data.tables import Table, read_table
from loraloom.data.telling import Telling
from loraloom.data.wording import kind_of_cell, listed, shown
from loraloom.errors import DataError
from loraloom.machine import with_home
from loraloom.report.dataset.shares import drift
from loraloom.report.wording import LEVEL
from loraloom.study.durable import refuse_place
from loraloom.study.outputs import refuse_over
from loraloom.study.record import BLENDED, TrialRecord
from loraloom.use.adapter import adapter_folder, read_adapter_record
from loraloom.use.backbones import load_as_read
from loraloom.use.class_shares import ClassShares, asked_shares
from loraloom.use.evaluate import predict_texts
from loraloom.use.origin import earlier_winner, training_rows
from loraloom.use.submission import (
    DEFAULT_COLUMNS,
    ID_NAMES,
    Submission,
    cell_text,
    constant_labels,
    ids_apart,
    problems_of,
    read_submission,
    read_template,
    refuse,
    unsound_ids,
    write_submission,
)
from loraloom.use.written_labels import WITH_COMMAS, labels_in, written_labels
from loraloom.wording import plural

_INDEX = re.compile(r"(__index_level_\d+__|Unnamed: 0)?")
"""What pandas calls an index without a name: in Parquet, in a CSV that was read and written again, and in CSV."""
_OF_IDS = re.compile(r"(?i:.*[\W_]ids?|(.*[\W_])?(uu?|gu)ids?)|.*[a-z0-9]I[Dd]s?")
"""Names like 'Ticket ID', tweet_id, uuid and PassengerId."""
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)

_CAUSES = "It holds answers, so that the model's errors may be the cause, as well as texts of other classes."
_TELL = "If you know how common the classes are in these rows, give their shares by --class_shares."


@dataclass(frozen=True, slots=True)
class ClassShare:
    """Rows of one label in the submission, beside its share of the training rows where that is known."""

    label: str
    name: str | None
    rows: int
    share: float
    training_share: float | None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submission that was written, or checked: `notes` say what was taken for what."""

    path: str
    rows: int
    classes: tuple[ClassShare, ...]
    verdict: str
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a test file: their texts, of which columns, and ids; `note` says what these are."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]
    ids: list[str]
    note: str
    places: Sequence[int]
    """Which rows are written, in this order."""


def submit(
    adapter: Path | str,
    test_file: Path | str,
    out: Path | str,
    *,
    template: Path | str | None = None,
    id_column: str | None = None,
    text_column: str | Sequence[str] | None = None,
    labels: str | None = None,
    class_shares: ClassShares | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Submitted:
    """Predicts the rows of `test_file` and writes `out`: columns ID and Label, or those of `template`, in its order.

    `class_shares`: where the rows have classes in other shares than training had (`asked_shares`). `note` hears in some
    seconds how far it is.

    Raises:
        OptionError: `class_shares` are none.
        AdapterError: the adapter can't be had, or can't be loaded.
        DataError: the rows can't be read, or the submission would not be sound; nothing is written then.
    """
    target = with_home(out)
    _refuse_out(target, Path(test_file), *([Path(template)] if template else []))
    folder = adapter_folder(adapter)
    record = read_adapter_record(folder)
    asked = read_template(with_home(template)) if template else None
    written = written_labels(record.labels, record.label_codes, labels, asked)
    if class_shares is not None:
        asked_shares(class_shares, record.labels)  # refused before rows are read
    table = read_table(str(test_file), Telling(note))
    rows = _rows(table, id_column, named_columns(text_column) or record.configuration.data.text_column, asked)
    classifier = load_as_read(folder, record, class_shares)
    _, probabilities = predict_texts(classifier, rows.texts, "predicting", note)
    of_row = [written.labels[int(number)] for number in probabilities.argmax(axis=1)]
    refuse(constant_labels(of_row, str(test_file)))
    replaced = target.exists()
    separator = asked.separator if asked else ","
    write_submission(target, asked.columns if asked else DEFAULT_COLUMNS, _answers(rows, of_row, asked), separator)
    notes = [*table.said, rows.note, f"texts from {listed(rows.columns)}"]
    notes.append(f"labels are {written.why}: {listed(written.labels)}")
    if separator != ",":
        notes.append(f"cells of {out} are separated by {separator!r}, as the template's are")
    notes += _of_adapter(folder, record)
    if classifier.shift is not None:
        notes.append(f"class shares: {classifier.shift}")
    if empty := sum(not text.strip() for text in rows.texts):
        have = "has" if empty == 1 else "have"
        notes.append(f"{plural(empty, 'row')} {have} no text, and got a label all the same")
    if replaced:
        notes.append(f"{out} is in place of a file that was there")
    advice = f" {_TELL}" if class_shares is None else ""
    return _told(str(out), of_row, written.labels, record, folder, notes, advice)


def _rows(table: Table, id_column: str | None, text_column: tuple[str, ...] | None, asked: Submission | None) -> _Rows:
    """The rows of a test file, in the order of the template that is `asked` for.

    Raises:
        DataError: what holds the ids or the texts can't be told, or the ids are not the template's.
    """
    ids, note, taken = _ids(table, id_column, asked)
    columns = choose_text(table, text_column, taken)
    if taken is None:
        _refuse_numbered(table, columns, ids, asked)
    return _Rows(texts_of(table, columns), columns, ids, note, _places(ids, asked, table.source))


def _answers(rows: _Rows, of_row: Sequence[str], asked: Submission | None) -> Iterator[tuple[str, str]]:
    """Each line that is written, its cells in the template's order, with the blanks that it has around them itself."""
    id_first = asked is None or asked.columns[0] == asked.id_column
    padded, (before, after) = (asked.padded_ids, asked.blanks) if asked else ({}, ("", ""))
    for row, place in enumerate(rows.places, start=1):
        one, label = padded.get(row, rows.ids[place]), f"{before}{of_row[place]}{after}"
        yield (one, label) if id_first else (label, one)


def _of_adapter(folder: Path, record: TrialRecord) -> Iterator[str]:
    """What is to be known of the adapter that answers."""
    if said := earlier_winner(folder, record):
        yield said
    if record.is_blend:
        yield BLENDED


def check(
    file: Path | str, template: Path | str, *, adapter: Path | str | None = None, labels: str | None = None
) -> Submitted:
    """Compares a submission with the contest's template; with `adapter`, also its labels with the adapter's.

    Raises:
        DataError: all that is wrong with it, a line each.
    """
    asked, given = read_template(with_home(template)), read_submission(with_home(file))
    folder = adapter_folder(adapter) if adapter is not None else None
    record = read_adapter_record(folder) if folder is not None else None
    notes: list[str] = []
    allowed: tuple[str, ...] | None = None
    others = ""
    if record is not None:
        written = written_labels(record.labels, record.label_codes, labels, asked)
        allowed = written.labels
        notes.append(f"labels are {written.why}: {listed(allowed)}")
    elif labels is not None:
        allowed = labels_in(labels)
        if len(allowed) < 2:
            raise DataError(f"--labels {labels}: without ADAPTER it must be the labels, each once, {WITH_COMMAS}")
    elif len(asked.kinds) > 1:
        allowed = asked.kinds
        others = f" as {template} has it; where that shows not all labels, give ADAPTER, or all of them by --labels"
    else:
        alone = f"one label alone ({listed(asked.kinds)})" if asked.kinds else "no labels"
        notes.append(f"which labels there may be is not known: {template} has {alone}")
    refuse(problems_of(given, asked, allowed, others=others))
    if given.ids != asked.ids:
        notes.append("its ids are in another order than the template's")
    of_row = [label for label in given.labels if label is not None]
    return _told(str(file), of_row, allowed or given.kinds, record, folder, notes)


def _refuse_out(out: Path, *read: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise DataError(f"{out}: a submission is written as .csv")
    refuse_place(out)
    refuse_over(out, *read)


def _ids(table: Table, wanted: str | None, template: Submission | None) -> tuple[list[str], str, str | None]:
    """The id of each row, what they are, and the column that they came from."""
    if wanted is not None and wanted not in table.columns:
        raise DataError(f"{table.source}: has no column {wanted!r} (--id_column); it has {listed(list(table.columns))}")
    names = [name for name in table.columns if name.strip().lower() in ID_NAMES]
    if template is not None and template.id_column in table.columns:
        names = [template.id_column]
    if wanted is None and len(names) > 1:
        raise DataError(f"{table.source}: {listed(names)} could each hold the ids; name one by --id_column")
    column = wanted if wanted is not None else names[0] if names else None
    if column is None:
        first = _first_row(len(table), template, table.source)
        note = f"ids are row numbers from {first}, since no column holds ids"
        return [str(number) for number in range(first, first + len(table))], note, None
    odd = next((cell for cell in table.cells(column) if isinstance(cell, bytes | dict | list)), None)
    if odd is not None:
        holds = f"holds {kind_of_cell(type(odd))} ({shown(odd):.40}), which no contest takes for an id"
        raise DataError(f"{table.source}: column {column!r} {holds}; write the ids as text or numbers")
    cells = [cell_text(cell) for cell in table.cells(column)]
    refuse(unsound_ids(cells, f"{table.source}: column {column!r}"))
    return [str(cell) for cell in cells], f"ids from {column!r}", column


def _first_row(rows: int, template: Submission | None, source: str) -> int:
    """What the first row's number is: the template's, if it has row numbers, else 0."""
    if template is None or len(template.ids) != rows:  # the count is refused by who compares the ids
        return 0
    for first in (0, 1):
        if set(template.ids) == {str(number) for number in range(first, first + rows)}:
            return first
    raise DataError(
        f"{source}: no column is known to hold ids, and those of {template.path} ({listed(_known(template.ids))}) are "
        "no row numbers; name the column by --id_column"
    )


def _counted_from(cells: Sequence[str | None]) -> int | None:
    """The least of whole numbers, each of which follows on another, in any order; None where they are no such ones."""
    if len(cells) < 2 or not all(cell is not None and _WHOLE.fullmatch(cell) for cell in cells):
        return None
    found = {int(str(cell)) for cell in cells}
    return min(found) if len(found) == len(cells) == max(found) - min(found) + 1 else None


def _refuse_numbered(table: Table, text: Sequence[str], numbers: Sequence[str], template: Submission | None) -> None:
    """Raises DataError where rows are numbered for want of ids, and one of their columns may hold others.

    That is a column that numbers them in another order and, without a template that asks for row numbers, an index, one
    that numbers them from elsewhere, or one that is called so and has another value in each row.
    """
    orders = [[str(number) for number in range(first, first + len(numbers))] for first in (0, 1)]
    for column in table.columns:
        if column in text:
            continue
        cells = [cell_text(cell) for cell in table.cells(column)]
        if cells not in orders and any(set(cells) == set(order) for order in orders):
            why = f"column {column!r} numbers them in another order"
        elif template is None and _INDEX.fullmatch(column) and None not in cells and cells != numbers:
            why = f"column {column!r} is an index that pandas wrote"
        elif template is None and cells != numbers and (least := _counted_from(cells)) is not None:
            why = f"column {column!r} numbers them from {least}"
        elif template is None and _OF_IDS.fullmatch(column) and len({*cells, None}) > len(cells) and cells != numbers:
            why = f"column {column!r} may hold them"
        else:
            continue
        raise DataError(
            f"{table.source}: no column is known to hold ids, so that rows would be numbered as they stand, but {why}; "
            f"name the column of the ids by --id_column, or leave {column!r} out of the file"
        )


def _places(ids: Sequence[str], template: Submission | None, source: str) -> Sequence[int]:
    """The rows in the order in which they are written."""
    if template is None:
        return range(len(ids))
    if len(ids) != len(template.ids):
        raise DataError(f"{source}: has {len(ids):,} rows, {template.path} {len(template.ids):,}; they must be alike")
    refuse(ids_apart(ids, template.ids, source, template.path))
    place = {one: number for number, one in enumerate(ids)}
    return [place[one] for one in _known(template.ids)]


def _known(ids: Sequence[str | None]) -> list[str]:
    return [one for one in ids if one is not None]


def _told(
    path: str,
    of_row: Sequence[str],
    labels: Sequence[str],
    record: TrialRecord | None,
    folder: Path | None,
    notes: Sequence[str],
    advice: str = "",
) -> Submitted:
    """The shares of the classes, beside training's where those are known; where they differ, why, and `advice`."""
    counts = Counter(of_row)
    training = training_rows(folder, record) if folder is not None and record is not None else None
    names = record.labels if record is not None else None
    total = sum(training.values()) if training else 0
    classes = tuple(
        ClassShare(
            label=label,
            name=names[number] if names else None,
            rows=counts[label],
            share=counts[label] / len(of_row),
            training_share=training.get(names[number], 0) / total if training and names and total else None,
        )
        for number, label in enumerate(labels)
    )
    verdict = "How common the classes are in training is not known here, so the shares are compared with nothing."
    if training and names:
        found = drift("submission", training, {names[n]: counts[label] for n, label in enumerate(labels)})
        if found:
            verdict = found.verdict if found.p > LEVEL else f"{found.verdict} {_CAUSES}{advice}"
    return Submitted(path, len(of_row), classes, verdict, tuple(notes))
