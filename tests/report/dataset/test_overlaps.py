"""What is said of a run's splits: rows that they have in common, their lengths and their classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom.report.dataset.counts import Counts, Lengths, Overlap, counts
from loraloom.report.dataset.findings import _on_lengths
from loraloom.report.dataset.shares import balance, drifts
from loraloom.report.findings import findings
from loraloom.report.page import page
from loraloom.report.reading import read_run
from tests.report.kept_runs import FACTS
from tests.report.report_runs import PROVENANCE, make_recipe, make_record, write_run


@pytest.mark.parametrize(
    ("allowed", "done"),
    [({}, "dropped before training ({})."), ({"allow_leak": True}, "kept ({}): results flatter.")],
    ids=["dropped", "kept"],
)
@pytest.mark.parametrize(("near", "rows"), [(11, "11 in validation and 1,200 in test"), (0, "1,200 in test")])
def test_training_rows_that_may_be_in_both_other_splits_are_counted_by_split(
    tmp_path: Path, allowed: dict[str, bool], done: str, near: int, rows: str
) -> None:
    """Before the first trial has ended, too."""
    shared = [
        {"splits": ["train", "validation"], "equal": 0, "near": near},
        {"splits": ["train", "test"], "equal": 1_200, "near": 0},
    ]
    provenance = {**PROVENANCE, **allowed, "data": {**PROVENANCE["data"], "overlaps": shared}}
    run = write_run(tmp_path / "r", make_recipe(provenance, lora={}, train={}), [])
    said = findings(read_run(run)).dataset.on_overlaps
    assert said == f"Training rows that held-out rows equal, or nearly, were {done.format(rows)}"


@pytest.mark.parametrize(
    ("equal", "near", "said"),
    [(2, 1, " 3 validation rows are"), (0, 1, " 1 validation row is"), (0, 0, "")],
)
def test_validation_rows_that_are_in_test_too_are_told_apart(tmp_path: Path, equal: int, near: int, said: str) -> None:
    shared = [
        {"splits": ["train", "test"], "equal": 0, "near": 0},
        {"splits": ["validation", "test"], "equal": equal, "near": near},
    ]
    recipe = make_recipe({**PROVENANCE, "data": {**PROVENANCE["data"], "overlaps": shared}}, lora={}, train={})
    run = write_run(tmp_path / "r", recipe, [make_record(recipe, 0, {})])
    them = "them" if equal else "it"
    so = said and f"{said} in test too, or nearly: the choice of the winner has seen {them}."
    none = "No training row is equal to, or a near copy of, a held-out row."
    assert findings(read_run(run)).dataset.on_overlaps == f"{none}{so}"


@pytest.mark.parametrize(("cut", "which"), [(40, "Every"), (0, "No")])
def test_whether_cutting_does_harm_can_not_be_told_where_all_rows_are_cut_or_none(cut: int, which: str) -> None:
    found = Counts({}, (50,), 128, None, (Lengths("train", 200, (90,), 50),), (), {}, {}, leak_kept=False)
    failed: Any = SimpleNamespace(cut=cut, rows=40, by_cut=None, max_length=64, split="test")
    measured = (
        "25 % of 200 training rows that were measured have more than data.max_length = 128 tokens, and lose their"
    )
    assert _on_lengths(found, None) == f"{measured} end."
    told = f"{which} test row is cut, so whether it does harm can't be told from them."
    assert _on_lengths(found, failed) == f"{measured} end. The winner cuts at 64. {told}"


@pytest.mark.parametrize("models", ["demo", ["demo"], ["demo", "bert-base-uncased"]])
def test_of_several_encoders_the_one_whose_tokens_are_counted_is_named(tmp_path: Path, models: Any) -> None:
    recipe = make_recipe({**PROVENANCE, "data": FACTS}, lora={}, train={}, backbone={"model": models})
    records = [make_record(recipe, number, point) for number, point in enumerate(recipe.grid())]
    made = findings(read_run(write_run(tmp_path / "r", recipe, records)))
    several = models not in ("demo", ["demo"])
    of = " of demo" if several else ""
    assert f"have more than data.max_length = 256 tokens{of}, and lose their end." in made.dataset.on_lengths
    assert ("Tokens of a text, as <bdi>demo</bdi> reads it, before it is cut" in page(made, "none", ())) is several


def test_the_classes_of_each_split_are_counted_and_compared_with_trainings(tmp_path: Path) -> None:
    rows = {"train": {"a": 500, "b": 300}, "validation": {"a": 50, "b": 30}, "test": {"a": 10, "b": 90}}
    data = {**PROVENANCE["data"], "class_rows": rows, "name": "news", "revision": None, "fingerprint": "f00"}
    recipe = make_recipe({**PROVENANCE, "data": data}, lora={}, train={})
    found = findings(read_run(write_run(tmp_path / "r", recipe, [make_record(recipe, 0, {})]))).dataset
    assert found.facts == (("Data set", "news"), ("Fingerprint", "f00"))
    assert found.balance == balance(rows["train"])
    assert found.drifts == drifts(rows["train"], {split: rows[split] for split in ("validation", "test")})
    of_test = [(each.label, each.rows["test"], each.shares["test"]) for each in found.classes]
    assert of_test == [("a", 10, 0.1), ("b", 90, 0.9)]


def test_of_what_a_recipe_keeps_of_its_data_that_which_can_not_be_is_left_out(tmp_path: Path) -> None:
    known, cut = {"measured": 10, "cut": 1, "quantiles": [5]}, {"measured": 10, "cut": 11, "quantiles": [5]}
    data = {
        "tokens": {"at": [50], "splits": {"train": known, "validation": cut, "test": {**known, "quantiles": []}}},
        "overlaps": [
            {"splits": ["train"], "equal": 1, "near": 1},
            {"splits": ["train", "elsewhere"], "equal": 1, "near": 1},
            {"splits": ["train", "validation"], "equal": 1},
            {"splits": ["train", "test"], "equal": 2, "near": 3},
        ],
        "findings": [
            {"kind": "duplicate", "splits": ["train"], "count": 4},
            {"kind": "duplicate", "splits": ["test"]},
            {"kind": "duplicate", "splits": ["train", "test"], "count": 5},
            {"kind": "conflict", "splits": ["validation"], "count": 6},
        ],
    }
    recipe = make_recipe({**PROVENANCE, "data": data}, lora={}, train={})
    found = counts(read_run(write_run(tmp_path / "r", recipe, [make_record(recipe, 0, {})])))
    assert found.lengths == (Lengths("train", 10, (5,), 1),)
    assert found.overlaps == (Overlap("train", "test", 2, 3),)
    assert (found.repeated, found.disputed) == ({"train": 4}, {"validation": 6})
