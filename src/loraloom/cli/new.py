"""`loraloom new`: five questions, or their answers as options, and the recipe that they make.

On a terminal what is not given is asked (`asking.py`); elsewhere it has its default, or is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloom.cli.asking import ask_columns, ask_model, ask_number, ask_rows
from loraloom.cli.running import say_doing
from loraloom.errors import BackboneError, DataError, OptionError, UnreachedError
from loraloom.machine import with_home

if TYPE_CHECKING:
    from loraloom.backbone.sources import Source
    from loraloom.data import Finding
    from loraloom.data.columns import Columns
    from loraloom.data.tables import Table
    from loraloom.recipe import Recipe

MODEL, MAX_TRAINABLE_PARAMETERS, MAX_SECONDS = "roberta-base", 1_000_000, 3600.0
"""What is proposed, and taken where there is nobody to ask."""
SHORT_SECONDS = 60
"""A search of less may have no time for a trial, beside its beginning, the test and the report."""


def new(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The recipe to write.")] = Path("recipe.yaml"),
    train_file: Annotated[
        str | None, typer.Option("--train_file", help="Labelled rows: a file, or a folder of folders of .txt.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Labelled rows: a data set on the hub, or demo.")
    ] = None,
    validation_file: Annotated[
        str | None, typer.Option("--validation_file", help="Rows to choose by; else some of the labelled are held out.")
    ] = None,
    test_file: Annotated[
        str | None, typer.Option("--test_file", help="Rows to test the winner on; else some are held out.")
    ] = None,
    text_column: Annotated[
        list[str],
        typer.Option("--text_column", metavar="COLUMN", help="Column of the text (may be given several times)."),
    ] = [],  # noqa: B006
    label_column: Annotated[str | None, typer.Option("--label_column", help="Column of the label.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="A model on the hub, a folder, or demo.")] = None,
    max_trainable_parameters: Annotated[
        int | None, typer.Option("--max_trainable_parameters", min=0, help="The cap, head included; 0 is none.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max_seconds", min=0, help="Seconds that a search may take; 0 is no limit.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write a first recipe: asks five questions, or takes their answers as options.

    Which rows, which of their columns (proposed from the rows), which model, how many trainable parameters, how much
    time. The recipe says what each line means, and search takes it. What looks wrong in the rows (empty or
    repeated texts, missing classes) is printed.

    What is not given is asked on a terminal; elsewhere columns are found where that is beyond doubt, and the rest is
    roberta-base, 1,000,000 parameters and 3600 seconds.

    Example: loraloom new mine.yaml

    Example: loraloom new mine.yaml --train_file train.csv --test_file test.csv --model roberta-base --max_seconds 1200
    """
    from loraloom.backbone import sources
    from loraloom.recipe import read_recipe
    from loraloom.recipe.commented import commented_recipe
    from loraloom.study.durable import write_text

    _check_place(out, force)
    ask = on_terminal()
    rows = _rows(train_file, dataset, ask) | _held_out(validation_file=validation_file, test_file=test_file)
    table = _table(rows, needed=not (text_column and label_column))
    columns = _columns(table, tuple(text_column), label_column, ask)
    if model is None:
        model = ask_model(MODEL) if ask else MODEL
    if max_trainable_parameters is None:
        question = "4. Trainable parameters at most, head included (0: no cap)"
        most = ask_number(question, MAX_TRAINABLE_PARAMETERS, whole=True) if ask else MAX_TRAINABLE_PARAMETERS
        max_trainable_parameters = int(most)
    if max_seconds is None:
        question = "5. Seconds for a search, such as 600 for ten minutes (0: no limit)"
        max_seconds = ask_number(question, MAX_SECONDS) if ask else MAX_SECONDS
    limits = {"max_trainable_parameters": max_trainable_parameters or None, "max_seconds": max_seconds or None}
    values = {"data": rows | columns, "backbone": {"model": model}, "search": {"sampler": "auto"}, "budget": limits}
    recipe = read_recipe(values)
    limit, doubt = _reads(sources.find(model))
    if limit is not None and limit < recipe.data.max_length:
        recipe = recipe.with_fields(data={"max_length": limit})
    write_text(out, commented_recipe(recipe))
    _say(out, recipe, table, doubt)


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _check_place(out: Path, force: bool) -> None:
    from loraloom.study.durable import refuse_place
    from loraloom.study.outputs import refuse_over

    if out.suffix not in (".yaml", ".yml"):
        rows = f"; labelled rows are named by --train_file {out}" if out.exists() else ""
        raise OptionError(f"{out}: a recipe's name ends in .yaml{rows}")
    if out.exists() and not force:
        raise OptionError(f"{out}: is there already; give another name, or --force to replace it")
    refuse_over(out)
    refuse_place(out)


def _rows(train_file: str | None, dataset: str | None, ask: bool) -> dict[str, Any]:
    """The field of `data` that names the rows."""
    if train_file is not None and dataset is not None:
        raise OptionError("--train_file and --dataset: name one of the two")
    if train_file is None and dataset is None and not ask:
        raise OptionError("name the rows, by --train_file FILE or --dataset NAME; there is no terminal to ask on")
    if train_file is not None:
        return {"train_file": train_file}
    return {"dataset": dataset} if dataset is not None else ask_rows()


def _held_out(**files: str | None) -> dict[str, Any]:
    """The fields of `data` that name other rows.

    Raises:
        DataError: a file is not there, or of no kind that is read.
    """
    from loraloom.data.opening import format_of

    given = {field: file for field, file in files.items() if file is not None}
    for file in given.values():
        format_of(with_home(file))
    return given


def _table(rows: dict[str, Any], needed: bool) -> Table | None:
    """The training rows; None of a data set that can't be had without a network, where they are not `needed`."""
    from loraloom.data.hub import named_source
    from loraloom.data.tables import read_table
    from loraloom.data.telling import Telling

    if "train_file" in rows:
        return read_table(rows["train_file"], Telling(say_doing))
    try:
        return named_source(rows["dataset"]).train
    except UnreachedError:
        if needed:
            raise
        return None


def _columns(table: Table | None, text: tuple[str, ...], label: str | None, ask: bool) -> dict[str, Any]:
    """The fields of `data` that name the columns; none where the kind of the rows says which they are."""
    from loraloom.data.columns import choose_columns
    from loraloom.terminal.console import make_console
    from loraloom.terminal.new_recipe import print_warning

    if table is None:
        return {"text_column": list(text), "label_column": label}
    if table.known and not text and not label:
        return {}
    named = [*text, *([label] if label else [])]
    may_ask = ask and not (text and label) and len(table.columns) > 1 and set(named) <= set(table.columns)
    columns: Columns | None = None
    guesses: tuple[Finding, ...] = ()
    try:
        columns, guesses = choose_columns(table, text or None, label, before="--")
    except DataError:
        if not may_ask:
            raise
    if columns is None or (ask and guesses):
        columns = ask_columns(table, text, label, columns)
    else:
        for doubt in (guess for guess in guesses if guess.severity == "warning"):
            print_warning(make_console(), doubt.sentence)
    return {"text_column": list(columns.text), "label_column": columns.label}


def _reads(source: Source) -> tuple[int | None, str | None]:
    """Tokens of the longest text that a model reads, None where that is not known or not limited; and why it is none
    that a search would take, in a sentence, or None.
    """
    from loraloom.backbone.sources import load_config, longest

    try:
        return longest(load_config(source)), None
    except BackboneError as error:
        return None, str(error)


def _say(out: Path, recipe: Recipe, table: Table | None, doubt: str | None) -> None:
    """What was written, what is to be known of its rows, the `doubt` about its model, and how to go on."""
    from loraloom.data import load_data
    from loraloom.terminal.console import make_console, say
    from loraloom.terminal.new_recipe import print_data, print_next, print_warning

    console = make_console()
    say(console, f"{out} is written")
    try:
        if table is None:
            print_warning(console, f"{recipe.data.dataset} could not be loaded here, so its rows were not checked")
        elif recipe.data.train_file is None:
            print_data(console, load_data(recipe.data, seed=recipe.train.seed, note=say_doing))
        else:  # in memory already
            of_file = recipe.data.model_copy(update={"train_file": None})
            print_data(console, load_data(of_file, seed=recipe.train.seed, note=say_doing, train=table))
    except DataError as error:
        print_warning(console, f"{error}; mend these rows first: a search would refuse them")
    if (seconds := recipe.budget.max_seconds) is not None and seconds < SHORT_SECONDS:
        print_warning(
            console,
            f"{seconds:g} s may not suffice for one trial, since a search begins, tests and reports in them too: it "
            "then says how many would do",
        )
    if doubt is not None:
        print_warning(console, doubt)
    print_next(console, out)
