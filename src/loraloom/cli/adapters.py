"""Commands that use an adapter: `evaluate`, `predict`, `export`, `submit`; `serve` is in `serving.py`.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.completion import complete_adapter
from loraloom.cli.options import AdapterPath, AdapterPaths, AsJson, ClassShares, LabelColumn, TextColumns, from_home
from loraloom.cli.running import TerminatedError, print_json, say_doing, say_line, say_loading, write_out
from loraloom.collecting import settle
from loraloom.errors import OptionError, PredictionStoppedError

if TYPE_CHECKING:
    from loraloom.use.answers import Choices
    from loraloom.use.ensemble import Ensemble

FILES = "CSV, TSV, JSONL or Parquet, also .gz, .bz2, .xz, .zst (extra 'zstd')"
LABELLED = f"{FILES}, or a folder that a recipe could name"


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


def evaluate(
    adapter: AdapterPath,
    test_file: Annotated[Path, typer.Option("--test_file", help=f"Labelled rows: {LABELLED}.", show_default=False)],
    text_column: TextColumns = [],  # noqa: B006
    label_column: LabelColumn = None,
    class_shares: ClassShares = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the result as JSON here.", callback=from_home)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score an adapter on a labelled file: accuracy with interval, macro-F1, per class, confusion, calibration.

    Says how many of the rows its run was trained on, chose by or tested on, where the run's own file is at hand and
    unchanged. Log loss and calibration error are those of the model's own confidences; where predict divides logits by
    a temperature, those of its confidences are given too. With --class_shares, scores are of what predict gives with
    them.

    Example: loraloom evaluate runs/demo/best --test_file test.csv --json
    """
    from loraloom.study.durable import refuse_place, write_json
    from loraloom.study.outputs import refuse_over
    from loraloom.use.evaluate import evaluate as run_evaluation

    if out is not None:
        refuse_place(out)
        refuse_over(out, test_file)
    say_loading("the model")
    result = run_evaluation(
        adapter,
        test_file,
        text_column=tuple(text_column) or None,
        label_column=label_column,
        class_shares=class_shares or None,
        note=say_doing,
    )
    values = result.as_json()
    if out is not None:
        write_out(out, lambda: write_json(out, values))
    if as_json:
        print_json(values)
        return
    from loraloom.terminal.console import make_console
    from loraloom.terminal.scores import print_evaluation

    print_evaluation(make_console(folds=False), result)


def predict(
    adapters: AdapterPaths,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help=f"{FILES}; a folder of folders of .txt files; - is standard input, also compressed.",
        ),
    ] = None,
    text: Annotated[list[str], typer.Option("--text", metavar="TEXT", help="A text; may be given several times.")] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help=".csv, .tsv, .jsonl (also with .gz, .bz2, .xz or, by the extra 'zstd', .zst) or .parquet; by default "
            "JSONL is printed.",
            callback=from_home,
        ),
    ] = None,
    text_column: TextColumns = [],  # noqa: B006
    on_error: Annotated[
        OnError,
        typer.Option("--on_error", help="At a bad row: stop, skip it, or write no prediction (null)."),
    ] = OnError.stop,
    min_confidence: Annotated[
        float | None,
        typer.Option("--min_confidence", min=0, max=1, help="Below it the prediction is left empty; confidence stays."),
    ] = None,
    no_temperature: Annotated[
        bool,
        typer.Option("--no_temperature", help="Probabilities as the model gives them, without the fitted temperature."),
    ] = False,
    class_shares: ClassShares = [],  # noqa: B006
) -> None:
    """Predict texts or files: adds prediction, confidence and, in JSONL, probabilities to each row, in order.

    A file may be larger than memory. --out appears whole at the end; a run that was stopped goes on with the same
    command, from what it keeps beside it. A bad row is reported with its number (--on_error).

    Logits are divided by a temperature where the validation rows of the adapter's run show that it needs one, so that
    a confidence is the chance to be right. It never changes a prediction of one adapter.

    Where classes are more or less common in these texts than in the training rows, say so by --class_shares: an adapter
    of skewed rows names its rare classes too seldom elsewhere.

    Several adapters form an ensemble, which predicts by the mean of their probabilities; each has a column of its own
    beside it. They must have the same labels.

    Example: loraloom predict runs/demo/best --file articles.csv.gz --out predicted.csv

    Example: zstdcat log.jsonl.zst | loraloom predict runs/a/best runs/b/best --file - --on_error null > predicted.jsonl
    """
    from loraloom.use.answers import Choices
    from loraloom.use.ensemble import load_ensemble
    from loraloom.use.predict import check_places, check_texts, predict_texts

    if bool(text) == bool(file):
        rows = next((str(path) for path in adapters if path.is_file()), None)
        raise OptionError("give either --text or --file" + (f", as in --file {shlex.quote(rows)}" if rows else ""))
    if text and (out is not None or text_column or on_error is not OnError.stop):
        raise OptionError("--text is answered on standard output; --out, --text_column and --on_error go with --file")
    check_texts(text)
    if file is not None:
        check_places(file, out)
    say_loading("the model")
    ensemble = load_ensemble(adapters, temperature=not no_temperature, class_shares=class_shares or None)
    if file is None:
        from loraloom.terminal.prediction import adjustment_lines

        for line in adjustment_lines(ensemble):
            say_line(line, err=True)
        predict_texts(ensemble, text, sys.stdout, min_confidence)
    else:
        choices = Choices(tuple(text_column) or None, on_error.value, min_confidence)
        run_prediction(ensemble, file, out, choices)


def run_prediction(ensemble: Ensemble, source: str, out: Path | None, choices: Choices) -> None:
    """Predicts a file in the sight of a terminal; what it says goes to standard error.

    Raises:
        PredictionStoppedError: Ctrl-C or SIGTERM, and the same command goes on, or what it was to write is given up.
    """
    from loraloom.terminal.prediction import summary_lines
    from loraloom.terminal.progress import RowsProgress
    from loraloom.use.input import is_read_once
    from loraloom.use.predict import predict_file

    settle()
    replaced = out is not None and out.exists()
    watcher = RowsProgress("predicting", alone=out is not None or not sys.stdout.isatty())
    try:
        summary = predict_file(ensemble, source, out, sys.stdout, choices, watcher)
    except (KeyboardInterrupt, TerminatedError) as stopped:
        if out is None:
            raise
        if is_read_once(source):
            given = "standard input" if source == "-" else f"{source}, which can be read once,"
            left = f"{out} is not written: {given} can't be gone on with, as a file can"
        elif rows := watcher.kept_rows:
            left = f"{rows:,} rows are predicted and kept. Go on with: {shlex.join(['loraloom', *sys.argv[1:]])}"
        else:
            raise
        why, code = ("Ctrl-C", 130) if isinstance(stopped, KeyboardInterrupt) else ("SIGTERM", 75)
        raise PredictionStoppedError(f"stopped by {why}; {left}", code) from None
    finally:
        watcher.close()
    for line in summary_lines(ensemble, summary, out, replaced=replaced):
        say_line(line, err=True)


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
    out: Annotated[Path, typer.Option("--out", help="The folder to make.", show_default=False, callback=from_home)],
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows", help=f"Labelled rows to compare on: {LABELLED}; by default the run's own validation rows."
        ),
    ] = None,
    text_column: TextColumns = [],  # noqa: B006
    label_column: LabelColumn = None,
    as_json: AsJson = False,
) -> None:
    """Write an adapter in a form that needs no loraloom, with a model card; its predictions are compared first.

    merged and peft need a native head with native pooling (merged takes ModernBERT's and EuroBERT's with the mean
    too, peft a mean that is the model's own); onnx takes any, and needs the extra 'export' to be made.

    Example: loraloom export runs/demo/best --format onnx --out exports/demo
    """
    from loraloom.use.export import export as run_export

    if rows is None and (text_column or label_column is not None):
        raise OptionError("--text_column and --label_column name columns of a file: give it by --rows")
    columns = tuple(text_column) or None
    say_loading("the model")
    exported = run_export(adapter, form.value, out, rows=rows, text_column=columns, label_column=label_column)
    if as_json:
        print_json(exported.as_json())
        return
    from loraloom.terminal.console import make_console
    from loraloom.terminal.handover import print_export

    print_export(make_console(), exported)


def submit(
    adapter: Annotated[
        Path | None,
        typer.Argument(
            metavar="ADAPTER",
            help="A trial's folder, or owner/name on the hub; with --check it may be left out.",
            show_default=False,
            autocompletion=complete_adapter,
        ),
    ] = None,
    test_file: Annotated[
        Path | None,
        typer.Option("--test_file", help=f"Unlabelled rows: {FILES}, or a dataset saved to disk."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The submission to write, .csv.", callback=from_home)
    ] = None,
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
        typer.Option(
            "--labels",
            help="names, codes, or the contest's own, in the order of the classes: a,b,c, or 'a,\"b, c\"' where one "
            "holds a comma.",
        ),
    ] = None,
    class_shares: ClassShares = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Write a contest's submission (ID,Label), or check one; refuse what would not be scored as it is meant.

    Example: loraloom submit runs/demo/best --test_file test.csv --template sample_submission.csv --out submission.csv

    Example: loraloom submit --check submission.csv --template sample_submission.csv
    """
    from loraloom.use import submit as submitting

    if check is not None:
        predicting = test_file is not None or out is not None or id_column is not None or text_column or class_shares
        if predicting or template is None:
            raise OptionError(
                "--check FILE needs --template T, and none of --test_file, --out, --id_column, --text_column and "
                "--class_shares"
            )
        result = submitting.check(check, template, adapter=adapter, labels=labels)
    elif adapter is None or test_file is None or out is None:
        raise OptionError("submit needs ADAPTER, --test_file and --out; or --check FILE --template T")
    else:
        say_loading("the model")
        columns = tuple(text_column) or None
        result = submitting.submit(
            adapter,
            test_file,
            out,
            template=template,
            id_column=id_column,
            text_column=columns,
            labels=labels,
            class_shares=class_shares or None,
            note=say_doing,
        )
    if as_json:
        print_json(result.as_json())
        return
    from loraloom.terminal.console import make_console
    from loraloom.terminal.handover import print_submission

    print_submission(make_console(), result, checked=check is not None)
