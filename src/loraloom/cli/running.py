"""A run under way on a terminal, and what Ctrl-C, SIGTERM and SIGHUP do to it; how commands say and print."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from loraloom.cli.beginning import process_start
from loraloom.cli.watchdog import ended_in_time
from loraloom.collecting import settle
from loraloom.errors import OUTPUT_CLOSED, StoppedError, closed_pipe
from loraloom.terminal.hang_up import let_go
from loraloom.wording import unobeyed, unobeyed_json

if TYPE_CHECKING:
    from loraloom.execute.placement import Placement
    from loraloom.execute.stopping import Stop
    from loraloom.recipe import Recipe
    from loraloom.search.watcher import Watcher
    from loraloom.study.record import TrialRecord
    from loraloom.terminal.live import Terminal

STOP_AGAIN_SECONDS = 3


class TerminatedError(BaseException):
    """SIGTERM to a command that has no run under way; not an Exception, which libraries may swallow."""


def run_search(
    recipe: Recipe,
    out: Path,
    placement: Placement,
    *,
    deadline: str | None,
    grace: float,
    allow_leak: bool,
    profile: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """`search` and `train`: makes the run in `out`, follows it, and prints its result.

    Raises:
        RunError: `out` holds something; refused before all else, so that no signal and no deadline speaks of that run.
    """
    from loraloom.study.run import refuse_taken

    refuse_taken(out)
    with stoppable(out, grace) as stop, ended_in_time(out, recipe.budget.max_seconds, deadline):

        def work(watcher: Watcher) -> TrialRecord:
            from loraloom import pipeline

            return pipeline.search(
                recipe,
                out,
                watcher=watcher,
                stop=stop,
                deadline=deadline,
                started=process_start(),
                command=sys.argv,
                allow_leak=allow_leak,
                profile=profile,
                placement=placement,
            )

        follow(out, work, quiet=quiet, as_json=as_json)


def follow(run: Path, work: Callable[[Watcher], TrialRecord], *, quiet: bool, as_json: bool) -> None:
    """Does `work` on a run in the sight of a terminal, and prints the winner."""
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from loraloom.search.watcher import SearchPlan, Watcher, Watchers

    class Settling(Watcher):
        def planned(self, plan: SearchPlan) -> None:
            settle()

    try:
        winner = work(Watchers(watcher, Settling()))
    except (StoppedError, KeyboardInterrupt):
        if watcher.winner is not None:  # there was grace for it
            watcher.closed()
            _print_winner(run, watcher.winner, as_json)
        raise
    finally:
        watcher.closed()
    _print_winner(run, winner, as_json)


def make_terminal(*, quiet: bool, as_json: bool) -> Terminal:
    """What shows the work on a run; that it loads libraries is said first, where anything is to be."""
    if not (quiet or as_json):
        say_loading("the libraries")
    from loraloom.terminal.console import make_console
    from loraloom.terminal.live import Terminal

    return Terminal(make_console(stderr=as_json), quiet=quiet or as_json)


def _print_winner(run: Path, winner: TrialRecord, as_json: bool) -> None:
    from loraloom.study.run import Run
    from loraloom.terminal.live import closing_lines
    from loraloom.terminal.profile import profile_lines

    let_go(1)
    if as_json:
        print_json({"run": str(run), "winner": winner.model_dump(mode="json")})
        return
    opened = Run(run)
    recipe = opened.recipe
    for line in closing_lines(winner, run, recipe, opened.records()):
        say_line(line)
    if recipe.provenance.get("profile"):
        for line in profile_lines(opened.trial_folder(winner.number)):
            say_line(line)


@contextlib.contextmanager
def stoppable(run: Path, grace: float, go_on: str | None = None) -> Iterator[Stop]:
    """SIGTERM, SIGHUP and Ctrl-C end the run: after the step where trials train, else at once.

    A second SIGTERM or Ctrl-C ends it at once wherever it is; one after the last trial lets it come to its end where
    `grace` suffices. What was finished stands, trials under way are kept as checkpoints, and the message says how to
    go on: by the command `go_on`, else by a resume. A SIGHUP that is ignored, as by nohup, stays so.
    """
    from loraloom.execute.stopping import Stop
    from loraloom.study.run import is_run

    stop = Stop(grace)
    raised: list[BaseException] = []

    def signalled(number: int, _: Any) -> None:
        try:
            by = signal.Signals(number).name
            stop.ask(KeyboardInterrupt() if number == signal.SIGINT else StoppedError(run, f"stopped by {by}"))
        except BaseException as error:
            raised.append(error)
            # Again after a while, since Python drops what is raised while it clears an object away.
            signal.signal(signal.SIGALRM, lambda *_: signalled(number, None))
            signal.alarm(STOP_AGAIN_SECONDS)
            raise

    def hung_up(number: int, _: Any) -> None:
        """The shell, the kernel and systemd each tell it, beside SIGTERM: after a wish it is no second one."""
        if not (raised or stop.asked()):
            signalled(number, None)

    def went_on(*_: Any) -> None:
        stop.pauses += 1

    handlers: dict[int, Callable[[int, Any], None]] = {
        signal.SIGTERM: signalled,
        signal.SIGINT: signalled,
        signal.SIGCONT: went_on,
    }
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        handlers[signal.SIGHUP] = hung_up
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        try:
            yield stop
        except Exception as error:
            if raised and not isinstance(error, StoppedError):  # what a library made of it
                raise raised[0] from error
            raise
    except KeyboardInterrupt:
        if not is_run(run):
            raise
        raise _ended(run, "stopped by Ctrl-C", 130, go_on) from None
    except SystemExit as ended:
        if not closed_pipe(ended):
            raise
        raise _ended(run, f"stopped: {OUTPUT_CLOSED}", go_on=go_on) from None
    except StoppedError as error:
        raise _ended(run, error.why, error.exit_code, go_on) from error
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(run: Path, why: str, exit_code: int = 75, go_on: str | None = None) -> BaseException:
    """What a command ends by that was stopped: with how the run goes on, where there is one by now."""
    from loraloom.study.commands import go_on_command
    from loraloom.study.run import is_run

    if is_run(run):
        return StoppedError(run, why, exit_code, go_on or go_on_command(run))
    return TerminatedError(f"{why} before anything was begun")


def say_line(line: str, *, err: bool = False) -> None:
    """A line for people: a path in it may hold what a terminal obeys."""
    typer.echo(unobeyed(line), err=err)


def say_doing(what: str) -> None:
    """What is done that takes seconds, where somebody waits before a terminal."""
    if sys.stderr.isatty():
        say_line(what, err=True)


def say_loading(what: str) -> None:
    """What is loaded, as `say_doing` says it."""
    say_doing(f"loading {what}")


def print_json(value: Any) -> None:
    """A result for programs, alone on standard output, which may be a terminal."""
    typer.echo(unobeyed_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_or_write(text: str, out: Path | None) -> None:
    """A text that ends its last line itself, on standard output or in the file `out`."""
    from loraloom.study.durable import write_text

    if out is None:
        typer.echo(text, nl=False)
    else:
        write_out(out, lambda: write_text(out, text))


def write_out(out: Path, write: Callable[[], None]) -> None:
    """Has the file `out` written; that it took the place of another is said on standard error."""
    replaced = out.is_file()
    write()
    if replaced:
        say_line(f"{out} is in place of a file that was there", err=True)
