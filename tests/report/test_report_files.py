"""The files beside the page: CSV that no spreadsheet runs, PNG pictures, a folder replaced whole."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.report import writing
from loraloom.report.pictures.tradeoffs import side_by_side
from loraloom.report.tables import csv_text, safe_cell
from loraloom.report.writing import rehearse_report, write_report
from loraloom.study.durable import verify_manifest
from tests.report.kept_runs import FACTS, keep, kept_predictions
from tests.report.report_runs import (
    TEST_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    whole_run,
    write_run,
)
from tests.report.similarity.embedded_runs import second_set, similar_run

FILES = {
    "index.html",
    "manifest.json",
    "leaderboard.csv",
    "rows_curves.csv",
    "rows_curves.png",
    "tradeoffs.csv",
    "tradeoffs_parameters.png",
    "tradeoffs_time.png",
    "curves.csv",
    "effects.csv",
    "gap.csv",
    "curves_loss.png",
    "curves_accuracy.png",
    "curves_learning_rate.png",
    "confusion.csv",
    "confusion.png",
    "classes.csv",
    "worst_errors.csv",
    "class_intervals.csv",
    "suspect_labels.csv",
    "reliability.csv",
    "reliability.png",
    "coverage.csv",
    "coverage.png",
}
KEPT = {
    "rows_confusion.csv",
    "rows_confusion.png",
    "thresholds.csv",
    "accuracy_by_length.csv",
    "accuracy_by_length.png",
    "accuracy_by_cut.csv",
    "accuracy_by_source.csv",
    "missed_by_all.csv",
    "class_shares.csv",
    "class_shares.png",
    "lengths.csv",
    "overlaps.csv",
}
"""Beside FILES: what takes rows and facts that the run kept."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished run, without pictures, in the place of an older one."""
    run = whole_run(tmp_path_factory.mktemp("whole") / "r")
    (run / "report").mkdir()
    (run / "report" / "old.png").write_bytes(b"old")
    return write_report(run, may_draw=lambda: False).parent


def test_a_whole_run_gives_all_files_and_replaces_those_of_an_older_report(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {name for name in FILES if not name.endswith(".png")}
    verify_manifest(whole)


def test_a_run_that_kept_its_rows_gives_all_tables_of_them(tmp_path: Path) -> None:
    run = keep(whole_run(tmp_path / "r", data=FACTS, predictions=kept_predictions(source="=cmd()")), text="=1+1")
    report = write_report(run).parent
    assert {path.name for path in report.iterdir()} == FILES | KEPT
    verify_manifest(report)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in report.glob("*.png"))
    assert {row["group"] for row in rows(report / "accuracy_by_source.csv")} == {f"'=cmd() {n}" for n in range(3)}
    assert all(row["text"].startswith("'=1+1") for row in rows(report / "missed_by_all.csv"))
    right = sum(int(row["right"]) for row in rows(report / "accuracy_by_length.csv"))
    assert right == sum(int(row["right"]) for row in rows(report / "accuracy_by_cut.csv")) == 432
    assert rows(report / "overlaps.csv")[0] == {
        "split": "train",
        "other": "validation",
        "rows_equal": "3",
        "rows_nearly_equal": "8",
    }


def test_the_leaderboard_table_has_every_configuration(whole: Path) -> None:
    table = rows(whole / "leaderboard.csv")
    assert [row["state"] for row in table] == ["complete"] * 4 + ["pruned", "failed"]
    assert table[0]["winner"] == "True"
    assert table[0]["lora.r"] == "4"
    assert float(table[0]["accuracy_low"]) < float(table[0]["validation_accuracy"])
    assert table[5]["reason"] == "its loss is not finite at step 12"


def test_confusion_and_errors_stand_in_tables(whole: Path) -> None:
    confusion = rows(whole / "confusion.csv")
    assert sum(int(row["tech"]) for row in confusion) == 89
    assert len(rows(whole / "worst_errors.csv")) == 13
    assert [row["support"] for row in rows(whole / "classes.csv")] == ["89"] * 5


@pytest.mark.usefixtures("no_pictures")
def test_formulas_in_texts_and_labels_are_disarmed(tmp_path: Path) -> None:
    labels = ("=1+1", "+a", "-b", "@c", "\td")
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, labels=labels, test=make_score(432 / 445, TEST_ROWS))
    lines = make_predictions(labels, text="=HYPERLINK({label})")
    page = write_report(write_run(tmp_path / "r", recipe, [best], best=best, predictions=lines))
    for name in ("worst_errors.csv", "classes.csv", "confusion.csv"):
        with page.with_name(name).open(encoding="utf-8", newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert rows(page.with_name("worst_errors.csv"))[0]["text"].startswith("'=HYPERLINK(")


@pytest.mark.parametrize("number", [-1, -0.5, 1e-7, True, None])
def test_numbers_are_left_as_they_are(number: float | None) -> None:
    assert safe_cell(number) is number


@given(st.text())
def test_no_text_cell_begins_like_a_formula(text: str) -> None:
    cell = safe_cell(text)
    assert isinstance(cell, str)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell.removeprefix("'").isprintable() or text


@pytest.mark.parametrize("end", ["\r", "\n", "\t", ";"])
def test_a_formula_behind_what_a_spreadsheet_may_take_for_the_end_of_a_cell_is_disarmed(end: str) -> None:
    text = csv_text(["a", "b"], [[f"harmless{end}=HYPERLINK(1)", 2]])
    assert [row["a"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [f"harmless{end}'=HYPERLINK(1)"]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_points_of_equal_size_stand_apart_and_near_their_size(steps: list[int]) -> None:
    sizes = [1000 * step for step in steps]
    places = side_by_side(sizes, 1_000_000)
    assert len(set(places)) == len(places)
    nearest = [min(set(sizes), key=lambda size: abs(size - place)) for place in places]
    assert nearest == sizes


def test_a_single_configuration_has_no_picture_of_the_leaderboard(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    page = write_report(write_run(tmp_path / "r", recipe, [make_record(recipe, 0, {})]))
    assert not page.with_name("tradeoffs_time.png").exists()
    assert page.with_name("leaderboard.csv").exists()


def test_once_the_libraries_are_loaded_a_report_loads_no_others_and_never_torch(tmp_path: Path) -> None:
    run, similar = whole_run(tmp_path / "whole"), similar_run(tmp_path / "similar", second=second_set())
    script = (
        "import sys; from pathlib import Path\n"
        "from loraloom.report.writing import load_libraries, write_report\n"
        "def loaded(): return {name.partition('.')[0] for name in sys.modules}\n"
        "load_libraries(); before = loaded()\n"
        "write_report(Path(sys.argv[1])); print(*sorted(loaded() - before))\n"
        "print(*sorted({'torch', 'transformers', 'peft', 'sklearn', 'optuna'} & loaded()))\n"
        "write_report(Path(sys.argv[2]), second=True)\n"
        "print(*sorted({'torch', 'transformers', 'peft', 'optuna'} & loaded()))\n"
    )
    command = [sys.executable, "-c", script, str(run), str(similar)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["safetensors", "", ""]  # which a search has


def test_a_page_is_rehearsed_and_nothing_is_written(tmp_path: Path) -> None:
    run = whole_run(tmp_path)
    before = sorted(path.relative_to(run) for path in run.rglob("*"))
    assert rehearse_report(run) > 0
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before


def test_what_a_rehearsal_loads_is_not_of_the_time_that_a_page_takes(tmp_path: Path) -> None:
    run = whole_run(tmp_path)
    script = (
        "import sys, time; from pathlib import Path\n"
        "from loraloom.report import writing\n"
        "from loraloom.report.writing import load_libraries, rehearse_report\n"
        "writing.LONG_PAGE_SECONDS = float('inf')  # however slow this machine is\n"
        "load_libraries(); run, start = Path(sys.argv[1]), time.monotonic()\n"
        "first = rehearse_report(run); took = time.monotonic() - start; loaded = len(sys.modules)\n"
        "rehearse_report(run); print(2 * first < took, len(sys.modules) - loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]


@pytest.mark.parametrize(("long", "made"), [(0.0, 1), (600.0, 3)])
def test_a_page_is_rehearsed_until_it_loads_no_more_but_once_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: float, made: int
) -> None:
    run, pages = whole_run(tmp_path), list[str]()
    rehearse_report(run)

    def files(*_: object) -> dict[str, bytes]:
        pages.append(f"loaded_by_page_{len(pages)}")
        if len(pages) < 3:
            monkeypatch.setitem(sys.modules, pages[-1], sys)
        return {}

    monkeypatch.setattr(writing, "report_files", files)
    monkeypatch.setattr(writing, "LONG_PAGE_SECONDS", long)
    rehearse_report(run)
    assert len(pages) == made
