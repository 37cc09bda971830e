"""The table of commands, in the order of `--help`. Each reads its options, calls a library function, prints its result.

A command stands in the file of what it is about: a recipe (`recipes.py`, `new.py`), a run (`runs.py`, `showing.py`),
an adapter (`adapters.py`, `serving.py`).
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from loraloom.cli.adapters import evaluate, export, predict, submit
from loraloom.cli.new import new
from loraloom.cli.recipes import budget, doctor, recipes, schema
from loraloom.cli.runs import blend, refit, resume, search, soup, train
from loraloom.cli.serving import serve
from loraloom.cli.showing import dashboard, report, watch

COMMANDS = (
    new,
    budget,
    search,
    train,
    resume,
    refit,
    soup,
    blend,
    evaluate,
    predict,
    export,
    submit,
    report,
    watch,
    dashboard,
    serve,
    schema,
    recipes,
    doctor,
)

app = typer.Typer(
    help="Finds the most accurate LoRA text classifier that a parameter, memory and time budget allows, and shows why.",
    epilog="Begin with: loraloom search demo --out runs/demo; or, for rows of your own, loraloom new mine.yaml.\n\n"
    "Exit codes: 0 done, 2 something for you to mend, 75 stopped (where it can go on, the message says how), "
    "130 Ctrl-C, 1 our fault.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"loraloom {version('loraloom')}")
        raise typer.Exit


@app.callback()
def every_command(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """What may stand before a command; alone it is answered with the help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


MAY_BE_EMPTY = {"text", "text_column", "label_column", "id_column"}
"""A text is refused in words of its own, and a column may have no name."""


class Command(TyperCommand):
    """A command that refuses an empty value, as of a shell's variable that is not set: as a path it is this folder.

    Not beside `--help`, which asks for nothing else.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, which makes a path of each value.

        Raises:
            BadParameter: a value is empty.
        """
        given = {} if ctx.resilient_parsing else self.make_parser(ctx).parse_args([*args])[0]
        parameters: list[Any] = [] if given.get("help") else self.params
        for parameter in parameters:
            value = given.get(parameter.name)
            if "" in (value if isinstance(value, list | tuple) else [value]) and parameter.name not in MAY_BE_EMPTY:
                raise typer.BadParameter("it is empty; give it a value", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)


for command in COMMANDS:
    first_line = str(inspect.getdoc(command)).splitlines()[0]  # whole, where it would be cut
    app.command(short_help=first_line, cls=Command)(command)
