"""The questions of `loraloom new`, by typer's prompts: each proposes an answer, and is asked again where it can't be.

What can be told from the rows is proposed, by the same guesses as a search would make.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from loraloom.cli.running import say_line
from loraloom.errors import DataError, LoraloomError
from loraloom.machine import with_home
from loraloom.wording import unobeyed

if TYPE_CHECKING:
    from loraloom.data.columns import Columns
    from loraloom.data.tables import Table

Answer = TypeVar("Answer")
_IN_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
LIKELY_FILES = "train.csv", "train.tsv", "train.jsonl", "train.parquet"


def ask_rows() -> dict[str, Any]:
    """The field of a recipe's `data` that names the rows, and its value."""
    here = next((name for name in LIKELY_FILES if Path(name).is_file()), "demo")
    return _asked("1. Labelled rows: a file, a folder, a data set on the hub, or demo", here, _named_rows)


def _named_rows(answer: str) -> dict[str, Any]:
    from loraloom.data.hub import DEMO
    from loraloom.data.opening import format_of, names_a_file

    path = with_home(answer)
    if answer != DEMO and names_a_file(path):
        format_of(path)
        return {"train_file": str(path)}
    return {"dataset": answer}


def ask_columns(table: Table, text: tuple[str, ...], label: str | None, guess: Columns | None) -> Columns:
    """The columns of `table`; `text` and `label` are those that are known, and `guess` is proposed first."""
    from loraloom.data.columns import Columns, choose_columns, choose_text

    if guess is not None:
        question = f"2. Text in {', '.join(map(repr, guess.text))}, label in {guess.label!r}"
        if typer.confirm(question, default=True):
            return guess
    say_line(f"   the columns of {table.source}: {', '.join(map(repr, table.columns))}")

    written = {name.strip(): name for name in table.columns}  # of a header such as "text, label", which is answered so

    def columns_named(answer: str) -> tuple[str, ...]:
        names = [answer] if answer in written else [name.strip() for name in answer.split(",")]
        columns = tuple(dict.fromkeys(written.get(name, name) for name in names))
        return choose_columns(table, columns, label, before="--")[0].text if label else choose_text(table, columns)

    def label_named(answer: str) -> str:
        return choose_columns(table, text, written.get(answer, answer))[0].label

    if not text:
        proposed = _guessed(lambda: choose_text(table, None, label)[0])
        text = _asked("2. Column of the text, or several with commas", proposed, columns_named)
    if not label:
        proposed = _guessed(lambda: choose_columns(table, text, None)[0].label)
        label = _asked("2. Column of the label", proposed, label_named)
    return Columns(text, label)


def _guessed(guess: Callable[[], str]) -> str | None:
    try:
        return guess()
    except DataError:
        return None


def ask_model(default: str) -> str:
    from loraloom.backbone import sources

    return _asked("3. Model: a name on the hub, a folder, or demo", default, lambda model: sources.find(model).model)


def ask_number(question: str, default: float, *, whole: bool = False) -> float:
    return _asked(question, f"{default:,.0f}", lambda answer: _number(answer, whole=whole))


def _number(answer: str, *, whole: bool = False) -> float:
    """A number as it is written in English; one that may be meant otherwise is refused, as 1,5 and a whole 20.000."""
    written = answer.replace(",", "") if _IN_THOUSANDS.fullmatch(answer) else answer
    try:
        number = float(written)
    except ValueError:
        number = float("nan")
    if not 0 <= number < float("inf") or (whole and ("." in written or number % 1)):
        kind, such_as = ("whole number", "20,000") if whole else ("number", "1.5 or 1,500")
        raise LoraloomError(f"{answer!r} is not a {kind} of 0 or more, such as {such_as}")
    return number


def _asked(question: str, default: str | None, understood: Callable[[str], Answer]) -> Answer:
    """What `understood` makes of an answer; why it can't take one is said, and the question asked again."""

    def process(answer: str) -> Answer:
        try:
            return understood(answer.strip())
        except LoraloomError as error:
            raise typer.BadParameter(unobeyed(str(error))) from None

    answered: Answer = typer.prompt(question, default=default, value_proc=process)
    return answered
