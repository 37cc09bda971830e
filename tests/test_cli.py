"""The commands as a person calls them: exit codes, one sentence for each mistake, no traceback."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraloom import cli
from loraloom.cli import entry
from loraloom.data import telling
from loraloom.errors import OptionError
from loraloom.shipped import shipped_recipes
from tests.cli.calling import call
from tests.conftest import make_recipe, without_pictures

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows_file: Path) -> Path:
    import loraloom

    run = tmp_path_factory.mktemp("trained") / "run"
    with without_pictures():
        loraloom.search(make_recipe(tiny_model, rows_file), run)
    return run


def test_the_options_of_every_command_are_known() -> None:
    """A change of what people type is made here on purpose."""
    import typer

    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    options = {name: {o for p in command.params for o in p.opts} for name, command in commands.items()}
    run = {
        "recipe",
        "--out",
        "--set",
        "--deadline",
        "--grace",
        "--allow_leak",
        "--profile",
        "--quiet",
        "--json",
    }
    where = {"--workers", "--ray", "--gpus_per_pack"}
    assert options == {
        "new": {
            *(
                "out",
                "--train_file",
                "--validation_file",
                "--test_file",
                "--dataset",
                "--text_column",
                "--label_column",
            ),
            *("--model", "--max_trainable_parameters", "--max_seconds", "--force"),
        },
        "budget": {"recipe", "--set", "--num_labels", "--json"},
        "search": run | where,
        "train": run,
        "resume": {"run", "--max_seconds", "--deadline", "--grace", "--quiet", "--json"} | where,
        "refit": {"run", "--quiet", "--json"},
        "soup": {"run", "--quiet", "--json"},
        "blend": {"run", "--quiet", "--json"},
        "evaluate": {"adapter", "--test_file", "--text_column", "--label_column", "--class_shares", "--out", "--json"},
        "predict": {
            *("adapters", "--file", "--text", "--out", "--text_column"),
            *("--on_error", "--min_confidence", "--no_temperature", "--class_shares"),
        },
        "export": {"adapter", "--format", "--out", "--rows", "--text_column", "--label_column", "--json"},
        "submit": {"adapter", "--test_file", "--out", "--check", "--template", "--id_column", "--text_column"}
        | {"--labels", "--class_shares", "--json"},
        "report": {"run", "--against", "--compare_file", "--no_similarity", "--format", "--out", "--pdf"},
        "watch": {"run", "--port", "--open"},
        "dashboard": {"run", "--port", "--host"},
        "serve": {
            "adapters",
            "--port",
            "--host",
            "--class_shares",
            "--api_keys_file",
            "--adapters_dir",
            "--admin_token_file",
            "--allowed_host",
            "--cors_origin",
            "--max_body_bytes",
            "--max_texts",
            "--max_characters",
            "--max_waiting",
            "--timeout",
            "--log_texts",
        },
        "schema": {"--out"},
        "recipes": {"name", "--json"},
        "doctor": {"recipe", "--set", "--json"},
    }


def test_what_workers_are_beside_ray_is_said_where_both_can_be_given() -> None:
    import typer

    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    found = {name: {o: p.help for p in command.params for o in p.opts} for name, command in commands.items()}
    said = [options["--workers"] for options in found.values() if {"--workers", "--ray"} <= options.keys()]
    assert len(said) == 2
    assert all("with --ray, in as many at most" in text for text in said)


def test_every_command_has_an_example_that_its_parser_takes() -> None:
    from website.commands import parsed

    for command in cli.commands.COMMANDS:
        said = re.findall(r"Example: (?:.*\| )?loraloom (.*)", str(command.__doc__))
        examples = [example.partition(" > ")[0] for example in said]
        assert examples, command.__name__
        for example in examples:
            parsed(shlex.split(example))


def test_export_offers_the_forms_that_can_be_written() -> None:
    from loraloom.cli.adapters import ExportFormat
    from loraloom.use.export import FORMATS
    from loraloom.use.export.card import FORMS

    assert tuple(ExportFormat) == FORMATS
    assert set(FORMS) == set(FORMATS)


def test_options_that_do_not_go_together_are_told_from_what_is_wrong_with_data_or_recipes(tmp_path: Path) -> None:
    commands = [
        ["predict", "adapter"],
        ["submit", "adapter"],
        ["doctor", "--set", "lora.r=4"],
        ["recipes", "demo", "--json"],
        ["new", str(tmp_path / "rows.csv")],
        ["serve", "adapter", "--adapters_dir", str(tmp_path)],
    ]
    for command in commands:
        with pytest.raises(OptionError) as refused:
            cli.app(command, standalone_mode=False)
        assert refused.value.exit_code == 2


def test_search_ends_in_six_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path, tmp_path: Path
) -> None:
    code, out, _ = call(capsys, monkeypatch, "search", str(recipe_file), "--out", str(tmp_path / "run"), "--quiet")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    names = [name for name in names if name != "constant"]  # beside what so few test rows can't tell from chance
    assert names == ["winner", "accuracy", "parameters", "report", "use", "next"]
    assert "95 % interval" in out


@pytest.mark.usefixtures("no_report")
def test_json_is_the_only_thing_on_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path, tmp_path: Path
) -> None:
    code, out, _ = call(capsys, monkeypatch, "train", str(recipe_file), "--out", str(tmp_path / "run"), "--json")
    assert code == 0
    assert json.loads(out)["winner"]["result"]["test"]["accuracy"] >= 0


@pytest.mark.usefixtures("no_report")
def test_train_is_one_configuration_also_where_the_recipe_says_auto(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path, tmp_path: Path
) -> None:
    command = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--json", "--set", "search.sampler=auto"]
    code, out, _ = call(capsys, monkeypatch, *command)
    assert (code, json.loads(out)["winner"]["point"]) == (0, {})
    assert len((tmp_path / "run" / "leaderboard.csv").read_text().splitlines()) == 2


def test_recipes_are_listed_for_programs_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "recipes", "--json")
    assert (code, json.loads(out)) == (0, shipped_recipes())


def test_doctor_prints_json_alone_and_for_people_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    for load in ("load", "load_fp32"):  # which might be compiled first
        monkeypatch.setattr(f"loraloom.engine.loom.kernels.{load}", lambda: "absent")
    code, out, _ = call(capsys, monkeypatch, "doctor", str(recipe_file), "--json")
    said = json.loads(out)
    assert (code, said["dtype"], said["trials_per_pack"]) == (0, "fp32", 1)
    code, out, _ = call(capsys, monkeypatch, "doctor")
    assert code == 0
    for word in (
        "processor",
        "memory",
        "GFLOP/s",
        "dtype",
        "engine",
        "compiled kernels",
        "threads",
        "trials in a pack",
    ):
        assert word in out


def test_doctor_says_in_a_sentence_what_is_wrong_with_a_recipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("backbone: {model: ./nowhere}\ndata: {dataset: demo}\n")
    code, out, err = call(capsys, monkeypatch, "doctor", str(recipe))
    assert (code, out) == (2, "")
    assert "./nowhere" in err


@pytest.mark.parametrize("command", ["schema", "recipes"])  # by typer, and by rich
@pytest.mark.parametrize(("errors_too", "code"), [(False, 0), (True, 1)])
def test_a_closed_pipe_ends_a_command_without_a_word(command: str, errors_too: bool, code: int) -> None:
    """As `| head` leaves it; where standard error is closed too, it is not known to have done what it was to do."""
    reading, writing = os.pipe()
    os.close(reading)
    errors = writing if errors_too else subprocess.PIPE
    arguments = [sys.executable, "-m", "loraloom", command]
    done = subprocess.run(arguments, stdout=writing, stderr=errors, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr or b"") == (code, b"")


@pytest.mark.parametrize("disk_is_full", [False, True])
def test_the_exit_code_says_that_something_went_wrong_where_nothing_else_can(disk_is_full: bool) -> None:
    """Standard error is a pipe that nobody reads, or a log on a full disk."""
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [sys.executable, "-m", "loraloom", "recipes", "none-of-this-name"]
    with os.fdopen(writing, "wb") as unread, Path("/dev/full").open("wb") as full:
        done = subprocess.run(arguments, stderr=full if disk_is_full else unread, check=False)
    assert done.returncode == 2


def test_without_a_command_the_help_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, usage, _ = call(capsys, monkeypatch, "--help")
    assert call(capsys, monkeypatch) == (2, "", usage)
    assert usage.startswith("Usage: ")
    assert "Begin with: loraloom search demo --out runs/demo; or, for rows of your own, loraloom new mine.yaml." in (
        " ".join(usage.split())
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctor", "--help"], "Example: loraloom doctor"),
        (["budget", "demo", "--set", "backbone.model=./nothing"], "'./nothing' is not a folder"),
        (["search", "demo", "--out", "here", "--set", "backbone.model=./nothing"], "'./nothing' is not a folder"),
        (["search", "demo", "--out", "here", "--set", "data={train_file: ./nothing.csv}"], "there is no such file"),
    ],
    ids=["help of doctor", "budget without the model", "search without the model", "search without the data"],
)
def test_what_needs_no_torch_is_said_without_it(arguments: list[str], said: str) -> None:
    code = """import sys
from loraloom import cli
sys.argv = ["loraloom", *sys.argv[1:]]
cli.run()
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_file_whose_name_is_not_utf_8_is_scored(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, rows_file: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "caf\udce9.csv", tmp_path / "scores.json"
    file.write_bytes(rows_file.read_bytes())
    arguments = ["evaluate", str(trained / "best"), "--test_file", str(file), "--out", str(out)]
    code, said, _ = call(capsys, monkeypatch, *arguments)
    assert (code, r"caf\udce9.csv" in said.replace("\n", "")) == (0, True)
    scored = json.loads(out.read_text())
    assert scored["test_file"] == str(file)
    assert 0 < scored["trained_on"] < scored["examples"]  # the file that the run held rows out of
    assert f"{scored['trained_on']} of these rows were for training in its run" in said.replace("\n", " ")


def test_a_second_ctrl_c_while_it_is_said_what_the_first_did_ends_as_the_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    second = iter([KeyboardInterrupt])

    def interrupted(*_: Any, **__: Any) -> None:
        for error in second:
            raise error

    def stopped(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "app", stopped)
    monkeypatch.setattr(entry, "let_go", interrupted)
    heeds = signal.getsignal(signal.SIGINT)
    try:
        assert call(capsys, monkeypatch, "doctor") == (130, "", "loraloom: stopped by Ctrl-C\n")
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, heeds)


@pytest.mark.parametrize("seen", [True, False])
def test_evaluate_says_before_a_terminal_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, rows_file: Path, seen: bool
) -> None:
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: seen)
    arguments = ["evaluate", str(trained / "best"), "--test_file", str(rows_file), "--json"]
    code, out, said = call(capsys, monkeypatch, *arguments)
    rows = json.loads(out)["examples"]
    assert code == 0
    told = said.splitlines()
    if seen:
        assert (told[0], told[1].partition(" ")[0]) == ("loading the model", "reading")
        assert told[-2:] == [f"tokenising: 0 of {rows} rows so far", f"testing: {rows} of {rows} rows so far"]
    else:
        assert not told


def test_evaluate_does_not_write_over_the_rows_that_it_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, rows_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(rows_file.read_bytes())
    arguments = ["evaluate", str(trained / "best"), "--test_file", str(file), "--out", str(file)]
    code, _, said = call(capsys, monkeypatch, *arguments)
    assert (code, "is a file that is read; choose another --out" in said.replace("\n", "")) == (2, True)
    assert file.read_bytes() == rows_file.read_bytes()


@pytest.mark.parametrize("kept", ["recipe.yaml", "plan.json", "best/trial.json", "best/manifest.json"])
def test_no_output_takes_the_place_of_a_file_of_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, rows_file: Path, kept: str
) -> None:
    out = trained / kept
    out_was = out.read_bytes()
    evaluate = ["evaluate", str(trained / "best"), "--test_file", str(rows_file), "--out", str(out)]
    report = ["report", str(trained), "--format", "md", "--no_similarity", "--out", str(out)]
    new = ["new", str(out), "--force", "--train_file", str(rows_file)]
    for arguments in (evaluate, report, ["schema", "--out", str(out)], *([new] if out.suffix == ".yaml" else [])):
        code, _, said = call(capsys, monkeypatch, *arguments)
        assert (code, "which would be lost; give another name" in said.replace("\n", "")) == (2, True)
    assert out.read_bytes() == out_was


def test_that_a_file_was_replaced_is_said_apart_from_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, rows_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    for arguments in (
        ["evaluate", str(trained / "best"), "--test_file", str(rows_file), "--json"],
        ["report", str(trained), "--format", "md", "--no_similarity"],
        ["schema"],
    ):
        out.unlink(missing_ok=True)
        said = [call(capsys, monkeypatch, *arguments, "--out", str(out)) for _ in "12"]
        assert [f"{out} is in place of a file that was there" in err for _, _, err in said] == [False, True]
        assert [code for code, _, _ in said] == [0, 0]
        assert said[0][1] == said[1][1]


def test_a_report_in_markdown_may_be_written_into_its_run_again_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    arguments = ["report", str(trained), "--format", "md", "--no_similarity", "--out", str(trained / "RESULTS.md")]
    assert [call(capsys, monkeypatch, *arguments)[0] for _ in range(2)] == [0, 0]


def test_predict_keeps_order_and_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    file.write_text('id,text,note\n7,the cat,"a, b"\n3,a hammer,=x\n')
    code, _, _ = call(capsys, monkeypatch, "predict", str(trained / "best"), "--file", str(file), "--out", str(out))
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert code == 0
    assert list(rows[0]) == ["id", "text", "note", "prediction", "confidence"]
    assert [(row["id"], row["text"], row["note"]) for row in rows] == [
        ("7", "the cat", "a, b"),
        ("3", "a hammer", "=x"),
    ]


def test_predict_of_texts_prints_probabilities_that_sum_to_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    code, out, _ = call(capsys, monkeypatch, "predict", str(trained / "best"), "--text", "the cat", "--text", "soup")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["text"] for line in lines] == ["the cat", "soup"]
    assert sum(lines[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_predict_reads_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    for options, expected in (([], (2, 0)), (["--on_error", "null"], (0, 2))):
        stdin = io.TextIOWrapper(io.BytesIO(b'{"text": "the cat"}\n{"text": ""}\n'), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stdin)
        code, out, err = call(capsys, monkeypatch, "predict", str(trained / "best"), "--file", "-", *options)
        assert (code, len(out.splitlines())) == expected
        assert "standard input: row 2 (line 2) has no text" in err


def test_evaluate_repeats_what_the_run_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    record = json.loads((trained / "best" / "trial.json").read_text())
    lines = [json.loads(x) for x in (trained / "best" / "test_predictions.jsonl").read_text().splitlines()]
    file = tmp_path / "test.csv"
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        writer.writerows([line["text"], record["labels"][line["label"]]] for line in lines)
    code, out, _ = call(capsys, monkeypatch, "evaluate", str(trained / "best"), "--test_file", str(file), "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == record["result"]["test"]["accuracy"]
    assert (json.loads(out)["trained_on"], json.loads(out)["tested_on"]) == (0, len(lines))


def test_report_and_schema_print_what_they_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    shutil.rmtree(trained / "cross_fitted")
    code, out, said = call(capsys, monkeypatch, "report", str(trained))
    assert (code, said) == (0, "reading and checking the data\njudging the labels of training rows\n")
    assert Path(out.strip()).is_file()
    rows = trained.parent.parent / "other.csv"
    rows.write_text("text\nthe old cat\na new saw\n")
    code, out, said = call(capsys, monkeypatch, "report", str(trained), "--compare_file", str(rows))
    assert (code, said.strip()) == (0, "embedding texts: 2")
    assert "other.csv" in Path(out.strip()).read_text()
    why_not = "the data 'x\x1b]0;y\x07' have changed since the run"  # as a terminal would obey
    monkeypatch.setattr("loraloom.use.similarity.collect", lambda *_, **__: why_not)
    code, out, said = call(capsys, monkeypatch, "report", str(trained))
    shown = why_not.replace("\x1b", "\ufffd").replace("\x07", "\ufffd")
    assert (code, said) == (0, f"loraloom: the report is without similarity: {shown}\n")
    monkeypatch.setattr("loraloom.use.similarity.collect", None)
    code, out, said = call(capsys, monkeypatch, "report", str(trained), "--no_similarity")
    assert (code, said) == (0, "")
    code, out, _ = call(capsys, monkeypatch, "schema")
    assert code == 0
    assert "lora_alpha" in out
    json.loads(out)


def test_report_prints_which_of_two_runs_is_better_below_the_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "other")
    arguments = ["report", str(trained), "--no_similarity", "--against", str(tmp_path / "other")]
    code, out, _ = call(capsys, monkeypatch, *arguments)
    page, verdict = out.splitlines()
    assert (code, Path(page).is_file()) == (0, True)
    assert verdict.startswith("No difference was found: run and other are right and wrong on the same rows")
    assert verdict in html.unescape(Path(page).read_text())


def test_what_a_command_writes_may_be_named_from_the_home_folder_after_an_equals_sign(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert call(capsys, monkeypatch, "schema", "--out=~/schema.json")[0] == 0
    assert call(capsys, monkeypatch, "train", str(recipe_file), "--out=~/run", "--quiet")[0] == 0
    assert (tmp_path / "run" / "best").is_dir()
    assert (tmp_path / "schema.json").is_file()
    assert not list((tmp_path / "work").iterdir())


def test_report_prints_markdown_or_writes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    before = (trained / "report" / "index.html").stat().st_mtime_ns
    code, out, _ = call(capsys, monkeypatch, "report", str(trained), "--format", "md")
    assert code == 0
    assert "## Answer" in out
    file = tmp_path / "results.md"
    assert call(capsys, monkeypatch, "report", str(trained), "--format", "md", "--out", str(file))[:2] == (0, "")
    assert file.read_text(encoding="utf-8") == out
    assert (trained / "report" / "index.html").stat().st_mtime_ns == before


def test_a_page_is_not_printed_where_there_is_no_browser(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = call(capsys, monkeypatch, "report", str(trained), "--pdf")
    assert (code, out) == (2, "")
    assert "no browser is installed that prints" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "nowhere.yaml", "--out", "{tmp}/run"], "to write one: loraloom new"),
        (["budget", "dmeo"], "dmeo: no such recipe; did you mean demo?; those"),
        (["recipes", "nothing"], "nothing: no such recipe comes with loraloom; there are agnews-auto, "),
        (["search", "{recipe}", "--out", "{tmp}/run", "--set", "lora.r=0"], "lora.r: 0 is too small"),
        (["search", "{recipe}", "--out", "{trained}"], "holds a run already"),
        (
            ["predict", "{trained}/best", "--file", "x.csv", "--on_error", "ignore"],
            "'--on_error': 'ignore' is not one of",
        ),
        (["search", "{recipe}", "--out", "{tmp}"], "is not empty"),
        (["search", "{recipe}", "--out", "caf\udce9"], r"'caf\udce9': is no name in UTF-8"),
        (["export", "{trained}/best", "--format", "peft", "--out", "caf\udce9"], r"'caf\udce9': is no name in UTF-8"),
        (
            ["train", "{recipe}", "--out", "{tmp}/run", "--set=lora.r=1,2", "--set=lora.bias=[none]"],
            "lora.r would vary",
        ),
        (["resume", "{tmp}/nothing"], "no such run folder"),
        (["refit", "{tmp}/nothing"], "no such run folder"),
        (["soup", "{tmp}/nothing"], "no such run folder"),
        (["blend", "{tmp}/nothing"], "no such run folder"),
        (["report", "{tmp}/nothing"], "no such run folder"),
        (["report", "{trained}", "--against", "{trained}"], "is the run itself"),
        (["report", "{trained}", "--against", "{tmp}"], "has no recipe.yaml"),
        (["report", "{trained}", "--against", "{tmp}/none"], "no such run folder"),
        (["report", "{trained}", "--compare_file", "{tmp}/none.csv"], "none.csv"),
        (["report", "{trained}", "--compare_file", "{recipe}"], "tiny.yaml"),
        (["report", "{trained}", "--compare_file", "{recipe}", "--no_similarity"], "leave out --no_similarity"),
        (["report", "{trained}", "--format", "md", "--pdf"], "--pdf prints the page"),
        (["report", "{trained}", "--out", "{tmp}/x"], "--out is for --format md"),
        (["report", "{trained}", "--format", "md", "--out", "{tmp}/no/R.md", "--compare_file", "x"], "no such folder"),
        (["report", "{trained}", "--format", "pdf"], "'pdf' is not one of"),
        (["watch", "{recipe}"], "no such run folder"),
        (["dashboard", "{tmp}/nothing"], "no such run folder"),
        (["predict", "{tmp}/nothing", "--text", "x"], "no such folder"),
        (["predict", "{tmp}/\x1b]0;\u202ename\x07", "--text", "x"], r"/\x1b]0;\u202ename\x07: no such folder"),
        (["predict", "{trained}", "--text", "x"], "is a run; give"),
        (["predict", "{trained}/best"], "give either --text or --file\n"),
        (["predict", "{trained}/best", "{recipe}"], "give either --text or --file, as in --file "),
        (["predict", "{trained}/best", "--text", "x", "--on_error", "null"], "--on_error go with --file"),
        (["predict", "{trained}/best", "--file", "{tmp}/none.csv"], "none.csv"),
        (["evaluate", "{trained}/best", "--test_file", "{tmp}/none.csv"], "none.csv"),
        (["export", "{trained}/best", "--format", "peft", "--out", "{tmp}/x", "--text_column", "a"], "by --rows"),
        (["export", "{trained}/best", "--format", "peft", "--out", "{tmp}/x", "--label_column", "a"], "by --rows"),
        (["submit", "--check", "a.csv", "--template", "b.csv", "--id_column", "key"], "none of --test_file"),
        (["submit", "--check", "a.csv", "--template", "b.csv", "--text_column", "text"], "none of --test_file"),
        (["submit", "--check", "a.csv"], "--check FILE needs --template T"),
        (["submit", "{trained}/best", "--test_file", "x.csv"], "submit needs ADAPTER, --test_file and --out"),
        (["doctor", "--set", "engine=trainer"], "--set changes a recipe: name one, as in loraloom doctor demo"),
        (["budget", "{recipe}", "--set", "lora.lora_alfa=4"], "did you mean"),
        (["search", "{recipe}"], "--out"),
        (["search", "{recipe}", "--max-seconds", "9"], "a field of the recipe is set by --set budget.max_seconds=…\n"),
        (["search", "{recipe}", "--maximum", "9"], "No such option: --maximum\n"),
        (["resume", "{trained}", "--model", "demo"], "No such option: --model (Possible options: --help)\n"),
        (["report", ""], "'RUN': it is empty; give it a value"),
        (["search", "{recipe}", "--out="], "'--out': it is empty; give it a value"),
        (["predict", "{trained}/best", "", "--text", "x"], "'ADAPTER': it is empty; give it a value"),
        (["predict", "{trained}/best", "--text", ""], "--text '': has no text"),
        (["export", "{trained}/best", "--out", "{tmp}/x"], "'--format'. Choose from: merged, onnx, peft\n"),
    ],
)
def test_a_mistake_is_one_sentence_and_exits_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recipe_file: Path,
    trained: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    places = {"tmp": str(tmp_path), "recipe": str(recipe_file), "trained": str(trained)}
    code, out, err = call(capsys, monkeypatch, *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_help_is_given_beside_an_empty_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["search", "", "--help"], ["search", "--help", "--out="]):
        code, out, err = call(capsys, monkeypatch, *arguments)
        assert (code, err) == (0, "")
        assert "the main job" in out
