"""The entry point: signals before a command is begun, and what each kind of error exits with."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import typer

from loraloom import machine
from loraloom.cli.commands import app
from loraloom.cli.running import TerminatedError, say_line
from loraloom.collecting import expect_libraries
from loraloom.errors import LoraloomError, StoppedError, closed_pipe, first_line
from loraloom.study.durable import disk_is_full
from loraloom.terminal.hang_up import is_unread, let_go

_AGAIN_SECONDS = 0.1
_FULL = "no space is left on the disk; free some, and give the command again"


def main() -> None:
    """The entry point: runs a command, and ends the process at once.

    Taking an interpreter with torch apart takes seconds where others use the machine, which a deadline does not have;
    what is to be done at the end (atexit) is done, and what is to be kept was synced when it was written.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed, as by 2>&-
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    expect_libraries()
    code = run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done; what ends the process is not to be broken off
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def run() -> int:
    """Runs a command, which SIGTERM ends from its first moment to its last; returns its exit code."""
    try:
        _on_sigterm(_terminate)  # before heavy imports, which take seconds
        with _raised_again():
            code = _exit_code()
        _on_sigterm(signal.SIG_IGN)  # all is done; the process ends
    except TerminatedError as stopped:
        _on_sigterm(signal.SIG_IGN)
        code = _fail(str(stopped), 75)
    except KeyboardInterrupt:  # a second one, while it was said what the first one did
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = _fail("stopped by Ctrl-C", 130)
    return code


def _on_sigterm(handler: Callable[[int, Any], None] | signal.Handlers) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _exit_code() -> int:
    """Runs the command; what went wrong becomes one sentence and an exit code."""
    _settle_threads()
    _set_up_streams()
    if sys.flags.optimize > 1:
        stripped = "python -OO (PYTHONOPTIMIZE=2) drops docstrings, without which transformers can't be imported"
        return _fail(f"{stripped}; run it without, or with -O", 2)
    try:
        # By `python -m loraloom` a shell would be told to complete that, by a variable whose name has blanks.
        code = app(prog_name="loraloom", standalone_mode=False) or 0
        return _fail("stopped by Ctrl-C", code) if code == 130 else code  # typer takes Ctrl-C, and says nothing
    except LoraloomError as error:
        return _fail(str(error), error.exit_code)
    except typer.Abort as error:  # at a question
        by = "the end of the answers (Ctrl-D)" if isinstance(error.__context__, EOFError) else "Ctrl-C"
        return _fail(f"stopped by {by}", 130)
    except typer.TyperException as error:  # a wrong option or argument
        sentence = getattr(error, "format_message", error.__str__)().replace("\n\t", " ")  # choices, a line each
        return _fail(sentence.replace("Value error, ", "", 1) + _as_field(error), 2)  # pydantic's words
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C", 130)
    except SystemExit as ended:  # what typer and rich make of a closed pipe, as `| head` leaves it
        if not closed_pipe(ended) or is_unread(2):  # what is said on standard error is not all that a command does
            raise
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        if disk_is_full(error):  # a write names no file
            return _fail(f"{f'{error.filename}: ' if error.filename else ''}{_FULL}", 2)
        return _fail(f"{error.filename or 'a file'}: {error.strerror}", 2)
    except Exception as error:
        if disk_is_full(error):  # which safetensors and onnxruntime say by errors of their own
            return _fail(_FULL, 2)
        if not _is_out_of_memory(error):
            raise
        why = first_line(error).rstrip(".")
        return _fail(f"memory does not suffice: {why}; end what else uses it, or use a machine that has more", 2)


def _as_field(error: typer.TyperException) -> str:
    """How a field of the recipe is set, where it was given as an option that a command with `--set` has not."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option is None or context is None or not any("--set" in each.opts for each in context.command.params):
        return ""
    from loraloom.recipe.problems import fields_called

    fields = fields_called(option.lstrip("-").replace("-", "_"))
    return f"; a field of the recipe is set by --set {fields[0]}=…" if fields else ""


def _set_up_streams() -> None:
    """A log shows a long run as it goes, a path that is not UTF-8 can be printed, and JSON is UTF-8 in any locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from loraloom.engine.progress import is_out_of_memory

    return is_out_of_memory(error)


def _settle_threads() -> None:
    """Before torch is loaded: how many threads it takes, and how they wait for each other.

    They are as many as a quota has cores for. Where other programs take the cores they sleep meanwhile: they spin
    otherwise, which is some 10 % faster on a quiet machine, and ten times slower where the one that is waited for has
    lost its core.
    """
    if (threads := machine.quota_threads()) is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if machine.is_busy(machine.load_average()):
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _terminate(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise TerminatedError("stopped by SIGTERM")


@contextlib.contextmanager
def _raised_again() -> Iterator[None]:
    """What a signal raises while Python clears an object away, as in an import, is dropped: it is raised once more."""
    shown = sys.unraisablehook

    def hear(dropped: sys.UnraisableHookArgs) -> None:
        error = dropped.exc_value
        if not isinstance(error, (KeyboardInterrupt, TerminatedError, StoppedError)):
            shown(dropped)
        elif not any(signal.getitimer(signal.ITIMER_REAL)):  # `stoppable` raises it again by itself

            def again(*_: Any) -> None:
                raise error

            signal.signal(signal.SIGALRM, again)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)

    sys.unraisablehook = hear
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = shown


def _fail(sentence: str, code: int) -> int:
    let_go(2)
    with contextlib.suppress(OSError):  # nobody reads it, or its disk is full: the exit code says what it can
        say_line(f"loraloom: {sentence}", err=True)
    return code
