"""What opens under a row of the leaderboard: the recipe that trains it again, its curves, its confusion."""

from __future__ import annotations

import base64
import csv
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from safetensors.numpy import save_file

from loraloom.recipe import read_recipe
from loraloom.report.details import MOST_ROWS, Detail, Matrix, Sketch
from loraloom.report.findings import findings
from loraloom.report.pictures.confusion import draw_confusion
from loraloom.report.pictures.details import confusions_drawn, draw_details
from loraloom.report.pictures.drawing import STYLE
from loraloom.report.reading import RunRead, read_run
from loraloom.report.row_recipes import recipe_text
from loraloom.report.wording import loss, told_apart
from loraloom.report.writing import write_report
from loraloom.study.durable import write_manifest
from loraloom.study.evidence import VALIDATION
from tests.report.report_runs import (
    LABELS,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    whole_run,
    with_confusion,
    with_train,
    write_run,
)


def leave_predictions(trial: Path, **other: Any) -> None:
    labels = np.arange(VALIDATION_ROWS, dtype=np.int32) % len(LABELS)
    shares = np.eye(len(LABELS), dtype=np.float32)[labels]
    shares[:2] = np.eye(len(LABELS), dtype=np.float32)[4]
    rows = np.arange(VALIDATION_ROWS, dtype=np.int32)
    save_file({"probabilities": shares, "labels": labels, "rows": rows} | other, trial / VALIDATION)
    write_manifest(trial)


def settings_of(run: RunRead) -> tuple[tuple[str, str], ...]:
    winner = findings(run).answer.winner
    assert winner is not None
    return winner.settings


def test_a_row_s_recipe_is_its_configuration_and_has_its_best_trial_s_seed_over_the_run_s_split(tmp_path: Path) -> None:
    recipe = make_recipe(
        data={"dataset": "demo", "max_length": 96},
        budget={"max_trainable_parameters": 2_000_000, "max_seconds": 60.0},
        search={"sampler": "random", "n_trials": 3, "seeds": 2},
        engine="trainer",
    )
    points = list(recipe.grid())
    records = [make_record(recipe, 0, points[3], 0.91, seed=42), make_record(recipe, 1, points[3], 0.95, seed=43)]
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    path = tmp_path / "again.yaml"
    path.write_text(found.details[0].recipe, encoding="utf-8")
    again = read_recipe(path)
    assert not again.axes
    assert again.configuration({}) == recipe.configuration(points[3])
    assert (again.train.seed, again.search.seeds) == (42, 2)
    assert again.budget.max_trainable_parameters == 2_000_000
    assert again.budget.max_seconds is None
    assert again.engine == "trainer"


@pytest.mark.parametrize(
    ("data", "provenance", "command"),
    [
        ({"dataset": "demo"}, {}, "loraloom train recipe.yaml --out runs/again"),
        ({"dataset": "demo"}, {"allow_leak": True}, "loraloom train recipe.yaml --out runs/again --allow_leak"),
        ({}, {"allow_leak": True}, "loraloom.search('recipe.yaml', 'runs/again', allow_leak=True, train=…)"),
    ],
)
def test_a_row_s_recipe_is_trained_on_the_rows_that_the_run_had(
    tmp_path: Path, data: dict[str, Any], provenance: dict[str, Any], command: str
) -> None:
    recipe = make_recipe(provenance, data=data, lora={"r": 4}, train={})
    found = findings(read_run(write_run(tmp_path / "run", recipe, [make_record(recipe, 0, {})])))
    assert found.recipes.command == command


def test_a_row_s_recipe_is_validated_on_the_rows_that_it_was_validated_on(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={})
    records = [make_record(recipe, n, point, 0.9) for n, point in enumerate(recipe.grid())]
    part = {"max_eval_samples": 200, "max_train_samples": 100}
    configuration = records[0].configuration.with_fields(data=part)
    records[0] = records[0].model_copy(update={"configuration": configuration, "train_rows": 100})
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    said = ["max_eval_samples: 200" in each.recipe for each in found.details]
    assert said == [False, True]
    assert found.board.configurations == 2


def test_a_row_s_recipe_has_the_passes_that_a_clock_gave_it(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={}, search={"epochs": "clock", "sampler": "auto"})
    record = with_train(make_record(recipe, 0, {"lora.r": 8}, 0.9), num_train_epochs=2.55)
    found = findings(read_run(write_run(tmp_path / "run", recipe, [record])))
    path = tmp_path / "again.yaml"
    path.write_text(found.details[0].recipe, encoding="utf-8")
    again = read_recipe(path).configuration({})
    assert again == record.configuration


def test_a_row_s_recipe_chooses_among_seeds_by_what_its_run_maximised(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": 4}, train={}, search={"metric": "macro_f1", "seeds": 2})
    records = [make_record(recipe, seed, {}, 0.9, seed=42 + seed) for seed in range(2)]
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    path = tmp_path / "again.yaml"
    path.write_text(found.details[0].recipe, encoding="utf-8")
    assert (read_recipe(path).search.metric, read_recipe(path).search.seeds) == ("macro_f1", 2)


def test_a_row_on_fewer_rows_says_so_in_its_recipe(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={})
    records = [
        make_record(recipe, n, point, 0.9).model_copy(update={"train_rows": 100 + 900 * n})
        for n, point in enumerate(recipe.grid())
    ]
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    assert ["max_train_samples: 1000" in each.recipe for each in found.details] == [True, False]
    assert "max_train_samples: 100\n" in found.details[1].recipe
    assert found.answer.winner is not None
    assert [name for name, _ in found.answer.winner.settings] == ["lora.r"]  # a rung's rows are no setting of it


@pytest.mark.parametrize("train", [{"warmup_steps": 60}, {"warmup_steps": [0, 60]}], ids=["fixed", "axis"])
def test_a_row_on_a_part_of_the_rows_has_the_warm_up_that_it_was_trained_with(
    tmp_path: Path, train: dict[str, Any]
) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={"num_train_epochs": 4, **train})
    points = [{**point, "lora.r": rank} for point in list(recipe.grid())[-1:] for rank in (1, 8)]
    records = [
        with_train(make_record(recipe, n, point, 0.9), warmup_steps=20 * (1 + 2 * n)).model_copy(
            update={"train_rows": 300 * (1 + 2 * n)}
        )
        for n, point in enumerate(points)
    ]
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    for detail, steps in zip(found.details, (60, 20), strict=True):
        path = tmp_path / "again.yaml"
        path.write_text(detail.recipe, encoding="utf-8")
        assert read_recipe(path).train.warmup_steps == steps
    if "train.warmup_steps" in recipe.axes:
        late = replace(read_run(tmp_path / "run"), records=tuple(records[:1]))
        assert ("train.warmup_steps", "20") in settings_of(late)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(str.strip))
def test_any_text_comes_back_from_a_row_s_recipe(text: str) -> None:
    written = recipe_text({"data": {"train_file": "rows.csv"}}, ("data.label_column",), (text,))
    values = [line for line in written.split("\n") if line.startswith("  label_column: ")]
    assert len(values) == 1
    assert read_back(written) == text


def read_back(written: str) -> str | None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(written, encoding="utf-8")
        return read_recipe(path).data.label_column


def test_rows_beyond_the_first_are_packed(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": list(range(1, MOST_ROWS + 5))}, train={})
    records = [make_record(recipe, n, point, 0.5 + n / VALIDATION_ROWS) for n, point in enumerate(recipe.grid())]
    records[2] = with_confusion(records[2])
    run = write_run(tmp_path / "run", recipe, records)
    (run / "trials" / "0001" / "metrics.jsonl").write_text("cut", encoding="utf-8")
    found = findings(read_run(run))
    assert len(found.details) == MOST_ROWS
    assert found.details[0].number == MOST_ROWS + 3
    assert "over 4 evaluations: on validation highest at epoch 4" in found.details[0].sketches[1].sentence
    assert found.packed is not None
    packed = json.loads(zlib.decompress(base64.b64decode(found.packed)))
    assert packed["across"] == ["business", "entertainment", "politics", "sport", "tech"]
    assert list(packed["trials"]) == ["0003", "0002", "0001", "0000"]
    (lines, counts), (no_lines, no_counts) = packed["trials"]["0002"], packed["trials"]["0001"]
    epoch_and_losses = [1.0, 1.043, 0.497, 1.089, 0.4722]  # of training, with its accuracy, and of validation
    assert lines[0] == pytest.approx(epoch_and_losses, abs=5e-4)
    assert (len(lines), sum(counts), counts[1]) == (4, VALIDATION_ROWS, 22)
    assert (no_lines, no_counts) == ([], None)
    assert packed["why"] == "It has no confusion here: its record keeps none of the run's classes."
    assert any("trials/0001/metrics.jsonl" in problem for problem in found.problems)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_whose_rows_are_all_drawn_packs_none(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "demo")
    assert findings(read_run(run)).packed is None
    assert "row-template" not in write_report(run).read_text(encoding="utf-8").split("<script>")[0]


def test_a_record_s_confusion_is_shown_before_its_predictions_are_read(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={})
    records = [with_confusion(make_record(recipe, n, {"lora.r": 2 + 2 * n})) for n in range(2)]
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    matrix = found.details[0].matrix
    assert matrix is not None
    assert (matrix.rows, matrix.wrong, matrix.counts[0]) == (VALIDATION_ROWS, 11, (42, 3, 0, 0, 0))


def test_as_many_confusions_are_drawn_as_there_is_room_for() -> None:
    labels = tuple(f"class {number}" for number in range(12))
    matrix = Matrix(labels, labels, labels, ((1,) * 12,) * 12, 144, 132)
    detail = Detail(1, "Rank 1", "", "", (), (), (), matrix)
    assert len(confusions_drawn([detail] * 100)) == 27
    assert confusions_drawn([replace(detail, matrix=None)]) == []


def test_classes_that_begin_alike_are_told_apart_in_the_page_and_in_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tuple(f"customer_service_{name}" for name in ("billing", "login", "refund"))
    recipe = make_recipe(lora={}, train={})
    record = with_confusion(make_record(recipe, 0, {}, labels=labels))
    best = make_record(recipe, 0, {}, labels=labels, test=make_score(432 / TEST_ROWS, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, [record], best=best, predictions=make_predictions(labels))
    found = findings(read_run(run))
    assert found.details[0].matrix is not None
    assert found.details[0].matrix.across == ("…rvice_billing", "…service_login", "…ervice_refund")
    assert found.test is not None
    with mpl.rc_context(STYLE):
        (confusion,) = draw_confusion(found.test)
    assert ">…r_service_billing</text>" in confusion.svg
    figures: list[Figure] = []

    def saved(figure: Figure, *_: object, **__: object) -> bytes:
        figures.append(figure)
        return b""

    monkeypatch.setattr("loraloom.report.pictures.details.saved", saved)
    assert len(list(draw_details(found.details))) == len(figures)
    said = [text.get_text() for text in figures[-1].axes[0].texts]
    assert [said.count(name) for name in ("…_billing", "…ce_login", "…e_refund")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("labels", "short"),
    [
        (("sport", "politics and\npower"), ("sport", "politic…")),
        (("category_0", "category_1", "other"), ("…egory_0", "…egory_1", "other")),
        (("an aaaa first of all", "an aaaa second of all"), ("1 an aa…", "2 an aa…")),
        (("a\x01", "a\x02"), ("1 a\ufffd", "2 a\ufffd")),
    ],
)
def test_labels_are_their_beginnings_or_their_ends_or_numbered(labels: tuple[str, ...], short: tuple[str, ...]) -> None:
    names, long = told_apart(labels, 8, 24)
    assert names == short
    assert [name[0].isdigit() for name in long] == [name[0].isdigit() for name in short]


def test_a_pruned_row_opens_too(tmp_path: Path) -> None:
    found = findings(read_run(whole_run(tmp_path / "demo")))
    places = {detail.number: detail.place for detail in found.details}
    assert places[3] == "Rank 1"
    assert places[4] == "Pruned"
    assert places[5] == "Failed"


def test_a_sketch_lies_within_its_frame() -> None:
    sketch = Sketch("Loss", ((1.0, 4.0), (2.0, 1.0)), ((1.0, 3.0), (2.0, 2.0)), loss, "")
    assert sketch.path(sketch.train, 100, 50) == "M0.0 0.0L100.0 50.0"
    assert sketch.at((2.0, 2.5), 100, 50) == ("100.0", "25.0")
    level = Sketch("Loss", (), ((1.0, 3.0),), loss, "")
    assert level.path(level.validation, 100, 50) == "M50.0 50.0"  # of one epoch, in the middle


@pytest.mark.usefixtures("no_pictures")
def test_the_confusion_on_validation_is_of_what_the_trial_left(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "demo")
    leave_predictions(run / "trials" / "0003")
    found = findings(read_run(run))
    matrix = found.details[0].matrix
    assert matrix is not None
    assert (matrix.rows, matrix.wrong) == (VALIDATION_ROWS, 2)
    assert matrix.counts[0] == (44, 0, 0, 0, 1)
    assert found.details[1].matrix is None
    write_report(run)
    with (run / "report" / "rows_confusion.csv").open(encoding="utf-8", newline="") as file:
        assert {"trial": "0003", "true": "business", "predicted": "tech", "rows": "1"} in list(csv.DictReader(file))


@pytest.mark.usefixtures("no_pictures")
def test_why_a_row_has_no_confusion_is_said(tmp_path: Path) -> None:
    many = tuple(f"class {number}" for number in range(30))
    recipe = make_recipe(lora={"r": [2, 4]}, train={})
    records = [make_record(recipe, n, {"lora.r": 2 + 2 * n}, labels=labels) for n, labels in enumerate((many, LABELS))]
    page = write_report(write_run(tmp_path / "run", recipe, records)).read_text(encoding="utf-8")
    assert "Its confusion is left out: of 30 classes, and more than 12 do not fit." in page
    assert "It has no confusion: it left no predictions of validation rows." in page


@pytest.mark.parametrize("damage", ["bytes", "manifest", "shape", "labels"])
def test_damaged_predictions_are_named_and_left_out(tmp_path: Path, damage: str) -> None:
    run = whole_run(tmp_path / "demo")
    trial = run / "trials" / "0003"
    if damage == "shape":
        leave_predictions(trial, labels=np.zeros(3, dtype=np.int32))
    elif damage == "labels":
        leave_predictions(trial, labels=np.full(VALIDATION_ROWS, 9, dtype=np.int32))
    else:
        leave_predictions(trial)
        (trial / VALIDATION).write_bytes(b"\xff" * 40)
        if damage == "bytes":
            write_manifest(trial)
    found = findings(read_run(run))
    assert found.details[0].matrix is None
    assert [problem for problem in found.problems if VALIDATION in problem]
