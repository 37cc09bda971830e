"""The page of exit codes and errors, made of the exception tree."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.errors import LoraloomError

CODES = {
    0: "done; also a search that used its time as planned",
    1: "a fault of loraloom's, with its traceback",
    2: "something to mend on your side, said in a sentence",
    75: "stopped before it was done, from outside or by a run's own deadline; where it can go on, the message says how",
    130: "Ctrl-C",
}


def exits_page() -> str:
    """The page, Markdown."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in CODES.items())
    errors = "\n".join(
        f"| `{error.__name__}` | {error.exit_code} | {_first_line(error)} |" for error in _all(LoraloomError)
    )
    return f"""# Exit codes and errors

| exit code | means |
| --- | --- |
{codes}

75 is `EX_TEMPFAIL` of sysexits.h: a queue may begin the job again. The sentence goes to standard error, names the file
or field, the value, and the rule or the remedy; several broken rules of a recipe are said at once, a line each.

## From Python {{#python}}

All that a user can cause is a `LoraloomError`; its text is the sentence that the command line prints, and
`exit_code` the code. Anything else that is raised is a fault of loraloom's.

| error | exit code | means |
| --- | --- | --- |
{errors}

`StoppedError` and `PredictionStoppedError` have 130 where Ctrl-C was the reason, and `StoppedError` has 2 where trials
only failed: a queue that began the job again would have more of them fail.
"""


def _all(error: type[LoraloomError]) -> Iterator[type[LoraloomError]]:
    yield error
    for narrower in error.__subclasses__():
        yield from _all(narrower)


def _first_line(error: type[LoraloomError]) -> str:
    """The first sentence of its docstring."""
    return (error.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")
