"""The table of commands: each reads its options, calls one library function, and prints what it returns.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.completion import complete_recipe, complete_shipped
from loraloom.cli.options import (
    AdapterPath,
    AdapterPaths,
    AllowLeak,
    AsJson,
    Deadline,
    GpusPerPack,
    Grace,
    Out,
    Overrides,
    Profile,
    Quiet,
    RayAddress,
    RecipePath,
    RunPath,
    TextColumns,
    Workers,
)
from loraloom.cli.running import TerminatedError, embed_texts, follow, print_json, run_prediction, run_search
from loraloom.cli.serving import serve
from loraloom.cli.watchdog import ended_in_time
from loraloom.errors import DataError, RecipeError

if TYPE_CHECKING:
    from loraloom.execute.stopping import Stop
    from loraloom.study.record import TrialRecord
    from loraloom.terminal.live import Terminal


class Form(StrEnum):
    """What `report` makes."""

    html = "html"
    md = "md"


class OnError(StrEnum):
    """What a bad row does to `predict`."""

    stop = "stop"
    skip = "skip"
    null = "null"


class ExportFormat(StrEnum):
    """What `export` makes."""

    merged = "merged"
    onnx = "onnx"
    peft = "peft"


app = typer.Typer(
    help="Finds the most accurate LoRA text classifier that a parameter, memory and time budget allows, and shows why.",
    epilog="Exit codes: 0 done, 2 something for you to mend, 75 stopped (resume goes on), 130 Ctrl-C, 1 our fault.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"loraloom {version('loraloom')}")
        raise typer.Exit


@app.callback()
def every_command(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """What may stand before a command."""


@app.command()
def budget(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    num_labels: Annotated[int | None, typer.Option("--num_labels", min=2, help="Number of classes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count trainable parameters exactly, by part, before any weight is loaded.

    Says what does not fit the cap and every smallest change that would; estimates memory and time.
    """
    import gc

    from loraloom.recipe import read_recipe

    gc.disable()  # nearly all of the command's time is imports, of which a fifth would go to collecting nothing
    from loraloom.execute.statement import state_budget

    statement = state_budget(read_recipe(recipe, overrides), num_labels)
    if as_json:
        print_json(statement.as_json())
        return
    from rich.console import Console

    from loraloom.terminal.statement import print_statement

    print_statement(Console(), statement)


@app.command()
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

    Trains every trial, tests the winner once, and leaves RUN/best, RUN/leaderboard.csv and RUN/report/index.html.
    Example: loraloom search recipes/demo.yaml --out runs/demo --set search.n_trials=12
    """
    from loraloom.execute.placement import Placement
    from loraloom.recipe import read_recipe

    placement = Placement(workers, ray, gpus_per_pack)
    run_search(read_recipe(recipe, overrides), out, deadline, grace, allow_leak, profile, quiet, as_json, placement)


@app.command()
def train(
    recipe: RecipePath,
    out: Out,
    overrides: Overrides = [],  # noqa: B006
    deadline: Deadline = None,
    grace: Grace = 0,
    allow_leak: AllowLeak = False,
    profile: Profile = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one configuration: a search of one, with the same run folder and report."""
    from loraloom.recipe import read_recipe

    read = read_recipe(recipe, overrides)
    if read.axes:
        raise RecipeError(
            f"{recipe}: {', '.join(read.axes)} would vary; train takes one value each, search takes several"
        )
    one = read.search.model_copy(update={"sampler": "grid"})  # the others would look for more than there is
    run_search(read.model_copy(update={"search": one}), out, deadline, grace, allow_leak, profile, quiet, as_json)


@app.command()
def resume(
    run: RunPath,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max_seconds", min=1, help="Time for this command; the recipe's by default.", show_default=False
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

    Finished trials are kept, and a trial under way goes on from its last checkpoint, to the same result. A run that
    ended at its deadline is given as much time again.
    """
    from loraloom.study.run import Run

    def work(watcher: Terminal, stop: Stop) -> TrialRecord:
        from loraloom import pipeline
        from loraloom.execute.placement import Placement
        from loraloom.search.clock import process_start

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

    with ended_in_time(run, max_seconds or Run(run).recipe.budget.max_seconds, deadline):
        follow(run, grace, quiet, as_json, work)


@app.command()
def evaluate(
    adapter: AdapterPath,
    test_file: Annotated[Path, typer.Option("--test_file", help="A labelled file.", show_default=False)],
    text_column: TextColumns = [],  # noqa: B006
    label_column: Annotated[str | None, typer.Option("--label_column", help="Column of the label.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the result as JSON here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score an adapter on a labelled file: accuracy with interval, macro-F1, per class, confusion, calibration."""
    from loraloom.study.durable import write_text
    from loraloom.use.evaluate import evaluate as run_evaluation

    result = run_evaluation(adapter, test_file, text_column=tuple(text_column) or None, label_column=label_column)
    values = result.as_json()
    if out is not None:
        write_text(out, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    if as_json:
        print_json(values)
        return
    from rich.console import Console

    from loraloom.terminal.scores import print_evaluation

    print_evaluation(Console(), result)


@app.command()
def predict(
    adapters: AdapterPaths,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help="CSV, TSV, JSONL or Parquet, also .gz, .bz2, .xz, .zst; - is standard input, also compressed.",
        ),
    ] = None,
    text: Annotated[list[str], typer.Option("--text", help="A text; may be given several times.")] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help=".csv, .tsv, .jsonl (also with .gz, .bz2, .xz, .zst) or .parquet; by default JSONL is printed.",
        ),
    ] = None,
    text_column: TextColumns = [],  # noqa: B006
    on_error: Annotated[
        OnError,
        typer.Option(
            "--on_error", help="What a row without a text does: end the run, be left out, or be written empty."
        ),
    ] = OnError.stop,
    min_confidence: Annotated[
        float | None,
        typer.Option("--min_confidence", min=0, max=1, help="Below it the prediction is left empty; confidence stays."),
    ] = None,
    no_temperature: Annotated[
        bool,
        typer.Option("--no_temperature", help="Probabilities as the model gives them, without the fitted temperature."),
    ] = False,
) -> None:
    """Predict texts or files: adds prediction, confidence and, in JSONL, probabilities to each row, in order.

    A file may be larger than memory. --out appears whole at the end; a run that was stopped goes on with the same
    command, from what it keeps beside it. A row without a text is reported with its number (--on_error).

    Logits are divided by a temperature where the validation rows of the adapter's run show that it needs one, so that
    a confidence is the chance to be right. It never changes a prediction of one adapter.

    Several adapters are an ensemble by their mean probabilities, with a column for the prediction of each. They must
    have the same labels.

    Example: loraloom predict runs/demo/best --file articles.csv.gz --out predicted.csv

    Example: zstdcat log.jsonl.zst | loraloom predict runs/a/best runs/b/best --file - --on_error null > predicted.jsonl
    """
    from loraloom.use.ensemble import load_ensemble
    from loraloom.use.predict import Choices, predict_texts

    if bool(text) == bool(file):
        raise DataError("give either --text or --file")
    if text and (out is not None or text_column):
        raise DataError("--text is answered on standard output; --out and --text_column go with --file")
    ensemble = load_ensemble(adapters, temperature=not no_temperature)
    if file is None:
        predict_texts(ensemble, text, sys.stdout, min_confidence)
    else:
        choices = Choices(tuple(text_column) or None, on_error.value, min_confidence)
        run_prediction(ensemble, file, out, choices)


@app.command()
def export(
    adapter: AdapterPath,
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="merged: plain transformers; onnx: fp32 and int8 for onnxruntime; peft: the adapter alone.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.", show_default=False)],
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="A labelled file to compare on; by default the run's own validation rows."),
    ] = None,
    text_column: TextColumns = [],  # noqa: B006
    label_column: Annotated[str | None, typer.Option("--label_column", help="Column of the label.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write an adapter in a form that needs no loraloom, with a model card, after it was compared with the adapter.

    merged and peft need a native head; onnx takes any, and needs the extra 'export' to be made.

    Example: loraloom export runs/demo/best --format onnx --out exports/demo
    """
    from loraloom.use.export import export as run_export

    columns = tuple(text_column) or None
    exported = run_export(adapter, form.value, out, rows=rows, text_column=columns, label_column=label_column)
    if as_json:
        print_json(exported.as_json())
        return
    from rich.console import Console

    from loraloom.terminal.handover import print_export

    print_export(Console(), exported)


@app.command()
def submit(
    adapter: Annotated[
        Path | None,
        typer.Argument(
            metavar="[ADAPTER]", help="A trial's folder; with --check it may be left out.", show_default=False
        ),
    ] = None,
    test_file: Annotated[
        Path | None,
        typer.Option("--test_file", help="Unlabelled rows: CSV, TSV, JSONL, Parquet, or a dataset saved to disk."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The submission to write, .csv.")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Look at this submission instead; needs --template.")
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="The contest's sample submission: its columns, ids and order.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id_column", help="Column of the ids; row numbers where none holds ids.")
    ] = None,
    text_column: TextColumns = [],  # noqa: B006
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="names, codes, or the contest's own with commas, in the order of the classes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a contest's submission (ID,Label), or check one; what would be scored as something else is refused.

    Example: loraloom submit runs/demo/best --test_file test.csv --template sample_submission.csv --out submission.csv

    Example: loraloom submit --check submission.csv --template sample_submission.csv
    """
    from loraloom.use import submit as submitting

    if check is not None:
        if test_file is not None or out is not None or template is None:
            raise DataError("--check FILE needs --template T, and neither --test_file nor --out")
        result = submitting.check(check, template, adapter=adapter, labels=labels)
    elif adapter is None or test_file is None or out is None:
        raise DataError("submit needs ADAPTER, --test_file and --out; or --check FILE --template T")
    else:
        columns = tuple(text_column) or None
        result = submitting.submit(
            adapter, test_file, out, template=template, id_column=id_column, text_column=columns, labels=labels
        )
    if as_json:
        print_json(result.as_json())
        return
    from rich.console import Console

    from loraloom.terminal.handover import print_submission

    print_submission(Console(), result, checked=check is not None)


@app.command()
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
    out: Annotated[Path | None, typer.Option("--out", help="With --format md: write it here.")] = None,
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
    from loraloom.report import findings, markdown, read_run, write_report
    from loraloom.report.against import check_comparable
    from loraloom.report.printing import browser, print_page
    from loraloom.study.durable import write_text
    from loraloom.study.run import Run

    Run(run)
    if form is Form.md and pdf:
        raise DataError("--pdf prints the page: it can't be given with --format md")
    if form is not Form.md and out is not None:
        raise DataError("--out is for --format md; the page is written to RUN/report")
    if no_similarity and compare_file:
        raise DataError("--compare_file: its texts have to be embedded; leave out --no_similarity")
    if against:
        check_comparable(run, against)
    program = browser() if pdf else None
    why_not = None if no_similarity else embed_texts(run, compare_file)
    if form is Form.md:
        text = markdown(findings(read_run(run), against, why_not, second=compare_file is not None))
        if out is None:
            typer.echo(text, nl=False)
        else:
            write_text(out, text)
        return
    page = write_report(run, against=against, second=compare_file is not None, why_not_similar=why_not)
    typer.echo(page)
    if program is not None:
        typer.echo(print_page(page, program))


@app.command()
def watch(
    run: RunPath,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show the report in the browser while the search goes, renewed as trials end; Ctrl-C ends it, with exit code 0.

    It may be started before the search: it waits for the run, and says so. Reads the run and writes nothing: it may be
    ended or killed at any time. Only this machine can see it; from
    elsewhere: ssh -L 8000:127.0.0.1:8000 HOST.
    """
    import webbrowser

    from loraloom.report.live import address, make_server

    with make_server(run, port) as server, contextlib.suppress(KeyboardInterrupt, TerminatedError):
        os.nice(10)  # the search goes first
        waits = "" if (run / "recipe.yaml").is_file() else " as soon as there is such a run"
        typer.echo(f"{run} is shown, read-only, at {address(server)}{waits}; Ctrl-C ends it")
        if open_browser:
            webbrowser.open(address(server))
        server.serve_forever()


@app.command()
def dashboard(
    run: RunPath,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8080,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Open optuna-dashboard on a run, read-only, while it goes or after it; Ctrl-C ends it.

    Needs the extra 'dashboard'. Whoever reaches the address sees the study: keep the host local, or behind a proxy.
    """
    from loraloom.tracking.dashboard import address, make_dashboard

    with make_dashboard(run, host, port) as server:
        typer.echo(f"{run} is shown, read-only, at {address(server)}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


app.command()(serve)


@app.command()
def schema(out: Annotated[Path | None, typer.Option("--out", help="Write it here.")] = None) -> None:
    """Print the JSON Schema of recipes, by which editors complete them.

    In VS Code, put '# yaml-language-server: $schema=recipe.schema.json' on the recipe's first line.
    """
    from loraloom.recipe import json_schema
    from loraloom.study.durable import write_text

    text = json.dumps(json_schema(), indent=2)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text + "\n")


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Print this one.", show_default=False, autocompletion=complete_shipped),
    ] = None,
) -> None:
    """List the recipes that come with loraloom, or print one, to be changed and kept.

    Their names stand for them wherever a recipe is asked for: loraloom search demo --out runs/demo.
    Example: loraloom recipes agnews-auto > mine.yaml
    """
    from loraloom.shipped import shipped_recipes, shipped_text

    if name is not None:
        typer.echo(shipped_text(name), nl=False)
        return
    from rich.console import Console

    from loraloom.terminal.recipes import print_recipes

    print_recipes(Console(), shipped_recipes())


@app.command()
def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE", help="Speak of this recipe's model.", show_default=False, autocompletion=complete_recipe
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine is, how fast it multiplies, and what training will use, with the reasons.

    Measures matrix products of an encoder layer in fp32 and bf16, and by them chooses the type; then says which engine,
    kernels and threads will be used, how many trials are trained together, and what would make this machine faster.
    Without a recipe it speaks of base-size (768 wide) and demo-size (384 wide) encoders. Trains and writes nothing.
    Example: loraloom doctor recipes/demo.yaml
    """
    from loraloom.recipe import read_recipe

    read = None if recipe is None else read_recipe(recipe)
    from loraloom.execute.doctor import diagnose

    diagnosis = diagnose(read)
    if as_json:
        print_json(diagnosis.as_json())
        return
    from rich.console import Console

    from loraloom.terminal.doctor import print_diagnosis

    print_diagnosis(Console(), diagnosis)
