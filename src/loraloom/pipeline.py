"""The whole run, read top to bottom: data, budget, search, winner, test, report.

Everything that can be refused is refused before the run folder is made. From then on a kill at any moment leaves a run
that `resume` goes on with: the next trial is a function of the recipe and the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from loraloom.data import load_data
from loraloom.engine import Engine
from loraloom.errors import DeviceLostError, LoraloomError, RunError, RunInUseError, StoppedError
from loraloom.execute.alone import alone, left_as_found
from loraloom.execute.driver import Driver
from loraloom.execute.executor import Executor
from loraloom.execute.in_process import choose_engine
from loraloom.execute.kept_type import kept_type
from loraloom.execute.placement import IN_PROCESS, Placement, make_executor
from loraloom.execute.planning import has_passes, is_planned
from loraloom.execute.stopping import Stop
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Recipe
from loraloom.report import model_card, write_report
from loraloom.search.clock import Clock, make_clock, point_in_time
from loraloom.search.space import default_space, leaves_length_open, refuse_no_clock, with_length
from loraloom.search.watcher import Watcher
from loraloom.study.choice import choose
from loraloom.study.commands import CommandLog, logged
from loraloom.study.durable import refuse_bytes, write_text
from loraloom.study.evidence import has_rows, write_rows
from loraloom.study.leaderboard import LEADERBOARD, leaderboard_csv, standings
from loraloom.study.provenance import changed, data_revision, describe_machine
from loraloom.study.record import TEST_PREDICTIONS, TrialRecord
from loraloom.study.run import Run, refuse_taken
from loraloom.tracking.installed import refuse_missing
from loraloom.tracking.reporter import tracked
from loraloom.use.evaluate import rehearse_test, test_winner
from loraloom.use.similarity import collect_in_time

MOST_DROPPED = 100
"""Of the points over the budget, those that a run's recipe names with the reason: of a large grid thousands may be."""
GAVE_UP = "the last trials all failed, so no more were begun"


def search(
    recipe: Recipe,
    out: Path | str,
    *,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
    allow_leak: bool = False,
    profile: bool = False,
    stop: Stop | None = None,
    deadline: str | datetime | None = None,
    started: float | None = None,
    called: bool = False,
    placement: Placement = IN_PROCESS,
    report: bool = True,
    **in_memory: Any,
) -> TrialRecord:
    """Searches `recipe` into the run folder `out`; returns the winner, tested.

    The run ends by the earliest of `budget.max_seconds` after the start (of the command: `started`, a monotonic time,
    or of the function that a program `called`), `deadline` (a point in time, "2026-11-25T18:00") and the end of the
    SLURM job that it is in. Runs of one process take turns, and `max_seconds` count from a run's own.

    With `profile`, each trial's folder gets profile.json: where a step's time goes; a resumed run keeps to it.
    `placement` says where trials are trained. Without `report` none is written, nor is a text embedded for one.
    `in_memory` may hold train, validation and test: each a pandas.DataFrame, a datasets.Dataset, or (texts, labels).

    Raises:
        LoraloomError: whatever is wrong with the recipe, the data, the models or the folder; nothing is left behind.
        StoppedError: the run was stopped from outside; `resume` goes on with it.
    """
    deadline = None if deadline is None else point_in_time(deadline, called=called)
    with alone(started) as begun:
        clock = make_clock(recipe.budget.max_seconds, deadline, begun, called=called)
        clock.reports = report
        clock.refuse_too_little()
        watcher = watcher or Watcher()
        placement.check()
        refuse_missing(recipe.report_to)
        refuse_taken(Path(out))
        asked = _anchored(recipe)
        recipe = default_space(asked, deadline=clock.max_seconds is not None)
        engine = choose_engine(recipe, profile=profile)
        place = _prepare(recipe, watcher, allow_leak, in_memory)
        if leaves_length_open(asked, recipe):
            recipe = with_length(recipe, *place.lengths())
            place = place.over(recipe)
        made = {"command": list(command), "allow_leak": allow_leak, "profile": profile, **_stated(place)}
        run = Run.create(Path(out), recipe.model_copy(update={"provenance": made}))
        with ExitStack() as held:
            try:
                held.enter_context(run.locked())
                return _go_on(
                    run, place, engine, watcher, clock, stop or Stop(), placement, profile, command, report=report
                )
            except RunInUseError:  # by a process that found it before this one held it
                raise
            except (LoraloomError, OSError):
                run.discard_unbegun()
                raise


def resume(
    out: Path | str,
    *,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
    stop: Stop | None = None,
    max_seconds: float | None = None,
    deadline: str | datetime | None = None,
    started: float | None = None,
    called: bool = False,
    placement: Placement = IN_PROCESS,
    **in_memory: Any,
) -> TrialRecord:
    """Goes on with the run in `out`, on the same data and models; returns the winner, tested.

    It may take `budget.max_seconds` anew, or `max_seconds` in their place; `deadline`, `started` and `called` are as
    for `search`.

    Raises:
        RunError: there is no run, another process has it, or its data or models have changed.
        RecipeError: its trials have as many passes as a clock allows, no plan says how many, and there is no clock.
    """
    deadline = None if deadline is None else point_in_time(deadline, called=called)
    with alone(started) as begun:
        placement.check()
        run, watcher = Run(Path(out)), watcher or Watcher()
        option = "max_seconds" if called else "--max_seconds"
        limit = run.recipe.budget.max_seconds if max_seconds is None else max_seconds
        clock = make_clock(limit, deadline, begun, called=called, option=option)
        if not (run.recipe.data.dataset or run.recipe.data.train_file or in_memory.get("train") is not None):
            raise RunError(
                f"{run.path}: its rows were given from Python; go on by loraloom.resume({str(out)!r}, train=…)"
            )
        if not is_planned(run.path):
            clock.refuse_too_little()
        if clock.max_seconds is None and not has_passes(run.path):
            refuse_no_clock(run.recipe, f"{option} or {'deadline' if called else '--deadline'}")
        made = run.recipe.provenance
        with run.locked():
            place = _prepare(run.recipe, watcher, bool(made.get("allow_leak")), in_memory, run)
            if difference := changed(made, place.pins()):
                raise RunError(f"{run.path}: {difference} has changed since the run began; begin another run")
            profile = bool(made.get("profile"))
            engine = choose_engine(run.recipe, profile=profile)
            return _go_on(run, place, engine, watcher, clock, stop or Stop(), placement, profile, command, report=True)


def _stated(place: Workplace) -> dict[str, Any]:
    """How a run is made, to be kept with its recipe; what can't be trained is refused.

    Raises:
        LoraloomError: as `Workplace.pins` and `Workplace.check`.
    """
    stated = {**describe_machine(), **place.pins(), "cards": place.cards()}
    dropped = place.check()
    stated["data"] |= place.facts()
    stated["dropped_points"], stated["more_dropped_points"] = list(dropped[:MOST_DROPPED]), len(dropped[MOST_DROPPED:])
    return stated


def _anchored(recipe: Recipe) -> Recipe:
    """The recipe with its files and folders named from the root, so that the run goes on from any folder."""
    data = {
        name: _from_root(value)
        for name in ("train_file", "validation_file", "test_file")
        if (value := getattr(recipe.data, name))
    }
    anchored = recipe.model_copy(update={"data": recipe.data.model_copy(update=data)})
    return anchored.renamed("backbone.model", _place)


def _place(model: str) -> str:
    """A model's folder from the root; a name on the hub, or 'demo', as it is."""
    return _from_root(model) if model != "demo" and Path(model).is_dir() else model


def _from_root(path: str) -> str:
    refuse_bytes(Path(path).absolute())
    return str(Path(path).absolute())


def _prepare(
    recipe: Recipe, watcher: Watcher, allow_leak: bool, in_memory: dict[str, Any], begun: Run | None = None
) -> Workplace:
    """The data, read and checked; what was found when a run was `begun` is not said again, and it keeps its type."""
    watcher.note("reading and checking the data")
    data = load_data(
        recipe.data, seed=recipe.train.seed, allow_leak=allow_leak, revision=data_revision(recipe), **in_memory
    )
    told = {} if begun is None else begun.recipe.provenance.get("data") or {}
    known = {finding["sentence"] for finding in told.get("findings", ())}
    for finding in data.findings:
        if finding.sentence not in known:
            watcher.found(finding)
    return Workplace(recipe, data, watcher.found, None if begun is None else kept_type(begun))


def _go_on(
    run: Run,
    place: Workplace,
    chosen: tuple[Engine, str],
    watcher: Watcher,
    clock: Clock,
    stop: Stop,
    placement: Placement,
    profile: bool,
    command: Sequence[str],
    *,
    report: bool,
) -> TrialRecord:
    engine, reason = chosen
    with (
        _lost_device_explained(run),
        left_as_found(),
        tracked(run, watcher, seconds_left=lambda: clock.seconds_left) as watchers,
        logged(
            run.path,
            command,
            describe_machine(),
            allowed_seconds=clock.max_seconds,
            again_seconds=_again_seconds(run.recipe, clock),
            seconds=lambda: clock.seconds,
            finished=lambda: len(run.records()),
            say=watchers.note,
        ) as log,
    ):
        if not has_rows(run.path):
            write_rows(run.path, place.rows_to_keep())

        def placed(at: Placement) -> Executor:
            return make_executor(at, engine, place, watchers.note, profile=profile)

        with closing(placed(placement)) as executor:
            driver = Driver(
                run,
                place,
                executor,
                watchers,
                clock,
                stop,
                rehearse_test,
                log,
                partial(placed, Placement(workers=1)) if placement == IN_PROCESS else None,
            )
            driver.plan(engine.name, f"{reason}; {placement}")
            driver.run_trials()
        stopped = stop.asked()
        if stop.seconds_left < clock.reserve:
            stop.raise_if_asked()
        if clock.max_seconds is not None and not stopped:
            watchers.note(driver.in_the_time)
        with stop.politely(clock.reserve):
            winner = _crown(run, place, watchers, stop, log, gave_up=driver.gave_up)
            log.ends("done", seconds=clock.seconds, finished=len(run.records()))
            watchers.crowned(winner)
            write_text(run.path / LEADERBOARD, leaderboard_csv(run.records(), run.recipe.search.metric))
            if report:
                _report(run, winner, place, watchers, clock, stop)
        if stopped:  # else all was done that was planned
            stop.raise_if_asked()
        if driver.gave_up:
            raise StoppedError(run.path, GAVE_UP)
    return winner


def _again_seconds(recipe: Recipe, clock: Clock) -> int | None:
    """What a command that goes on is to be given: as much again, where passes are by the clock, and no recipe's."""
    if clock.max_seconds is None or recipe.search.epochs != "clock" or recipe.budget.max_seconds is not None:
        return None
    return max(1, math.ceil(clock.max_seconds))


@contextmanager
def _lost_device_explained(run: Run) -> Iterator[None]:
    """A lost GPU ends the process, as a failure of this command; another one may go on with what was begun."""
    try:
        yield
    except DeviceLostError as error:
        if not run.is_begun:
            raise LoraloomError(str(error)) from error
        raise StoppedError(run.path, str(error)) from error


def _report(run: Run, winner: TrialRecord, place: Workplace, watcher: Watcher, clock: Clock, stop: Stop) -> None:
    why_not = collect_in_time(run.path, winner, place.data, clock, watcher.note, stop.asked)
    watcher.note("writing the report")

    def may_draw() -> bool:
        if stop.asked() and stop.seconds_left <= clock.page_seconds:
            return False
        return clock.seconds_left is None or clock.seconds_left > clock.page_seconds

    write_report(run.path, may_draw=may_draw, similar=why_not is None, why_not_similar=why_not)


def _crown(run: Run, place: Workplace, watcher: Watcher, stop: Stop, log: CommandLog, *, gave_up: bool) -> TrialRecord:
    """Tests the winner, once, from its adapter as saved, and makes best/ of it."""
    records, metric = run.records(), run.recipe.search.metric
    ranked = standings(records, metric)
    if not ranked:
        stop.raise_if_asked()
        reasons = "; ".join(dict.fromkeys(str(record.reason) for record in records))
        if gave_up:
            raise StoppedError(run.path, f"{GAVE_UP}: {reasons}")
        raise LoraloomError(f"{run.path}: no trial was finished: {reasons or 'the time did not suffice for one'}")
    winner, best = choose(ranked, metric).winner.leader, run.best()
    if best is not None and best.number == winner.number:
        run.renew_card(model_card(run.path, best))
        return best
    watcher.note(f"testing the winner, trial {winner.number}")
    log.tests(winner.number)
    tested, predictions = test_winner(run.trial_folder(winner.number), place.data.test)
    run.publish_best(tested, {TEST_PREDICTIONS: predictions}, model_card(run.path, tested))
    return tested
