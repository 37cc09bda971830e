"""The ledger: Optuna's study in SQLite, written by the driver alone, never on a network file system.

It holds every trial, its point, state, intermediate values and value; optuna-dashboard opens it. An ask and a tell
cost tens of milliseconds. Rejected: Optuna's journal file, which a torn last line makes unreadable.
"""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, _get_single_value
from optuna.pruners import _filter_study
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from loraloom.errors import RunError
from loraloom.study.durable import write_bytes
from loraloom.study.pruning_notes import goes_on

STUDY_NAME = "loraloom"
NOT_TRAINED = "not trained"
SYNCHRONOUS = "EXTRA"
"""SQLite's default syncs no folder when it ends a transaction, which a power cut would then undo."""
SEED_INDEX, REASON = "seed_index", "reason"


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial in the ledger; `params` by axis name as Optuna holds them."""

    number: int
    state: Literal["running", "waiting", "complete", "pruned", "failed", "rejected"]
    params: Mapping[str, Any]
    seed_index: int


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
            if not self._path.exists():
                write_trials(self._path, ())
            self._check_pages()
            storage = RDBStorage("sqlite://", engine_kwargs={"creator": self._connect})
            self._study = optuna.load_study(study_name=STUDY_NAME, storage=storage, sampler=sampler, pruner=pruner)
            self._end_unasked()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60)
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        return connection

    def _check_pages(self) -> None:
        """SQLite's own check of all pages, which it does not make by itself."""
        with closing(sqlite3.connect(self._path, timeout=60)) as connection:
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            raise RunError(f"{self._path}: the ledger can't be used: {str(said).splitlines()[0]}")

    def _end_unasked(self) -> None:
        """Ends trials that older versions left waiting at a kill, and those that were being rejected at one."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
            unwanted = was_rejected(trial)
            if trial.state == TrialState.WAITING and not unwanted:
                self._study._storage.set_trial_user_attr(trial._trial_id, REASON, f"{NOT_TRAINED}: never begun")
            if trial.state == TrialState.WAITING or unwanted:
                self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def trials(self) -> list[FrozenTrial]:
        """The trials as Optuna has them."""
        with self._explained():
            return self._study.get_trials(deepcopy=False)

    def entries(self) -> tuple[Entry, ...]:
        with self._explained():
            return tuple(_entry(trial) for trial in self.trials())

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        sampler: optuna.samplers.BaseSampler,
        params: Mapping[str, Any] | None = None,
        seed_index: int = 0,
    ) -> Entry:
        """Begins a trial: at `params`, or where the sampler proposes.

        At `params` it is there with its whole point or not at all, unlike by Optuna's own ask, which writes a trial and
        then each value. A kill between them would cost a number, and samplers are seeded by numbers.
        """
        given = {} if params is None else {name: params[name] for name in distributions}
        begun = create_trial(
            state=TrialState.RUNNING,
            params=given,
            distributions={name: distributions[name] for name in given},
            user_attrs={SEED_INDEX: seed_index},
        )
        with self._explained():
            number = len(self._study.get_trials(deepcopy=False))
            self._study._storage.create_new_trial(self._study._study_id, begun)
        return self.ask_again(number, distributions, sampler)

    def ask_again(
        self, number: int, distributions: Mapping[str, BaseDistribution], sampler: optuna.samplers.BaseSampler
    ) -> Entry:
        """Draws what is missing of a trial's point, as it would have been drawn had no kill come between."""
        with self._explained():
            self._study.sampler = sampler
            trial = self._study._storage.get_trial(self._id(number))
            missing = distributions.keys() - trial.params.keys()
            point = self._drawn(trial, distributions) if missing else {}
            for name in (name for name in distributions if name in missing):
                value = distributions[name].to_internal_repr(point[name])
                self._study._storage.set_trial_param(trial._trial_id, name, value, distributions[name])
            return _entry(self._study.get_trials(deepcopy=False)[number])

    def _drawn(self, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
        """A point of the sampler's, drawn as Optuna's ask draws it, whatever of it is written already."""
        trial = copy.copy(trial)
        trial.params, trial.distributions = {}, {}
        point = dict(trial.system_attrs.get("fixed_params", {}))  # of runs that older versions began
        study, sampler = _filter_study(self._study, trial), self._study.sampler
        sampler.before_trial(study, trial)
        point = {**sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial)), **point}
        for name, distribution in distributions.items():
            if name not in point and distribution.single():
                point[name] = _get_single_value(distribution)
            elif name not in point:
                point[name] = sampler.sample_independent(study, trial, name, distribution)
        return point

    def report(self, number: int, step: int, value: float) -> bool:
        """Notes an intermediate value; returns whether the pruner lets the trial go on."""
        with self._explained():
            storage, trial_id = self._study._storage, self._id(number)
            if step not in storage.get_trial(trial_id).intermediate_values:
                storage.set_trial_intermediate_value(trial_id, step, value)  # a trial begun again gives the same
            return goes_on(self._study, storage.get_trial(trial_id), step)

    def replay(self, number: int, step: int) -> None:
        """Has the pruner note an intermediate value of a ledger that was written anew."""
        with self._explained():
            goes_on(self._study, self._study._storage.get_trial(self._id(number)), step)

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
                self._study._storage.set_trial_user_attr(self._id(number), REASON, reason)
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
        except (
            LookupError,
            ValueError,
            RuntimeError,
            TypeError,
            AssertionError,
        ) as error:  # what damage makes Optuna say
            raise self._unusable(error) from error

    def _unusable(self, error: BaseException) -> RunError:
        cause = getattr(error, "orig", None) or error
        first = (str(cause).splitlines() or [type(cause).__name__])[0]
        return RunError(f"{self._path}: the ledger can't be used: {first}")


def write_trials(path: Path, trials: Sequence[FrozenTrial]) -> None:
    """A ledger of `trials` in the place of `path`, whole or not at all.

    It is made in memory: SQLite commits each table and index by itself, and a ledger whose disk was full or whose power
    was cut between them had two studies of one name later.
    """
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as memory:
        storage = RDBStorage("sqlite://", engine_kwargs={"creator": lambda: memory, "poolclass": StaticPool})
        study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")
        study.add_trials(trials)
        storage.remove_session()
        content = memory.serialize()
    write_bytes(path, content)


def was_rejected(trial: FrozenTrial) -> bool:
    """Whether a trial ended without having been trained."""
    return str(trial.user_attrs.get(REASON, "")).startswith(NOT_TRAINED)


def _entry(trial: FrozenTrial) -> Entry:
    states: dict[TrialState, Any] = {
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    return Entry(
        trial.number,
        "rejected" if was_rejected(trial) else states[trial.state],
        params,
        trial.user_attrs.get(SEED_INDEX, 0),
    )
