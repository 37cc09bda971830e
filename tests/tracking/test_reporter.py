"""What trackers are told of real runs; and that no tracker hurts one."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import loraloom
from loraloom import pipeline
from loraloom.errors import StoppedError
from loraloom.recipe import Configuration, read_recipe
from loraloom.search.outlook import Outlook, Step
from loraloom.search.watcher import Watcher
from loraloom.study.record import Evaluation, Result, TrialRecord
from loraloom.study.run import Run
from loraloom.tracking import reporter
from loraloom.tracking.channel import Limits
from loraloom.tracking.child import CLASSES
from loraloom.tracking.reporter import KEY, Reporter, figures_of, parameters_of, points_of, run_key, tracked
from tests.ears import Ear
from tests.study.study_records import record, score
from tests.tracking.telling import read, trackers

PATIENT = partial(Limits, close_seconds=180)
"""A tracker's process gives way to others: on a busy machine it may not have begun when a tiny search has ended."""


def failures(ear: Ear) -> list[str]:
    return [note for note in ear.notes if "is no longer told" in note]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a tracker of `failing.py` in the place of MLflow's."""
    monkeypatch.setattr(reporter, "Limits", partial(PATIENT, broken_off_seconds=180))

    def place(tracker: str) -> None:
        monkeypatch.setitem(CLASSES, "mlflow", f"tests.tracking.failing:{tracker}")
        monkeypatch.setattr("loraloom.tracking.reporter.is_installed", lambda name: True)

    return place


def calls(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "tracking" / "mlflow" / "calls.jsonl").read_text().splitlines()]


def names(run: Path) -> list[str]:
    return [call["call"] for call in calls(run)]


def search(recipe: dict[str, Any], run: Path, *overrides: str, watcher: Watcher | None = None) -> TrialRecord:
    return pipeline.search(read_recipe(recipe, ["report_to=mlflow", *overrides]), run, watcher=watcher, report=False)


# What is told


def test_a_search_is_told_from_its_plan_to_the_winners_test(
    tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any
) -> None:
    fake("Noting")
    winner = search(tiny_recipe, tmp_path / "run", "lora.r=1,2")
    trial = ["begin_trial", "log", "log", "end_trial"]
    assert names(tmp_path / "run") == ["begin", *trial, *trial, "crown", "close"]
    told = calls(tmp_path / "run")
    assert told[0]["name"] == "run"
    assert told[0]["facts"]["training_rows"] == 90
    assert [call["varied"] for call in told if call["call"] == "begin_trial"] == [{"lora.r": 1}, {"lora.r": 2}]
    assert told[1]["parameters"]["train.learning_rate"] == 0.02
    assert (told[-2]["number"], told[-2]["figures"]["result/test_accuracy"]) == (
        winner.number,
        winner.test.accuracy,
    )
    assert told[-1] == {"call": "close", "finished": True}


def test_metrics_are_those_of_metrics_jsonl(tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any) -> None:
    fake("Noting")
    search(tiny_recipe, tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run" / "trials" / "0000" / "metrics.jsonl").read_text().splitlines()]
    points = {step: each for call in calls(tmp_path / "run") if call["call"] == "log" for step, each in call["points"]}
    assert len(lines) == 2
    for line in lines:
        assert points[line["step"]]["validation/accuracy"] == line["validation_accuracy"]
    traced = {step: loss for line in lines for step, loss, _ in line["trace"]}
    assert {step: each["train/loss"] for step, each in points.items()} == traced


def test_seeds_are_told_apart(tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any) -> None:
    fake("Noting")
    search(tiny_recipe, tmp_path / "run", "search.seeds=2")
    assert [call["varied"] for call in calls(tmp_path / "run") if call["call"] == "begin_trial"] == [
        {"train.seed": 42},
        {"train.seed": 43},
    ]


def test_points_join_the_trace_and_the_evaluation_by_step() -> None:
    line = Evaluation(
        step=4,
        epoch=1.0,
        seconds=1.0,
        learning_rate=0.1,
        train_loss=0.9,
        train_accuracy=0.5,
        validation_loss=float("inf"),
        validation_accuracy=0.25,
        validation_macro_f1=0.2,
        trace=((2, 1.0, 0.2), (4, 0.8, 0.1)),
    )
    ended = {"train/accuracy": 0.5, "train/epoch": 1.0, "validation/accuracy": 0.25, "validation/macro_f1": 0.2}
    assert points_of([line]) == [
        (2, {"train/loss": 1.0, "train/learning_rate": 0.2}),
        (4, {"train/loss": 0.8, "train/learning_rate": 0.1, **ended}),
    ]
    untraced = line.model_copy(update={"trace": ()})
    assert points_of([untraced])[0][1]["train/loss"] == 0.9


def test_figures_hold_the_test_result_of_the_winner_alone() -> None:
    trial = record(0, 0.75)
    assert "result/test_accuracy" not in figures_of(trial)
    tested = trial.model_copy(update={"result": Result(validation=trial.validation, test=score(0.5))})
    assert figures_of(tested)["result/test_accuracy"] == 0.5
    assert figures_of(tested)["result/tested_rows"] == tested.tested_rows > 0
    assert figures_of(record(1, None, state="failed"))["result/trainable_parameters"] == 1000


def test_parameters_are_scalars_by_dotted_name() -> None:
    values = parameters_of(Configuration.model_validate({"lora": {"layers_to_transform": (1, 2)}}))
    assert values["lora.layers_to_transform"] == "[1, 2]"
    assert values["lora.bias"] == "lora_only"
    assert "lora.target_modules" not in values


def test_a_run_has_one_key_and_no_other_runs(tmp_path: Path) -> None:
    first, name = run_key(tmp_path / "a", "näme of\nlines")
    assert name == "näme of\nlines"
    assert run_key(tmp_path / "a", "another") == (first, name)
    assert run_key(tmp_path / "b", name)[0] != first


def test_a_key_without_a_name_gets_one(tmp_path: Path) -> None:
    (tmp_path / KEY).write_text("0123abcd\n")
    for name in ("first", "second"):
        assert run_key(tmp_path, name) == ("0123abcd", "first")


def test_a_run_whose_folder_was_moved_has_its_first_name(
    tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any
) -> None:
    fake("Noting")
    search(tiny_recipe, tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    pipeline.resume(tmp_path / "moved")
    begun = [(call["name"], call["key"]) for call in calls(tmp_path / "moved") if call["call"] == "begin"]
    assert len(begun) == 2
    assert begun[0] == begun[1]
    assert begun[0][0] == "run"


# Going on


class Kill(Watcher):
    """Breaks a run off in the midst of its second trial."""

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        if number == 1:
            raise StoppedError(Path("run"), "stopped by this test")


def test_a_run_that_goes_on_tells_the_broken_trial_again_and_no_other(
    tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any
) -> None:
    fake("Noting")
    with pytest.raises(StoppedError):
        search(tiny_recipe, tmp_path / "run", "lora.r=1,2", watcher=Kill())
    assert calls(tmp_path / "run")[-1] == {"call": "close", "finished": False}
    before = len(calls(tmp_path / "run"))
    loraloom.resume(tmp_path / "run")
    told = calls(tmp_path / "run")[before:]
    assert {call.get("number") for call in told[1:-2]} == {1}
    assert told[0]["key"] == calls(tmp_path / "run")[0]["key"]
    assert [call["call"] for call in told][-3:] == ["end_trial", "crown", "close"]


def test_what_a_failed_tracker_missed_it_is_told_when_the_run_goes_on(
    tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is more than a tracker may be behind by."""
    fake("Raising")
    search(tiny_recipe, tmp_path / "run", "lora.r=1,2")
    fake("Noting")
    monkeypatch.setattr(reporter, "Limits", partial(PATIENT, waiting_calls=4))
    before = len(calls(tmp_path / "run"))
    loraloom.resume(tmp_path / "run")
    trial = ["begin_trial", "log", "end_trial"]
    assert names(tmp_path / "run")[before:] == ["begin", *trial, *trial, "crown", "close"]


@pytest.mark.parametrize("name", trackers("tensorboard", "trackio"))
def test_a_run_broken_off_and_gone_on_with_is_stored_as_one_that_was_not(
    tiny_recipe: dict[str, Any], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.tracking.reporter.uuid.uuid4", lambda: type("Key", (), {"hex": "0123abcd"}))
    monkeypatch.setattr(reporter, "Limits", PATIENT)
    recipe = read_recipe(tiny_recipe, [f"report_to={name}", "lora.r=1,2"])
    with pytest.raises(StoppedError):
        pipeline.search(recipe, tmp_path / "broken" / "demo", watcher=Kill())
    loraloom.resume(tmp_path / "broken" / "demo")
    pipeline.search(recipe, tmp_path / "whole" / "demo")
    broken, whole = (read(tmp_path / kind / "demo" / "tracking", name) for kind in ("broken", "whole"))
    for trial in ("trial-0000", "trial-0001"):
        for metric in ("train/loss", "validation/accuracy", "result/validation_accuracy"):
            assert broken[trial].of(metric) == whole[trial].of(metric)
        assert len(broken[trial].of("validation/accuracy")) == 2


# No harm


@pytest.fixture
def alone(tiny_recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without a tracker, made once."""
    run = tmp_path_factory.getbasetemp() / "without-a-tracker"
    if not run.exists():
        loraloom.search(tiny_recipe, run)
    return run


@pytest.mark.parametrize(
    "tracker",
    ["RaisingAtOnce", "Raising", "NotImportable", "Dying", "Hanging", "HangingDeafly", "HangingAtTheEnd"],
)
def test_a_run_is_the_same_whatever_its_tracker_does(
    tiny_recipe: dict[str, Any], tmp_path: Path, alone: Path, fake: Any, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    fake(tracker)
    impatient = Limits(begin_seconds=20, call_seconds=1, close_seconds=2)
    monkeypatch.setattr(reporter, "Limits", lambda: impatient)
    ear = Ear()
    search(tiny_recipe, tmp_path / "run", watcher=ear)
    assert len(failures(ear)) == 1
    assert failures(ear)[0].startswith("mlflow is no longer told of this run: ")
    for name in ("trials/0000/adapter_model.safetensors", "best/test_predictions.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (alone / name).read_bytes()


@pytest.mark.parametrize("name", trackers())
def test_a_full_disk_under_a_tracker_is_said_and_hurts_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    full = {"tensorboard": "FullTensorBoard", "mlflow": "FullMLflow", "wandb": "FullWandB", "trackio": "FullTrackio"}
    monkeypatch.setitem(CLASSES, name, f"tests.tracking.failing:{full[name]}")
    monkeypatch.setattr(reporter, "Limits", partial(Limits, call_seconds=20))
    ear = Ear()
    winner = pipeline.search(read_recipe(tiny_recipe, [f"report_to={name}"]), tmp_path / "run", watcher=ear)
    assert winner == Run(tmp_path / "run").best()
    assert len(failures(ear)) == 1, (tmp_path / "run" / "tracking" / f"{name}.log").read_text()


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_a_run_that_ends_before_its_plan_is_made_has_no_tracker_that_failed(
    tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any, seconds: float | None
) -> None:
    fake("Noting")
    run, ear = Run.create(tmp_path / "run", read_recipe(tiny_recipe, ["report_to=mlflow"])), Ear()
    with pytest.raises(KeyboardInterrupt), tracked(run, ear, seconds_left=lambda: seconds):
        raise KeyboardInterrupt
    assert not failures(ear)


@pytest.mark.parametrize(
    ("finished", "left", "seconds"),
    [(True, None, 30), (True, 90.0, 30), (True, 5.0, 5), (True, -1.0, 0), (False, None, 2), (False, 1.0, 1)],
)
def test_trackers_are_waited_for_no_longer_than_the_run_has(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finished: bool,
    left: float | None,
    seconds: float,
) -> None:
    ended = list[tuple[float, bool]]()
    monkeypatch.setattr(Reporter, "end", lambda _, seconds, *, finished: ended.append((seconds, finished)))
    monkeypatch.setattr(reporter, "Channel", lambda *_: None)
    run = Run.create(tmp_path / "run", read_recipe(tiny_recipe, ["report_to=mlflow"]))
    with suppress(KeyboardInterrupt), tracked(run, Ear(), seconds_left=lambda: left):
        if not finished:
            raise KeyboardInterrupt
    assert ended == [(seconds, finished)]


def test_a_damaged_file_of_metrics_ends_tracking_alone(tiny_recipe: dict[str, Any], tmp_path: Path, fake: Any) -> None:
    fake("Noting")
    loraloom.search(tiny_recipe, tmp_path / "run", report=False)
    run, ear = Run(tmp_path / "run"), Ear()
    run.recipe = run.recipe.model_copy(update={"report_to": ("mlflow",)})
    (trial,) = run.records()
    (run.trial_folder(0) / "metrics.jsonl").write_text("{}\n{}\n")
    with tracked(run, ear) as watcher:
        watcher.trial_ended(trial, (), Outlook((), Step(1, 1), None, 1, 1, None, None, None))
    (failure,) = failures(ear)
    assert "metrics.jsonl" in failure


def test_a_stop_from_outside_is_not_taken_for_a_failure(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come while a tracker is told, and its handler raises."""
    loraloom.search(tiny_recipe, tmp_path / "run", report=False)
    run = Run(tmp_path / "run")

    def stopped(record: TrialRecord) -> None:
        raise StoppedError(run.path, "stopped by SIGTERM")

    monkeypatch.setattr(reporter, "figures_of", stopped)
    ear = Ear()
    with pytest.raises(StoppedError):
        Reporter(run, [], ear.note).crowned(run.records()[0])
