"""What is said of a run's splits: rows that they have in common, and their classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.report.dataset.shares import balance, drift
from loraloom.report.findings import findings
from loraloom.report.reading import read_run
from loraloom.study.record import LEAKED
from tests.report.report_runs import PROVENANCE, make_recipe, make_record, write_run


@pytest.mark.parametrize(
    ("marks", "done"),
    [((), "dropped before training ({})."), ((LEAKED,), "kept ({}): results flatter.")],
    ids=["dropped", "kept"],
)
@pytest.mark.parametrize(("near", "rows"), [(11, "11 in validation and 1,200 in test"), (0, "1,200 in test")])
def test_training_rows_that_may_be_in_both_other_splits_are_counted_by_split(
    tmp_path: Path, marks: tuple[str, ...], done: str, near: int, rows: str
) -> None:
    shared = [
        {"splits": ["train", "validation"], "equal": 0, "near": near},
        {"splits": ["train", "test"], "equal": 1_200, "near": 0},
    ]
    recipe = make_recipe({**PROVENANCE, "data": {**PROVENANCE["data"], "overlaps": shared}}, lora={}, train={})
    run = write_run(tmp_path / "r", recipe, [make_record(recipe, 0, {}, marks=marks)])
    said = findings(read_run(run)).dataset.on_overlaps
    assert said == f"Training rows that held-out rows equal, or nearly, were {done.format(rows)}"


def test_the_classes_of_each_split_are_counted_and_compared_with_trainings(tmp_path: Path) -> None:
    rows = {"train": {"a": 500, "b": 300}, "validation": {"a": 50, "b": 30}, "test": {"a": 10, "b": 90}}
    recipe = make_recipe({**PROVENANCE, "data": {**PROVENANCE["data"], "class_rows": rows}}, lora={}, train={})
    found = findings(read_run(write_run(tmp_path / "r", recipe, [make_record(recipe, 0, {})]))).dataset
    assert found.balance == balance(rows["train"])
    assert found.drifts == tuple(drift(split, rows["train"], rows[split]) for split in ("validation", "test"))
    of_test = [(each.label, each.rows["test"], each.shares["test"]) for each in found.classes]
    assert of_test == [("a", 10, 0.1), ("b", 90, 0.9)]
