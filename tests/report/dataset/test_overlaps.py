"""What is said of rows that splits have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

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
