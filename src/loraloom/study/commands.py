"""What was done with a run: a line for each command, in RUN/commands.json.

A line is written when a command begins and again at its end, so one that was killed is there, without an end. A look at
the test rows is noted before it is taken: that they were looked at before is a doubt about the second accuracy, and a
kill must not hide it. The file has its SHA-256 in it; a damaged one is put aside and said. Two or three small files
synced a command. Rejected: lines appended to a file, whose last a kill can tear.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from loraloom.errors import (
    OUTPUT_CLOSED,
    DamagedError,
    LoraloomError,
    RunError,
    StoppedError,
    closed_pipe,
    first_line,
    shell_path,
    shell_resume_command,
)
from loraloom.recipe import Recipe
from loraloom.recipe.problems import reason_of
from loraloom.study.integrity import RECIPE, read_sealed_recipe
from loraloom.study.sealed import read_sealed, write_sealed

COMMANDS = "commands.json"


class Command(BaseModel):
    """A search or a resume.

    `allowed_seconds` is its deadline, whatever set it; `again_seconds` are as many where the run can't be planned
    without a deadline and its recipe has none. `placement` is where it trained, as options. `seconds` are those that it
    has used, None while that is not known. `ended` is None while it is under way, and for ever where it was killed.
    `finished` counts the run's finished trials at its end, `tested` are the trials that it looked at the test rows
    with. `took_up` are the trials that were broken off and that it began again, with the step that each went on from.
    `unmixed` are the winner's seeds but those that have collapsed, where their mean was made and is not kept.
    `planned` says that it came to its plan, which may need a training to be timed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    command: tuple[str, ...] = ()
    started: str
    allowed_seconds: float | None = Field(default=None, ge=0)
    again_seconds: int | None = Field(default=None, ge=1)
    placement: dict[str, int | float | str] = {}
    seconds: float | None = Field(default=None, ge=0)
    ended: Literal["done", "stopped", "failed"] | None = None
    why: str | None = None
    finished: int | None = None
    tested: tuple[int, ...] = ()
    planned: bool = False
    took_up: dict[int, int] = {}
    unmixed: tuple[int, ...] = ()
    loraloom: str | None = None
    python: str | None = None
    packages: dict[str, str] = {}
    machine: dict[str, Any] = {}


class CommandLog:
    """The entry of the command that is under way; made by `logged`."""

    def __init__(self, path: Path, commands: list[Command]) -> None:
        self._path, self._commands = path, commands
        self._write()

    def tests(self, number: int) -> None:
        """Notes that trial `number` is about to be tested."""
        self._change(tested=(*self._commands[-1].tested, number))

    def plans(self) -> None:
        """Notes that the plan is made."""
        self._change(planned=True)

    @property
    def doubts_planning(self) -> bool:
        """Whether a command before was killed before its plan was made; those that failed since say nothing."""
        last = next((one for one in reversed(self._commands[:-1]) if one.ended != "failed"), None)
        return last is not None and last.ended is None and not last.planned

    def takes_up(self, number: int, step: int) -> None:
        """Notes that trial `number`, which was broken off, is about to go on from `step`."""
        self._change(took_up={**self._commands[-1].took_up, number: step})

    def does_not_mix(self, seeds: Sequence[int]) -> None:
        """Notes that the mean of the trials `seeds` was made, and is not kept."""
        self._change(unmixed=tuple(seeds))

    def doubted(self, steps: Mapping[int, int]) -> frozenset[int]:
        """Those of the trials that were broken off, each with the step that it came to, that may have done it.

        The command before this one took these up too, was killed or failed, and they had come no farther.
        """
        before = self._commands[-2] if len(self._commands) > 1 else None
        if before is None or before.ended in ("done", "stopped"):
            return frozenset()
        return frozenset(number for number, step in steps.items() if before.took_up.get(number) == step)

    def ends(self, ended: str, *, seconds: float, finished: int, why: str | None = None) -> None:
        """Notes the command's end, or that all but the report is done."""
        self._change(ended=ended, seconds=round(seconds, 3), finished=finished, why=why)

    def _change(self, **values: Any) -> None:
        self._commands[-1] = self._commands[-1].model_copy(update=values)
        self._write()

    def _write(self) -> None:
        values = {"commands": [command.model_dump(mode="json") for command in self._commands]}
        write_sealed(self._path, values)


@contextmanager
def logged(
    run: Path,
    command: Sequence[str],
    made: Mapping[str, Any],
    *,
    allowed_seconds: float | None,
    again_seconds: int | None = None,
    placement: Mapping[str, int | float | str] = MappingProxyType({}),
    seconds: Callable[[], float],
    finished: Callable[[], int],
    say: Callable[[str], None],
) -> Iterator[CommandLog]:
    """Notes a command of the run in `run`, which this process holds, with how it ends.

    `made` is `describe_machine()`, `seconds` the time since the command began, `finished` the run's finished trials.
    """
    path = run / COMMANDS
    try:
        before = list(read_commands(run))
    except DamagedError as error:
        shutil.copyfile(path, path.with_name(f"{COMMANDS}.damaged"))  # it stays until the new one takes its place
        say(f"{error}; it is written anew, and what earlier commands did is not known")
        lost = "what was done before is not known: commands.json was damaged"
        before = [Command(started="", ended="failed", why=lost)]
    about = {name: made[name] for name in ("loraloom", "python", "packages", "machine") if name in made}
    started = (datetime.now(UTC) - timedelta(seconds=seconds())).isoformat(timespec="seconds")
    about |= {"allowed_seconds": allowed_seconds, "again_seconds": again_seconds, "placement": dict(placement)}
    log = CommandLog(path, [*before, Command(command=command, started=started, **about)])
    try:
        yield log
    except BaseException as error:
        unread = closed_pipe(error)  # as `| head` leaves it
        ended = "stopped" if unread or isinstance(error, StoppedError | KeyboardInterrupt) else "failed"
        why = OUTPUT_CLOSED if unread else "Ctrl-C" if isinstance(error, KeyboardInterrupt) else first_line(error)[:500]
        with suppress(OSError, RunError):  # the folder may be gone, or its disk full, which is why
            log.ends(ended, seconds=seconds(), finished=finished(), why=why)
        raise
    with suppress(OSError, RunError):  # all is done, and its seconds were noted before the report
        log.ends("done", seconds=seconds(), finished=finished())


def last_placement(run: Path) -> dict[str, int | float | str]:
    """Where the run's last command trained, as options; none where that was its own process, or is not known."""
    last = _last(run)
    return last.placement if last else {}


def again_options(run: Path) -> dict[str, int | float | str]:
    """What a resume of the run is to be given: the seconds that it needs, if it does, and the last command's places."""
    last = _last(run)
    if last is None:
        return {}
    return {**({} if last.again_seconds is None else {"max_seconds": last.again_seconds}), **last.placement}


def _last(run: Path) -> Command | None:
    commands = known_commands(run)
    return commands[-1] if commands else None


def go_on_command(run: Path, recipe: Recipe | None = None) -> str:
    """The command that goes on with a run, with what it is to be given; see `resume_command`.

    Without a `recipe` it is the run's, where that can be read.
    """
    if recipe is None:
        try:
            recipe = read_sealed_recipe(run / RECIPE)
        except LoraloomError:
            return shell_resume_command(run, again_options(run))
    return resume_command(run, recipe, again_options(run))


def resume_command(run: Path, recipe: Recipe, options: Mapping[str, Any]) -> str:
    """The command that goes on with a run with such `options`, for a shell, or for the program that has its rows."""
    if not recipe.from_python:
        return shell_resume_command(run, options)
    return f"loraloom.resume({', '.join([repr(str(run)), *python_options(options), rows_again(recipe)])})"


def python_options(options: Mapping[str, Any]) -> Iterator[str]:
    """Options by their names, as a program gives them."""
    return (f"{name}={value!r}" for name, value in options.items())


def command_on(name: str, run: Path, recipe: Recipe) -> str:
    """The command `name` on a run that has its winner, for a shell, or for the program that has its rows."""
    if recipe.from_python:
        return f"loraloom.{name}({str(run)!r}, {rows_again(recipe)})"
    return f"loraloom {name} {shell_path(run)}"


def rows_again(recipe: Recipe) -> str:
    """The arguments by which a program gives the rows again that a run had of it."""
    return ", ".join(f"{split}=…" for split in recipe.from_python)


def read_commands(run: Path) -> tuple[Command, ...]:
    """The commands of a run, in their order; none where it is of an older version.

    Raises:
        RunError: the file can't be read.
        DamagedError: it is damaged.
    """
    path = run / COMMANDS
    try:
        return tuple(Command.model_validate(each) for each in read_sealed(path)["commands"])
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise RunError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{path}: is damaged ({reason_of(error)})") from None


def known_commands(run: Path) -> tuple[Command, ...]:
    """As `read_commands`; none where they can't be read."""
    try:
        return read_commands(run)
    except RunError:
        return ()
