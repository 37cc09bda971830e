"""A pruner's decision is the same after a kill, whatever of it was written."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from loraloom.study.ledger import Ledger
from loraloom.study.pruning_notes import pruner_notes

AXES: dict[str, BaseDistribution] = {"lora.r": CategoricalDistribution((2, 4, 8))}


def _open(folder: Path) -> Ledger:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return Ledger(folder / "study.db", pruner)


def _after_a_good_trial(folder: Path) -> Ledger:
    ledger = _open(folder)
    for r in (2, 4):
        ledger.ask(AXES, {"lora.r": r})
    assert ledger.report(0, {1: 0.9})
    ledger.tell(0, "complete", 0.9)
    return ledger


def test_a_trial_that_was_ended_is_ended_again_at_the_same_step(tmp_path: Path) -> None:
    assert not _after_a_good_trial(tmp_path).report(1, {1: 0.1})
    assert not _open(tmp_path).report(1, {1: 0.1})


def test_a_trial_that_was_ended_goes_on_up_to_that_step_where_it_begins_again_before_it(tmp_path: Path) -> None:
    """Its last checkpoint may be of an earlier step than the one at which it was ended."""
    ledger = _open(tmp_path)
    for r in (2, 4):
        ledger.ask(AXES, {"lora.r": r})
    assert ledger.report(0, {1: 0.9, 2: 0.9, 3: 0.9})
    values = {1: 0.95, 2: 0.1, 3: 0.1}
    assert [ledger.report(1, {step: values[step]}) for step in values] == [True, True, False]
    again = _open(tmp_path)
    assert [again.report(1, {step: values[step]}) for step in values] == [True, True, False]


@pytest.mark.parametrize("written", range(3))
def test_a_decision_that_a_kill_broke_off_is_made_as_it_would_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The writes of a decision: its value, the pruner's rung and what was decided, of which a kill leaves none."""
    ledger = _after_a_good_trial(tmp_path)
    left, write = written, RDBStorage._set_trial_attr_without_commit

    def killed_after_some(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "_set_trial_attr_without_commit", killed_after_some)
        if written < 2:
            with pytest.raises(KeyboardInterrupt):
                ledger.report(1, {1: 0.1})
            assert _open(tmp_path).trials()[1].intermediate_values == {}
        else:
            assert not ledger.report(1, {1: 0.1})
    assert not _open(tmp_path).report(1, {1: 0.1})


def test_what_was_decided_is_not_decided_again_beside_later_trials(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    for _ in range(3):
        ledger.ask(AXES, {"lora.r": 4})
    assert ledger.report(0, {1: 0.5})
    assert all(ledger.report(number, {1: 0.9}) for number in (1, 2))
    assert _open(tmp_path).report(0, {1: 0.5})


def test_a_trial_that_gives_another_value_is_noted_with_it_and_told_the_same(tmp_path: Path) -> None:
    assert not _after_a_good_trial(tmp_path).report(1, {1: 0.1})
    ledger = _open(tmp_path)
    assert not ledger.report(1, {1: 0.95})
    assert ledger.trials()[1].system_attrs == {"completed_rung_0": 0.95}


def test_earlier_values_that_a_ledger_lacks_are_noted_with_the_next(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    ledger.ask(AXES, {"lora.r": 4})
    assert ledger.report(0, {1: 0.5, 2: 0.6, 3: 0.7})
    (trial,) = ledger.trials()
    assert trial.intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}
    assert trial.system_attrs == {"completed_rung_0": 0.5, "completed_rung_1": 0.7}


@pytest.mark.parametrize(
    "make",
    [
        lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=27, reduction_factor=3),
    ],
    ids=["halving", "hyperband"],
)
def test_decisions_and_notes_are_those_that_optuna_makes_in_its_own_study(
    tmp_path: Path, make: Callable[[], optuna.pruners.BasePruner]
) -> None:
    ledger = Ledger(tmp_path / "study.db", make())
    own = optuna.create_study(study_name="loraloom", pruner=make(), direction="maximize")
    generator = random.Random(3)  # noqa: S311
    ended = 0
    for number in range(16):
        ledger.ask(AXES, {"lora.r": 4})
        trial, step, goes_on = own.ask(), 0, True
        while goes_on and step < 27:
            step, value = step + 1, generator.random()
            trial.report(value, step)
            goes_on = not trial.should_prune()
            assert ledger.report(number, {step: value}) is goes_on
        ended += not goes_on
        own.tell(trial, None if not goes_on else 0.5, state=TrialState.COMPLETE if goes_on else TrialState.PRUNED)
        ledger.tell(number, "complete" if goes_on else "pruned", 0.5)
    assert 0 < ended < 16
    notes = [trial.system_attrs for trial in ledger.trials()]
    assert notes == [trial.system_attrs for trial in own.trials]
    assert notes == [pruner_notes(make(), trial.number, trial.intermediate_values) for trial in own.trials]
