"""The file that a run is compared with (`report RUN --compare_file F`): any texts, with or without labels.

Columns are the run's where the file has them, else guessed where that is beyond doubt. Labels that the run does not
know are no error: what needs them is not measured, and why is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.columns import LABEL_NAMES, TEXT_NAMES, guessed_text, headerless, texts_of
from loraloom.data.labels import Labels, ids_read, names_of
from loraloom.data.tables import Table, read_table
from loraloom.data.text_data import update_with_texts
from loraloom.data.wording import listed_to_answer
from loraloom.errors import DataError
from loraloom.study.record import TrialRecord


@dataclass(frozen=True, slots=True, eq=False)
class SecondRows:
    """Rows of `file` that have a text, by their `numbers` (N,) in it; `empty` is how many have none.

    `labels` (N,) are the run's ids, or None for the reason `unlabelled`. `note` says what was found when the file was
    read, and where labels were read as others than they are.
    """

    file: Path
    numbers: NDArray[np.int64]
    texts: tuple[str, ...]
    labels: NDArray[np.int64] | None
    empty: int
    unlabelled: str | None
    digest: str
    note: str | None


def read_second(path: Path, record: TrialRecord) -> SecondRows:
    """The texts of `path` (any kind of file that `data` takes), and labels under the mapping of `record`.

    Raises:
        DataError: the file can't be read, has no text, or which column is the text can't be told.
    """
    table = read_table(str(path))
    columns = _text_columns(table, record.configuration.data.text_column)
    texts = texts_of(table, columns)
    kept = [row for row, text in enumerate(texts) if text.strip()]
    if not kept:
        raise DataError(f"{path}: no row has a text in {', '.join(map(repr, columns))}")
    labels, why, read_so = _labels(table, columns, record)
    note = "; ".join((*table.said, *([read_so] if read_so else []))) or None
    chosen = tuple(texts[row] for row in kept)
    own = None if labels is None else labels[kept]
    return SecondRows(path, np.array(kept), chosen, own, len(texts) - len(kept), why, _digest(chosen, own), note)


def _text_columns(table: Table, of_run: tuple[str, ...] | None) -> tuple[str, ...]:
    if of_run and all(name in table.columns for name in of_run):
        return of_run
    guessed = guessed_text(list(table.columns))
    doubt = headerless(table)
    if guessed is None or (doubt and guessed.strip().lower() not in TEXT_NAMES):
        wanted = f"{', '.join(map(repr, of_run))}, as in the run" if of_run else "'text'"
        raise DataError(
            f"{table.source}: which column is the text can't be told, its columns are "
            f"{listed_to_answer(list(table.columns))}; in the file's header, name it {wanted}{doubt}"
        )
    return (guessed,)


def _labels(
    table: Table, text: Sequence[str], record: TrialRecord
) -> tuple[NDArray[np.int64] | None, str | None, str | None]:
    """The ids of the labels, or None and why; and how they were read where that is not as they stand."""
    given = record.configuration.data.label_column
    free = [name for name in table.columns if name not in text]
    guessed = [name for name in free if name.strip().lower() in LABEL_NAMES]
    column = given if given in free else guessed[0] if len(guessed) == 1 else None
    if column is None:
        return None, "it has no column of labels", None
    known = Labels(record.labels, record.label_codes)
    try:
        ids, note = ids_read(names_of(table, column, known), known, table.source)
    except DataError as error:
        return None, str(error).removeprefix(f"{table.source}: "), None
    return ids, None, note


def _digest(texts: Sequence[str], labels: Any) -> str:
    digest = hashlib.sha256()
    update_with_texts(digest, texts)
    digest.update(b"" if labels is None else labels.astype("<i8").tobytes())
    return digest.hexdigest()
