"""Commands about a recipe, before anything is trained: `budget`, `schema`, `recipes`, `doctor`.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from loraloom.cli.completion import complete_recipe, complete_shipped
from loraloom.cli.options import AsJson, Overrides, RecipePath, from_home
from loraloom.cli.running import print_json, print_or_write, say_doing
from loraloom.errors import BudgetError, OptionError


def budget(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    num_labels: Annotated[
        int | None, typer.Option("--num_labels", min=2, help="Number of classes; by default those of the data.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count trainable parameters exactly, by part, before any weight is loaded.

    Says what does not fit the cap and every smallest change that would; estimates memory and time. Of a search it
    says how many of its combinations fit. Exits 2 where nothing fits, as search and train do.

    Example: loraloom budget agnews-roberta-base --set lora.r=16
    """
    from loraloom.execute.statement import state_budget
    from loraloom.recipe import read_recipe

    statement = state_budget(read_recipe(recipe, overrides), num_labels, say_doing)
    if as_json:
        print_json(statement.as_json())
    else:
        from loraloom.terminal.console import make_console
        from loraloom.terminal.statement import print_statement

        print_statement(make_console(), statement)
    if statement.refusal is not None:
        raise BudgetError(statement.refusal)


def schema(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", callback=from_home)] = None,
) -> None:
    """Print the JSON Schema of recipes, by which editors complete them.

    In VS Code, put '# yaml-language-server: $schema=recipe.schema.json' on the recipe's first line.

    Example: loraloom schema --out recipe.schema.json
    """
    from loraloom.recipe import json_schema
    from loraloom.study.outputs import refuse_over

    if out is not None:
        refuse_over(out)
    print_or_write(json.dumps(json_schema(), indent=2) + "\n", out)


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Print this recipe.", show_default=False, autocompletion=complete_shipped),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes that come with loraloom, or print one, to be changed and kept.

    Their names stand for them wherever a recipe is asked for: loraloom search demo --out runs/demo.

    Example: loraloom recipes agnews-auto > mine.yaml
    """
    from loraloom.shipped import shipped_recipes, shipped_text

    if name is not None:
        if as_json:
            raise OptionError("--json lists the recipes: leave NAME out, since one is printed as it stands")
        typer.echo(shipped_text(name), nl=False)
        return
    if as_json:
        print_json(shipped_recipes())
        return
    from loraloom.terminal.console import make_console
    from loraloom.terminal.recipes import print_recipes

    print_recipes(make_console(), shipped_recipes())


def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE", help="Speak of this recipe's model.", show_default=False, autocompletion=complete_recipe
        ),
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Say what this machine is, how fast it multiplies matrices, and what training will use, with the reasons.

    Measures matrix products of an encoder layer in fp32 and bf16, and by them chooses the type; then says which engine,
    kernels and threads will be used, how many trials are trained together, and what would make this machine faster.
    Under a type stands what all products of a layer reach together, under "best" the fastest one of them.
    Without a recipe it speaks of base-size (768 wide) and demo-size (384 wide) encoders. Trains nothing; kernels are
    compiled where they are not yet there, which takes ten to twenty seconds.

    Example: loraloom doctor demo --set engine=trainer
    """
    from loraloom.recipe import read_recipe

    if overrides and recipe is None:
        raise OptionError("--set changes a recipe: name one, as in loraloom doctor demo --set engine=trainer")
    read = None if recipe is None else read_recipe(recipe, overrides)
    from loraloom.execute.doctor import diagnose

    diagnosis = diagnose(read)
    if as_json:
        print_json(diagnosis.as_json())
        return
    from loraloom.terminal.console import make_console
    from loraloom.terminal.doctor import print_diagnosis

    print_diagnosis(make_console(), diagnosis)
