"""The exception tree: every error that a user can cause, and the exit code that each one means.

A message is one sentence that names the thing, its value, and the rule or the fix. Anything that is not a
`LoraloomError` is a fault of ours: it keeps its traceback and exits 1.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Any


def first_line(error: BaseException) -> str:
    """`no space left on device`: the first line that an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_a_line(error: BaseException) -> str:
    """`OSError: no space left on device`: the kind and the first line of an error that is not ours."""
    return f"{type(error).__name__}: {first_line(error)[:300]}" if str(error).strip() else type(error).__name__


def without_path(error: BaseException) -> str:
    """`No such file or directory`: what the system says of a file, whose path it adds; of another error all it says."""
    said: str | None = getattr(error, "strerror", None)
    return said or str(error)


OUTPUT_CLOSED = "its output was closed"


def closed_pipe(error: BaseException) -> bool:
    """Whether typer or rich, which raised it, could not write: nobody reads what the command says any more."""
    return isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)


class LoraloomError(Exception):
    """The base of all errors that loraloom raises on purpose."""

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        """Has it be the same in another process, as joblib's: its constructor may take more than its sentence."""
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[LoraloomError], args: tuple[Any, ...]) -> LoraloomError:
    return kind.__new__(kind, *args)


class OptionError(LoraloomError):
    """Options of a command that can't be given, or can't be given together."""


class RecipeError(LoraloomError):
    """A recipe that can't be read or breaks a rule; `problems` holds one sentence for each."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(LoraloomError):
    """Rows, columns, labels or splits that can't be trained or tested on."""


class UnreachedError(DataError):
    """A data set that the cache has not got, where the hub can't be reached."""


class BackboneError(LoraloomError):
    """An encoder that can't be had, or has not got what the recipe asks of it."""


class BudgetError(LoraloomError):
    """A configuration that does not fit the budget."""


class AdapterError(LoraloomError):
    """A saved adapter that is missing, damaged or unsafe to load."""


class UnmixableError(AdapterError):
    """Adapters whose weights have no mean, or one that knows less than each of them."""


class UnblendableError(AdapterError):
    """Rows of which TF-IDF can learn nothing."""


class RunError(LoraloomError):
    """A run folder that is missing, taken, damaged or in use."""


class RunInUseError(RunError):
    """A run that another process has."""


class MissingExtraError(LoraloomError):
    """An optional package that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'loraloom[{extra}]'")


def is_installed(package: str) -> bool:
    """Whether `import package` would find a package; a mere folder of its name (W&B makes ./wandb) is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


class TrialFailedError(LoraloomError):
    """One trial can't go on (its loss is not finite, say); the search can."""


class DamagedError(RunError):
    """A file of a run that is not as it was written, and may be made anew; not one that merely can't be read now."""


class StoppedError(LoraloomError):
    """A run that was ended before its plan was done, from outside or since its trials only failed; `resume` goes on."""

    exit_code = 75

    def __init__(self, run: Path, why: str, exit_code: int = 75, go_on: str | None = None) -> None:
        """`go_on` is the command that goes on with the run, where it needs more than the run's folder."""
        self.run, self.why = run, why
        self.exit_code = exit_code
        super().__init__(f"{why}; nothing that was finished is lost. Go on with: {go_on or shell_resume_command(run)}")


def shell_resume_command(run: Path, options: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The command that goes on with a run, with such `options`, to be pasted into a shell."""
    return " ".join(["loraloom resume", shell_path(run), *shell_options(options)])


def shell_options(options: Mapping[str, Any]) -> Iterator[str]:
    """Options by their names, as a shell takes them."""
    return (f"--{name} {quote(str(value))}" for name, value in options.items())


def shell_path(path: Path | str) -> str:
    """A path as a shell's command takes it; before one that begins with `-`, and would be an option, stands `./`."""
    return quote(f"./{path}" if str(path).startswith("-") else str(path))


class PredictionStoppedError(LoraloomError):
    """The prediction of a file that was stopped from outside."""

    exit_code = 75

    def __init__(self, said: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(said)


class DeviceLostError(RuntimeError):
    """A GPU that no longer answers this process, which must end: whatever it did next would fail."""
