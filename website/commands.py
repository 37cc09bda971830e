"""The page of commands: usage, words, arguments and options of each, as the command line itself has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import typer
import typer.main

from loraloom.cli.commands import app

HEAD = """# Commands

What `loraloom COMMAND --help` says, made of the code. Each command does one thing and calls one function of the
library; exit codes are on [a page of their own](exits.md).

"""


def commands_page() -> str:
    """The page, Markdown."""
    group, context = _program()
    names = group.list_commands(context)
    index = "".join(f"- [`{name}`](#{name}): {_first(group.get_command(context, name).help)}\n" for name in names)
    parts = (_command(group.get_command(context, name), name, context) for name in names)
    return HEAD + index + "\n" + "\n".join(parts)


def parsed(words: Sequence[str]) -> Any:
    """Reads a command line (without `loraloom`) as the program would, and runs nothing.

    Raises:
        typer.TyperException: there is no such command or option, or a value breaks an option's rule.
        typer.Exit: it only asks for help.
    """
    group, context = _program()
    if words[0].startswith("-") and any(words[0] in param.opts for param in group.get_params(context)):
        return context
    name, command, rest = group.resolve_command(context, list(words))
    if command is None:
        raise typer.BadParameter(f"no command or option {words[0]}")
    return command.make_context(name, rest, parent=context)


@cache
def _program() -> tuple[Any, Any]:
    group: Any = typer.main.get_command(app)
    return group, group.make_context("loraloom", [], resilient_parsing=True)


def _command(command: Any, name: str, parent: Any) -> str:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join(["loraloom", name, *command.collect_usage_pieces(context)])
    lines = [f"## {name} {{#{name}}}", "", "```text", usage, "```", "", *_words(command.help)]
    params = (param for param in command.get_params(context) if param.name != "help")
    rows = [record for param in params if (record := param.get_help_record(context))]
    if rows:
        lines += ["| argument or option | does |", "| --- | --- |"]
        lines += [f"| `{_cell(left)}` | {_cell(right)} |" for left, right in rows]
    return "\n".join(lines) + "\n"


def _words(text: str) -> Iterator[str]:
    """Paragraphs; a line that begins with 'Example: ' is a command."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        prose: list[str] = []
        for line in paragraph.splitlines():
            if line.startswith("Example: "):
                yield from _prose(prose)
                prose = []
                yield from ("```sh", line.removeprefix("Example: "), "```", "")
            else:
                prose.append(line)
        yield from _prose(prose)


def _prose(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from (escaped(" ".join(lines)), "")


def escaped(text: str) -> str:
    """Words of the program, in which Markdown means nothing."""
    return re.sub(r"([\\`*_\[\]<>{}])", r"\\\1", text)


def _first(text: str) -> str:
    """The first line of a command's help, as `loraloom --help` has it."""
    return escaped(text.strip().splitlines()[0].rstrip("."))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
