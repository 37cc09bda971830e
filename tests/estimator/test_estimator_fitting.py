"""fit: what is kept of a search, also where Ctrl-C or the clock ends it."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from transformers import set_seed

from loraloom import LoraClassifier, metrics
from loraloom.data import Finding
from loraloom.engine import device
from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.trial import Trial
from loraloom.errors import LoraloomError, RunError
from loraloom.estimator import fitting
from loraloom.estimator.fitting import _Follower
from loraloom.estimator.saved import Kept
from loraloom.execute import driver
from loraloom.execute.planning import Planner
from loraloom.recipe import read_recipe
from loraloom.search.pace import Pace
from loraloom.study.durable import verify_manifest
from loraloom.study.record import Score
from loraloom.study.run import Run
from tests.estimator.conftest import LABELS, TEXTS, numbers, tiny


def interrupts(monkeypatch: pytest.MonkeyPatch, name: str, *, at: int = 1, times: int = 1) -> None:
    """Has Ctrl-C come where a run tells `name` for the `at`-th time."""
    heard = [0]

    def hear(*_: Any) -> None:
        heard[0] += 1
        if heard[0] == at:
            for _time in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_Follower, name, hear, raising=False)


def test_classes_are_those_of_y_and_predictions_are_right(fitted: LoraClassifier) -> None:
    assert fitted.classes_.tolist() == [4, 5, 30]
    assert fitted.classes_.dtype == numbers().dtype
    assert fitted.score(TEXTS, numbers()) > 0.9
    probabilities = fitted.predict_proba(TEXTS)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(TEXTS)).all()
    assert not fitted.partial_
    assert fitted.record_.labels == ("4", "5", "30")
    assert fitted.record_.result is not None
    assert fitted.record_.result.test is not None


def test_the_same_parameters_and_rows_give_the_same_classifier_also_as_frames_and_series_of_polars(
    tiny_model: Path, fitted: LoraClassifier
) -> None:
    frame = pl.DataFrame({"text": TEXTS})
    classifier = tiny(tiny_model).fit(frame, pl.Series(numbers()))
    assert vars(classifier)["feature_names_in_"].tolist() == ["text"]
    assert classifier.classes_.tolist() == [4, 5, 30]
    assert classifier.predict_proba(frame).tolist() == fitted.predict_proba(TEXTS).tolist()
    assert classifier.predict(frame["text"]).tolist() == fitted.predict(TEXTS).tolist()


def test_rows_to_choose_by_and_to_test_on_may_be_given_and_all_of_x_is_then_trained_on(tiny_model: Path) -> None:
    given = {"X_val": TEXTS[80:100], "y_val": LABELS[80:100], "X_test": TEXTS[100:], "y_test": LABELS[100:]}
    classifier = tiny(tiny_model).fit(TEXTS[:80], LABELS[:80], **given)
    assert classifier.record_.train_rows == 80
    result = classifier.record_.result
    assert result is not None
    assert result.test is not None
    assert (result.validation.examples, result.test.examples) == (20, 20)
    with pytest.raises(ValueError, match="give both X_val and y_val"):
        tiny(tiny_model).fit(TEXTS, LABELS, X_val=TEXTS[:10])


@pytest.mark.parametrize("names", [(0.0, 1.0), ("01", "02")])
def test_given_rows_may_have_numbers_for_names(tiny_model: Path, names: tuple[Any, Any]) -> None:
    y = [names[n % 2] for n in range(len(TEXTS))]
    classifier = tiny(tiny_model).fit(TEXTS[:80], y[:80], X_val=TEXTS[80:100], y_val=y[80:100])
    assert classifier.classes_.tolist() == list(names)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_folder_keeps_the_whole_run_with_its_report(tiny_model: Path, tmp_path: Path) -> None:
    classifier = tiny(tiny_model, r=[1, 2], num_train_epochs=1, run_dir=tmp_path / "run").fit(TEXTS, LABELS)
    assert len(Run(tmp_path / "run").records()) == 2
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert classifier.record_ == Run(tmp_path / "run").best()


def test_a_temporary_run_goes_with_the_estimator(tiny_model: Path) -> None:
    classifier = tiny(tiny_model, num_train_epochs=1).fit(TEXTS, LABELS)
    folder = classifier._kept.folder
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]
    verify_manifest(folder)
    assert {path.name for path in folder.iterdir()} == {  # none with texts of rows
        *("README.md", "adapter_config.json", "adapter_model.safetensors", "class_shares.json"),
        *("manifest.json", "trial.json"),
    }
    del classifier
    assert not folder.parent.exists()


def test_ctrl_c_in_the_only_trial_leaves_what_was_trained_of_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, "evaluated")
    classifier = tiny(tiny_model)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        KeyboardInterrupt, match=r"trained for \d\.\d\d of 10 epochs.*; the estimator has the best so far"
    ):
        classifier.fit(TEXTS, LABELS)
    assert signal.getsignal(signal.SIGINT) is before
    assert classifier.partial_
    assert classifier.record_.result is not None
    assert classifier.record_.result.test is not None
    assert set(classifier.predict(TEXTS)) <= set(LABELS)
    assert classifier.set_params(num_train_epochs=1).fit(TEXTS, LABELS).partial_ is False


def test_ctrl_c_in_a_later_trial_leaves_the_best_of_those_before(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, "trial_started", at=2)
    classifier = tiny(tiny_model, r=[1, 2, 4], num_train_epochs=1)
    with pytest.raises(KeyboardInterrupt, match="1 of 3 configurations were tried"):
        classifier.fit(TEXTS, LABELS)
    assert classifier.record_.number == 0
    assert set(classifier.predict(TEXTS)) <= set(LABELS)


def test_ctrl_c_after_a_trial_that_failed_leaves_what_was_trained_of_the_next(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saw = Trial.saw

    def failing(trial: Trial, *seen: Any) -> None:
        saw(trial, *seen)
        if trial.job.number == 0:
            trial.fail("its loss became nan")

    monkeypatch.setattr(Trial, "saw", failing)
    interrupts(monkeypatch, "evaluated")
    classifier = tiny(tiny_model, r=[1, 2])
    with pytest.raises(KeyboardInterrupt, match="the estimator has the best so far"):
        classifier.fit(TEXTS, LABELS)
    assert classifier.record_.number == 1


def test_where_the_last_trials_all_fail_the_best_of_those_before_is_kept(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saw = Trial.saw

    def failing(trial: Trial, *seen: Any) -> None:
        saw(trial, *seen)
        if trial.job.number > 0:
            trial.fail("its loss became nan")

    monkeypatch.setattr(Trial, "saw", failing)
    monkeypatch.setattr(driver, "MOST_FAILURES", 1)
    classifier = tiny(tiny_model, r=[1, 2, 4], num_train_epochs=1)
    with pytest.warns(ConvergenceWarning, match="before all was done: the last trials all failed"):
        classifier.fit(TEXTS, LABELS)
    assert classifier.partial_
    assert classifier.record_.number == 0
    assert set(classifier.predict(TEXTS)) <= set(LABELS)


def test_few_steps_that_taught_nothing_are_warned_of_with_as_many_passes_as_are_worth_trying(tiny_model: Path) -> None:
    planned_for = "or max_seconds and no field of the adapters, the head or the training$"
    with pytest.warns(ConvergenceWarning, match=f"with num_train_epochs=1; try num_train_epochs=16, {planned_for}"):
        classifier = tiny(tiny_model, num_train_epochs=1, learning_rate=1e-6).fit(TEXTS, LABELS)
    assert not classifier.partial_
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        tiny(tiny_model, num_train_epochs=16, learning_rate=1e-6).fit(TEXTS, LABELS)  # more would do nothing else


def test_few_steps_that_taught_nothing_are_warned_of_under_a_limit_too_that_left_room_for_more(
    tiny_model: Path,
) -> None:
    with pytest.warns(ConvergenceWarning, match="with num_train_epochs=1; try num_train_epochs=16, or max_seconds"):
        tiny(tiny_model, num_train_epochs=1, learning_rate=1e-6, max_seconds=3600).fit(TEXTS, LABELS)


def test_what_a_clock_left_no_better_than_a_constant_answer_is_warned_of(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, fitted: LoraClassifier
) -> None:
    result = fitted.record_.result
    assert result is not None
    assert result.test is not None
    poor = result.test.model_copy(
        update={"accuracy": 0.4, "confusion": ((4, 0, 0), (3, 0, 0), (3, 0, 0)), "examples": 10}
    )
    record = fitted.record_.model_copy(update={"result": result.model_copy(update={"test": poor})})
    clocked = read_recipe({"search": {"epochs": "clock"}, "budget": {"max_seconds": 60}})
    assert fitting._is_no_better(record, clocked)
    assert not fitting._is_no_better(record, read_recipe({"budget": {"max_seconds": 60}}))
    assert not fitting._is_no_better(fitted.record_, clocked)
    monkeypatch.setattr(fitting, "_is_no_better", lambda *_: True)
    with pytest.warns(ConvergenceWarning, match="than a constant answer; give it more max_seconds, or rows$"):
        tiny(tiny_model, num_train_epochs=10, max_seconds=300).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("answers", "by_accuracy", "by_macro_f1"),
    [([0] * 10, True, True), ([0, 0, 0, 0, 0, 0, 1, 2, 1, 2], True, False), ([0] * 8 + [1, 2], False, False)],
    ids=["constant", "of rare classes too", "right"],
)
def test_what_a_clock_left_is_compared_with_a_constant_answer_by_the_metric_that_was_asked_for(
    fitted: LoraClassifier, answers: list[int], *, by_accuracy: bool, by_macro_f1: bool
) -> None:
    """Of skewed classes one that knows the rare ones is right on fewer rows, and has the better macro-F1."""
    test = Score.of(metrics.score([0] * 8 + [1, 2], np.eye(3)[answers]))
    assert fitted.record_.result is not None
    result = fitted.record_.result.model_copy(update={"test": test})
    record = fitted.record_.model_copy(update={"result": result})
    limit = {"max_seconds": 60}
    found = [
        fitting._is_no_better(record, read_recipe({"search": {"epochs": "clock", "metric": metric}, "budget": limit}))
        for metric in ("accuracy", "macro_f1")
    ]
    assert found == [by_accuracy, by_macro_f1]


def test_a_space_smaller_than_n_trials_is_no_unfinished_search(tiny_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        classifier = tiny(tiny_model, r=[1, 2], n_trials=9, max_seconds=300).fit(TEXTS, LABELS)
    assert not classifier.partial_


def test_ctrl_c_before_anything_was_trained_leaves_it_as_it_was(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, unfitted = tiny(tiny_model, num_train_epochs=1).fit(TEXTS, LABELS), tiny(tiny_model)
    expected, record = classifier.predict(TEXTS).tolist(), classifier.record_
    for one in (classifier, unfitted):
        with monkeypatch.context() as patch:
            interrupts(patch, "note")
            with pytest.raises(KeyboardInterrupt, match="anything was trained; the estimator is as it was before"):
                one.fit(TEXTS[::-1], LABELS[::-1])
    assert (classifier.predict(TEXTS).tolist(), classifier.record_, classifier.partial_) == (expected, record, False)
    with pytest.raises(NotFittedError):
        unfitted.predict(TEXTS)


@pytest.mark.parametrize(("max_seconds", "to_do"), [(None, "$"), (300, "; give it more max_seconds$")])
def test_what_the_clock_leaves_is_warned_of_and_usable(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, max_seconds: float | None, to_do: str
) -> None:
    monkeypatch.setattr(Planner, "job_deadline", lambda *_: time.monotonic())  # every trial is out of time
    said = rf"before all was done: the best was trained for 0\.\d\d of 10 epochs{to_do}"
    with pytest.warns(ConvergenceWarning, match=said):
        classifier = tiny(tiny_model, max_seconds=max_seconds).fit(TEXTS, LABELS)
    assert classifier.partial_
    assert len(classifier.predict(TEXTS)) == len(TEXTS)


def test_a_grid_that_the_end_of_a_slurm_job_cuts_short_is_warned_of(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 600))
    monkeypatch.setattr(Pace, "allows", lambda pace, *_: pace.nothing_yet)  # as if the first trial took all of it
    with pytest.warns(ConvergenceWarning, match="1 of 3 configurations were tried"):
        classifier = tiny(tiny_model, r=[1, 2, 4], num_train_epochs=1).fit(TEXTS, LABELS)
    assert classifier.partial_


def test_as_many_rows_as_the_recipe_asks_for_are_no_unfinished_search(tiny_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        classifier = tiny(tiny_model, recipe={"data": {"max_train_samples": 60}}).fit(TEXTS, LABELS)
    assert (classifier.partial_, classifier.record_.train_rows) == (False, 60)


def test_a_space_that_is_smaller_than_n_trials_is_not_cut_short_by_a_clock(tiny_model: Path) -> None:
    classifier = tiny(tiny_model, r=[1, 2], sampler="tpe", n_trials=None, num_train_epochs=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "fit ended before")
        classifier.fit(TEXTS, LABELS)
    assert not classifier.partial_


def test_fit_leaves_the_global_generators_as_they_were(tiny_model: Path) -> None:
    def drawn() -> tuple[Any, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: S311  # the global ones are meant

    set_seed(3)
    expected, verbosity = drawn(), optuna.logging.get_verbosity()
    set_seed(3)
    tiny(tiny_model, num_train_epochs=1).fit(TEXTS, LABELS)
    assert drawn() == expected
    assert optuna.logging.get_verbosity() == verbosity


@pytest.mark.parametrize("engine", ["loom", "trainer"])
def test_fits_in_threads_give_the_classifiers_that_fits_alone_give(tiny_model: Path, engine: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def fitted_probabilities(seed: int) -> Any:
        parameters = {"num_train_epochs": 2, "engine": engine, "dropout": "keep", "lora_dropout": 0.1}
        return tiny(tiny_model, random_state=seed, **parameters).fit(TEXTS, LABELS).predict_proba(TEXTS).tolist()

    alone = [fitted_probabilities(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fitted_probabilities, range(2))) == alone


def test_fit_in_another_thread_leaves_signals_alone(tiny_model: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        classifier = pool.submit(tiny(tiny_model, num_train_epochs=1).fit, TEXTS, LABELS).result()
    assert classifier.classes_.tolist() == ["animals", "food", "tools"]


def test_rows_that_are_left_out_are_warned_of_and_told_where_it_is_verbose(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="Training has 1 empty text: dropped"):
        tiny(tiny_model, num_train_epochs=1, verbose=True).fit([*TEXTS, " "], [*LABELS, "food"])
    said = capsys.readouterr().out
    assert "trial 0: complete, validation accuracy" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(tiny_model).fit(TEXTS, LABELS)
    assert capsys.readouterr().out == ""


def test_what_a_fit_can_hardly_learn_by_is_warned_of(tiny_model: Path) -> None:
    foreign = [f"zz{row} qq{row}" for row in range(len(TEXTS))]
    with pytest.warns(UserWarning, match=r"Training: 100 % of the tokens, in \d+ texts, are unknown to"):
        tiny(tiny_model, num_train_epochs=1).fit(foreign, LABELS)
    with pytest.warns(UserWarning, match=r"train\.warmup_steps: the rate never comes to train\.learning_rate"):
        tiny(tiny_model, num_train_epochs=1, warmup_steps=1_000).fit(TEXTS, LABELS)


@pytest.mark.parametrize(("allow_leak", "did", "rows"), [(False, "dropped", 80), (True, "kept", 91)])
def test_rows_of_x_that_it_is_chosen_by_too_are_warned_of_and_trained_on_where_that_is_allowed(
    tiny_model: Path, allow_leak: bool, did: str, rows: int
) -> None:
    long = " ".join(f"word{number}" for number in range(60))
    given = {"X_val": [*TEXTS[80:110], f"{long} more"], "y_val": [*LABELS[80:110], "food"]}
    given |= {"X_test": TEXTS[110:], "y_test": LABELS[110:]}
    classifier = tiny(tiny_model, num_train_epochs=1, allow_leak=allow_leak)
    with (
        pytest.warns(UserWarning, match=f"10 training rows are also in validation: {did}"),
        pytest.warns(UserWarning, match=f"1 training row is a near copy of a row of validation: {did}"),
    ):
        classifier.fit([*TEXTS[:90], long], [*LABELS[:90], "food"], **given)
    assert classifier.record_.train_rows == rows


def test_a_ctrl_c_that_is_ignored_as_in_a_scripts_background_ends_nothing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, "evaluated")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert not tiny(tiny_model, num_train_epochs=1).fit(TEXTS, LABELS).partial_
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_merely_noted_is_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, said in ((False, ""), (True, "Rows of validation are in test.\n")):
        _Follower(verbose=verbose).found(Finding("leak", "note", 1, "Rows of validation are in test."))
        assert capsys.readouterr().out == said


def test_what_is_maximised_is_told_where_it_is_verbose(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(tiny_model, num_train_epochs=1, metric="macro_f1", verbose=True).fit(TEXTS, LABELS)
    assert re.search(r"trial 0: complete, validation accuracy \d\.\d{3}, macro-F1 \d\.\d{3}\n", capsys.readouterr().out)


def test_ctrl_c_after_the_last_trial_is_raised_and_the_estimator_is_fitted(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, "crowned")
    classifier = tiny(tiny_model, num_train_epochs=1)
    with pytest.raises(KeyboardInterrupt, match="fit was stopped; the estimator has the best so far"):
        classifier.fit(TEXTS, LABELS)
    assert len(classifier.predict(TEXTS)) == len(TEXTS)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_the_winner_is_kept_leaves_it_and_the_second_one_ends_at_once(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    copy_to = Kept.copy_to

    def interrupted(kept: Kept, target: Path) -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        copy_to(kept, target)

    monkeypatch.setattr(Kept, "copy_to", interrupted)
    classifier = tiny(tiny_model, num_train_epochs=1)
    with pytest.raises(KeyboardInterrupt) as stopped:
        classifier.fit(TEXTS, LABELS)
    if times == 2:
        with pytest.raises(NotFittedError):
            classifier.predict(TEXTS)
        return
    assert str(stopped.value).startswith("fit was stopped; the estimator has the best so far")
    assert classifier.partial_
    assert len(classifier.predict(TEXTS)) == len(TEXTS)


def test_a_lost_gpu_is_an_error_though_trials_had_ended_before(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_pack, packs = LoomEngine.train_pack, iter([True])

    def losing(*arguments: Any) -> Any:
        if not next(packs, False):
            raise RuntimeError("device-side assert triggered")
        return train_pack(*arguments)

    monkeypatch.setattr(LoomEngine, "train_pack", losing)
    monkeypatch.setattr(device, "device_is_lost", lambda: True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # they are left there
    classifier = tiny(tiny_model, r=[1, 2], num_train_epochs=1)
    with pytest.raises(LoraloomError, match="the GPU answers this process no more"):
        classifier.fit(TEXTS, LABELS)
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)


@pytest.mark.parametrize("trained", [True, False])
def test_an_error_after_a_trial_has_ended_loses_none_of_them(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trained: bool
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("loraloom.conclusion.test_winner" if trained else "loraloom.pipeline.make_executor", full)
    with pytest.raises(RunError, match="no space is left on the disk") as ended:
        tiny(tiny_model, num_train_epochs=1).fit(TEXTS, LABELS)
    notes = getattr(ended.value, "__notes__", [])
    if not trained:
        assert (notes, list(tmp_path.iterdir())) == ([], [])
        return
    (said,) = notes
    folder = re.search(r"LoraClassifier\.load\('(.*)'\)", said)
    assert folder
    assert len(LoraClassifier.load(folder[1]).predict(TEXTS)) == len(TEXTS)
