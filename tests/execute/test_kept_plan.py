"""A plan is kept in plan.json as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import RunError
from loraloom.execute.kept_plan import as_json, has_passes, is_planned, plan_of, read_plan, write_plan
from loraloom.search.costs import Key, Measured
from loraloom.search.plan import Plan

TIMED = asdict(Measured("m", 128, 16, 0.1, 0.03, 2.0))
PASSES = {Key("m", "None", 128, 16): 2.5, Key("m", "None [11]", 64, 8): 16.0}


@pytest.mark.parametrize(
    "plan", [Plan(), Plan((128, 384, None), 3, 2, PASSES, 1, fitted=True), Plan((500,), None, 3)], ids=str
)
def test_a_plan_comes_back_as_it_was_kept(tmp_path: Path, plan: Plan) -> None:
    assert read_plan(tmp_path) == {}
    assert not has_passes(tmp_path)
    write_plan(tmp_path, as_json(plan))
    assert plan_of(read_plan(tmp_path)) == plan
    assert has_passes(tmp_path) == (plan.epochs is not None)


def test_a_plan_of_an_older_version_has_what_that_knew() -> None:
    kept = {"rungs": [128, None], "finalists": 3, "seeds": 2}
    assert plan_of(kept) == Plan((128, None), 3, 2)


def test_a_run_is_planned_once_something_was_measured_for_it(tmp_path: Path) -> None:
    for measured in ([], [TIMED]):
        write_plan(tmp_path, {"measured": measured})
        assert is_planned(tmp_path) == bool(measured)


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, as_json(Plan()))
    file = tmp_path / "plan.json"
    file.write_text(file.read_text().replace('"seeds": 1', '"seeds": 2'))
    with pytest.raises(RunError, match="remove it, and the search is planned anew"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"measured": [TIMED | {"joules": 3.0}]},
        {"left_out": [["m", 128, "roberta", "no memory"]]},
        as_json(Plan()) | {"epochs": [[["m", "None", 128, 16, "bf16"], 2.5]]},
        {"rungs": [128, None]},
    ],
    ids=["measured", "left_out", "epochs", "rungs"],
)
def test_a_plan_that_another_version_wrote_otherwise_is_refused_in_a_sentence(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    write_plan(tmp_path, values)
    with pytest.raises(RunError, match=r"plan\.json: can't be read: another version of loraloom wrote it; go on by"):
        read_plan(tmp_path)
