"""The table of commands: each reads its options, calls one library function, and prints what it returns.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loraloom.errors import DataError, LoraloomError, RecipeError, StoppedError

if TYPE_CHECKING:
    from loraloom.execute.placement import Placement
    from loraloom.execute.stopping import Stop
    from loraloom.recipe import Recipe
    from loraloom.study.record import TrialRecord
    from loraloom.terminal.live import Terminal

STOP_AGAIN_SECONDS = 3
BUSY_SHARE = 0.25
"""Load average, as a share of the cores, from which other programs are taken to need them."""

app = typer.Typer(
    help="Finds the most accurate LoRA text classifier that a parameter, memory and time budget allows, and shows why.",
    epilog="Exit codes: 0 done, 2 something for you to mend, 75 stopped (resume goes on), 130 Ctrl-C, 1 our fault.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="The run folder to make.", show_default=False)]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a field: lora.r=4, or an axis: lora.r=2,4,8."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="TIME",
        help="End by then, report and all: 2026-11-25T18:00, or 18:00. budget.max_seconds and SLURM's end count too.",
        show_default=False,
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace", min=0, metavar="SECONDS", help="Time after SIGTERM: a winner is tested and reported if it suffices."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the result.")]
AllowLeak = Annotated[
    bool, typer.Option("--allow-leak", help="Keep training rows that are also in validation or test.")
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Write where a step's time goes to each trial's profile.json, and print it.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Train in this many worker processes, each with its share of cores."),
]
RayAddress = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Train on a Ray cluster: host:port of its head, or auto.")
]
GpusPerPack = Annotated[
    float | None, typer.Option("--gpus_per_pack", help="With --ray: of a GPU for each pack, such as 0.5.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
AdapterPath = Annotated[
    Path, typer.Argument(metavar="ADAPTER", help="A trial's folder, such as RUN/best.", show_default=False)
]
TextColumns = Annotated[
    list[str],
    typer.Option("--text_column", help="Column of the text (may be given several times); the recipe's by default."),
]


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
        _print_json(statement.as_json())
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
    _search(read_recipe(recipe, overrides), out, deadline, grace, allow_leak, profile, quiet, as_json, placement)


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
    _search(read.model_copy(update={"search": one}), out, deadline, grace, allow_leak, profile, quiet, as_json)


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
    from loraloom import pipeline
    from loraloom.execute.placement import Placement
    from loraloom.search.clock import process_start

    def work(watcher: Terminal, stop: Stop) -> TrialRecord:
        return pipeline.resume(
            run,
            watcher=watcher,
            stop=stop,
            max_seconds=max_seconds,
            deadline=deadline,
            started=process_start(),
            placement=Placement(workers, ray, gpus_per_pack),
        )

    _run(run, grace, quiet, as_json, work)


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
        _print_json(values)
        return
    from rich.console import Console

    from loraloom.terminal.scores import print_evaluation

    print_evaluation(Console(), result)


@app.command()
def predict(
    adapter: AdapterPath,
    file: Annotated[str | None, typer.Option("--file", help="CSV, TSV, JSONL or Parquet; - is standard input.")] = None,
    text: Annotated[list[str], typer.Option("--text", help="A text; may be given several times.")] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option("--out", help=".csv, .tsv or .jsonl; by default JSONL is printed.")
    ] = None,
    text_column: TextColumns = [],  # noqa: B006
) -> None:
    """Predict texts or files: adds prediction, confidence and, in JSONL, probabilities to each row, in order."""
    from loraloom.use.adapter import load
    from loraloom.use.predict import predict_file, predict_texts

    if bool(text) == bool(file):
        raise DataError("give either --text or --file")
    if text:
        predict_texts(load(adapter), text, sys.stdout)
    else:
        count = predict_file(load(adapter), str(file), out, sys.stdout, text_column=tuple(text_column) or None)
        if out is not None:
            typer.echo(f"{count:,} rows written to {out}", err=True)


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
) -> None:
    """Write RUN/report: one HTML page with its pictures (PNG) and tables (CSV).

    The first time, the run's rows are embedded by the frozen model, for the section on similarity; they are kept.
    Example: loraloom report runs/demo --compare_file machine_written.csv --against runs/other
    """
    from loraloom.report import write_report
    from loraloom.report.against import check_comparable
    from loraloom.study.run import Run

    Run(run)
    if no_similarity and compare_file:
        raise DataError("--compare_file: its texts have to be embedded; leave out --no_similarity")
    if against:
        check_comparable(run, against)
    why_not = None
    if not no_similarity:
        from loraloom.terminal.progress import progress
        from loraloom.use.similarity import collect

        with progress("embedding texts") as shown:
            why_not = collect(run, compare_file=compare_file, progress=shown)
        if why_not and compare_file:
            typer.echo(f"loraloom: {compare_file} was not compared: {why_not}", err=True)
    typer.echo(write_report(run, against=against, why_not_similar=why_not))


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
def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="RECIPE", help="Speak of this recipe's model.", show_default=False),
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
        _print_json(diagnosis.as_json())
        return
    from rich.console import Console

    from loraloom.terminal.doctor import print_diagnosis

    print_diagnosis(Console(), diagnosis)


def _wait_politely() -> None:
    """Threads that wait for each other sleep where other programs take the cores, before torch is loaded.

    They spin otherwise, which is some 10 % faster on a quiet machine, and ten times slower where the one that is
    waited for has lost its core.
    """
    with contextlib.suppress(OSError, AttributeError):
        if os.getloadavg()[0] > BUSY_SHARE * (os.cpu_count() or 1):
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class _TerminatedError(BaseException):
    """SIGTERM to a command that has no run under way; not an Exception, which libraries may swallow."""


def _terminate(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise _TerminatedError


def main() -> None:
    """The entry point: runs a command, and turns what went wrong into one sentence and an exit code."""
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)  # before heavy imports, which take seconds
        code = _exit_code()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all is done; the process ends
    except _TerminatedError:
        code = _fail("stopped by SIGTERM before anything was begun", 75)
    sys.exit(code)


def _exit_code() -> int:
    """Runs the command."""
    _wait_politely()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a log shows a long run as it goes
    try:
        code = app(standalone_mode=False) or 0
        return _fail("stopped by Ctrl-C", code) if code == 130 else code  # typer takes Ctrl-C, and says nothing
    except LoraloomError as error:
        return _fail(str(error), error.exit_code)
    except typer.Abort:
        return _fail("stopped by Ctrl-C", 130)
    except typer.TyperException as error:  # a wrong option or argument
        return _fail(getattr(error, "format_message", error.__str__)(), 2)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        return _fail(f"{error.filename or 'a file'}: {error.strerror}", 2)


def _search(
    recipe: Recipe,
    out: Path,
    deadline: str | None,
    grace: float,
    allow_leak: bool,
    profile: bool,
    quiet: bool,
    as_json: bool,
    placement: Placement | None = None,
) -> None:
    from loraloom import pipeline
    from loraloom.execute.placement import IN_PROCESS
    from loraloom.search.clock import process_start

    def work(watcher: Terminal, stop: Stop) -> TrialRecord:
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
            placement=placement or IN_PROCESS,
        )

    _run(out, grace, quiet, as_json, work)
    if profile and not as_json:
        from loraloom.terminal.profile import profile_lines

        for line in profile_lines(out):
            typer.echo(line)


def _run(run: Path, grace: float, quiet: bool, as_json: bool, work: Callable[[Terminal, Stop], TrialRecord]) -> None:
    from rich.console import Console

    from loraloom.study.choice import choose
    from loraloom.study.leaderboard import standings
    from loraloom.study.run import Run
    from loraloom.terminal.live import Terminal, closing_lines

    watcher = Terminal(Console(stderr=as_json), quiet=quiet or as_json)
    with _stoppable(run, grace) as stop:
        try:
            winner = work(watcher, stop)
        finally:
            watcher.closed()
    if as_json:
        _print_json({"run": str(run), "winner": winner.model_dump(mode="json")})
        return
    opened = Run(run)
    metric = opened.recipe.search.metric
    for line in closing_lines(winner, run, opened.recipe, choose(standings(opened.records(), metric), metric)):
        typer.echo(line)


@contextlib.contextmanager
def _stoppable(run: Path, grace: float) -> Iterator[Stop]:
    """SIGTERM and Ctrl-C end the run: after the step where trials train, else, and at the second time, at once.

    What was finished stands, trials under way are kept as checkpoints, and the message says how to go on.
    """
    from loraloom.execute.stopping import Stop

    stop = Stop(grace)

    def signalled(number: int, _: Any) -> None:
        try:
            stop.ask(KeyboardInterrupt() if number == signal.SIGINT else StoppedError(run, "stopped by SIGTERM"))
        except BaseException:
            # Again after a while, since Python drops what is raised while it clears an object away.
            signal.signal(signal.SIGALRM, lambda *_: signalled(number, None))
            signal.alarm(STOP_AGAIN_SECONDS)
            raise

    before = {number: signal.signal(number, signalled) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    except KeyboardInterrupt:
        if (run / "recipe.yaml").is_file():
            raise StoppedError(run, "stopped by Ctrl-C", exit_code=130) from None
        raise
    except StoppedError as error:
        if (run / "recipe.yaml").is_file():
            raise
        raise _TerminatedError from error
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(sentence: str, code: int) -> int:
    typer.echo(f"loraloom: {sentence}", err=True)
    return code


if __name__ == "__main__":
    main()
