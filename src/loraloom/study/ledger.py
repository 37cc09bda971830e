"""The ledger: Optuna's study in SQLite, written by the driver alone, never on a network file system.

It holds every trial, its point, state, intermediate values and value; optuna-dashboard opens it. It is read once, when
it is opened; then entries are kept in memory as they change. A trial begins in one transaction, with its whole point:
an ask and a tell wait twice for the disk, however many axes and trials there are (`bench/ledger.py` measures them).

Rejected: Optuna's journal file, which a torn last line makes unreadable. `Study.ask`, which writes a trial and then
each axis of its point, 8 transactions for 6 axes. SQLite without waiting for the disk (`synchronous`): a power cut may
then damage the whole ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages._rdb.models import TrialIntermediateValueModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from loraloom.errors import RunError
from loraloom.study.drawing import IsActive, Trials, always_active, draw

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
            self._storage = optuna.storages.RDBStorage(
                "sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(self._path, timeout=60)}
            )
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=STUDY_NAME,
                direction="maximize",
                sampler=sampler,
                pruner=pruner,
                load_if_exists=True,
            )
            self._entries = [_entry(trial) for trial in self._study.get_trials(deepcopy=False)]

    def entries(self, since: int = 0) -> tuple[Entry, ...]:
        """All trials by number, or those from number `since` on."""
        return tuple(self._entries[since:])

    def entry(self, number: int) -> Entry:
        return self._entries[number]

    @property
    def count(self) -> int:
        """How many trials were ever begun."""
        return len(self._entries)

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        sampler: optuna.samplers.BaseSampler,
        params: Mapping[str, Any] | None = None,
        *,
        seed_index: int = 0,
        rows: int | None = None,
        is_active: IsActive = always_active,
        shown: Callable[[Trials], Trials] = lambda trials: trials,
    ) -> Entry:
        """Begins a trial: at `params`, or where the sampler proposes, which sees what `shown` leaves of the trials.

        It proposes one axis after another in the order of `distributions`, and only those that are active at the
        params that there are by then.
        """
        with self._explained():
            if params is None:

                def trials() -> Trials:
                    return shown(self._study.get_trials(deepcopy=False))

                params = draw(sampler, distributions, trials, self.count, is_active)
            noted = {_SEED_INDEX: seed_index, _ROWS: rows}
            begun = create_trial(
                state=TrialState.RUNNING,
                params={name: _stored(distributions[name], value) for name, value in params.items()},
                distributions={name: distributions[name] for name in params},
                user_attrs={name: value for name, value in noted.items() if value},
            )
            self._study.add_trial(begun)
            begun.number = self.count
            self._entries.append(_entry(begun))
            return self._entries[-1]

    def report(self, number: int, step: int, value: float) -> bool:
        """Notes an intermediate value; returns whether the pruner lets the trial go on.

        Where there is no pruner nobody reads it before the trial ends, and `tell` writes it: a report that waits for
        the disk takes as long as a step.
        """
        if isinstance(self._study.pruner, optuna.pruners.NopPruner):
            return True
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
        reports: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Ends a trial; `reports` are all of its intermediate values, by step."""
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with self._explained():
            if reason is not None:
                self._study._storage.set_trial_user_attr(self._id(number), _REASON, reason)
            self._write_reports(number, reports)
            self._study.tell(number, value if state == "complete" else None, state=states[state])
            ended = "rejected" if _is_rejection(reason) else state
            self._entries[number] = replace(
                self._entries[number], state=ended, value=value if ended == "complete" else None
            )

    def reject(self, number: int, reason: str) -> None:
        """Ends a trial that is not to be trained (a point over the cap, or one already tried)."""
        self.tell(number, "failed", None, f"{NOT_TRAINED}: {reason}")

    def _write_reports(self, number: int, reports: Mapping[int, float]) -> None:
        """Writes the intermediate values that the ledger lacks, in one transaction: Optuna's own way takes one each."""
        kept = self._study._storage.get_trial(self._id(number)).intermediate_values if reports else {}
        finite = TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
        with _create_scoped_session(self._storage.scoped_session) as session:
            for step in sorted(reports.keys() - kept.keys()):
                row = TrialIntermediateValueModel(
                    trial_id=self._id(number),
                    step=step,
                    intermediate_value=reports[step],
                    intermediate_value_type=finite,
                )
                session.add(row)

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


def _stored(distribution: BaseDistribution, value: Any) -> Any:
    """A value as the ledger gives it back when it is opened again."""
    return distribution.to_external_repr(distribution.to_internal_repr(value))


def _is_rejection(reason: str | None) -> bool:
    return reason is not None and reason.startswith(NOT_TRAINED)


def _entry(trial: FrozenTrial) -> Entry:
    states: dict[TrialState, Any] = {
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    rejected = _is_rejection(trial.user_attrs.get(_REASON))
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    return Entry(
        trial.number,
        "rejected" if rejected else states[trial.state],
        params,
        trial.user_attrs.get(_SEED_INDEX, 0),
        trial.user_attrs.get(_ROWS),
        trial.value if trial.state == TrialState.COMPLETE else None,
    )
