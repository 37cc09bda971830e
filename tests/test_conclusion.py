"""How a run is concluded: what it leaves, its report among it, and what is said of its time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

import loraloom
from loraloom import conclusion, pipeline, preparation
from loraloom.conclusion import GAVE_UP, SPENT, _given_up, _in_the_time, _reasons
from loraloom.data import telling
from loraloom.errors import LoraloomError, RunError, StoppedError
from loraloom.execute.driver import Ending
from loraloom.execute.stopping import Stop
from loraloom.recipe import read_recipe
from loraloom.search.clock import Clock
from loraloom.search.watcher import Watcher
from loraloom.study.commands import read_commands
from loraloom.study.record import TrialRecord
from loraloom.study.run import Run
from loraloom.use import evaluate
from tests.ears import Ear

pytestmark = pytest.mark.usefixtures("no_pictures")

ENDING = Ending(
    configurations=4,
    tried=4,
    finished=9,
    clocked=False,
    holds_more=False,
    has_time=False,
    spent=False,
    gave_up=False,
)


@pytest.mark.parametrize(
    ("recipe", "changes", "rest"),
    [
        ({}, {}, "the rest is for the test and the report, or too short for another trial"),
        ({}, {"has_time": True, "spent": True}, "the rest was not used"),
        ({}, {"has_time": True, "gave_up": True}, "the rest was not used"),
        ({}, {"has_time": True}, "more values or search.seeds, or search.epochs=clock would use the rest"),
        ({}, {"has_time": True, "clocked": True}, "more values or search.seeds would use the rest"),
        ({}, {"has_time": True, "clocked": True, "holds_more": True}, "more search.n_trials or search.seeds would"),
        (
            {"search": {"n_trials": 4, "pruner": "none"}},
            {"has_time": True},
            "more values or search.seeds would",
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


def test_of_configurations_without_end_those_that_were_tried_are_said_and_of_one_as_of_one() -> None:
    clock, of_one = Clock(60, lambda: 0.0), replace(ENDING, tried=1, finished=1)
    tried = "of 60 s are used, the rest is for the test and the report, or too short for another trial"
    for configurations, said in (
        (None, "1 configuration was tried, in 1 trial"),
        (1, "1 of 1 configuration was tried, in 1 trial"),
        (4, "1 of 4 configurations were tried, in 1 trial"),
    ):
        ending = replace(of_one, configurations=configurations)
        assert _in_the_time(read_recipe({}), clock, ending) == f"{said}; 0 {tried}"


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["no room", None, "no room"], "no room"),
        (["a", "b", "c"], "c; b; a"),
        (["a", "b", "c", "d"], "d; c; b; and 1 other reason"),
        (
            [f"nan at step {step}" for step in range(1, 21)],
            "nan at step 20; nan at step 19; nan at step 18; and 17 other reasons",
        ),
    ],
)
def test_a_few_of_the_reasons_why_trials_failed_are_said_the_latest_first(reasons: list[str | None], said: str) -> None:
    records: list[Any] = [SimpleNamespace(reason=reason) for reason in reasons]
    assert _reasons(records) == said


def test_where_a_search_gives_up_the_trials_that_a_pruner_ended_are_no_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(conclusion, "go_on_command", lambda run: "loraloom resume run")
    ended = [("pruned", "pruned after 1 epoch"), ("failed", "no room"), ("pruned", "pruned after 2 epochs")]
    records = [SimpleNamespace(state=state, reason=reason) for state, reason in ended]
    run: Any = SimpleNamespace(path=tmp_path, records=lambda: records)
    assert "no more were begun: no room; nothing" in f"{_given_up(run)}"


def _concluded(monkeypatch: pytest.MonkeyPatch, run: Path, clock: Clock, stop: Stop, **ending: Any) -> list[str]:
    """What is done and said, in this order, of a run whose winner and report are made of nothing."""
    done = list[str]()

    class Ear(Watcher):
        def note(self, sentence: str) -> None:
            done.append(sentence)

    def does(step: str) -> Any:
        done.append(step)
        return SimpleNamespace(tested_rows=clock.test_rows)

    for step in ("_crown", "_report"):
        monkeypatch.setattr(conclusion, step, lambda *_, step=step: does(step))
    monkeypatch.setattr(conclusion, "_chosen", lambda *_: None)
    monkeypatch.setattr(conclusion, "leaderboard_csv", lambda *_: "")
    monkeypatch.setattr(conclusion, "go_on_command", lambda _: "loraloom resume run")
    given: Any = SimpleNamespace(path=run, recipe=read_recipe({}), records=list, ends=lambda *_, **__: None)
    try:
        conclusion.conclude(given, given, Ear(), clock, stop, given, replace(ENDING, **ending))
    except StoppedError as error:
        done.append(f"{error}")
    return done


@pytest.mark.parametrize(("left", "steps"), [(9.0, ["_crown", "_report"]), (7.0, [])])
def test_a_run_that_was_stopped_has_its_winner_first_where_the_grace_suffices_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: float, steps: list[str]
) -> None:
    at = [0.0]
    stop = Stop(60, lambda: at[0])
    with stop.politely():
        stop.ask(StoppedError(tmp_path, "by SIGTERM"))
    at[0] = 60 - left
    *done, ended = _concluded(monkeypatch, tmp_path, Clock(600, lambda: 0.0, reserve=8.0), stop)
    assert done == steps
    assert "by SIGTERM" in ended


def test_a_run_that_gave_up_or_that_has_no_points_left_has_its_winner_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def concluded(**ending: Any) -> list[str]:
        return _concluded(monkeypatch, tmp_path, Clock(None), Stop(), **ending)

    assert concluded() == ["_crown", "_report"]
    *done, ended = concluded(gave_up=True)
    assert done == ["_crown", "_report"]
    assert GAVE_UP in ended
    assert concluded(spent=True) == [SPENT, "_crown", "_report"]
    assert concluded(spent=True, finished=0) == ["_crown", "_report"]  # then it is why there is no winner
    timed, *done = _concluded(monkeypatch, tmp_path, Clock(60, lambda: 0.0), Stop())
    assert timed.startswith("4 of 4 configurations were tried")
    assert done == ["_crown", "_report"]


def test_a_test_goes_on_as_long_as_both_the_deadline_and_the_grace_leave_the_page_its_time(tmp_path: Path) -> None:
    clock, stop = Clock(600, lambda: 0.0), Stop(60, lambda: 0.0)
    assert conclusion._allows_testing(clock, stop, 100)
    assert not conclusion._allows_testing(clock, stop, 600)
    with stop.politely():
        stop.ask(StoppedError(tmp_path, "by SIGTERM"))
    assert conclusion._allows_testing(clock, stop, 59 - clock.page_seconds)
    assert not conclusion._allows_testing(clock, stop, 61 - clock.page_seconds)


def test_a_winner_is_tested_on_more_rows_where_there_is_time_for_those_that_it_was_tested_on_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = list[float]()
    best: Any = SimpleNamespace(tested_rows=30)
    given: Any = SimpleNamespace(path=tmp_path, best=lambda: best, renew_card=lambda _: None)
    place: Any = SimpleNamespace(data=SimpleNamespace(test=range(100)))
    monkeypatch.setattr(conclusion, "_adapter", lambda *_: (tmp_path, best))
    monkeypatch.setattr(conclusion, "model_card", lambda *_: "")
    monkeypatch.setattr(conclusion, "_allows_testing", lambda _, __, seconds: asked.append(seconds))
    clock = Clock(600, lambda: 0.0, test_seconds=8.0, test_rows=20)
    assert conclusion._crown(given, place, Watcher(), clock, Stop(), given, given) is best
    assert asked == [12.0]  # 8 s for 20 rows


def test_where_no_trial_was_finished_it_is_said_why_and_where_time_lacked_what_to_do(tmp_path: Path) -> None:
    def said(records: list[Any], **ending: Any) -> str:
        run: Any = SimpleNamespace(path=tmp_path, recipe=read_recipe({}), records=lambda: records)
        with pytest.raises(LoraloomError) as no:
            conclusion._chosen(run, Clock(60, lambda: 0.0), Stop(), replace(ENDING, **ending))
        return str(no.value).removeprefix(f"{tmp_path}: ")

    failed = SimpleNamespace(state="failed", reason="no room", result=None)
    assert said([]) == "the time did not suffice for one trial; give it more (budget.max_seconds)"
    assert said([], spent=True) == f"no trial was finished: {SPENT}"
    assert said([failed], spent=True) == "no trial was finished: no room"


def test_a_run_that_was_stopped_before_a_trial_was_finished_was_stopped_and_did_not_fail(tmp_path: Path) -> None:
    stop, run = Stop(60, lambda: 0.0), SimpleNamespace(path=tmp_path, recipe=read_recipe({}), records=list)
    with stop.politely():
        stop.ask(StoppedError(tmp_path, "by SIGTERM"))
    given: Any = run
    with pytest.raises(StoppedError, match="by SIGTERM"):
        conclusion._chosen(given, Clock(60, lambda: 0.0), stop, ENDING)


# Whole runs


def test_a_search_leaves_a_ledger_a_leaderboard_a_winner_and_a_report(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    winner = loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=1,2", "search.seeds=2"])
    run = Run(tmp_path / "run")
    assert len(run.records()) == 4
    assert {record.seed for record in run.records()} == {42, 43}
    assert winner == run.best()
    assert (run.path / "report" / "index.html").is_file()
    assert len((run.path / "leaderboard.csv").read_text().splitlines()) == 5
    storage = optuna.storages.RDBStorage(f"sqlite:///{run.path / 'study.db'}")
    study = optuna.load_study(study_name="loraloom", storage=storage)
    assert study.best_value == pytest.approx(max(t.value for t in study.trials if t.value is not None))
    storage.remove_session()
    storage.engine.dispose()  # Python 3.13 complains of connections that are left to the garbage collector


def test_a_grid_of_conditional_axes_is_searched_and_reported(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    axis = "train.warmup_steps={values: [2, 5], when: {train.lr_scheduler_type: linear}}"
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["train.lr_scheduler_type=constant,linear", axis])
    rows = (tmp_path / "run" / "leaderboard.csv").read_text().splitlines()
    assert len(rows) == 4
    assert sorted(record.configuration.train.warmup_steps for record in Run(tmp_path / "run").records()) == [0, 2, 5]


def test_a_look_at_the_test_rows_is_noted_though_it_comes_to_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise LoraloomError("the test fails")

    monkeypatch.setattr(conclusion, "test_winner", fails)
    with pytest.raises(LoraloomError, match="the test fails"):
        loraloom.search(tiny_recipe, tmp_path / "run")
    (command,) = read_commands(tmp_path / "run")
    assert (command.ended, command.why, command.tested) == ("failed", "the test fails", (0,))


def test_it_is_told_how_far_the_test_of_many_rows_is(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    winner = pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", watcher=ear)
    rows = winner.test.examples
    told = ear.notes[ear.notes.index("testing the winner, trial 0") + 1 :]
    assert told[:2] == [f"tokenising: 0 of {rows} rows so far", f"testing: {rows} of {rows} rows so far"]
    ear.notes.clear()
    monkeypatch.setattr(evaluate, "ROUND_ROWS", rows - 9)
    pipeline.search(read_recipe(tiny_recipe), tmp_path / "in rounds", watcher=ear)
    told = ear.notes[ear.notes.index("testing the winner, trial 0") + 1 :]
    assert told[:2] == [f"testing: {rows - 9} of {rows} rows so far", f"testing: {rows} of {rows} rows so far"]


def test_a_grid_drops_points_over_the_cap_and_says_so(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "MOST_DROPPED", 1)
    cap = "budget.max_trainable_parameters=1500"
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=2,64,65,66", cap])
    run = Run(tmp_path / "run")
    assert [record.point for record in run.records()] == [{"lora.r": 2}]
    (named,) = run.recipe.provenance["dropped_points"]
    assert "lora.r=64" in named
    assert run.recipe.provenance["more_dropped_points"] == 2
    assert "3 points of the recipe did not fit" in (tmp_path / "run" / "report" / "index.html").read_text()


def test_a_wish_after_the_last_trial_leaves_out_what_it_does_not_grant_and_the_run_is_done(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, written = [0.0], list[tuple[bool, bool, str]]()
    stop = Stop(60, lambda: at[0])

    class Ear(Watcher):
        def crowned(self, winner: TrialRecord) -> None:
            stop.ask(StoppedError(tmp_path, "stopped by SIGTERM"))
            at[0] = 59

    def write(_: Path, *, may_draw: Callable[[], bool], similar: bool, why_not_similar: str) -> None:
        written.append((may_draw(), similar, why_not_similar))

    monkeypatch.setattr(conclusion, "write_report", write)
    pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", watcher=Ear(), stop=stop)
    assert written == [(False, False, "the run was asked to stop")]
    assert read_commands(tmp_path / "run")[0].ended == "done"


def test_a_wish_within_the_test_ends_it_with_the_rows_that_are_done_and_a_resume_tests_all(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [0.0]
    stop = Stop(60, lambda: at[0])

    class Ear(Watcher):
        def note(self, sentence: str) -> None:
            if sentence.startswith("testing the winner"):
                stop.ask(StoppedError(tmp_path, "stopped by SIGTERM"))
                at[0] = 59

    monkeypatch.setattr(evaluate, "ROUND_ROWS", 9)
    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", watcher=Ear(), stop=stop)
    best = Run(tmp_path / "run").best()
    assert best is not None
    assert best.tested_rows == 9
    assert pipeline.resume(tmp_path / "run").tested_rows > 9
    assert [command.ended for command in read_commands(tmp_path / "run")] == ["stopped", "done"]


def test_pictures_are_drawn_as_long_as_there_is_time_for_the_page_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [0.0], list[bool]()
    clock = Clock(60, lambda: now[0])

    def write(run: Path, *, may_draw: Callable[[], bool], similar: bool, why_not_similar: str | None) -> None:
        assert similar
        assert why_not_similar is None
        for now[0] in (0.0, 10.0, 30.0, 45.0, 60 - clock.page_seconds):
            asked.append(may_draw())

    monkeypatch.setattr(conclusion, "collect_in_time", lambda *_: None)
    monkeypatch.setattr(conclusion, "write_report", write)
    given: Any = SimpleNamespace(path=tmp_path, data=None)
    conclusion._report(given, given, given, Watcher(), clock, Stop())
    assert asked == [True, True, False, False, False]  # after 20 s for one, not after 40 for another


@pytest.mark.parametrize("place", [(Run, "publish_best"), (conclusion, "write_text"), (conclusion, "write_report")])
def test_a_disk_that_is_full_after_the_last_trial_is_said_with_the_command_that_goes_on(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    """The search itself would be refused: its folder is taken."""

    def write(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    monkeypatch.setattr(*place, write)
    with pytest.raises(RunError, match="no space is left on the disk; free some, then: loraloom resume "):
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=["train.num_train_epochs=1"])
    monkeypatch.undo()
    loraloom.resume(tmp_path / "run")
    assert (tmp_path / "run" / "report" / "index.html").is_file()
