"""The commands that a run was made by, as they were typed, with how each of them ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loraloom.errors import RunError
from loraloom.report import wording
from loraloom.report.reading import RunRead
from loraloom.study.commands import Command, read_commands
from loraloom.study.provenance import as_mapping


@dataclass(frozen=True, slots=True)
class Given:
    """A command: `text` to copy (None: it was called from Python), and what became of it."""

    text: str | None
    started: str
    used: float | None = None
    allowed: float | None = None
    ended: str = ""
    why: str | None = None
    finished: int | None = None
    tested: tuple[int, ...] = ()
    differs: tuple[str, ...] = ()


def commands_of(run: RunRead, problems: list[str]) -> tuple[Command, ...]:
    """What commands.json holds; where it is damaged, that is named in `problems`."""
    try:
        return read_commands(run.path)
    except RunError as error:
        problems.append(str(error))
        return ()


def given(run: RunRead, commands: tuple[Command, ...]) -> tuple[Given, ...]:
    """The commands in their order; of a run that has kept none, the one in its provenance."""
    about = run.recipe.provenance
    if not commands:
        text = as_typed(about.get("command"))
        started = wording.value(about.get("started") or "")
        return (Given(text, moment(started)),) if text or started else ()
    return tuple(
        Given(
            text=as_typed(command.command),
            started=moment(command.started),
            used=command.seconds,
            allowed=command.allowed_seconds,
            ended=command.ended or "no end was noted",
            why=command.why,
            finished=command.finished,
            tested=command.tested,
            differs=tuple(_differences(command, about)),
        )
        for command in commands
    )


def as_typed(command: Any) -> str | None:
    """A command's words as a shell takes them; the first, the program's path, is `loraloom`. None of a function."""
    if isinstance(command, str):
        return command or None
    words = [wording.clean(str(word)) for word in command] if isinstance(command, list | tuple) else []
    return shlex.join(["loraloom", *words[1:]]) if len(words) > 1 else None


def moment(text: str) -> str:
    """A point in time for people: 2026-11-25 20:15 UTC; what is no such is left as it is."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return text
    offset = parsed.strftime("%Z")
    return f"{parsed:%Y-%m-%d %H:%M}{f' {offset}' if offset else ''}"


def _differences(command: Command, about: Mapping[str, Any]) -> list[str]:
    """What was other than when the run began: loraloom's and Python's versions, packages, the machine."""
    before, packages = as_mapping(about.get("machine")), as_mapping(about.get("packages"))
    pairs = [(name, getattr(command, name), about.get(name)) for name in ("loraloom", "python")]
    named = {"processor": "processor", "cores": "cores", "gpu": "GPU", "system": "system"}
    pairs += [(said, command.machine.get(name), before.get(name)) for name, said in named.items()]
    pairs += [(name, version, packages.get(name)) for name, version in command.packages.items()]
    return [
        f"{name} {wording.value(now)}, not {wording.value(then)}"
        for name, now, then in pairs
        if now is not None and then is not None and now != then
    ]
