"""The whole run, read top to bottom: data, budget, search, winner, test, report.

Everything that can be refused is refused before the run folder is made. From then on a kill at any moment leaves a run
that `resume` goes on with: the next trial is a function of the recipe and the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from loraloom.backbone import sources
from loraloom.conclusion import conclude
from loraloom.errors import DeviceLostError, LoraloomError, RunError, RunInUseError, StoppedError
from loraloom.execute.alone import alone, left_as_found
from loraloom.execute.driver import Driver
from loraloom.execute.executor import Executor
from loraloom.execute.in_process import Chosen, choose_engine
from loraloom.execute.kept_plan import has_passes, is_planned
from loraloom.execute.kept_type import another_type_here
from loraloom.execute.placement import IN_PROCESS, Placement, make_executor
from loraloom.execute.reserve import Rehearsal
from loraloom.execute.stopping import Stop
from loraloom.execute.workplace import Workplace
from loraloom.machine import with_home
from loraloom.preparation import anchored, prepare, prepare_again, stated
from loraloom.recipe import Recipe
from loraloom.report.writing import load_libraries, rehearse_report
from loraloom.search.clock import Clock, make_clock, point_in_time
from loraloom.search.space import again_seconds, default_space, leaves_length_open, refuse_no_clock, with_length
from loraloom.search.watcher import Watcher
from loraloom.study.commands import go_on_command, logged
from loraloom.study.durable import disk_is_full
from loraloom.study.evidence import has_rows, write_rows
from loraloom.study.provenance import describe_machine
from loraloom.study.record import TrialRecord
from loraloom.study.run import Run, refuse_taken
from loraloom.tracking.reporter import refuse_missing, tracked
from loraloom.use.evaluate import rehearse_test


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
        StoppedError: the run was stopped from outside, or its trials only failed; `resume` goes on with it.
    """
    deadline = None if deadline is None else point_in_time(deadline, called=called)
    with alone(started) as begun:
        clock = make_clock(recipe.budget.max_seconds, deadline, begun, called=called, reports=report)
        clock.refuse_too_little()
        watcher = watcher or Watcher()
        placement.check()
        refuse_missing(recipe.report_to)
        out = with_home(out)
        refuse_taken(out)
        asked = anchored(recipe)
        recipe = default_space(asked, deadline=clock.max_seconds is not None)
        for model in recipe.values("backbone.model"):
            sources.find(model)  # refuses, as reading the data does, before torch is imported, which takes seconds
        place = prepare(recipe, watcher, allow_leak, in_memory)
        chosen = choose_engine(recipe, profile=profile)
        if leaves_length_open(asked, recipe):
            recipe = with_length(recipe, *place.lengths())
            place = place.over(recipe=recipe)
        made = {"command": list(command), "allow_leak": allow_leak, "profile": profile, **stated(place)}
        made["from_python"] = [split for split, rows in in_memory.items() if rows is not None]
        run = Run.create(out, recipe.model_copy(update={"provenance": made}))
        with ExitStack() as held:
            try:
                held.enter_context(run.locked())
                return _go_on(run, place, chosen, watcher, clock, stop or Stop(), placement, command)
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
        if not is_planned(run.path):
            clock.refuse_too_little()
        if clock.max_seconds is None and not has_passes(run.path):
            refuse_no_clock(run.recipe, f"{option} or {'deadline' if called else '--deadline'}")
        with run.locked():
            place = prepare_again(run, watcher, in_memory, go_on_command(run.path))
            chosen = choose_engine(run.recipe, profile=bool(run.recipe.provenance.get("profile")))
            if placement == IN_PROCESS and (said := another_type_here(place.dtype, run.recipe, chosen.engine.name)):
                watcher.note(said)
            return _go_on(run, place, chosen, watcher, clock, stop or Stop(), placement, command)


def _go_on(
    run: Run,
    place: Workplace,
    chosen: Chosen,
    watcher: Watcher,
    clock: Clock,
    stop: Stop,
    placement: Placement,
    command: Sequence[str],
) -> TrialRecord:
    clock.pauses = lambda: stop.pauses
    with (
        _lost_device_explained(run),
        left_as_found(),
        tracked(run, watcher, seconds_left=lambda: clock.seconds_left) as watchers,
        logged(
            run.path,
            command,
            describe_machine(),
            allowed_seconds=clock.max_seconds,
            again_seconds=again_seconds(run.recipe, clock.max_seconds),
            placement=placement.options,
            seconds=lambda: clock.seconds,
            finished=lambda: len(run.records()),
            say=watchers.note,
        ) as log,
        _full_disk_explained(run),
    ):
        if not has_rows(run.path):
            write_rows(run.path, place.rows_to_keep())

        def placed(at: Placement) -> Executor:
            profile = bool(run.recipe.provenance.get("profile"))
            return make_executor(at, chosen.engine, place, watchers.note, profile=profile)

        with closing(placed(placement)) as executor:
            driver = Driver(
                run,
                place,
                executor,
                watchers,
                clock,
                stop,
                Rehearsal(rehearse_test, rehearse_report),
                log,
                partial(placed, Placement(workers=1)) if placement == IN_PROCESS else None,
            )
            if clock.reports and clock.max_seconds is not None:
                load_libraries()
            driver.plan(chosen.engine.name, f"{chosen.reason}; {placement}")
            ending = driver.run_trials()
        return conclude(run, place, watchers, clock, stop, log, ending)


@contextmanager
def _lost_device_explained(run: Run) -> Iterator[None]:
    """A lost GPU ends the process, as a failure of this command; another one may go on with what was begun."""
    try:
        yield
    except DeviceLostError as error:
        if not run.is_begun:
            raise LoraloomError(str(error)) from error
        raise StoppedError(run.path, str(error), go_on=go_on_command(run.path)) from error


@contextmanager
def _full_disk_explained(run: Run) -> Iterator[None]:
    """Says how to go on with what a full disk ended; a run of which no trial was begun is not kept."""
    try:
        yield
    except Exception as error:
        if not disk_is_full(error):
            raise
        then = f"then: {go_on_command(run.path)}" if run.is_begun else "and give the command again"
        raise RunError(f"{run.path}: no space is left on the disk; free some, {then}") from error
