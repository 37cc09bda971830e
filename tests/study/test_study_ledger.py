"""The ledger: what is asked, told, reported and rejected stands, also after it is opened again."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from loraloom.errors import DamagedError, RunError
from loraloom.study.ledger import Entry, Ledger, write_trials
from tests.commands import Commands

AXES: dict[str, BaseDistribution] = {"lora.r": CategoricalDistribution((2, 4, 8))}


def _open(folder: Path, pruner: optuna.pruners.BasePruner | None = None) -> Ledger:
    return Ledger(folder / "study.db", pruner or optuna.pruners.NopPruner())


def _ask(ledger: Ledger, r: int, seed_index: int = 0) -> Entry:
    return ledger.ask(AXES, {"lora.r": r}, seed_index=seed_index)


def test_a_new_ledger_is_empty(tmp_path: Path) -> None:
    assert _open(tmp_path).entries() == ()


def test_a_trial_asked_for_is_under_way_at_its_point(tmp_path: Path) -> None:
    assert _ask(_open(tmp_path), 4, seed_index=2) == Entry(0, "running", {"lora.r": 4}, 2, None, None)


def test_a_point_that_is_drawn_is_not_begun(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    sampler = optuna.samplers.RandomSampler(seed=1)
    drawn = ledger.draw(AXES, sampler, is_active=lambda *_: True, shown=list)
    assert drawn["lora.r"] in (2, 4, 8)
    assert ledger.entries() == _open(tmp_path).entries() == ()


def test_an_axis_is_proposed_only_where_it_is_active_at_those_before_it(tmp_path: Path) -> None:
    axes = {**AXES, "lora.lora_alpha": CategoricalDistribution((8, 16))}
    ledger = _open(tmp_path)

    def is_active(name: str, params: Any) -> bool:
        return name == "lora.r" or params["lora.r"] == 4

    samplers = (optuna.samplers.RandomSampler(seed=seed) for seed in range(12))
    drawn = [ledger.draw(axes, sampler, is_active=is_active, shown=list) for sampler in samplers]
    assert {params["lora.r"] for params in drawn} == {2, 4, 8}
    assert all(("lora.lora_alpha" in params) == (params["lora.r"] == 4) for params in drawn)


def test_trials_are_numbered_from_0(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    assert [_ask(ledger, r).number for r in (2, 4, 8)] == [0, 1, 2]


@pytest.mark.parametrize("state", ["complete", "pruned", "failed"])
def test_a_trial_told_of_has_ended(tmp_path: Path, state: Any) -> None:
    ledger = _open(tmp_path)
    _ask(ledger, 4)
    ledger.tell(0, state, 0.9 if state == "complete" else None)
    assert ledger.entries() == (Entry(0, state, {"lora.r": 4}, 0, None, 0.9 if state == "complete" else None),)


def test_a_rejected_trial_is_told_apart_from_a_failed_one(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    for r in (2, 4):
        _ask(ledger, r)
    ledger.reject(0, "over the cap")
    ledger.tell(1, "failed", None, "loss is not finite")
    assert [entry.state for entry in ledger.entries()] == ["rejected", "failed"]


def test_a_report_without_a_pruner_lets_the_trial_go_on(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    _ask(ledger, 4)
    assert ledger.report(0, {1: 0.1})


def test_a_report_below_the_others_ends_a_trial_early(tmp_path: Path) -> None:
    ledger = _open(tmp_path, optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0))
    _ask(ledger, 2)
    ledger.report(0, {1: 0.9})
    ledger.tell(0, "complete", 0.9)
    _ask(ledger, 4)
    assert not ledger.report(1, {1: 0.1})


def test_further_seeds_of_what_came_through_are_trained_to_their_end_and_judge_no_other(tmp_path: Path) -> None:
    """Else their mean would be that of those that did well."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    ledger = _open(tmp_path, pruner)
    for seed, value in enumerate((0.8, 0.2, 0.9)):
        number = _ask(ledger, 2, seed_index=seed).number
        assert ledger.report(number, {1: value})
        ledger.tell(number, "complete", value)
    assert ledger.report(_ask(ledger, 4).number, {1: 0.85})  # above the first seed, and below the third
    assert not ledger.report(_ask(ledger, 8).number, {1: 0.5})
    again = _open(tmp_path, pruner)
    assert again.report(1, {1: 0.2})
    assert not again.report(4, {1: 0.5})


def test_a_trial_that_is_begun_anew_may_report_another_value(tmp_path: Path) -> None:
    ledger = _open(tmp_path, optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0))
    _ask(ledger, 2)
    ledger.report(0, {1: 0.9})
    ledger.report(0, {1: 0.8})
    assert ledger.trials()[0].intermediate_values == {1: 0.8}


def test_a_ledger_opened_again_holds_what_it_held(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    for r in (2, 4, 8):
        _ask(ledger, r, seed_index=r)
    ledger.tell(0, "complete", 0.9)
    ledger.reject(1, "over the cap")
    assert _open(tmp_path).entries() == ledger.entries()


def test_a_trial_asked_for_by_a_killed_process_is_still_under_way(commands: Commands, tmp_path: Path) -> None:
    code = (
        "import os, sys, optuna; from pathlib import Path; from loraloom.study.ledger import Ledger;"
        "from optuna.distributions import CategoricalDistribution as C;"
        "l = Ledger(Path(sys.argv[1]), optuna.pruners.NopPruner());"
        "l.ask({'lora.r': C((2, 4, 8))}, {'lora.r': 4}); os.kill(os.getpid(), 9)"
    )
    assert commands.start(tmp_path / "study.db", code=code).wait().code == -signal.SIGKILL
    assert _open(tmp_path).entries() == (Entry(0, "running", {"lora.r": 4}, 0, None, None),)


def test_a_trial_whose_rejection_a_kill_broke_off_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    ledger = _open(tmp_path)
    _ask(ledger, 4)
    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", killed)
        with pytest.raises(KeyboardInterrupt):
            ledger.reject(0, "over the cap")
    assert _open(tmp_path).trials()[0].state == optuna.trial.TrialState.FAIL


@pytest.mark.parametrize("name", ["with space", "per%cent", "a?b#c", "ünï", "a'b\"c", "-dash", "file:x", "%2F"])
def test_a_ledger_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    _ask(_open(tmp_path / name), 4)
    assert len(_open(tmp_path / name).entries()) == 1
    assert (tmp_path / name / "study.db").is_file()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 40, b"\0" * 4096])
def test_a_damaged_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(RunError, match=r"study\.db: the ledger can't be used"):
        _open(tmp_path)


def test_a_ledger_that_can_be_read_and_does_not_agree_with_itself_is_damaged(tmp_path: Path) -> None:
    _ask(_open(tmp_path), 4)
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix_%'")
    with pytest.raises(DamagedError, match=r"study\.db: the ledger can't be used: .*never used"):
        _open(tmp_path)


def test_a_ledger_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder to write into"):
        _open(tmp_path / "nowhere")


def test_a_new_ledger_is_not_written_over_by_what_a_kill_left_of_one_that_was_removed(tmp_path: Path) -> None:
    path, journal = tmp_path / "study.db", tmp_path / "study.db-journal"
    write_trials(path, [create_trial(state=TrialState.FAIL)] * 2_000)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")  # what is changed is written soon, and what was there before it
        connection.execute("BEGIN")
        connection.execute("UPDATE trials SET state = 'PRUNED'")
        left = journal.read_bytes()
        connection.execute("ROLLBACK")
    path.unlink()
    journal.write_bytes(left)
    assert _open(tmp_path).entries() == ()


def test_values_that_were_not_reported_are_written_when_the_trial_ends(tmp_path: Path) -> None:
    ledger = _open(tmp_path, optuna.pruners.SuccessiveHalvingPruner())
    _ask(ledger, 4)
    ledger.report(0, {1: 0.5})
    ledger.tell(0, "complete", 0.9, reports={1: 0.5, 2: 0.7, 3: 0.9})
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.load_study(study_name="loraloom", storage=storage)
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.7, 3: 0.9}
    storage.remove_session()
    storage.engine.dispose()


def test_a_trial_that_is_trained_again_has_the_values_of_that_training(tmp_path: Path) -> None:
    """On another machine they may be others; what its folder has is what the ledger is compared with."""
    ledger = _open(tmp_path)
    _ask(ledger, 4)
    ledger.report(0, {1: 0.5, 2: 0.7})
    again = _open(tmp_path)
    again.tell(0, "complete", 0.8, reports={1: 0.6, 2: 0.8})
    for one in (again, _open(tmp_path)):
        assert one.trials()[0].intermediate_values == {1: 0.6, 2: 0.8}
