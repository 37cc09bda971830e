"""How a run is concluded: what is said of its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom import conclusion
from loraloom.conclusion import _given_up, _in_the_time, _reasons
from loraloom.execute.driver import Ending
from loraloom.recipe import read_recipe
from loraloom.search.clock import Clock

ENDING = Ending(
    configurations=4,
    tried=4,
    finished=9,
    clocked=False,
    leads_alone=False,
    has_time=False,
    spent=False,
    gave_up=False,
)


@pytest.mark.parametrize(
    ("recipe", "changes", "rest"),
    [
        ({}, {}, "the rest is for the test and the report"),
        ({}, {"has_time": True, "spent": True}, "the rest was not used"),
        ({}, {"has_time": True, "gave_up": True}, "the rest was not used"),
        ({}, {"has_time": True}, "more values or search.seeds, or search.epochs=clock would use the rest"),
        ({}, {"has_time": True, "clocked": True}, "more values or search.seeds would use the rest"),
        ({}, {"has_time": True, "clocked": True, "leads_alone": True}, "more search.n_trials or search.seeds would"),
        (
            {"search": {"n_trials": 4, "pruner": "none"}},
            {"has_time": True},
            "more search.n_trials or search.seeds would",
        ),
    ],
)
def test_what_would_use_the_rest_of_the_time_is_what_the_search_was_limited_by(
    recipe: dict[str, Any], changes: dict[str, Any], rest: str
) -> None:
    clock = Clock(60, lambda: 0.0)
    said = _in_the_time(read_recipe(recipe), clock, replace(ENDING, **changes))
    assert said.startswith("4 of 4 configurations were tried, in 9 trials; 0 of 60 s are used, ")
    assert rest in said


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["no room", None, "no room"], "no room"),
        (["a", "b", "c"], "c; b; a"),
        ([f"the loss became nan at step {step}" for step in range(1, 21)], "nan at step 18; and 17 other reasons"),
    ],
)
def test_a_few_of_the_reasons_why_trials_failed_are_said_the_latest_first(reasons: list[str | None], said: str) -> None:
    records: list[Any] = [SimpleNamespace(reason=reason) for reason in reasons]
    assert _reasons(records).endswith(said)


def test_where_a_search_gives_up_the_trials_that_a_pruner_ended_are_no_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(conclusion, "go_on_command", lambda run: "loraloom resume run")
    ended = [("pruned", "pruned after 1 epoch"), ("failed", "no room"), ("pruned", "pruned after 2 epochs")]
    records = [SimpleNamespace(state=state, reason=reason) for state, reason in ended]
    run: Any = SimpleNamespace(path=tmp_path, records=lambda: records)
    assert "no more were begun: no room; nothing" in f"{_given_up(run)}"
