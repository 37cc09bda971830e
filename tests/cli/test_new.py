"""`loraloom new`: what is asked, what is taken without a terminal, and that search reads what is written."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets.load
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from loraloom.cli import app
from loraloom.cli.asking import _named_rows, _number
from loraloom.errors import LoraloomError
from loraloom.recipe import Recipe, read_recipe
from loraloom.recipe.commented import commented_recipe
from tests.conftest import make_rows, write_csv

NAMED = ["--text_column", "text", "--label_column", "label"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "train.csv", make_rows(60, seed=1))
    return tmp_path


def new(*arguments: str, answers: str | None = None, monkeypatch: pytest.MonkeyPatch | None = None) -> Result:
    if monkeypatch is not None:
        monkeypatch.setattr("loraloom.cli.new.on_terminal", lambda: True)
    return CliRunner().invoke(app, ["new", *arguments], input=answers)


@pytest.mark.usefixtures("here")
def test_flags_make_a_recipe_that_search_reads(tiny_model: Path) -> None:
    limits = ["--max_trainable_parameters", "5000", "--max_seconds", "90"]
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model), *limits)
    assert done.exit_code == 0, done.output
    recipe = read_recipe(Path("mine.yaml"))
    assert (recipe.data.train_file, recipe.data.text_column, recipe.data.label_column) == (
        "train.csv",
        ("text",),
        "label",
    )
    assert (recipe.backbone.model, recipe.search.sampler) == (str(tiny_model), "auto")
    assert (recipe.budget.max_trainable_parameters, recipe.budget.max_seconds) == (5000, 90)
    assert "rows of 3 classes: animals, food, tools" in done.output
    assert "loraloom budget mine.yaml" in done.output
    assert "loraloom search mine.yaml --out runs/mine " in done.output


def test_the_next_run_is_one_that_is_not_there(here: Path, tiny_model: Path) -> None:
    for name in ("mine", "mine-2"):
        (here / "runs" / name).mkdir(parents=True)
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model))
    assert "loraloom search mine.yaml --out runs/mine-3 " in done.output


def test_rows_to_choose_by_and_to_test_on_are_named_and_checked_too(here: Path, tiny_model: Path) -> None:
    for name, seed in (("validation.csv", 2), ("test.csv", 3)):
        write_csv(here / name, make_rows(20, seed=seed))
    others = ["--validation_file", "validation.csv", "--test_file", "test.csv"]
    done = new("mine.yaml", "--train_file", "train.csv", *others, "--model", str(tiny_model))
    assert done.exit_code == 0, done.output
    data = read_recipe(here / "mine.yaml").data
    assert (data.train_file, data.validation_file, data.test_file) == ("train.csv", "validation.csv", "test.csv")
    assert re.search(r"\d+ training, \d+ validation and \d+ test rows of 3 classes", done.output)


@pytest.mark.usefixtures("here")
def test_texts_are_cut_at_what_a_model_reads_where_that_is_less_than_the_default(tiny_model: Path) -> None:
    new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model))
    assert read_recipe(Path("mine.yaml")).data.max_length == 64
    new("demo.yaml", "--train_file", "train.csv", "--model", "demo")
    assert "max_length" not in read_recipe(Path("demo.yaml")).data.model_fields_set


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"model_type": "gpt2"}', "is a decoder (gpt2), and texts are classified by encoders here"),
        ('{"model_type": "bert", "max_position_embeddings": 1}', "which reads 1 token of a text"),
    ],
    ids=["decoder", "few positions"],
)
@pytest.mark.usefixtures("here")
def test_a_model_in_a_folder_that_a_search_would_refuse_is_warned_of(tmp_path: Path, config: str, said: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(b"")
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(folder))
    assert done.exit_code == 0
    assert "max_length" not in read_recipe(Path("mine.yaml")).data.model_fields_set
    assert said in " ".join(done.output.split())


@pytest.mark.usefixtures("here")
def test_every_field_that_is_written_has_a_comment_before_it(tiny_model: Path) -> None:
    new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model))
    lines = Path("mine.yaml").read_text().splitlines()
    fields = [number for number, line in enumerate(lines) if line.startswith("  ") and "#" not in line]
    assert len(fields) == 8
    assert all(lines[number - 1].startswith("  # ") for number in fields)


def test_who_waits_for_many_rows_to_be_read_hears_how_far_that_is(
    here: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr("loraloom.cli.new.say_doing", heard.append)
    monkeypatch.setattr("loraloom.data.telling.SECONDS", 0.0)
    assert new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model)).exit_code == 0
    assert "reading train.csv: 60 rows so far" in heard
    assert any(line.startswith("comparing texts: 0 of ") for line in heard)


def test_a_terminal_is_asked_five_questions(here: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = f"\n\n{tiny_model}\n20,000\n1,500\n"
    done = new(answers=answers, monkeypatch=monkeypatch)
    assert done.exit_code == 0, done.output
    assert [f"{number}. " in done.output for number in range(1, 7)] == [True] * 5 + [False]
    assert "5. Seconds for a search" in done.output
    recipe = read_recipe(here / "recipe.yaml")
    assert (recipe.data.train_file, recipe.data.text_column) == ("train.csv", ("text",))
    assert (recipe.budget.max_trainable_parameters, recipe.budget.max_seconds) == (20_000, 1500)


def test_an_answer_that_can_not_be_is_asked_again(
    here: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_then_right = ["nowhere.csv", "train.csv", "n", "words", "text", "label", "./nowhere", str(tiny_model)]
    done = new(answers="\n".join([*wrong_then_right, "many", "-1", "0", "0", ""]), monkeypatch=monkeypatch)
    assert done.exit_code == 0, done.output
    said = [
        "nowhere.csv: there is no such file",
        "no column 'words'",
        "is not a folder",
        "'many' is not",
        "'-1' is not",
    ]
    assert [what for what in said if what not in done.output] == []
    recipe = read_recipe(here / "recipe.yaml")
    assert (recipe.budget.max_trainable_parameters, recipe.budget.max_seconds) == (None, None)


@pytest.mark.usefixtures("here")
def test_what_separates_cells_is_said_where_it_is_no_comma(tiny_model: Path) -> None:
    Path("train.csv").write_text(Path("train.csv").read_text().replace(",", ";"))
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model))
    assert done.exit_code == 0, done.output
    assert "train.csv: its cells are separated by ';'" in " ".join(done.output.split())


@pytest.mark.parametrize(("seconds", "said"), [("5", True), ("59.5", True), ("60", False), ("0", False)])
@pytest.mark.usefixtures("here")
def test_a_time_that_may_be_too_short_for_a_search_is_warned_of(tiny_model: Path, seconds: str, said: bool) -> None:
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model), "--max_seconds", seconds)
    assert done.exit_code == 0, done.output
    assert (f"! {seconds} s may not suffice for one trial" in done.output) == said


def test_nobody_is_asked_for_two_columns_of_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "train.csv").write_text("text\tlabel\nhot tea\tdrink\nrye bread\tfood\n")
    done = new(answers="\n", monkeypatch=monkeypatch)
    assert "2. " not in done.output
    assert "cells seem to be separated by tabs: call it .tsv" in str(done.exception)


def test_demo_is_the_data_set_also_where_there_is_a_folder_of_that_name(here: Path) -> None:
    (here / "demo").mkdir()
    assert _named_rows("demo") == {"dataset": "demo"}
    assert _named_rows("./demo") == {"train_file": "demo"}


@pytest.mark.parametrize(
    ("answer", "number"),
    [("1.5", 1.5), ("20000", 20_000), ("20,000", 20_000), ("1,234,567.5", 1_234_567.5), ("1e6", 1_000_000), ("0", 0)],
)
def test_a_number_is_read_with_commas_between_thousands(answer: str, number: float) -> None:
    assert _number(answer) == number


@pytest.mark.parametrize("answer", ["1,5", "0,25", "12,3456", "1,00", ",5", "1,000,00", "1.000,5", "inf", "nan", "-1"])
def test_a_comma_that_is_no_separator_of_thousands_is_asked_about(answer: str) -> None:
    with pytest.raises(LoraloomError, match="is not a number of 0 or more, such as"):
        _number(answer)


@pytest.mark.parametrize("answer", ["1.5", "20.000", "1e-3"])
def test_a_whole_number_has_no_point(answer: str) -> None:
    assert _number(answer) >= 0
    with pytest.raises(LoraloomError, match="is not a whole number of 0 or more, such as 20,000"):
        _number(answer, whole=True)


@pytest.fixture
def asked(here: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`new` on a terminal that is told all but columns, for rows of four: an id, two texts and a topic."""

    def ask(header: str, *options: str, answers: str, file: str = "train.csv") -> Result:
        (here / file).write_text(f"{header}\n" + "1,a b,c d,x\n2,e f,g h,y\n" * 10)
        told = ["--train_file", file, "--model", str(tiny_model), "--max_trainable_parameters", "9"]
        return new("mine.yml", *told, "--max_seconds", "0", *options, answers=answers, monkeypatch=monkeypatch)

    return ask


@pytest.mark.parametrize(
    ("header", "answer", "texts", "label"),
    [
        ("id,title,body,topic of it", "title, body", ("title", "body"), "topic of it"),
        ("id, title, body, topic of it", "title, body", (" title", " body"), " topic of it"),
        ('id,"what, where",more,topic of it', "what, where", ("what, where",), "topic of it"),
    ],
    ids=["several", "blanks around their names", "a comma in a name"],
)
def test_what_is_not_given_is_asked_columns_by_their_names(
    here: Path, asked: Callable[..., Result], header: str, answer: str, texts: tuple[str, ...], label: str
) -> None:
    done = asked(header, answers=f"{answer}\ntopic of it\n")
    assert done.exit_code == 0, done.output
    data = read_recipe(here / "mine.yml").data
    assert (data.text_column, data.label_column) == (texts, label)


def test_a_path_in_what_is_asked_holds_nothing_that_a_terminal_obeys(asked: Callable[..., Result]) -> None:
    done = asked("id,title,body,topic", answers="none\ntitle\ntopic\n", file="\x1b[2J.csv")
    assert done.exit_code == 0, done.output
    assert "the columns of \\x1b[2J.csv: 'id', 'title', 'body', 'topic'\n" in done.output
    assert "Error: \\x1b[2J.csv: has no column 'none'" in done.output


def test_the_label_is_no_text_and_a_column_that_is_answered_twice_is_read_once(
    here: Path, asked: Callable[..., Result]
) -> None:
    header, labelled = "id,title,body,topic", ("--label_column", "topic")
    done = asked(header, *labelled, "--text_column", "topic", answers="")
    assert "'topic' is also the label" in str(done.exception)
    assert not (here / "mine.yml").exists()
    done = asked(header, *labelled, answers="topic\ntitle, title\n")
    assert done.exit_code == 0, done.output
    assert "'topic' is also the label" in done.output
    assert read_recipe(here / "mine.yml").data.text_column == ("title",)


def test_a_data_set_that_needs_a_network_is_not_checked_without_one(
    here: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    monkeypatch.setattr(datasets.load, "load_dataset", fail)
    done = new("mine.yaml", "--dataset", "owner/news", *NAMED, "--model", str(tiny_model))
    assert (done.exit_code, (here / "mine.yaml").is_file()) == (0, True)
    assert "owner/news could not be loaded here, so its rows were not checked" in " ".join(done.output.split())


def test_rows_that_look_wrong_are_said_and_the_recipe_written(here: Path, tiny_model: Path) -> None:
    rows = [*make_rows(60, seed=1), ("", "tools"), ("the old cat", "food"), ("the old cat", "tools")]
    rows += [("a hammer that nobody else has", "tools")] * 3
    write_csv(here / "train.csv", rows)
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model))
    assert (done.exit_code, (here / "mine.yaml").is_file()) == (0, True)
    assert "! Training has 1 empty text: dropped." in done.output
    assert "2 repeated rows (equal text and label): kept." in done.output
    write_csv(here / "train.csv", [*make_rows(60, seed=1), ("a cat", "")])
    done = new("mine.yaml", "--force", "--train_file", "train.csv", "--model", str(tiny_model))
    assert (done.exit_code, "! train.csv: column 'label' has no label in row 61" in done.output) == (0, True)
    assert "mend these rows first" in " ".join(done.output.split())


@pytest.mark.usefixtures("here")
def test_a_recipe_of_its_own_name_is_replaced_by_force_alone(tiny_model: Path) -> None:
    """Which is that of a run's recipe too."""
    given_flags = ["--train_file", "train.csv", "--model", str(tiny_model)]
    assert new(*given_flags).exit_code == 0
    assert "recipe.yaml: is there already; give another name, or --force" in str(new(*given_flags).exception)
    assert new(*given_flags, "--force", "--max_seconds", "90").exit_code == 0
    assert read_recipe(Path("recipe.yaml")).budget.max_seconds == 90


def test_a_guessed_text_that_leaves_longer_ones_out_is_said(here: Path, tiny_model: Path) -> None:
    rows = [f"mail {number},{text},{label}\n" for number, (text, label) in enumerate(make_rows(60, seed=1))]
    (here / "train.csv").write_text("Subject,Body text,class\n" + "".join(rows), encoding="utf-8")
    done = new("mine.yaml", "--train_file", "train.csv", "--model", str(tiny_model))
    assert read_recipe(here / "mine.yaml").data.text_column == ("Subject",)
    said = "'Body text' holds longer texts and is not read: name all that are to be by --text_column."
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the rows, by --train_file FILE or --dataset NAME"),
        (["train.csv"], "train.csv: a recipe's name ends in .yaml; labelled rows are named by --train_file train.csv"),
        (["taken.yaml", "--train_file", "train.csv"], "taken.yaml: is there already; give another name, or --force"),
        (["--train_file", "train.csv", "--dataset", "demo"], "name one of the two"),
        (["--train_file", "absent.csv"], "absent.csv: there is no such file"),
        (["--train_file", "train.csv", "--test_file", "absent.csv"], "absent.csv: there is no such file"),
        (
            ["--train_file", "train.csv", "--text_column", "words"],
            "has no column 'words'; its columns are 'text', 'label'",
        ),
        (
            ["--train_file", "train.csv", "--text_column", "words", "--text_column", "more", "--label_column", "kind"],
            "has no columns 'words', 'more', 'kind'; its columns are 'text', 'label'",
        ),
        (
            ["--train_file", "train.csv", "--text_column", "words", "--label_column", "words"],
            "has no column 'words'; its columns are 'text', 'label'",
        ),
        (
            ["--train_file", "three.csv"],
            "three.csv: give --text_column and --label_column; its columns are 'a', 'b', 'c'; of several texts, "
            "--text_column for each",
        ),
        (["--train_file", "train.csv", "--model", "./absent"], "backbone.model: './absent' is not a folder"),
        (
            ["--dataset", "train.csv", *NAMED],
            "train.csv is a file or folder here; give it as data.train_file",
        ),
        (["no/such/folder.yaml", "--train_file", "absent.csv"], "there is no such folder to write into"),
    ],
)
def test_a_mistake_is_refused_and_nothing_written(here: Path, arguments: list[str], said: str) -> None:
    (here / "taken.yaml").write_text("mine")
    (here / "three.csv").write_text("a,b,c\n1,2,3\n")
    before = sorted(here.rglob("*"))
    done = new(*arguments)
    assert isinstance(done.exception, LoraloomError)
    assert said in str(done.exception)
    assert (sorted(here.rglob("*")), (here / "taken.yaml").read_text()) == (before, "mine")


names = st.text(st.characters(codec="utf-8"), min_size=1)


@settings(deadline=None)
@given(train_file=names, text=st.lists(names, min_size=1, max_size=3, unique=True), label=names, model=names)
def test_whatever_names_are_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, train_file: str, text: list[str], label: str, model: str
) -> None:
    data = {"train_file": train_file, "text_column": text, "label_column": label}
    values: dict[str, Any] = {"data": data, "backbone": {"model": model}, "search": {"sampler": "auto"}}
    recipe: Recipe = read_recipe({**values, "budget": {"max_seconds": 60, "max_trainable_parameters": None}})
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(commented_recipe(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe


@pytest.mark.parametrize("rows", [{"dataset": "demo"}, {"train_file": "train.csv"}])
def test_what_the_comments_propose_is_a_recipe_too(tmp_path: Path, rows: dict[str, str]) -> None:
    text = commented_recipe(read_recipe({"data": rows, "search": {"sampler": "auto"}}))
    path = tmp_path / "proposed.yaml"
    path.write_text(re.sub(r"^  # (\w+: )", r"  \1", text, flags=re.MULTILINE))
    assert read_recipe(path).data.test_file == ("test.csv" if "train_file" in rows else None)
    assert read_recipe(path).search.metric == "macro_f1"
    assert "\n  max_length: 128\n" in path.read_text()
    assert ("Labelled rows too; without them" in text) == ("train_file" in rows)
    assert text.count("timed") == 1  # of max_length: its own description says when a longer cut is tried


def test_a_real_terminal_is_asked(here: Path, tiny_model: Path) -> None:
    """Without the tests' stand-in: what tells a terminal, and that answers come from it."""
    driver, terminal = pty.openpty()
    flags = [
        "--train_file",
        "train.csv",
        "--text_column",
        "text",
        "--label_column",
        "label",
        "--model",
        str(tiny_model),
    ]
    command = [sys.executable, "-m", "loraloom", "new", *flags, "--max_seconds", "60"]
    with subprocess.Popen(command, cwd=here, stdin=terminal, stdout=terminal, stderr=terminal) as asked:
        os.close(terminal)
        os.write(driver, b"30000\n")
        with suppress(OSError):  # which is how the end of a terminal shows
            while os.read(driver, 4096):
                pass
        assert asked.wait() == 0
    os.close(driver)
    assert read_recipe(here / "recipe.yaml").budget.max_trainable_parameters == 30_000
