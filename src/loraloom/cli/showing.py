"""Commands that show a run: `report`, `watch`, `dashboard`.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loraloom.cli.options import Port, RunPath, from_home
from loraloom.cli.running import TerminatedError, print_or_write, say_doing, say_line
from loraloom.errors import OptionError


class Form(StrEnum):
    """What `report` makes."""

    html = "html"
    md = "md"


def report(
    run: RunPath,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="RUN2", help="Compare the winners of two runs on the same test rows."),
    ] = None,
    compare_file: Annotated[
        Path | None,
        typer.Option(
            "--compare_file", help="Other texts: how far they are from the training rows, and what that costs."
        ),
    ] = None,
    no_similarity: Annotated[
        bool, typer.Option("--no_similarity", help="Embed no texts: the report then needs neither model nor data.")
    ] = False,
    form: Annotated[
        Form, typer.Option("--format", help="html writes RUN/report, md prints Markdown for a README or an issue.")
    ] = Form.html,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --format md: write it to this file.", callback=from_home)
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print the page to RUN/report/report.pdf, by Chromium.")
    ] = False,
) -> None:
    """Write RUN/report: one HTML page with its pictures (PNG) and tables (CSV).

    The first time, a sample of the run's rows is embedded by the frozen model, to measure how alike training and test
    rows are and to judge the labels of training rows; both are kept.

    The page is written anew each time, with what is asked for: name --against, --compare_file and --pdf again to have
    them again (the embeddings of the file that was compared last are kept, so that this is quick).

    Example: loraloom report runs/demo --compare_file machine_written.csv --against runs/other

    Example: loraloom report runs/demo --format md --out RESULTS.md
    """
    from loraloom.report.findings import findings
    from loraloom.report.markdown import markdown
    from loraloom.report.printing import browser, print_page
    from loraloom.report.reading import read_run
    from loraloom.report.wording import one_line
    from loraloom.report.writing import write_report
    from loraloom.terminal.console import make_console, say

    _refuse_report(run, compare_file, form, out, no_similarity=no_similarity, pdf=pdf)
    verdict = _compare(run, against) if against else None
    program = browser() if pdf else None
    why_not = None if no_similarity else _embed_texts(run, compare_file)
    second = compare_file is not None
    say_doing("writing the report")
    if form is Form.md:
        print_or_write(markdown(findings(read_run(run), against, why_not, second=second)), out)
        return
    page = write_report(run, against=against, second=second, why_not_similar=why_not)
    typer.echo(page)
    if program is not None:
        typer.echo(print_page(page, program))
    if verdict is not None:
        say(make_console(), one_line(verdict))


def _compare(run: Path, against: Path) -> str:
    """Which of the two winners is better, before anything that takes long: what can't be compared is refused then.

    Raises:
        RunError: they are not to be compared.
    """
    from loraloom.report.against import against as compared
    from loraloom.report.reading import read_run

    return compared(read_run(run), against).verdict


def _embed_texts(run: Path, compare_file: Path | None) -> str | None:
    """What the report's section on similarity needs, with progress; returns why it could not be had, if so."""
    from loraloom.report.wording import one_line
    from loraloom.terminal.console import make_console, say
    from loraloom.terminal.progress import progress
    from loraloom.use.similarity import collect

    console = make_console(stderr=True)
    with progress("embedding texts", console) as shown:
        why_not = collect(run, compare_file=compare_file, progress=shown, note=partial(say, console))
    if why_not:
        lacks = f"{compare_file} was not compared" if compare_file else "the report is without similarity"
        say(console, one_line(f"loraloom: {lacks}: {why_not}"))  # a file that somebody else's recipe names
    return why_not


def _refuse_report(
    run: Path,
    compare_file: Path | None,
    form: Form,
    out: Path | None,
    *,
    no_similarity: bool,
    pdf: bool,
) -> None:
    """Refuses what can't be made, before texts are embedded: without a run, by options that exclude each other.

    Raises:
        RunError: there is no run in `run`.
        OptionError: an option has no use beside the others.
    """
    from loraloom.study.durable import refuse_place
    from loraloom.study.outputs import refuse_over
    from loraloom.study.run import Run

    Run(run)
    if form is Form.md and pdf:
        raise OptionError("--pdf prints the page: it can't be given with --format md")
    if form is not Form.md and out is not None:
        raise OptionError("--out is for --format md; the page is written to RUN/report")
    if out is not None:
        refuse_place(out)
        refuse_over(out, *([compare_file] if compare_file else []))
    if no_similarity and compare_file:
        raise OptionError("--compare_file: its texts have to be embedded; leave out --no_similarity")


def watch(
    run: RunPath,
    port: Port = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show the report in the browser while the search goes, renewed as trials end; Ctrl-C ends it, with exit code 0.

    It may be started before the search: it waits for the run, and says so. It reads the run and writes nothing, and may
    be ended or killed at any time. Only this machine can see it.

    From elsewhere: ssh -L 8000:127.0.0.1:8000 HOST

    Example: loraloom watch runs/demo --open
    """
    from loraloom.report.live import address, make_server
    from loraloom.study.run import is_run

    with make_server(run, port) as server, contextlib.suppress(KeyboardInterrupt, TerminatedError):
        os.nice(10)  # the search goes first
        waits = "" if is_run(run) else " as soon as there is such a run"
        say_line(f"{run} is shown, read-only, at {address(server)}{waits}; Ctrl-C ends it")
        if open_browser:
            threading.Thread(target=_open, args=(address(server),), daemon=True).start()
        server.serve_forever()


def _open(page: str) -> None:
    """Opens it in the browser; one in a terminal keeps who calls until it is left."""
    import webbrowser

    if not webbrowser.open(page):
        typer.echo("loraloom: no browser was found that opens it; give the address to yours", err=True)


def dashboard(
    run: RunPath,
    port: Port = 8080,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Open optuna-dashboard on a run, read-only, while it goes or after it; Ctrl-C ends it.

    Needs the extra 'dashboard'. Whoever reaches the address sees the study: keep the host local, or behind a proxy.

    Example: loraloom dashboard runs/demo --port 8080
    """
    from loraloom.tracking.dashboard import address, make_dashboard

    with make_dashboard(run, host, port) as server:
        say_line(f"{run} is shown, read-only, at {address(server)}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt, TerminatedError):
            server.serve_forever()
