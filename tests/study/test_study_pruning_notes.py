"""A pruner's decision is the same after a kill, whatever of it was written."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import _CachedStorage

from loraloom.study.ledger import Ledger

AXES: dict[str, BaseDistribution] = {"lora.r": CategoricalDistribution((2, 4, 8))}
SAMPLER = optuna.samplers.RandomSampler(seed=1)

pytestmark = pytest.mark.usefixtures("unsynced_ledger")


def _open(folder: Path) -> Ledger:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return Ledger(folder / "study.db", SAMPLER, pruner)


def _after_a_good_trial(folder: Path) -> Ledger:
    ledger = _open(folder)
    for r in (2, 4):
        ledger.ask(AXES, SAMPLER, {"lora.r": r})
    assert ledger.report(0, 1, 0.9)
    ledger.tell(0, "complete", 0.9)
    return ledger


def test_a_trial_that_was_ended_is_ended_again_at_the_same_step(tmp_path: Path) -> None:
    assert not _after_a_good_trial(tmp_path).report(1, 1, 0.1)
    assert not _open(tmp_path).report(1, 1, 0.1)


@pytest.mark.parametrize("written", range(4))
def test_a_decision_that_a_kill_broke_off_is_made_as_it_would_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The writes of a decision: its value, what stood before it, the pruner's rung, the decision."""
    ledger = _after_a_good_trial(tmp_path)
    left = written
    for name in ("set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr"):
        write = getattr(_CachedStorage, name)

        def killed_after_some(*arguments: object, write: object = write) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            write(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(_CachedStorage, name, killed_after_some)
    with pytest.raises(KeyboardInterrupt):
        ledger.report(1, 1, 0.1)
    monkeypatch.undo()
    monkeypatch.setattr("loraloom.study.ledger.SYNCHRONOUS", "OFF")
    assert not _open(tmp_path).report(1, 1, 0.1)
