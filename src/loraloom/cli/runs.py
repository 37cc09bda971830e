"""Commands that make a run or go on with one, and those that show one.

`search`, `train`, `resume`, `refit`, `soup`, `blend`; `report`, `watch`, `dashboard`.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.beginning import process_start
from loraloom.cli.options import (
    AllowLeak,
    AsJson,
    Deadline,
    GpusPerPack,
    Grace,
    Out,
    Overrides,
    Port,
    Profile,
    Quiet,
    RayAddress,
    RecipePath,
    RunPath,
    TrainOverrides,
    Workers,
)
from loraloom.cli.running import (
    TerminatedError,
    embed_texts,
    follow,
    make_terminal,
    print_json,
    print_or_write,
    run_search,
    say_doing,
    stoppable,
)
from loraloom.cli.watchdog import ended_in_time
from loraloom.errors import OptionError, RecipeError

if TYPE_CHECKING:
    from loraloom.search.watcher import Watcher
    from loraloom.study.record import TrialRecord


class Form(StrEnum):
    """What `report` makes."""

    html = "html"
    md = "md"


def search(
    recipe: RecipePath,
    out: Out,
    overrides: Overrides = [],  # noqa: B006
    deadline: Deadline = None,
    grace: Grace = 0,
    allow_leak: AllowLeak = False,
    profile: Profile = False,
    workers: Workers = None,
    ray: RayAddress = None,
    gpus_per_pack: GpusPerPack = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search a recipe's space under its budget: the main job.

    Trains what the budget allows, tests the winner once, and leaves RUN/best, RUN/leaderboard.csv and
    RUN/report/index.html.

    Example: loraloom search demo --out runs/demo --set search.n_trials=12
    """
    from loraloom.execute.placement import Placement
    from loraloom.recipe import read_recipe

    run_search(
        read_recipe(recipe, overrides),
        out,
        Placement(workers, ray, gpus_per_pack),
        deadline=deadline,
        grace=grace,
        allow_leak=allow_leak,
        profile=profile,
        quiet=quiet,
        as_json=as_json,
    )


def train(
    recipe: RecipePath,
    out: Out,
    overrides: TrainOverrides = [],  # noqa: B006
    deadline: Deadline = None,
    grace: Grace = 0,
    allow_leak: AllowLeak = False,
    profile: Profile = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one configuration: a search of one, with the same run folder and report.

    Several seeds (search.seeds) are trained in this process, on a CPU in turn; search takes --workers and --ray.

    Example: loraloom train agnews-roberta-base --out runs/one --set search.seeds=3
    """
    from loraloom.execute.placement import IN_PROCESS
    from loraloom.recipe import read_recipe

    read = read_recipe(recipe, overrides)
    if read.axes:
        raise RecipeError(
            f"{recipe}: {', '.join(read.axes)} would vary; train takes one value each, search takes several"
        )
    run_search(
        read.with_fields(search={"sampler": "grid"}),  # the others would look for more than there is
        out,
        IN_PROCESS,
        deadline=deadline,
        grace=grace,
        allow_leak=allow_leak,
        profile=profile,
        quiet=quiet,
        as_json=as_json,
    )


def resume(
    run: RunPath,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max_seconds",
            min=1,
            help="Seconds for this command; the recipe's by default, inf for no limit.",
            show_default=False,
        ),
    ] = None,
    deadline: Deadline = None,
    grace: Grace = 0,
    workers: Workers = None,
    ray: RayAddress = None,
    gpus_per_pack: GpusPerPack = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run after a kill, a deadline or a crash.

    Finished trials are kept, and a trial under way goes on from its last checkpoint, to the same result. A run
    with budget.max_seconds is given as much time again.

    Example: loraloom resume runs/demo --max_seconds 600
    """
    with stoppable(run, grace) as stop:
        from loraloom.study.run import Run

        def work(watcher: Watcher) -> TrialRecord:
            from loraloom import pipeline
            from loraloom.execute.placement import Placement

            return pipeline.resume(
                run,
                watcher=watcher,
                command=sys.argv,
                stop=stop,
                max_seconds=max_seconds,
                deadline=deadline,
                started=process_start(),
                placement=Placement(workers, ray, gpus_per_pack),
            )

        limit = Run(run).recipe.budget.max_seconds if max_seconds is None else max_seconds
        with ended_in_time(run, limit, deadline, option="--max_seconds"):
            follow(run, work, quiet=quiet, as_json=as_json)


def refit(run: RunPath, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Train a run's winner once more, on the rows that were held out to choose it too: RUN/refit.

    Configuration, seed and passes are the winner's (of a mean of seeds, each of them is trained again); the test rows
    stay held out, and it is tested on them. A training that was stopped is gone on with by the same command.

    Example: loraloom refit runs/demo
    """
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from loraloom.refitting import refit as run_refit
    from loraloom.study.commands import command_on
    from loraloom.study.run import Run
    from loraloom.terminal.refitted import refitted_lines

    opened = Run(run)
    with stoppable(run, 0, command_on("refit", run, opened.recipe)) as stop:
        record = run_refit(run, watcher=watcher, stop=stop)
    if as_json:
        print_json({"run": str(run), "refit": record.model_dump(mode="json")})
        return
    for line in refitted_lines(record, opened):
        typer.echo(line)


def soup(run: RunPath, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Mix the winner's seeds into one adapter, as small as each of them: RUN/soup.

    Its weights are the mean of theirs. It costs no training, is judged by the validation rows, and is tested as the
    winner was. Of few rows it tends to be better than one seed, of thousands it seldom is. A search has several seeds
    of its winner by search.seeds, or, under a clock, where time is left.

    Example: loraloom soup runs/demo
    """
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from loraloom.souping import soup as mix_seeds
    from loraloom.study.commands import command_on
    from loraloom.study.run import Run
    from loraloom.terminal.souped import souped_lines

    opened = Run(run)
    with stoppable(run, 0, command_on("soup", run, opened.recipe)):
        made = mix_seeds(run, watcher=watcher)
    if as_json:
        trials = sorted(trial.number for trial in made.trials)
        told = {"trials": trials, "kept": made.kept, "is_advised": made.is_advised}
        print_json({"run": str(run), **told, "soup": made.record.model_dump(mode="json")})
        return
    for line in souped_lines(made, opened):
        typer.echo(line)


def blend(run: RunPath, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Blend TF-IDF's scores into the winner's answers, outside the cap: RUN/blend.

    TF-IDF is a linear classifier of words and pairs of words, fitted to the training rows in seconds. One part in three
    of what RUN/blend answers is its; that tends to be a little better than the winner alone, and is tested as the
    winner was. predict, submit, evaluate and serve take RUN/blend as any adapter; an export holds no TF-IDF. No cap of
    trainable parameters counts its weights: in a contest ask whether they are allowed.

    Example: loraloom blend runs/demo
    """
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from dataclasses import asdict

    from loraloom.blending import blend as blend_into
    from loraloom.study.commands import command_on
    from loraloom.study.run import Run
    from loraloom.terminal.blended import blended_lines

    opened = Run(run)
    with stoppable(run, 0, command_on("blend", run, opened.recipe)):
        made = blend_into(run, watcher=watcher)
    if as_json:
        tfidf = {"terms": len(made.tfidf.terms), "weights": made.tfidf.parameters, **made.apart.model_dump(mode="json")}
        told = {"blend": made.record.model_dump(mode="json"), "tfidf": tfidf, "gain": made.gain and asdict(made.gain)}
        print_json({"run": str(run), **told})
        return
    for line in blended_lines(made, opened):
        typer.echo(line)


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
    out: Annotated[Path | None, typer.Option("--out", help="With --format md: write it to this file.")] = None,
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
    from loraloom.report.writing import write_report

    _refuse_report(run, against, compare_file, form, out, no_similarity=no_similarity, pdf=pdf)
    program = browser() if pdf else None
    why_not = None if no_similarity else embed_texts(run, compare_file)
    second = compare_file is not None
    say_doing("writing the report")
    if form is Form.md:
        print_or_write(markdown(findings(read_run(run), against, why_not, second=second)), out)
        return
    page = write_report(run, against=against, second=second, why_not_similar=why_not)
    typer.echo(page)
    if program is not None:
        typer.echo(print_page(page, program))


def _refuse_report(
    run: Path,
    against: Path | None,
    compare_file: Path | None,
    form: Form,
    out: Path | None,
    *,
    no_similarity: bool,
    pdf: bool,
) -> None:
    """Refuses what can't be made, before texts are embedded: without a run, by options that exclude each other.

    Raises:
        RunError: there is no run in `run`, or it is not to be compared with `against`.
        OptionError: an option has no use beside the others.
    """
    from loraloom.report.against import check_comparable
    from loraloom.study.durable import refuse_over, refuse_place
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
    if against:
        check_comparable(run, against)


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
        typer.echo(f"{run} is shown, read-only, at {address(server)}{waits}; Ctrl-C ends it")
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
        typer.echo(f"{run} is shown, read-only, at {address(server)}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt, TerminatedError):
            server.serve_forever()
