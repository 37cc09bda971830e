"""Whole searches under a deadline, and asked to stop: what they leave."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import loraloom
from loraloom import pipeline, preparation
from loraloom.blending import blend
from loraloom.engine.loom.engine import NO_MEMORY
from loraloom.engine.loom.trial import Trial
from loraloom.errors import BudgetError, LoraloomError, RecipeError, RunError, StoppedError
from loraloom.execute import planning, reserve
from loraloom.execute import warm_up as warming
from loraloom.execute.in_process import InProcess
from loraloom.execute.reserve import Reserve
from loraloom.execute.stopping import Stop
from loraloom.recipe import read_recipe
from loraloom.report.reading import read_run
from loraloom.search import listing
from loraloom.search.clock import Clock
from loraloom.search.costs import cost_key
from loraloom.search.plan import Plan
from loraloom.search.space import again_seconds
from loraloom.search.watcher import SearchPlan, Watcher
from loraloom.study.commands import again_options, go_on_command, read_commands
from loraloom.study.record import Evaluation
from loraloom.study.run import PLAN, Run
from loraloom.study.sealed import read_sealed, write_sealed
from loraloom.terminal.live import closing_lines
from loraloom.use import evaluate as evaluation
from tests.ears import Ear

SPACE = ["search.sampler=random", "train.learning_rate={min: 1e-3, max: 1e-1, log: true}", "search.seeds=2"]

LOOK_SECONDS = 0.02

pytestmark = pytest.mark.usefixtures("no_pictures")


class _Ear(Ear):
    """Keeps the plan and the notes; asks for a stop at the evaluation that it is told to."""

    def __init__(self, stop: Stop | None = None, at: int = 0) -> None:
        super().__init__()
        self.plans: list[SearchPlan] = []
        self._stop, self._at, self._heard = stop, at, 0

    def planned(self, plan: SearchPlan) -> None:
        self.plans.append(plan)

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        self._heard += 1
        if self._stop is not None and self._heard == self._at:
            self._stop.ask(StoppedError(Path("run"), "stopped by SIGTERM"))


def _lacks_memory(patch: pytest.MonkeyPatch, longest: int) -> None:
    """Trials of longer texts lack memory from here on, and the machine is another than before."""
    saw = Trial.saw

    def short_of_it(trial: Trial, *seen: Any) -> None:
        if trial.job.configuration.data.max_length > longest:
            raise MemoryError("no room for 3 GB")
        saw(trial, *seen)

    patch.setattr(Trial, "saw", short_of_it)
    patch.setattr(planning, "_machine", lambda: f"a machine for {longest} tokens")


def test_a_length_that_memory_does_not_suffice_for_is_left_out_and_the_others_are_searched(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, recipe = _Ear(), read_recipe(tiny_recipe, ["data.max_length=32,16", "lora.r=1,2", "budget.max_seconds=600"])
    _lacks_memory(monkeypatch, 16)
    pipeline.search(recipe, tmp_path / "run", watcher=ear)
    run = Run(tmp_path / "run")
    assert [record.configuration.data.max_length for record in run.records()] == [16, 16]
    assert [plan.configurations for plan in ear.plans] == [2]
    named = f"{recipe.backbone.model} at data.max_length=32: {NO_MEMORY}"
    assert f"left out, since it could not be measured: {named}" in ear.notes
    assert read_sealed(run.path / PLAN)["left_out"] == [[recipe.backbone.model, 32, NO_MEMORY]]
    assert f"Left out, since it could not be measured: {named}." in (run.path / "report" / "index.html").read_text()
    ear = _Ear()
    pipeline.resume(run.path, watcher=ear)
    assert any("left out" in note for note in ear.notes)
    assert len(run.records()) == 2
    monkeypatch.undo()
    loraloom.resume(run.path, max_seconds=math.inf)  # nothing is left out where nothing is measured
    assert [record.configuration.data.max_length for record in run.records()] == [16, 16, 32, 32]


def test_what_a_search_timed_while_it_stood_still_is_no_measure(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, warmed = Stop(), list[Any]()

    def warm_up(*about: Any) -> Any:
        warmed.append(measure(*about))
        stop.pauses += len(warmed) == 1
        return warmed[-1]

    class _Paused(Watcher):
        def evaluated(self, number: int, evaluation: Evaluation) -> None:
            stop.pauses += number == 0

    measure = warming.warm_up
    monkeypatch.setattr(planning, "warm_up", warm_up)
    monkeypatch.setattr(warming, "waited_seconds", lambda: 0.0)  # tests beside this one take no core from it
    recipe = read_recipe(tiny_recipe, ["lora.r=1,2", "budget.max_seconds=600"])
    pipeline.search(recipe, tmp_path / "run", watcher=_Paused(), stop=stop, report=False)
    assert len(Run(tmp_path / "run").records()) == 2
    kept = [one["train_row_seconds"] for one in read_sealed(tmp_path / "run" / PLAN)["measured"]]
    assert [first := warmed[1].measured[0].train_row_seconds] == kept[:1]
    assert len(kept) == 2  # with the second trial
    assert warmed[0].measured[0].train_row_seconds != first


def test_a_test_is_on_a_part_of_the_rows_where_there_is_no_time_for_all_and_on_more_where_there_is(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ear = tmp_path / "run", _Ear()
    monkeypatch.setattr(reserve, "MOST_TESTING", 0.0)
    monkeypatch.setattr(reserve, "PART_TESTING", 0.0)
    monkeypatch.setattr(reserve, "LEAST_TESTED", 9)
    monkeypatch.setattr(evaluation, "ROUND_ROWS", 9)
    with monkeypatch.context() as patch:
        patch.setattr(Clock, "allows_testing", lambda *_: False)
        winner = pipeline.search(read_recipe(tiny_recipe, ["budget.max_seconds=600"]), run, watcher=ear)
    every = ear.plans[0].rows[2]
    assert winner.tested_rows == 9 < every
    assert any(f"tested on 9 of {every} test rows" in note for note in ear.notes)
    assert f"tested on 9 of {every} test rows" in (run / "report" / "index.html").read_text()
    assert any(f"on 9 of {every} test rows" in line for line in closing_lines(winner, run, Run(run).recipe, ()))
    best = read_run(run).best
    assert best is not None
    part = {row.row: (row.text, row.label) for row in best.predictions}
    assert len({label for _, label in part.values()}) == len(winner.labels)
    blended, refitted = blend(run), loraloom.refit(run)
    assert (blended.record.tested_rows, refitted.tested_rows) == (9, 9)
    assert blended.gain is not None
    before = (run / "best" / "manifest.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Clock, "allows_testing", lambda *_: False)
        assert loraloom.resume(run, max_seconds=600).tested_rows == 9  # as many as were planned
    assert (run / "best" / "manifest.json").read_bytes() == before
    assert [command.tested for command in read_commands(run)] == [(winner.number,), ()]
    monkeypatch.setattr(reserve, "LEAST_TESTED", 12)
    allowed = iter([True, False])
    with monkeypatch.context() as patch:
        patch.setattr(Clock, "allows_testing", lambda *_: next(allowed))
        assert loraloom.resume(run, max_seconds=600).tested_rows == 18
    monkeypatch.setattr(reserve, "LEAST_TESTED", 20)
    card = run / "best" / "README.md"
    card.write_text("an old card")
    with monkeypatch.context() as patch:
        patch.setattr(Clock, "allows_testing", lambda *_: False)
        assert loraloom.resume(run, max_seconds=600).tested_rows == 18  # those that it has are more
    assert "tested on 18 of" in card.read_text()
    monkeypatch.setattr(reserve, "LEAST_TESTED", 9)
    assert loraloom.resume(run, max_seconds=600).tested_rows == every  # there is time for more than was planned
    best = read_run(run).best
    assert best is not None
    whole = {row.row: (row.text, row.label) for row in best.predictions}
    assert sorted(whole) == list(range(every))
    assert part.items() <= whole.items()
    assert "It was tested on" not in (run / "report" / "index.html").read_text()


@pytest.fixture
def counted_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on when it is looked at, and else stands still: as much fits a time on any machine."""
    looks = itertools.count()

    def now() -> float:
        return LOOK_SECONDS * next(looks)

    defaults = [now if one is time.monotonic else one for one in Clock.__init__.__defaults__ or ()]
    monkeypatch.setattr(Clock.__init__, "__defaults__", tuple(defaults))
    monkeypatch.setattr(time, "monotonic", now)


@pytest.mark.usefixtures("counted_time")
def test_a_search_under_a_deadline_plans_ends_and_has_a_tested_winner(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    ear = _Ear()
    recipe = read_recipe(tiny_recipe, [*SPACE, "budget.max_seconds=14"])
    winner = pipeline.search(recipe, tmp_path / "run", watcher=ear)
    assert winner.result is not None
    assert winner.result.test is not None
    (plan,) = ear.plans
    assert plan.outlook.seconds_left is not None
    assert plan.outlook.examples_per_second is not None
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    kept = json.loads((tmp_path / "run" / PLAN).read_text())
    assert kept["measured"]
    # More time finds more: the plan's rungs and what was measured are taken up, and finished trials are kept.
    before = len(Run(tmp_path / "run").records())
    loraloom.resume(tmp_path / "run", max_seconds=12)
    assert len(Run(tmp_path / "run").records()) > before
    assert json.loads((tmp_path / "run" / PLAN).read_text())["rungs"] == kept["rungs"]


@pytest.mark.usefixtures("no_report")
def test_a_resume_where_memory_suffices_for_less_tries_that_and_leaves_the_trial_under_way_as_it_is(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, stop = read_recipe(tiny_recipe, ["data.max_length=32,16", "lora.r=1,2", "budget.max_seconds=600"]), Stop()
    monkeypatch.setattr(listing, "_shuffled", lambda keys, _: tuple(keys))
    with pytest.raises(StoppedError):
        pipeline.search(recipe, tmp_path / "run", watcher=_Ear(stop, at=1), stop=stop)
    run, ear = Run(tmp_path / "run"), _Ear()
    with monkeypatch.context() as patch:
        _lacks_memory(patch, 16)
        pipeline.resume(run.path, watcher=ear)
    assert any(note.startswith("trial 0 was broken off, and is left as it is: ") for note in ear.notes)
    assert ear.plans[0].broken_off == 0
    assert [(record.number, record.configuration.data.max_length) for record in run.records()] == [(1, 16), (2, 16)]
    with monkeypatch.context() as patch:
        patch.setattr(planning, "_machine", lambda: "the first, again")
        pipeline.resume(run.path)
    assert [record.configuration.data.max_length for record in run.records()] == [32, 16, 16, 32]


@pytest.mark.usefixtures("no_report")
def test_where_nothing_can_be_measured_models_and_lengths_are_named_and_what_was_finished_is_tested(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(tiny_recipe, ["lora.r=1,2,4", "budget.max_seconds=600"])
    refused = re.escape(f"the warm-up failed: {recipe.backbone.model} at data.max_length=16: {NO_MEMORY}")
    with monkeypatch.context() as patch:
        _lacks_memory(patch, 8)
        with pytest.raises(LoraloomError, match=refused):
            pipeline.search(recipe, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    for at, finished in ((1, 0), (3, 1)):
        stop = Stop()
        with pytest.raises(StoppedError):
            pipeline.search(recipe, tmp_path / f"run{at}", watcher=_Ear(stop, at=at), stop=stop)
        run, ear = Run(tmp_path / f"run{at}"), _Ear()
        plan = (run.path / PLAN).read_bytes()
        with monkeypatch.context() as patch:
            _lacks_memory(patch, 8)
            if not finished:
                with pytest.raises(LoraloomError, match=refused):
                    pipeline.resume(run.path, watcher=ear)
            else:
                assert pipeline.resume(run.path, watcher=ear).result
                assert any("the best of those that were finished is tested" in note for note in ear.notes)
        assert (run.path / PLAN).read_bytes() == plan
        assert [record.state for record in run.records()] == ["complete"] * finished
    loraloom.resume(run.path)
    assert [record.state for record in run.records()] == ["complete"] * 3


@pytest.mark.parametrize("late", [False, True])
def test_where_the_time_does_not_suffice_that_is_said_and_nothing_is_left(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """Before the rows are read, where it is known by then; or once they are."""
    refuse, asked = Clock.refuse_too_little, [0]

    def refuse_too_little(clock: Clock) -> None:
        asked[0] += 1
        if asked[0] > late:
            refuse(clock)

    monkeypatch.setattr(Clock, "refuse_too_little", refuse_too_little)
    closed: list[InProcess] = []

    def close(executor: InProcess) -> None:
        closed.append(executor)

    monkeypatch.setattr(InProcess, "close", close)
    recipe = read_recipe(tiny_recipe, [*SPACE, "budget.max_seconds=1"])
    with pytest.raises(
        BudgetError, match=r"does not suffice for one trial: .*; give it \d+ s \(budget\.max_seconds\)$"
    ):
        pipeline.search(recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    assert len(closed) == late  # which may be a cluster


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("field", "clocked"),
    [
        ("search.pruner=auto", ", or search.epochs=clock"),
        ("search.pruner=none", ""),
        ("train.num_train_epochs=[1, 2]", ""),
    ],
)
def test_what_would_use_the_time_that_is_left_is_said(
    tiny_recipe: dict[str, Any], tmp_path: Path, field: str, clocked: str
) -> None:
    changes = ["lora.r=2", "search.sampler=grid", field, "budget.max_seconds=600"]
    recipe = read_recipe(tiny_recipe, changes)
    ear = _Ear()
    pipeline.search(recipe, tmp_path / "run", watcher=ear)
    end = f"all was trained: more values or search.seeds{clocked} would use the rest"
    assert any(sentence.endswith(end) for sentence in ear.notes)


@pytest.mark.usefixtures("no_report")
def test_a_damaged_plan_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run")
    path = tmp_path / "run" / PLAN
    path.write_text(path.read_text().replace('"seeds": 1', '"seeds": 3'))
    with pytest.raises(RunError, match=r"plan.json: can't be read: it is not as the run wrote it"):
        loraloom.resume(tmp_path / "run")


@pytest.mark.parametrize("called", [False, True])
def test_passes_by_a_clock_that_no_plan_says_are_refused_a_resume_without_a_clock(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, called: bool
) -> None:
    class Killed(BaseException):
        """As by kill -9: the run is left as it is."""

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    end = datetime.now().astimezone() + timedelta(seconds=600)
    recipe = read_recipe(tiny_recipe, ["search.sampler=auto", "search.epochs=clock"])
    monkeypatch.setattr("loraloom.execute.planning.warm_up", killed)
    with pytest.raises(Killed):
        pipeline.search(recipe, tmp_path / "run", deadline=end)
    seconds = again_options(tmp_path / "run")["max_seconds"]
    assert isinstance(seconds, int)
    assert (end - datetime.now().astimezone()).total_seconds() <= seconds <= 600
    assert go_on_command(tmp_path / "run") == f"loraloom resume {tmp_path / 'run'} --max_seconds {seconds}"
    options = "max_seconds or deadline" if called else "--max_seconds or --deadline"
    for limit in (None, math.inf):
        with pytest.raises(RecipeError, match=rf"^search\.epochs: clock needs a deadline: {options}$"):
            pipeline.resume(tmp_path / "run", max_seconds=limit, called=called)
    assert again_options(tmp_path / "run") == {"max_seconds": seconds}  # nothing was done
    kept = {"epochs": [[list(cost_key(recipe.configuration({}))), 2]]}
    write_sealed(tmp_path / "run" / PLAN, kept)
    monkeypatch.setattr(preparation, "load_data", killed)
    with pytest.raises(Killed):
        pipeline.resume(tmp_path / "run", called=called)


def test_a_command_that_goes_on_names_no_time_where_it_needs_none() -> None:
    for fields in (["search.epochs=clock", "budget.max_seconds=60"], []):
        assert again_seconds(read_recipe({}, fields), 60.0) is None
    clocked = read_recipe({}, ["search.epochs=clock"])
    assert again_seconds(clocked, None) is None
    assert again_seconds(clocked, 59.2) == 60


@pytest.mark.usefixtures("no_report")
def test_a_search_that_is_asked_to_stop_goes_on_to_the_same_end(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = read_recipe(tiny_recipe, ["lora.r=1,2"])
    whole = pipeline.search(recipe, tmp_path / "whole")
    for grace in (0.0, 120.0):
        stop, run = Stop(grace), tmp_path / f"{grace}"
        with pytest.raises(StoppedError):
            pipeline.search(recipe, run, watcher=_Ear(stop, at=3), stop=stop)
        assert len(Run(run).records()) == 1
        assert (Run(run).best() is not None) == (grace > 0)
        ear = _Ear()
        assert pipeline.resume(run, watcher=ear).number == whole.number
        assert [plan.broken_off for plan in ear.plans] == [1]
        for number in range(2):
            name = f"trials/{number:04d}/adapter_model.safetensors"
            assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.usefixtures("no_report")
def test_a_trial_that_goes_on_has_the_passes_that_it_was_begun_with(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe, stop = read_recipe(tiny_recipe), Stop()
    with pytest.raises(StoppedError):
        pipeline.search(recipe, tmp_path / "run", watcher=_Ear(stop, at=1), stop=stop)
    run = Run(tmp_path / "run")
    kept = read_sealed(run.path / PLAN)
    epochs = [[list(cost_key(run.recipe.configuration({}))), 5]]
    write_sealed(run.path / PLAN, {**kept, "epochs": epochs})  # planned anew since the trial was begun, by the clock
    ear = _Ear()
    assert pipeline.resume(run.path, watcher=ear).configuration.train == recipe.train
    assert not any("begins anew" in sentence for sentence in ear.notes)


@pytest.mark.usefixtures("no_report")
def test_a_trial_that_ended_and_is_damaged_is_trained_again_as_it_was_though_the_plan_has_more_rows_now(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = ["train.lr_scheduler_type=linear", "train.warmup_steps=4"]
    with monkeypatch.context() as patch:
        patch.setattr(planning, "make_plan", lambda *_: Plan((60,), None))
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=1,2", *schedule])
    run = Run(tmp_path / "run")
    before, adapter = run.records()[0], run.path / "trials/0000/adapter_model.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:-1])
    loraloom.resume(run.path)
    records = Run(run.path).records()
    assert records[0].configuration == before.configuration
    assert adapter.read_bytes() == whole
    assert [record.train_rows for record in records] == [60, 60, 90, 90]


@pytest.mark.usefixtures("no_report")
def test_the_end_is_not_rehearsed_once_the_search_is_asked_to_stop(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, rehearsed = Stop(), list[int]()

    class Asking(Watcher):
        def trial_ended(self, *_: Any) -> None:
            stop.ask(StoppedError(tmp_path / "run", "stopped by SIGTERM"))

    monkeypatch.setattr(Reserve, "rehearse", lambda *_: rehearsed.append(1))
    with pytest.raises(StoppedError):
        pipeline.search(read_recipe(tiny_recipe, ["lora.r=1,2"]), tmp_path / "run", watcher=Asking(), stop=stop)
    assert not rehearsed
    loraloom.resume(tmp_path / "run")
    assert rehearsed


@pytest.mark.usefixtures("no_report")
def test_a_part_of_the_rows_is_trained_on_where_a_recipe_says_so(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    winner = loraloom.search(tiny_recipe, tmp_path / "run", overrides=["data.max_train_samples=20"])
    assert winner.train_rows == 20
    assert "20" in (tmp_path / "run" / "leaderboard.csv").read_text().splitlines()[1].split(",")


def test_a_resume_in_no_time_is_refused_and_is_not_one_without_a_limit(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    Run.create(tmp_path / "run", read_recipe(tiny_recipe))
    with pytest.raises(RecipeError, match=r"^max_seconds: 0 is no number of seconds that a command can have"):
        loraloom.resume(tmp_path / "run", max_seconds=0)


@pytest.mark.parametrize("name", ["search", "resume", "fit"])
def test_the_time_of_a_call_from_python_counts_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    heard: dict[str, Any] = {}

    def hear(*_: Any, **given: Any) -> None:
        heard.update(given)
        raise LoraloomError("heard")

    monkeypatch.setattr(pipeline, "resume" if name == "resume" else "search", hear)
    calls: dict[str, Callable[[], object]] = {
        "search": lambda: loraloom.search({}, tmp_path / "run"),
        "resume": lambda: loraloom.resume(tmp_path / "run"),
        "fit": lambda: loraloom.LoraClassifier().fit(["a", "b"] * 9, [0, 1] * 9),
    }
    before = time.monotonic()
    with pytest.raises(LoraloomError, match="heard"):
        calls[name]()
    assert before <= heard["started"] <= time.monotonic()
    assert heard["called"]
