"""The ledger: Optuna's study in SQLite, written by the driver alone, never on a network file system.

It holds every trial, its point, state, intermediate values and value; optuna-dashboard opens it. An ask and a tell
cost tens of milliseconds. Rejected: Optuna's journal file, which a torn last line makes unreadable.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from loraloom.errors import RunError

STUDY_NAME = "loraloom"
NOT_TRAINED = "not trained"
_SEED_INDEX, _ROWS, _REASON = "seed_index", "rows", "reason"


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial in the ledger: `params` by axis name as Optuna holds them, `rows` it is trained on (None is all), and the
    `value` of one that is complete."""

    number: int
    state: Literal["running", "waiting", "complete", "pruned", "failed", "rejected"]
    params: Mapping[str, Any]
    seed_index: int
    rows: int | None
    value: float | None


class Ledger:
    """Optuna's study of one run."""

    def __init__(self, path: Path, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner) -> None:
        """Opens the study in `path`, or begins one.

        Raises:
            RunError: the file can't be opened, is damaged, or the disk is full.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._path = path.absolute()
        with self._explained():
            storage = optuna.storages.RDBStorage(
                "sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(self._path, timeout=60)}
            )
            self._study = optuna.create_study(
                storage=storage,
                study_name=STUDY_NAME,
                direction="maximize",
                sampler=sampler,
                pruner=pruner,
                load_if_exists=True,
            )
            self._end_waiting()

    def _end_waiting(self) -> None:
        """A kill between enqueueing a point and asking for it leaves a trial that a later ask would take."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study._storage.set_trial_user_attr(trial._trial_id, _REASON, f"{NOT_TRAINED}: never begun")
            self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def entries(self) -> tuple[Entry, ...]:
        with self._explained():
            return tuple(_entry(trial) for trial in self._study.get_trials(deepcopy=False))

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        sampler: optuna.samplers.BaseSampler,
        params: Mapping[str, Any] | None = None,
        *,
        seed_index: int = 0,
        rows: int | None = None,
        is_active: Callable[[str, Mapping[str, Any]], bool] = lambda name, params: True,
    ) -> Entry:
        """Begins a trial: at `params`, or where the sampler proposes.

        It proposes one axis after another in the order of `distributions`, and only those that are active at the
        params that there are by then.
        """
        with self._explained():
            self._study.sampler = sampler
            # Enqueued where the sampler proposes too: a trial is never in the ledger without its rows.
            self._study.enqueue_trial(dict(params or {}), user_attrs={_SEED_INDEX: seed_index, _ROWS: rows})
            trial = self._study.ask()
            for name, distribution in distributions.items():
                if is_active(name, trial.params):
                    trial._suggest(name, distribution)  # what Study.ask does with distributions that are all active
            return _entry(self._study.get_trials(deepcopy=False)[trial.number])

    def report(self, number: int, step: int, value: float) -> bool:
        """Notes an intermediate value; returns whether the pruner lets the trial go on."""
        with self._explained():
            trial = optuna.trial.Trial(self._study, self._id(number))
            if step not in self._study._storage.get_trial(self._id(number)).intermediate_values:
                trial.report(value, step)  # a trial that begins again gives the same values again
            return not trial.should_prune()

    def tell(
        self,
        number: int,
        state: Literal["complete", "pruned", "failed"],
        value: float | None,
        reason: str | None = None,
    ) -> None:
        """Ends a trial."""
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with self._explained():
            if reason is not None:
                self._study._storage.set_trial_user_attr(self._id(number), _REASON, reason)
            self._study.tell(number, value if state == "complete" else None, state=states[state])

    def reject(self, number: int, reason: str) -> None:
        """Ends a trial that is not to be trained (a point over the cap, or one already tried)."""
        self.tell(number, "failed", None, f"{NOT_TRAINED}: {reason}")

    def _id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        except optuna.exceptions.StorageInternalError as error:
            raise self._unusable(error.__cause__ or error) from error

    def _unusable(self, error: BaseException) -> RunError:
        cause = getattr(error, "orig", None) or error
        return RunError(f"{self._path}: the ledger can't be used: {str(cause).splitlines()[0]}")


def _entry(trial: FrozenTrial) -> Entry:
    states: dict[TrialState, Any] = {
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    rejected = str(trial.user_attrs.get(_REASON, "")).startswith(NOT_TRAINED)
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    return Entry(
        trial.number,
        "rejected" if rejected else states[trial.state],
        params,
        trial.user_attrs.get(_SEED_INDEX, 0),
        trial.user_attrs.get(_ROWS),
        trial.value if trial.state == TrialState.COMPLETE else None,
    )
