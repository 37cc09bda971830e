"""Which columns hold the text and the label, and the texts that they hold.

Columns are guessed only where that is beyond doubt: one column has a customary name, or there are two columns
and one of them clearly holds labels. Every guess is said, with a column of longer texts that it leaves out; else the
columns are listed and the user is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loraloom.data.cells import text_problem, without_nan
from loraloom.data.csv_records import separated_by_tabs
from loraloom.data.overlap import words_of
from loraloom.data.record import Row
from loraloom.data.tables import Table
from loraloom.data.text_data import Finding
from loraloom.data.wording import kind_of_cell, listed_to_answer, quoted, shown
from loraloom.errors import DataError, OptionError

TEXT_NAMES = {
    *("text", "sentence", "content", "document", "review", "comment", "message", "tweet", "utterance", "body"),
    *("title", "headline", "subject", "summary", "description", "question", "news", "article"),
}
LABEL_NAMES = {"label", "labels", "class", "category", "target", "topic", "sentiment", "intent"}
SOURCE_NAME = "source"
"""A column of this name says where rows come from, unless it holds the text or the label."""
LONGEST_SOURCE = 200
_LONGEST_NAME = 100  # characters; a longer cell in a header is a text
_OF_PAIR, _SENTENCE = 0.5, 4  # of the words of the one text, and words; a name, a date or an address has fewer
_LOOKED_AT = 1_000  # rows, to see which columns hold texts


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns in use."""

    text: tuple[str, ...]
    label: str


def choose_columns(
    table: Table, text_column: tuple[str, ...] | None, label_column: str | None, *, before: str = "data."
) -> tuple[Columns, tuple[Finding, ...]]:
    """The columns that were named, or guessed with a finding that says so.

    `before` stands before text_column and label_column where they can be named: "data." in a recipe, "--" of options.

    Raises:
        DataError: a named column that is missing, or no guess that is beyond doubt.
    """
    _refuse_missing(table, text_column or (), label_column, before)
    if label_column and label_column in (text_column or ()):
        raise DataError(f"{before}text_column: {label_column!r} is also the label; a text must not hold its label")
    if label_column and text_column:
        return Columns(text_column, label_column), ()
    free = [name for name in table.columns if name != label_column and name not in (text_column or ())]
    label = label_column or _only(free, LABEL_NAMES)
    text = text_column or _tupled(_only([name for name in free if name != label], TEXT_NAMES))
    if not (label and text):
        label, text = _of_two(table, label, text)
    if "" in (label, *(text or ())):
        what = "labels" if label == "" else "texts"
        raise DataError(f"{table.source}: the column of its {what} has no name: give it one; {_listed(table)}")
    if len(table.columns) == 1:  # no name that could be given makes two of it
        only = f"has one column, {_quoted(list(table.columns))}, where text and label are two"
        raise DataError(f"{table.source}: {only}{headerless(table)}")
    if not (label and text):
        missing = ([] if text else [f"{before}text_column"]) + ([] if label else [f"{before}label_column"])
        hint = headerless(table) or ("" if text or before != "--" else _several(table))
        raise DataError(f"{table.source}: give {' and '.join(missing)}; {_listed(table)}{hint}")
    if table.known:
        return Columns(text, label), ()
    guessed = [f"text from {_quoted(text)}"] if not text_column else []
    guessed += [f"labels from {label!r}"] if not label_column else []
    sentence = f"{table.source}: {' and '.join(guessed)}, guessed since no column was named."
    unread, longer = (None, False) if text_column else _unread(table, text[0], label)
    if unread is not None:
        holds = "holds longer texts" if longer else "holds texts too"
        sentence += f" {unread!r} {holds} and is not read: name all that are to be by {before}text_column."
    return Columns(text, label), (Finding("guessed_column", "warning" if longer else "note", len(guessed), sentence),)


def named_columns(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """The columns of the text as options name them: one, several, or none, which leaves them to be found.

    Raises:
        OptionError: one is named twice, and would stand twice in each text.
    """
    names = (given,) if isinstance(given, str) else tuple(given or ())
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise OptionError(f"text_column: {quoted(twice)} is named twice; name each column once")
    return names if given else None


def guessed_text(names: Sequence[str]) -> str | None:
    """Of columns of which none was named, the text's: the one of a customary name, else the only one, if any."""
    return _only(names, TEXT_NAMES) or (names[0] if len(names) == 1 else None)


def choose_text(table: Table, text_column: tuple[str, ...] | None, but: str | None = None) -> tuple[str, ...]:
    """The text columns of rows without labels: those named, else the one of a customary name, else the only one.

    Raises:
        DataError: a named column that is missing, or no guess that is beyond doubt.
    """
    _refuse_missing(table, text_column or (), None, "--")
    found = text_column or _tupled(guessed_text([name for name in table.columns if name != but]))
    if found is None or (not text_column and headerless(table)):
        raise DataError(f"{table.source}: give --text_column; {_listed(table)}{headerless(table) or _several(table)}")
    return found


def _refuse_missing(table: Table, text: Sequence[str], label: str | None, before: str) -> None:
    """Raises DataError where columns that were named for the text, or for the label, are not there."""
    named = {"text": text, "label": (label,) if label else ()}
    missing = {kind: [column for column in names if column not in table.columns] for kind, names in named.items()}
    lacks = list(dict.fromkeys([*missing["text"], *missing["label"]]))  # one name may have been given for both
    if not lacks:
        return
    advice = ""
    if before == "--":  # a recipe may have named it
        kinds = " and ".join(f"the {kind}'s by --{kind}_column" for kind, names in missing.items() if names)
        advice = f"; name {kinds}"
    what = "column" if len(lacks) == 1 else "columns"
    raise DataError(f"{table.source}: has no {what} {_quoted(lacks)}; {_listed(table)}{headerless(table)}{advice}")


def _only(names: Sequence[str], known: set[str]) -> str | None:
    found = [name for name in names if name.strip().lower() in known]
    return found[0] if len(found) == 1 else None


def _unread(table: Table, text: str, label: str) -> tuple[str | None, bool]:
    """The column of the longest texts beside `text`, and whether they are longer: of subject and body, one has a
    customary name. One of shorter texts is the other of a pair, as answers are of questions, or None.
    """
    looked = {name: cells[:_LOOKED_AT] for name, cells in table.columns.items() if name != label}
    words = {name: _words(cells) for name, cells in looked.items()}
    own = words.pop(text)
    if not words:
        return None, False
    longest = max(words, key=words.__getitem__)
    if words[longest] > own:
        return longest, True
    cells = list(map(str, looked[longest]))
    paired = words[longest] >= max(_OF_PAIR * own, _SENTENCE) and 2 * len(set(cells)) > len(cells)
    return (longest if paired else None), False


def _words(cells: Sequence[Any]) -> float:
    """Of a text, in the mean; an address is one word, and of scripts without spaces a character is."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    return sum(len(text.split() if text.isascii() else words_of(text)) for text in texts) / max(1, len(texts))


def _tupled(name: str | None) -> tuple[str, ...] | None:
    return (name,) if name else None


def _of_two(table: Table, label: str | None, text: tuple[str, ...] | None) -> tuple[str | None, tuple[str, ...] | None]:
    """Of two columns, one repeats few short values and the other hardly ever repeats: label and text."""
    if len(table.columns) != 2 or headerless(table):
        return label, text
    for maybe_label, maybe_text in (tuple(table.columns), tuple(table.columns)[::-1]):
        fits = label in (None, maybe_label) and text in (None, (maybe_text,))
        if fits and _clearly(table.cells(maybe_label), table.cells(maybe_text)):
            return maybe_label, (maybe_text,)
    return label, text


def _clearly(labels: list[Any], texts: list[Any]) -> bool:
    if not all(isinstance(text, str) for text in texts):
        return False
    kinds = {str(label) for label in labels}
    short = all(len(kind) <= _LONGEST_NAME for kind in kinds)
    return short and 2 * len(kinds) <= len(labels) < 2 * len(set(texts))


def refuse_swapped(table: Table, columns: Columns) -> None:
    """Raises DataError where the text's column repeats few short values, and the label's hardly any."""
    if len(columns.text) == 1 and _clearly(table.cells(columns.text[0]), table.cells(columns.label)):
        text, label = columns.text[0], columns.label
        raise DataError(
            f"{table.source}: column {text!r} repeats few short values and column {label!r} hardly any: if they are "
            f"swapped, say data.text_column: {label} and data.label_column: {text}"
        )


def headerless(table: Table) -> str:
    """A warning where the first row of a file seems to have been taken for its header, or ''."""
    if not table.has_header:
        return ""
    for name, cells in table.columns.items():
        if name.isdecimal() or len(name) > _LONGEST_NAME or (name.strip() and name in cells):
            return f"; its first row looks like data ({name[:40]!r}): add a line with the names of the columns"
    return separated_by_tabs(list(table.columns))


def _several(table: Table) -> str:
    """How several columns are named by options, where there may be several of text, or ''."""
    return "; of several texts, --text_column for each" if len(table.columns) > 2 else ""


def _listed(table: Table) -> str:
    return f"its columns are {listed_to_answer(list(table.columns))}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))


def texts_of(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    """One text per row; a missing cell is an empty text.

    Raises:
        DataError: a cell holds something other than text, or what is no character of one.
    """
    cells = [table.cells(column) for column in columns]
    for column, column_cells in zip(columns, cells, strict=True):
        for number, cell in enumerate(column_cells, start=1):
            if problem := _problem(cell):
                raise DataError(f"{table.source}: row {number}, column {column!r} {problem}")
    return tuple(_joined(row) for row in zip(*cells, strict=True))


def sources_of(table: Table, columns: Columns) -> tuple[str, ...] | None:
    """What the column `source` says of each row, for people: anything is taken as text, cut to 200 characters."""
    names = [name for name in table.columns if name.strip().lower() == SOURCE_NAME]
    if len(names) != 1 or names[0] in (*columns.text, columns.label):
        return None
    cells = ["" if cell is None else str(cell)[:LONGEST_SOURCE].strip() for cell in table.cells(names[0])]
    return tuple(cell.encode(errors="replace").decode() for cell in cells) if any(cells) else None


def text_of(row: Row, text_column: tuple[str, ...]) -> str:
    """The text of one row: its cells joined by one space, empty ones left out.

    Raises:
        DataError: a column that is missing, or holds something other than text.
    """
    cells = []
    for column in text_column:
        if column not in row:
            others = f"the columns are {listed_to_answer(list(row))}" if row else "the row is empty"
            raise DataError(f"there is no column {column!r}; {others}")
        cells.append(without_nan(row[column]))
        if problem := _problem(cells[-1]):
            raise DataError(f"column {column!r} {problem}")
    return _joined(tuple(cells))


def _joined(cells: tuple[str | None, ...]) -> str:
    return cells[0] or "" if len(cells) == 1 else " ".join(cell for cell in cells if cell)


def _problem(cell: Any) -> str | None:
    if cell is None:
        return None
    if not isinstance(cell, str):
        return f"holds {kind_of_cell(type(cell))} ({shown(cell)}), not text"
    return text_problem(cell)
