"""The ledger: Optuna's study in SQLite, written by the driver alone, on a disk whose locks work (docs/cluster.md).

It holds every trial, its point, state, intermediate values and value; optuna-dashboard opens it. It is read once, when
it is opened; then trials are kept in memory as they change, by which a report waits for the disk once and reads
nothing. A trial begins in one transaction, with its whole point: an ask and a tell wait twice for the disk, however
many axes and trials there are (`bench/ledger.py` measures them).

Rejected: Optuna's journal file, which a torn last line makes unreadable. `Study.ask`, which writes a trial and then
each axis of its point, 8 transactions for 6 axes. SQLite without waiting for the disk (`synchronous`): a power cut may
then damage the whole ledger.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import (
    TrialIntermediateValueModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from loraloom.errors import DamagedError, RunError, first_line
from loraloom.study.drawing import IsActive, Trials, draw
from loraloom.study.durable import write_bytes
from loraloom.study.pruning_notes import ENDED, STUDY_NAME, decide, pruner_notes, went_on
from loraloom.study.record import Ended

NOT_TRAINED = "not trained"
SYNCHRONOUS = "EXTRA"
"""SQLite's default syncs no folder when it ends a transaction, which a power cut would then undo."""
SEED_INDEX, ROWS, REASON = "seed_index", "rows", "reason"
STATES: dict[Ended, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""What Optuna calls the ends of a trial."""
_PASSING = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOMEM,
    )
)
"""What SQLite says where the file may be whole, and can't be read or written now."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial in the ledger: `params` by axis name as Optuna holds them, `rows` it is trained on (None is all), and the
    `value` of one that is complete."""

    number: int
    state: Literal["running", "complete", "pruned", "failed", "rejected"]
    params: Mapping[str, Any]
    seed_index: int
    rows: int | None
    value: float | None


class Ledger:
    """Optuna's study of one run."""

    def __init__(self, path: Path, pruner: optuna.pruners.BasePruner) -> None:
        """Opens the study in `path`, or begins one.

        Raises:
            RunError: the file can't be opened, or the disk is full.
            DamagedError: it is damaged.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._path = path.absolute()
        with self._explained():
            new = not self._path.exists()
            if new:
                _put(self._path, _without_trials())
            self._check_pages()
            connect: Any = partial(_connect, self._path)
            pool = SingletonThreadPool(connect)
            # SQLAlchemy leaves its connections to the garbage collector, of which Python 3.13 complains. A storage that
            # can't be made has some too.
            weakref.finalize(self, pool.dispose).atexit = False
            self._storage = RDBStorage(
                "sqlite://",
                engine_kwargs={"pool": pool},
                skip_compatibility_check=new,  # which reads all of Optuna's migrations
            )
            self._study = optuna.load_study(study_name=STUDY_NAME, storage=self._storage, pruner=pruner)
            self._end_unasked()
            self._trials = self._study.get_trials(deepcopy=False)
            self._entries = [_entry(trial) for trial in self._trials]

    def _check_pages(self) -> None:
        """SQLite's own check of all pages, which it does not make by itself, and whether it would write to them."""
        with closing(sqlite3.connect(self._path, timeout=60)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # first: it says of some damaged heads that the file is read-only
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            raise DamagedError(f"{self._path}: the ledger can't be used: {str(said).splitlines()[-1]}")

    def _end_unasked(self) -> None:
        """Ends trials that were being rejected at a kill."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if was_rejected(trial):
                self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def trials(self) -> list[FrozenTrial]:
        """The trials as Optuna has them."""
        with self._explained():
            return self._study.get_trials(deepcopy=False)

    def entries(self, since: int = 0) -> tuple[Entry, ...]:
        """All trials by number, or those from number `since` on."""
        return tuple(self._entries[since:])

    def entry(self, number: int) -> Entry:
        return self._entries[number]

    @property
    def count(self) -> int:
        """How many trials were ever begun."""
        return len(self._entries)

    def draw(
        self,
        distributions: Mapping[str, BaseDistribution],
        sampler: optuna.samplers.BaseSampler,
        *,
        is_active: IsActive,
        shown: Callable[[Trials], Trials],
    ) -> dict[str, Any]:
        """Where the sampler proposes the next trial, which sees what `shown` leaves of the trials; none is begun.

        It proposes one axis after another in the order of `distributions`, and only those that are active at the
        params that there are by then.
        """
        params = draw(sampler, distributions, lambda: shown(self._trials), self.count, is_active)
        return {name: _stored(distributions[name], value) for name, value in params.items()}

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        params: Mapping[str, Any],
        *,
        seed_index: int = 0,
        rows: int | None = None,
    ) -> Entry:
        """Begins a trial at `params`."""
        with self._explained():
            begun = create_trial(
                state=TrialState.RUNNING,
                params={name: _stored(distributions[name], value) for name, value in params.items()},
                distributions={name: distributions[name] for name in params},
                user_attrs=noted(seed_index, rows),
            )
            begun._trial_id = self._storage.create_new_trial(self._study._study_id, begun)
            begun.number = self.count
            self._trials.append(begun)
            self._entries.append(_entry(begun))
            return self._entries[-1]

    @property
    def prunes(self) -> bool:
        """Whether reports may end a trial: else nobody reads values before it ends, and `tell` writes them, since a
        report that waits for the disk takes as long as a step."""
        return not isinstance(self._study.pruner, optuna.pruners.NopPruner)

    def report(self, number: int, values: Mapping[int, float]) -> bool:
        """Notes intermediate values by step, of which the last is judged; returns whether the trial goes on.

        Configurations are judged by their first seeds: a further one always goes on, and judges no other. Values of
        earlier steps may be given again: a ledger that was written anew lacks them.
        """
        with self._explained():
            trial, step = self._trials[number], max(values)
            # A trial that goes on gives the same again; one that another machine begins anew may give another.
            values = {**trial.intermediate_values, **values}
            repeats = bool(trial.user_attrs.get(SEED_INDEX))  # what came through: the mean is to be of all its seeds
            goes_on, ended = True if repeats else went_on(trial, step), None
            if goes_on is None:
                first_seeds = [one for one in self._trials if not one.user_attrs.get(SEED_INDEX)]
                goes_on = decide(self._study.pruner, first_seeds, number, values)
                ended = None if goes_on else step
            self._write_values(number, values, trial.intermediate_values, ended)
            return goes_on

    def tell(
        self,
        number: int,
        state: Ended,
        value: float | None,
        reason: str | None = None,
        reports: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Ends a trial; `reports` are all of its intermediate values, by step."""
        with self._explained():
            if reason is not None:
                self._study._storage.set_trial_user_attr(self._id(number), REASON, reason)
            if reports:
                kept = self._trials[number].intermediate_values
                self._write_values(number, {**kept, **reports}, kept)
            told = _told(self._trials[number], state, value)
            self._storage.set_trial_state_values(self._id(number), STATES[state], told)
            self._trials[number] = self._storage.get_trial(self._id(number))
            self._entries[number] = _entry(self._trials[number])

    def reject(self, number: int, reason: str) -> None:
        """Ends a trial that is not to be trained after all."""
        self.tell(number, "failed", None, f"{NOT_TRAINED}: {reason}")

    def _write_values(
        self, number: int, values: Mapping[int, float], kept: Mapping[int, float], ended: int | None = None
    ) -> None:
        """Writes what of `values` the ledger has not `kept`, what the pruner notes of them, and the step `ended` at.

        In one transaction, where Optuna's own way takes one each.
        """
        if values == kept:
            return
        finite = TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
        trial_id, notes = self._id(number), pruner_notes(self._study.pruner, number, values)
        note = self._storage._set_trial_attr_without_commit
        with _create_scoped_session(self._storage.scoped_session) as session:
            for step in sorted(values):
                if step not in kept:
                    row = TrialIntermediateValueModel(
                        trial_id=trial_id,
                        step=step,
                        intermediate_value=values[step],
                        intermediate_value_type=finite,
                    )
                    session.add(row)
                elif kept[step] != values[step]:
                    self._storage._set_trial_intermediate_value_without_commit(session, trial_id, step, values[step])
            for key, noted in notes.items():
                note(session, TrialSystemAttributeModel, trial_id, key, noted)
            if ended is not None:
                note(session, TrialUserAttributeModel, trial_id, ENDED, ended)
        trial = self._trials[number]
        trial.intermediate_values = dict(values)
        trial.system_attrs.update(notes)
        if ended is not None:
            trial.user_attrs[ENDED] = ended

    def _id(self, number: int) -> int:
        return self._trials[number]._trial_id

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
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        # SQLite takes a file for read-only too whose head is damaged.
        passes = code in _PASSING or (code == sqlite3.SQLITE_READONLY and not os.access(self._path, os.W_OK))
        kind = RunError if passes or "table schema" in str(cause) else DamagedError  # which is another Optuna's
        return kind(f"{self._path}: the ledger can't be used: {first_line(cause)}")


def _connect(path: Path) -> sqlite3.Connection:
    # Each thread has its own from SQLAlchemy; closing is done by whichever thread lets the ledger go.
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    return connection


def write_trials(path: Path, trials: Iterable[FrozenTrial]) -> None:
    """A ledger of `trials` in the place of `path`, whole or not at all.

    It is made in memory: SQLite commits each table and index by itself, and a ledger whose disk was full or whose power
    was cut between them had two studies of one name later.
    """
    _put(path, _content(trials))


def _put(path: Path, content: bytes) -> None:
    """Writes a ledger; a journal of the one before goes first, since SQLite would write what it holds into this one."""
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    write_bytes(path, content)


@cache
def _without_trials() -> bytes:
    """A ledger that begins: always the same one."""
    return _content(())


def _content(trials: Iterable[FrozenTrial]) -> bytes:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as memory:
        storage = RDBStorage(
            "sqlite://",
            engine_kwargs={"creator": lambda: memory, "poolclass": StaticPool},
            skip_compatibility_check=True,
        )
        study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")
        study.add_trials(trials)
        storage.remove_session()
        return memory.serialize()


def _stored(distribution: BaseDistribution, value: Any) -> Any:
    """A value as the ledger gives it back when it is opened again."""
    return distribution.to_external_repr(distribution.to_internal_repr(value))


def _told(trial: FrozenTrial, state: Ended, value: float | None) -> list[float] | None:
    """What an ended trial is worth to Optuna, which takes a pruned one by its last report.

    Not by `Study.tell`, which reads the trial twice and asks a sampler that a ledger has not.
    """
    if state == "complete":
        assert value is not None
        return [value]
    if state == "pruned" and trial.last_step is not None:
        return [trial.intermediate_values[trial.last_step]]
    return None


def noted(seed_index: int, rows: int | None) -> dict[str, Any]:
    """What the ledger notes of a trial beside its point: nothing of its first seed, and of all rows."""
    return {name: value for name, value in ((SEED_INDEX, seed_index), (ROWS, rows)) if value}


def was_rejected(trial: FrozenTrial) -> bool:
    """Whether a trial ended without having been trained."""
    return str(trial.user_attrs.get(REASON, "")).startswith(NOT_TRAINED)


def _entry(trial: FrozenTrial) -> Entry:
    states: dict[TrialState, Any] = {of: name for name, of in STATES.items()} | {TrialState.RUNNING: "running"}
    return Entry(
        trial.number,
        "rejected" if was_rejected(trial) else states[trial.state],
        trial.params,
        trial.user_attrs.get(SEED_INDEX, 0),
        trial.user_attrs.get(ROWS),
        trial.value if trial.state == TrialState.COMPLETE else None,
    )
