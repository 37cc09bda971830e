"""A search for an estimator: what it has found, however it ends.

Ctrl-C ends the trial under way after its step; where no trial had ended before, that one is evaluated as it is. Fitted
state is a folder (`Kept`): the run's own where it was given one, else a temporary one that goes with the estimator.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from loraloom import pipeline
from loraloom.data import Finding
from loraloom.data.tables import Table
from loraloom.errors import DeviceLostError, LoraloomError, StoppedError
from loraloom.estimator.saved import Kept
from loraloom.execute.stopping import Stop
from loraloom.recipe import Recipe
from loraloom.report.wording import share
from loraloom.search.next_search import more_passes
from loraloom.search.outlook import Outlook
from loraloom.search.watcher import SearchPlan, Watcher
from loraloom.study.choice import chosen
from loraloom.study.durable import replacing_folder
from loraloom.study.leaderboard import Standing, metric_name
from loraloom.study.provenance import unbeaten
from loraloom.study.record import TrialRecord
from loraloom.study.run import BEST, Run, is_run
from loraloom.terminal.wording import trial_in_words

_ROUNDING = 1e-9
_WARNED = {"leak", "near_copy", "empty_text", "unknown_tokens", "warm_up"}
"""Findings that say that rows were left out, or should have been, or that what is trained can't be much."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a search came to. `unfinished` says in words what it lacks, if anything; `interrupted`: by Ctrl-C.

    `more_passes`: over so few rows, where as many as were asked for have taught nothing that can be told.
    `no_better`: on the test rows than a constant answer, in the time that there was.
    """

    kept: Kept
    record: TrialRecord
    unfinished: str | None
    interrupted: bool
    more_passes: float | None
    no_better: bool

    @property
    def doubt(self) -> str | None:
        """What is to be warned of, the first where it is several; None where nothing is."""
        if self.unfinished is not None:
            return f"fit ended before all was done: {self.unfinished}"
        if self.more_passes is not None:
            given = self.record.configuration.train.num_train_epochs
            return (
                "the classifier is not shown to beat a constant answer: so few rows are few steps with "
                f"num_train_epochs={given:g}; try num_train_epochs={self.more_passes:g}, or max_seconds and no field "
                "of the adapters, the head or the training"
            )
        if self.no_better:
            constant = "on the test rows the classifier is no better than a constant answer"
            return f"{constant}; give it more max_seconds, or rows"
        return None


def fit(
    recipe: Recipe,
    rows: dict[str, Table],
    run_dir: Path | None,
    *,
    started: float,
    allow_leak: bool,
    verbose: bool,
) -> Fitted:
    """Searches `recipe` on `rows` (train, and validation and test where they are given) into `run_dir`.

    Its time counts from `started`, a monotonic time.

    Without `run_dir` the run is a temporary one, of which the winner is kept, and has no report. An error after a trial
    has ended leaves it, with a note that says where.

    Raises:
        LoraloomError: what is wrong with parameters, rows or models, or that no trial came to an end.
        KeyboardInterrupt: before there was anything to keep.
    """
    told: dict[str, Any] = {"started": started, "called": True, "allow_leak": allow_leak, **rows}
    search = partial(pipeline.search, recipe, command=("LoraClassifier.fit",), **told)
    if run_dir is not None:
        return _fit(search, run_dir, None, verbose=verbose)
    place = Path(tempfile.mkdtemp(prefix="loraloom-"))
    try:
        run, copy = place / "run", place / "adapter"
        fitted = _fit(search, run, copy, verbose=verbose)
    except BaseException as error:
        kept = _best_of(run) if isinstance(error, Exception) else None
        if kept is None:
            shutil.rmtree(place, ignore_errors=True)
        else:
            error.add_note(f"what was trained before is kept: LoraClassifier.load({str(kept)!r}) gives the best of it")
        raise
    # In the process that made it, also where that is a worker of multiprocessing, whose end runs no atexit.
    Finalize(fitted.kept, shutil.rmtree, (place,), {"ignore_errors": True}, exitpriority=0)
    return fitted


def _fit(search: Callable[..., TrialRecord], out: Path, copy: Path | None, *, verbose: bool) -> Fitted:
    """Searches into the run folder `out`; with `copy`, the winner is copied to it, and there is no run afterwards."""
    follower, stop = _Follower(verbose=verbose), Stop(inf, for_good=True)
    with _interruptible(stop):
        stopped = _stopped(partial(search, out, watcher=follower, stop=stop, report=copy is None), stop)
        with stop.politely():  # what was trained is not kept yet
            fitted = _found(out, follower, stopped)
            if copy is not None:
                fitted = replace(fitted, kept=_moved(fitted.kept, out, copy))
    return replace(fitted, interrupted=fitted.interrupted or stop.asked())


def _best_of(run: Path) -> Path | None:
    """The folder of the best trial of a run that was broken off by an error, if there is one that can be read."""
    try:
        found = _best_so_far(run)
    except (LoraloomError, OSError):
        return None
    return None if found is None else found[0]


def _moved(kept: Kept, run: Path, copy: Path) -> Kept:
    """An adapter out of a run that is removed then."""
    with replacing_folder(copy) as new:
        kept.copy_to(new)  # without texts of the rows: a process that is killed leaves it
    moved = Kept(copy)
    shutil.rmtree(run)
    return moved


def _found(out: Path, follower: _Follower, stopped: KeyboardInterrupt | StoppedError | None) -> Fitted:
    """What a search that has ended, or was `stopped`, came to.

    Raises:
        LoraloomError: its trials only failed, or the GPU is lost.
        KeyboardInterrupt: before there was anything to keep.
    """
    # What an earlier search left in the folder is not this one's: it has begun once it has a plan.
    found, interrupted = _best_so_far(out) if follower.has_plan else None, isinstance(stopped, KeyboardInterrupt)
    if isinstance(stopped, StoppedError) and (found is None or isinstance(stopped.__cause__, DeviceLostError)):
        raise LoraloomError(stopped.why) from stopped
    if found is None:
        raise KeyboardInterrupt("fit was stopped before anything was trained; the estimator is as it was before")
    folder, record = found
    run = Run(out)
    lacks = follower.unfinished(run, record, interrupted=interrupted)
    given_up = stopped.why if isinstance(stopped, StoppedError) else None
    limit = run.recipe.budget.max_seconds
    if lacks and limit and not (given_up or interrupted):
        lacks += "; give it more max_seconds"
    unfinished = ", and ".join(each for each in (given_up, lacks) if each) or None
    passes = more_passes(record, run.recipe)
    no_better = _is_no_better(record, run.recipe)
    return Fitted(Kept(folder.absolute()), record, unfinished, interrupted, passes, no_better)


def _is_no_better(winner: TrialRecord, recipe: Recipe) -> bool:
    """Whether a constant answer is as good on the test rows, where a clock gave the passes, which were too few."""
    test = winner.result.test if winner.result else None
    constant = unbeaten(winner, recipe) if recipe.search.epochs == "clock" else None
    if constant is None or test is None:
        return False
    most = constant[1]
    if recipe.search.metric == "accuracy":
        return test.accuracy <= most
    classes = sum(map(any, test.confusion)) if test.confusion else len(winner.labels)
    return test.macro_f1 <= 2 * most / (1 + most) / classes + _ROUNDING  # the F1 of its one class, and 0 of others


def _stopped(search: Callable[[], TrialRecord], stop: Stop) -> KeyboardInterrupt | StoppedError | None:
    """Searches; returns what ended it before its plan was done, if anything: Ctrl-C, or trials that only fail."""
    try:
        search()
        stop.raise_if_asked()  # all was done, but whoever called this is asked to stop too
    except (KeyboardInterrupt, StoppedError) as stopped:
        return stopped
    return None


@contextmanager
def _interruptible(stop: Stop) -> Iterator[None]:
    """Ctrl-C asks the run to stop; before the first trial, or at the second time, it is raised at once."""
    own = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not own or before in (None, signal.SIG_IGN):  # None: a handler that is not Python's
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: stop.ask(KeyboardInterrupt()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _best_so_far(out: Path) -> tuple[Path, TrialRecord] | None:
    """The tested winner, else the trial that leads; None where none has ended."""
    if not is_run(out):
        return None
    run = Run(out)
    if (best := run.best()) is not None:
        return out / BEST, best
    choice = chosen(run.records(), run.recipe.search.metric)
    if choice is None:
        return None
    leader = choice.winner.leader
    return run.trial_folder(leader.number), leader


class _Follower(Watcher):
    """Warns of what a fit suffers from, keeps the plan, and prints trials as they end where it is asked to."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._plan: SearchPlan | None = None

    def found(self, finding: Finding) -> None:
        if finding.severity == "warning" and finding.kind in _WARNED:
            warnings.warn(finding.sentence, stacklevel=2)
        elif self._verbose:
            print(finding.sentence)

    def planned(self, plan: SearchPlan) -> None:
        self._plan = plan
        if self._verbose:
            print(f"engine {plan.engine} ({plan.engine_reason})")

    def trial_ended(self, record: TrialRecord, standings: tuple[Standing, ...], outlook: Outlook) -> None:
        if self._verbose:
            print(self._in_words(record))

    def _in_words(self, record: TrialRecord) -> str:
        assert self._plan is not None  # it was made before the first trial
        words = trial_in_words(self._plan.recipe, record.point, record.configuration, self._plan.outlook.seeds)
        if record.result is None:
            return f"trial {record.number}: {record.state}: {record.reason}  {words}".rstrip()
        reached, metric = record.result.validation, self._plan.recipe.search.metric
        also = "" if metric == "accuracy" else f", {metric_name(metric)} {share(reached.macro_f1)}"
        said = f"{record.state}, validation accuracy {share(reached.accuracy)}{also}"
        return f"trial {record.number}: {said}  {words}".rstrip()

    @property
    def has_plan(self) -> bool:
        return self._plan is not None

    def unfinished(self, run: Run, winner: TrialRecord, *, interrupted: bool) -> str | None:
        """What the search lacks of its plan, in words; None where it lacks nothing.

        Without a clock a search that came to its end has tried all that there are, be they fewer than it might have.
        """
        plan = self._plan
        assert plan is not None  # it was made before the first trial
        lacks = []
        tried = len({record.point_key for record in run.records()})
        cut_short = interrupted or plan.outlook.seconds_left is not None
        if cut_short and plan.configurations is not None and tried < plan.configurations:
            lacks.append(f"{tried:,} of {plan.configurations:,} configurations were tried")
        epochs = winner.configuration.train.num_train_epochs
        if winner.cut_short:
            lacks.append(f"the best was trained for {winner.epochs:.2f} of {epochs:g} epochs")
        asked = plan.recipe.data.max_train_samples  # the winner's own has its rung's rows
        wanted = min(plan.rows[0], asked or plan.rows[0])
        if winner.train_rows is not None and winner.train_rows < wanted:
            lacks.append(f"the best was trained on {winner.train_rows:,} of {wanted:,} rows")
        return ", and ".join(lacks) or None
