"""How a run is concluded: the winner is chosen and tested, once, best/ is made of it, and the report is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from loraloom.errors import BudgetError, LoraloomError, StoppedError, UnmixableError, first_line
from loraloom.execute.driver import Ending
from loraloom.execute.stopping import Stop
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Recipe
from loraloom.report.model_card import model_card
from loraloom.report.writing import write_report
from loraloom.search.clock import Clock
from loraloom.search.proposals import MOST_DRAWN
from loraloom.search.space import may_be_clocked
from loraloom.search.watcher import Watcher
from loraloom.souping import is_soup_of, is_soup_of_some, mix_seeds
from loraloom.study.choice import chosen, is_better_mixed, to_mix
from loraloom.study.commands import CommandLog, go_on_command
from loraloom.study.durable import write_text
from loraloom.study.leaderboard import LEADERBOARD, Standing, leaderboard_csv
from loraloom.study.record import TEST_PREDICTIONS, TrialRecord
from loraloom.study.run import BEST, SOUP, Run
from loraloom.use.backbones import load
from loraloom.use.evaluate import test_winner
from loraloom.use.similarity import collect_in_time
from loraloom.wording import plural

GAVE_UP = "the last trials all failed, so no more were begun"
MOST_REASONS = 3
"""That are named where trials failed: a loss that is no number is so at a step of its own in each."""
SPENT = (
    f"of {MOST_DRAWN:,} points drawn in a row none was new and within the limits of the budget, so no more are drawn: "
    "give other values, or ranges that fit"
)


def conclude(
    run: Run,
    place: Workplace,
    watcher: Watcher,
    clock: Clock,
    stop: Stop,
    log: CommandLog,
    ending: Ending,
) -> TrialRecord:
    """What comes after the last trial, with which `ending`; returns the winner, tested.

    Raises:
        StoppedError: the run was stopped from outside before that could be done, or its trials only failed.
        LoraloomError: no trial was finished.
    """
    if ending.spent and ending.finished:
        watcher.note(SPENT)
    stopped = stop.asked()
    if not stop.leaves(clock.reserve):
        stop.raise_if_asked()
    if clock.max_seconds is not None and not stopped:
        watcher.note(_in_the_time(run.recipe, clock, ending))
    with stop.politely(clock.reserve):
        winner = _crown(run, place, watcher, clock, stop, log, _chosen(run, clock, stop, ending))
        log.ends("done", seconds=clock.seconds, finished=len(run.records()))
        watcher.crowned(winner)
        write_text(run.path / LEADERBOARD, leaderboard_csv(run.records(), run.recipe.search.metric))
        if clock.reports:
            _report(run, winner, place, watcher, clock, stop)
    if stopped or winner.tested_rows < clock.test_rows:  # else all was done that was planned
        stop.raise_if_asked()
    if ending.gave_up:
        raise _given_up(run)
    return winner


def _in_the_time(recipe: Recipe, clock: Clock, ending: Ending) -> str:
    """What the time allowed for, as a sentence; and what would use it, where all was trained before its end."""
    wanted, tried = ending.configurations, ending.tried
    of = "" if wanted is None else f" of {wanted:,}"
    rest = "the rest is for the test and the report, or too short for another trial"
    if ending.has_time and (ending.gave_up or ending.spent):
        rest = "the rest was not used"
    elif ending.has_time:
        clocked = ", or search.epochs=clock" if not ending.clocked and may_be_clocked(recipe) else ""
        more = "search.n_trials" if ending.holds_more else "values"
        rest = f"all was trained: more {more} or search.seeds{clocked} would use the rest"
    were = "configuration was" if (wanted or tried) == 1 else "configurations were"
    return (
        f"{tried:,}{of} {were} tried, in {plural(ending.finished, 'trial')}; "
        f"{clock.seconds:.0f} of {clock.max_seconds:.0f} s are used, {rest}"
    )


def _chosen(run: Run, clock: Clock, stop: Stop, ending: Ending) -> Standing:
    """The configuration that won.

    Raises:
        StoppedError: the run was stopped from outside before a trial was finished, or its trials only failed.
        BudgetError: the time did not suffice for one trial.
        LoraloomError: no trial was finished.
    """
    records = run.records()
    choice = chosen(records, run.recipe.search.metric)
    if choice is not None:
        return choice.winner
    stop.raise_if_asked()
    if ending.gave_up:
        raise _given_up(run)
    if why := _reasons(records) or (SPENT if ending.spent else None):
        raise LoraloomError(f"{run.path}: no trial was finished: {why}")
    raise BudgetError(f"{run.path}: the time did not suffice for one trial; give it more ({clock.option})")


def _crown(
    run: Run, place: Workplace, watcher: Watcher, clock: Clock, stop: Stop, log: CommandLog, standing: Standing
) -> TrialRecord:
    """Tests the winner, once, from its adapter as saved, and makes best/ of it.

    It is tested for as long as there is time, before a deadline or of a stop's grace: on a part of the rows, where that
    does for no more.
    """
    best, every, allows = run.best(), len(place.data.test), partial(_allows_testing, clock, stop)
    folder, winner = _adapter(run, place, watcher, clock, log, standing)
    # It is another where its trial's folder was lost and it was trained again.
    before = best.tested_rows if best is not None and best == winner else 0
    if before < clock.test_rows or (before < every and allows(clock.test_seconds * before / clock.test_rows)):
        watcher.note(f"testing the winner, trial {winner.number}{' with its other seeds' if winner.is_soup else ''}")
        log.tests(winner.number)
        tested, predictions = test_winner(load(folder), place.data.test, every, watcher.note, allows)
        if tested.tested_rows > before:  # else the machine became too slow for more
            run.publish_best(folder, tested, {TEST_PREDICTIONS: predictions}, model_card(run.path, tested))
            return tested
    assert best is not None
    run.renew_card(model_card(run.path, best))
    return best


def _allows_testing(clock: Clock, stop: Stop, seconds: float) -> bool:
    return stop.leaves(seconds + clock.page_seconds) and clock.allows_testing(seconds)


def _adapter(
    run: Run, place: Workplace, watcher: Watcher, clock: Clock, log: CommandLog, winner: Standing
) -> tuple[Path, TrialRecord]:
    """The folder and record of the adapter that the winning configuration is used by.

    Of few rows that is the mean of its seeds, unless the validation rows speak against it, else the best of them. Where
    the time does not suffice for the mean of all, an earlier mean of some stays.
    """
    best = run.best()
    if best is not None and is_soup_of(best, winner):
        return run.path / BEST, best
    if is_better_mixed(winner.leader, len(winner.trials)):
        if not clock.allows_mixing:
            if best is not None and is_soup_of_some(best, winner):
                short = "the time left does not suffice to mix all of the winner's seeds"
                watcher.note(f"{short}: best/ stays {best.called}")
                return run.path / BEST, best
            watcher.note("the winner's seeds are not mixed into one adapter: the time left is for the test")
        else:
            try:
                return run.path / SOUP, mix_seeds(run, place, winner, watcher).record
            except UnmixableError as error:
                watcher.note(f"the winner's seeds are not mixed: {first_line(error)}")
                log.does_not_mix([trial.number for trial in to_mix(winner)])
    return run.trial_folder(winner.leader.number), winner.leader


def _given_up(run: Run) -> StoppedError:
    """It exits 2: by 75 a queue would begin the job again, and each time as many trials that only fail."""
    failed = [record for record in run.records() if record.state == "failed"]
    return StoppedError(run.path, f"{GAVE_UP}: {_reasons(failed)}", 2, go_on_command(run.path))


def _reasons(records: Sequence[TrialRecord]) -> str:
    """Why trials were not finished, the latest first."""
    reasons = list(dict.fromkeys(record.reason for record in reversed(records) if record.reason))
    more = len(reasons) - MOST_REASONS
    return "; ".join(reasons[:MOST_REASONS]) + (f"; and {plural(more, 'other reason')}" if more > 0 else "")


def _report(run: Run, winner: TrialRecord, place: Workplace, watcher: Watcher, clock: Clock, stop: Stop) -> None:
    why_not = collect_in_time(run.path, winner, place.data, clock, watcher.note, stop.asked)
    watcher.note("writing the report")

    asked: list[float] = []

    def may_draw() -> bool:
        asked.append(clock.seconds)
        longest = max((after - before for before, after in pairwise(asked)), default=0.0)
        return stop.leaves(clock.page_seconds) and clock.allows_picture(longest)

    write_report(run.path, may_draw=may_draw, similar=why_not is None, why_not_similar=why_not)
