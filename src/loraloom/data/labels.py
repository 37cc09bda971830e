"""Labels: from what stands in a source to ids 0..C-1, by one mapping for all splits.

A code is what stood in the source, as text: '3', 'Sports'. Codes that are all whole numbers are ordered as
numbers, others as text. In a run's data, numbers are compared as they stand, whether they begin at 0 or at 1. Labels
that an adapter is measured on may count from the other of the two, where they can mean nothing else, and that is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.cells import no_character, text_problem
from loraloom.data.columns import choose_columns, texts_of
from loraloom.data.tables import Table, read_table
from loraloom.data.telling import SILENT, Telling
from loraloom.data.text_data import Split
from loraloom.data.wording import kind_of_cell, labels_listed, listed, quoted, shorten
from loraloom.errors import DataError

_WHOLE = re.compile(r"[+-]?[0-9]{1,4000}(\.0*)?")  # Python makes no number of more than 4,300 digits
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SEVERAL = {list, tuple, set, np.ndarray}
_LISTED = 20
_NO_SCORE = "a label is a name or a whole number: make classes of the numbers, such as low and high"
FORMS = "capitals, blanks, invisible characters, forms of a character (full width, superscript) or of a number (1.0)"
"""In which labels of one `form_of` differ."""
LONGEST_LABEL = 1_000
"""Characters. A longer one is a text, of which the wrong column would put thousands into each file of a run."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Names and codes by id."""

    names: tuple[str, ...]
    codes: tuple[str, ...]


def codes_of(table: Table, column: str, known: Collection[str] = ()) -> list[str]:
    """The code of each row; texts that are known already keep their blanks, and where all are they stay as they are.

    Raises:
        DataError: a missing label, a number that is not whole, or a column that mixes text and numbers.
    """
    place = f"{table.source}: column {column!r}"
    cells = [_plain(cell, known) for cell in table.cells(column)]
    missing = [number for number, cell in enumerate(cells, start=1) if cell is None]
    if column in table.class_names:
        missing = [number for number, cell in enumerate(cells, start=1) if cell is None or cell == -1]
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        where = f"{'row' if len(missing) == 1 else 'rows'} {', '.join(map(str, missing[:3]))}{more}"
        it, them = ("this row", "it") if len(missing) == 1 else ("these rows", "them")
        raise DataError(f"{place} has no label in {where}; label {it}, or take {them} out")
    _check_kinds(cells, place)
    if all(isinstance(cell, str) for cell in cells):
        return list(cells) if set(cells) <= set(known) else _codes_of_texts(cells, place)
    if all(isinstance(cell, bool) for cell in cells):
        return [str(cell) for cell in cells]
    for number, cell in enumerate(cells, start=1):
        if cell != cell // 1:
            raise DataError(f"{place} has {cell} in row {number}; {_NO_SCORE}")
    return [str(int(cell)) for cell in cells]


def refuse_one_class(classes: Collection[str], source: str) -> None:
    """Raises DataError where all rows, of which there is one at least, have one label."""
    if len(classes) < 2:
        raise DataError(f"{source}: has one class only ({next(iter(classes))!r}); two or more can be told apart")


def refuse_long(labels: Labels, source: str, advice: str) -> None:
    """Raises DataError where a label is so long that it is a text rather than a name; the sentence ends by `advice`."""
    longest = max(labels.names, key=len)
    if len(longest) > LONGEST_LABEL:
        raise DataError(
            f"{source}: has a label of {len(longest):,} characters, {quoted(longest)}; one may have "
            f"{LONGEST_LABEL:,}{advice}"
        )


def _plain(cell: Any, known: Collection[str] = ()) -> Any:
    """A numpy scalar, or a database's decimal, as Python's own number; blank text as None, other text in NFC.

    A folder's name may be in NFD. Text that is known stays as it stands, and so does a time: of nanoseconds numpy would
    make a number, and of each time a class.
    """
    if isinstance(cell, np.generic) and not isinstance(cell, np.datetime64 | np.timedelta64):
        cell = cell.item()
    if isinstance(cell, Decimal):
        return int(cell) if cell.is_finite() and cell == cell.to_integral_value() else float(cell)
    if isinstance(cell, str) and cell not in known:
        return unicodedata.normalize("NFC", cell.strip()) or None
    return cell


def _check_kinds(cells: Sequence[Any], place: str) -> None:
    of_cells = [float if isinstance(cell, int) and not isinstance(cell, bool) else type(cell) for cell in cells]
    kinds = set(of_cells)
    if unfit := kinds - {str, bool, float}:
        several = ", one of each text: for several, train a classifier for each" if unfit & _SEVERAL else ""
        raise DataError(f"{place} holds {min(map(kind_of_cell, unfit))}; a label is a name or a number{several}")
    if len(kinds) > 1:
        row = next(row for row, kind in enumerate(of_cells, start=1) if kind is not of_cells[0])
        mixed = f"mixes text, numbers or truth values (row {row} is not as row 1)"
        raise DataError(f"{place} {mixed}; its labels must all be of one kind")


def _codes_of_texts(cells: Sequence[str], place: str) -> list[str]:
    """'01' and '1.0' are 1 where all are whole numbers, of which one is written in two ways or as 1.0 or +1.

    Else names as they are, '01' beside '02' too; 0.5 is no label.
    """
    kinds = set(cells)
    if problem := next(filter(None, map(text_problem, kinds)), None):
        raise DataError(f"{place} {problem}")
    if all(_WHOLE.fullmatch(kind) for kind in kinds):
        code = {kind: str(value_of(kind)) for kind in kinds}
        plain = all(kind.lstrip("-").isdecimal() for kind in kinds) and len(set(code.values())) == len(kinds)
        return list(cells) if plain else [code[cell] for cell in cells]
    if all(_NUMBER.fullmatch(kind) for kind in kinds):
        number, cell = next((n, c) for n, c in enumerate(cells, start=1) if not _WHOLE.fullmatch(c))
        raise DataError(f"{place} has {shorten(cell)} in row {number}; {_NO_SCORE}")
    return list(cells)


def ordered(codes: Iterable[str]) -> tuple[str, ...]:
    """Distinct codes: by value where all are whole numbers, else by text."""
    kinds = set(codes)
    return tuple(sorted(kinds, key=_by_value if all(map(is_whole, kinds)) else None))


def _by_value(code: str) -> tuple[int, str]:
    """Names of classes may be written 1.0, or 01 beside 1."""
    return value_of(code), code


def value_of(code: str) -> int:
    """Of what is written as a whole number."""
    return int(code.partition(".")[0])


def is_whole(code: str) -> bool:
    """Whether it is written as a whole number: 3, -3, 03 or 3.0."""
    return _WHOLE.fullmatch(code) is not None


def form_of(label: str) -> str:
    """What labels that are very likely one have in common: 'Sports' and 'sports', '1' and '1.0'.

    What is only another form of a character for Unicode (NFKC) counts as the same: full width, but also superscripts.
    """
    plain = unicodedata.normalize("NFKC", label).casefold()
    seen = "".join(sign for sign in plain if sign.isprintable() and not sign.isspace())
    return str(value_of(seen)) if is_whole(seen) else seen


def labels_of(codes: Sequence[str], class_names: Sequence[str] | None) -> Labels:
    """The mapping that the training rows define; classes that were declared but have no row are left out."""
    kinds = ordered(codes)
    return Labels(tuple(named(kinds, class_names)), kinds)


def named(codes: Sequence[str], class_names: Sequence[str] | None) -> list[str]:
    """The names of ClassLabel ids; codes of other columns as they are.

    Raises:
        DataError: a code is no id of the classes that the file declares, as where the declaration is out of date, or
            its class is declared without a name.
    """
    if class_names is None:
        return list(codes)
    ids = {str(number): name for number, name in enumerate(class_names)}
    if (unknown := next((code for code in codes if code not in ids), None)) is not None:
        raise DataError(
            f"label {unknown!r} is not one of the {len(class_names)} classes that the file declares in its metadata"
        )
    if (nameless := next((code for code in codes if not ids[code].strip()), None)) is not None:
        raise DataError(f"the class of label {nameless} is declared without a name; name it, or take its rows out")
    if problem := next(filter(None, map(no_character, (ids[code] for code in set(codes)))), None):
        raise DataError(f"a class that the file declares {problem}; name it otherwise")
    return [ids[code] for code in codes]


def names_of(table: Table, column: str, labels: Labels) -> list[str]:
    """What is looked up in a mapping that training has defined: names or codes, whole numbers by their value.

    Names that training took as they were, with blanks around them say, are also known as a file's cells are read.
    """
    known = {*labels.names, *labels.codes}
    codes = codes_of(table, column, known)
    if (class_names := table.class_names.get(column)) is not None:
        return named(codes, class_names)
    if all(map(is_whole, labels.codes)):
        written = {value_of(code): code for code in labels.codes}
        codes = [written.get(value_of(code), code) if code not in known and is_whole(code) else code for code in codes]
    plain = {_plain(name): name for name in labels.names}
    if len(plain) < len(labels.names):
        return codes
    return [code if code in known else plain.get(code, code) for code in codes]


def ids_of(values: Sequence[str], labels: Labels, source: str) -> NDArray[np.int64]:
    """Ids (N,) of names or codes.

    Raises:
        DataError: a value that is neither.
    """
    kinds = ordered(values)
    for known in (labels.names, labels.codes):
        if set(kinds) <= set(known) and not _two_readings(kinds, known, labels):
            return _looked_up(values, known)
    raise DataError(f"{source}: {_unknown(values, kinds, labels)}")


def ids_read(values: Sequence[str], labels: Labels, source: str) -> tuple[NDArray[np.int64], str | None]:
    """Ids (N,) of names, of codes, or of numbers that count from 0 where codes do from 1, or the other way round.

    What was read so is said in the last value, as a clause.

    Raises:
        DataError: a value that is none of these.
    """
    codes = labels.codes
    other = None if set(values) <= set(labels.names) else _other_count(values, codes)
    if other is None:
        return ids_of(values, labels, source), None
    theirs, own = ordered(other), ordered(codes)
    return _looked_up(values, other), f"labels {theirs[0]} to {theirs[-1]} are read as {own[0]} to {own[-1]}"


def _looked_up(values: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    ids = {value: number for number, value in enumerate(known)}
    return np.array([ids[value] for value in values], dtype=np.int64)


def counted_otherwise(codes: Sequence[str]) -> tuple[str, ...] | None:
    """The codes, in their order, counted from 1 where they are 0..C-1, from 0 where they are 1..C; else None.

    They may be in the order of texts, in which 10 comes before 2.
    """
    for first, other in ((0, 1), (1, 0)):
        if set(codes) == set(map(str, range(first, first + len(codes)))):
            return tuple(str(int(code) - first + other) for code in codes)
    return None


def _other_count(kinds: Sequence[str], codes: Sequence[str]) -> tuple[str, ...] | None:
    """`counted_otherwise`, where the labels `kinds` are written so and can mean nothing else."""
    other = counted_otherwise(codes)
    return other if other is not None and set(kinds) <= set(other) and not set(kinds) <= set(codes) else None


def _two_readings(kinds: Sequence[str], known: Sequence[str], labels: Labels) -> bool:
    """Numbers 1..C-1 for named classes: ids from 0 without the first class, or from 1 without the last?"""
    if known == labels.names or "0" in kinds:
        return False
    return set(labels.codes) == set(map(str, range(len(labels.codes))))


def _unknown(values: Sequence[str], kinds: Sequence[str], labels: Labels) -> str:
    if set(kinds) <= set(labels.codes):
        names = listed(labels.names, _LISTED)
        return f"labels {listed(kinds, _LISTED)} may count {names} from 0 or from 1; give their names"
    known = set(labels.names) | set(labels.codes)
    if set(kinds) <= known:
        return f"the labels {listed(kinds, _LISTED)} mix names of classes and their numbers; give one of the two"
    unknown = [kind for kind in kinds if kind not in known]
    either = labels.names if labels.names == labels.codes else (*labels.names, *labels.codes)
    row = next(number for number, value in enumerate(values, start=1) if value not in known)
    allowed = listed(either, _LISTED)
    sentence = f"unknown {labels_listed(unknown, _LISTED)} (first in row {row}); the known labels are {allowed}"
    if _other_count(kinds, labels.codes) is not None:
        sentence += "; one counts from 0 and the other from 1: make them alike"
    elif all(map(is_whole, kinds)) and not all(map(is_whole, labels.codes)):
        sentence += "; which number stands for which name can't be told"
    elif set(map(form_of, unknown)) <= set(map(form_of, known)):
        it, ones = ("it differs", "a known one") if len(unknown) == 1 else ("they differ", "known ones")
        sentence += f"; {it} from {ones} in {FORMS} alone: make them alike"
    return sentence


def read_labelled(
    path: str,
    *,
    text_column: tuple[str, ...] | None,
    label_column: str | None,
    labels: tuple[str, ...],
    label_codes: tuple[str, ...],
    telling: Telling = SILENT,
) -> tuple[Split, str | None]:
    """A labelled file under the mapping of an adapter, and what is to be said of how it and its labels were read.

    `telling` hears how far it is.

    Raises:
        DataError: the file can't be read, or a label is not one of the adapter's.
    """
    table = read_table(path, telling)
    columns, _ = choose_columns(table, text_column, label_column, before="--")
    known = Labels(labels, label_codes)
    ids, read_so = ids_read(names_of(table, columns.label, known), known, path)
    said = [*table.said, *([read_so] if read_so else [])]
    return Split(texts_of(table, columns.text), ids), "; ".join(said) or None
