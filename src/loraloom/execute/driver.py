"""The driver: takes proposals, which are begun in the ledger, has them trained, and writes what became of them.

A trial's order of writing is: its adapter and metrics, its record, its manifest, and then the ledger. A kill between
the last two leaves a finished folder under a running entry, which the next start settles without training again.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace

from loraloom.engine import Job, Outcome, never, pack_key
from loraloom.errors import RunError
from loraloom.execute.demands import MOST_POINTS
from loraloom.execute.executor import Executor, Finished
from loraloom.execute.planning import Planner
from loraloom.execute.recording import Recorder
from loraloom.execute.reserve import Rehearsal
from loraloom.execute.stopping import Stop
from loraloom.execute.workplace import Workplace
from loraloom.search.clock import Clock
from loraloom.search.outlook import Outlook
from loraloom.search.pace import Pace
from loraloom.search.plan import as_begun
from loraloom.search.proposals import Proposal, Proposals
from loraloom.search.restoring import open_ledger
from loraloom.search.watcher import SearchPlan, Watcher
from loraloom.study.commands import CommandLog
from loraloom.study.durable import discard, is_whole
from loraloom.study.leaderboard import LEADERBOARD, reported, validation
from loraloom.study.live_leaderboard import LiveLeaderboard
from loraloom.study.provenance import dropped_points
from loraloom.study.record import CHECKPOINT, RECORD, Evaluation, TrialRecord, checkpoints, read_metrics, read_record
from loraloom.study.run import Run
from loraloom.wording import plural

ATTEMPTS = 2
"""How often a trial is begun that ends without an outcome, the second time alone."""
GIVING_UP = 1.25
"""Times what is kept for the test and the report: what must be left of a stop's grace when workers are given up."""
MOST_FAILURES = 20
"""Failed trials in a row after which none is begun."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the trials of a command ended; `configurations` is how many the search tries, None where time alone ends it.

    `clocked` is of its plan: a clock gives the passes. `holds_more`: there are others, and a number ends the search.
    """

    configurations: int | None
    tried: int
    finished: int
    clocked: bool
    holds_more: bool
    has_time: bool
    """The time is limited, and another trial on the most rows would still end in it."""
    spent: bool
    """Points were drawn last, and none of them was new and within the limits."""
    gave_up: bool
    """Trials only failed, which their configurations need not be the cause of; a resume goes on with those left."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A trial under way, begun at the monotonic time `at` and after so many pauses, to go on from `step`."""

    proposal: Proposal
    at: float
    pauses: int
    step: int


class Driver:
    """Runs the trials of one run."""

    def __init__(
        self,
        run: Run,
        place: Workplace,
        executor: Executor,
        watcher: Watcher,
        clock: Clock,
        stop: Stop,
        rehearsal: Rehearsal,
        log: CommandLog,
        apart: Callable[[], Executor] | None = None,
    ) -> None:
        """
        Args:
            rehearsal: what follows the last trial, for the time that is kept for it.
            log: is told which trials that were broken off are begun again, and knows which of them may have done it.
            apart: makes an executor whose death is not this process's; None where all train in such a one.
        """
        self._rehearsal, self._log, self._apart = rehearsal, log, apart
        self._run, self._place, self._executor = run, place, executor
        self._watcher, self._clock, self._stop = watcher, clock, stop
        self._ledger = open_ledger(run, watcher.note)
        self._leaderboard = LiveLeaderboard(run.path / LEADERBOARD, run.recipe.search.metric, run.records())
        self._pace = Pace(clock=clock)
        if run.recipe.search.sampler == "grid" and run.recipe.spans_more(MOST_POINTS):
            watcher.note(f"listing the grid's points, over {MOST_POINTS:,}")
        self._proposals = Proposals(run.recipe, self._ledger, place.demands.why_not, self._pace, place.most_rows)
        self._planner = Planner(run.path, place, self._pace, self._proposals)
        self._recorder = Recorder(place)
        self._alone: deque[Proposal] = deque()
        self._again: deque[Proposal] = deque()
        self._broken_off: set[int] = set()
        self._stopped: list[Proposal] = []
        self._under_way: dict[int, _Begun] = {}
        self._attempts: Counter[int] = Counter()
        self._failed = 0
        self._waiting: Proposal | None = None
        self._gave_up = False

    def plan(self, engine: str, reason: str) -> None:
        """Measures and plans, and tells the watcher what is about to be done.

        Raises:
            BudgetError: the time does not suffice for one trial.
        """
        self._pace.slots = self._executor.slots
        with ExitStack() as ended:
            apart = None
            if self._apart is not None and self._log.doubts_planning:
                apart = ended.enter_context(closing(self._apart()))
            self._planner.reserve.rehearse_page(self._rehearsal, self._leaderboard.finished)
            self._planner.prepare(self._executor, self._watcher.note, apart)
        self._planner.write()
        self._log.plans()
        data, (dropped, more_dropped) = self._place.data, dropped_points(self._run.recipe)
        self._watcher.planned(
            SearchPlan(
                recipe=self._run.recipe,
                run=self._run.path,
                data=data.name,
                labels=data.labels,
                rows=(len(data.train.texts), len(data.validation.texts), len(data.test.texts)),
                configurations=self._proposals.listing.configurations,
                finished=self._leaderboard.finished,
                dropped=dropped,
                engine=engine,
                engine_reason=reason,
                outlook=self._outlook(),
                more_dropped=more_dropped,
                broken_off=self._proposals.broken_off,
                goes_beyond=self._proposals.goes_beyond,
                lacks_some=self._proposals.lacks_some,
            )
        )

    def run_trials(self) -> Ending:
        """Trains until the plan is done, the time is used, or the run is asked to stop."""
        with self._leaderboard:
            self._again.extend(
                self._as_begun(proposal) for proposal in self._proposals.interrupted() if not self._settled(proposal)
            )
            steps = {again.number: self._step(again) for again in self._again}
            self._broken_off = set(steps)
            doubtful = self._log.doubted(steps)
            with self._stop.politely():
                if doubtful and self._apart is not None:
                    self._train_apart(doubtful, self._apart)
                while self._start_packs() or self._extends_plan():
                    if self._under_way:
                        self._finish(self._executor.wait(self._hear, self._stop.asked, self._latest_end))
            if self._gave_up:
                self._watcher.note(f"{MOST_FAILURES} trials in a row failed, so no more are begun")
            if self._stop.asked() and self._stop.for_good and not self._leaderboard.standings:
                self._end_early()
        return Ending(
            configurations=self._proposals.listing.configurations,
            tried=self._proposals.tried,
            finished=self._leaderboard.finished,
            clocked=self._pace.plan.epochs is not None,
            holds_more=self._proposals.listing.holds_more,
            has_time=self._pace.limited and self._pace.has_time,
            spent=self._proposals.spent,
            gave_up=self._gave_up,
        )

    def _latest_end(self) -> float:
        """The monotonic time at which a pack that has not ended is given up: the test and the report still have theirs.

        Trials have deadlines of their own, and heed a stop after their step, but a worker that hangs does neither. Of a
        stop's grace nothing is kept where there is no winner to test.
        """
        end, reserve = self._clock.training_end, self._clock.reserve
        deadline = math.inf if end is None else end + reserve / 4
        if not self._leaderboard.standings:
            return deadline
        return min(deadline, self._stop.last_chance(GIVING_UP * reserve))

    def _is_over(self) -> bool:
        """Whether a worker is waited for no longer."""
        return self._stop.asked() or time.monotonic() >= self._latest_end()

    def _train_apart(self, doubtful: Collection[int], apart: Callable[[], Executor]) -> None:
        """Trains those that two processes ended with, by a worker: where it ends too, they are what ended them.

        One that came on in its worker before that ended is begun again, and nowhere else.
        """
        self._watcher.note("trials that were broken off twice are trained in a process of their own")
        waiting = [proposal for proposal in self._again if proposal.number in doubtful]
        self._again = deque(proposal for proposal in self._again if proposal.number not in doubtful)
        with closing(apart()) as executor:
            for proposal in waiting:
                if not self._stop.asked() and self._goes_on(proposal):
                    self._attempts[proposal.number] = ATTEMPTS - 1
                    self._alone.append(proposal)
                while self._alone and not self._stop.asked():
                    executor.start([self._begin(self._alone.popleft())])
                    self._finish(executor.wait(self._hear, self._stop.asked, self._latest_end))

    def _end_early(self) -> None:
        """Ends trials that were stopped after a step more: all that a run has which nobody will go on with."""
        for proposal in self._stopped:
            self._executor.start([replace(self._begin(proposal), deadline=time.monotonic())])
            self._finish(self._executor.wait(self._hear, never))

    def _as_begun(self, proposal: Proposal) -> Proposal:
        """As it was begun, with its passes and its rung, whatever the plan is now: its checkpoint is of no others.

        One that had ended, and of which another file is damaged, has that in its record.
        """
        from loraloom.engine.checkpoint import begun_with

        folder = self._run.trial_folder(proposal.number)
        begun = begun_with(folder)
        if begun is None and (folder / RECORD).is_file():
            with suppress(RunError):
                ended = read_record(folder).configuration
                begun = ended.model_copy(update={"data": proposal.configuration.data})  # its own has guessed columns
        return proposal if begun is None else replace(proposal, configuration=as_begun(proposal.configuration, begun))

    def _step(self, proposal: Proposal) -> int:
        """The step that a trial goes on from if it is begun now; 0 where it begins anew."""
        folder = self._run.trial_folder(proposal.number)
        if not checkpoints(folder):
            return 0
        from loraloom.engine.checkpoint import step_to_go_on_from  # with torch, which a first trial need not wait for

        return step_to_go_on_from(folder, proposal.configuration)

    def _settled(self, proposal: Proposal) -> bool:
        """Tells the ledger of a trial that was finished in its folder when the run was broken off."""
        folder = self._run.trial_folder(proposal.number)
        if not is_whole(folder):
            return False
        discard(folder / CHECKPOINT)
        self._tell(read_record(folder))
        return True

    def _start_packs(self) -> bool:
        """Fills the room that there is; returns whether anything is under way."""
        self._pace.slots = self._executor.slots  # workers come and go
        while not self._stop.asked() and not self._gave_up and self._executor.room() and (pack := self._next_pack()):
            self._gave_up = self._failed >= MOST_FAILURES
            if not self._gave_up:
                self._executor.start([self._begin(proposal, len(pack)) for proposal in pack])
        return bool(self._under_way)

    def _extends_plan(self) -> bool:
        """Whether there is time for more than was planned, and it is planned for now."""
        if self._stop.asked() or self._gave_up or not self._planner.extend():
            return False
        task = self._pace.task
        assert task is not None
        why = "there is time for more rows" if self._proposals.has_results else "no trial has a result yet"
        self._watcher.note(f"{why}: finals have {plural(task.rows(self._pace.plan.top), 'row')} now")
        return True

    def _next_pack(self) -> list[Proposal]:
        """As many proposals as are best trained together; one that can't join them waits for the next pack."""
        while self._alone:
            if self._goes_on(alone := self._alone.popleft()):
                return [alone]
        first = self._waiting or self._next()
        self._waiting = None
        if first is None:
            return []
        pack, key = [first], pack_key(first.configuration)
        demands, planned = self._place.demands, first.configuration
        source, asked = self._place.source(planned.backbone), demands.in_type(planned)
        advised = self._executor.pack_size(source, asked, self._hear, self._is_over)
        size = demands.most_together(planned, advised)
        if self._stop.asked():  # nothing is begun any more; the next command begins it
            return []
        with self._pace.together():
            while len(pack) < size:
                self._pace.promise(pack[-1].configuration)
                more = self._next()
                if more is not None and pack_key(more.configuration) == key:
                    size = demands.most_together(more.configuration, size)  # its batches may be larger
                    if len(pack) < size:
                        pack.append(more)
                        continue
                self._waiting = more
                break
        return pack

    def _next(self) -> Proposal | None:
        """Those that were broken off with the run come first, together again where they were, if they end in time."""
        while self._again:
            if self._goes_on(again := self._again.popleft()):
                return again
        return self._proposals.next()

    def _goes_on(self, again: Proposal) -> bool:
        """Whether there is time and memory for one that was broken off; else it is left for a command that has more.

        One that all else waits for is trained for as long as there is time: its job's deadline ends it.
        """
        if (why := self._pace.leaves_out(again.configuration)) is not None:
            self._watcher.note(f"trial {again.number} was broken off, and is left as it is: {why}")
            return False
        needed = not self._leaderboard.standings or self._proposals.is_first_final(again.number)
        if needed or self._planner.would_end(again.configuration, self._step(again)):
            return True
        self._watcher.note(f"trial {again.number} was broken off, and would not end in time: it is left as it is")
        return False

    def _begin(self, proposal: Proposal, together: int = 1) -> Job:
        """The job of a trial that is trained with others, `together` of them in all."""
        parameters = self._place.demands.parameters(proposal.configuration).trainable
        rows = self._place.rows(proposal.configuration)
        self._planner.write_what_changed()
        folder = self._run.trial_folder_to_begin(proposal.number)  # what is damaged in it is gone before it is read
        self._watcher.trial_started(proposal, parameters)
        begun = _Begun(proposal, time.monotonic(), self._clock.pauses(), self._step(proposal))
        self._under_way[proposal.number] = begun
        self._attempts[proposal.number] += 1
        if proposal.number in self._broken_off:
            self._log.takes_up(proposal.number, begun.step)
        deadline = self._planner.job_deadline(together * len(rows.validation), proposal.configuration)
        return self._place.job(proposal.number, proposal.configuration, folder, deadline=deadline)

    def _hear(self, job: Job, evaluation: Evaluation) -> bool:
        self._watcher.evaluated(job.number, evaluation)
        self._recorder.hear(job, evaluation)
        if not self._ledger.prunes:
            return True
        values = reported(read_metrics(job.folder), self._run.recipe.search.metric)
        # The engine has written this one already, but a disk that is shared may show it later.
        return not values or self._ledger.report(job.number, values)

    def _finish(self, finished: Finished) -> None:
        """Writes down what became of a pack's trials; those that came to nothing are begun again, alone."""
        for index, job in enumerate(finished.jobs):
            begun = self._under_way.pop(job.number)
            outcome = None if finished.lost is not None else finished.outcomes[index]
            failure = finished.lost if outcome is None else _failure(outcome) if len(finished.jobs) > 1 else None
            if outcome is None and self._step(begun.proposal) > begun.step:
                self._attempts[job.number] = 0  # it came on: what took its worker need not be its own doing
            if failure is not None and self._attempts[job.number] < ATTEMPTS:
                then = "is left as it is" if self._stop.asked() else "is begun again, alone"
                self._watcher.note(f"trial {job.number} {then}: {failure}")
                self._alone.append(begun.proposal)
            else:
                lost = str(finished.lost)
                self._end(begun, job, outcome or self._recorder.lost(job, lost), finished)

    def _end(self, begun: _Begun, job: Job, outcome: Outcome, finished: Finished) -> None:
        if outcome.state == "stopped":
            self._stopped.append(begun.proposal)
            return
        # Of trials that were trained together none says what one by itself would take; and what goes on from a
        # checkpoint was timed by another process too, which may have been on another machine.
        tells = len(finished.jobs) == 1 and begun.step == 0 and self._clock.pauses() == begun.pauses
        seconds = time.monotonic() - (finished.began or begun.at) if tells else None
        self._planner.note(job, outcome, self._recorder.epochs(job), seconds)
        record = self._recorder.write(begun.proposal, job, outcome)
        self._failed = self._failed + 1 if record.state == "failed" else 0
        self._tell(record)
        if record.state == "complete" and not self._stop.asked():
            texts = self._place.data.validation.texts
            self._planner.reserve.rehearse(self._rehearsal, job, texts, self._leaderboard.finished)

    def _tell(self, record: TrialRecord) -> None:
        metric = self._run.recipe.search.metric
        value = validation(record, metric) if record.state == "complete" else None
        reports = reported(read_metrics(self._run.trial_folder(record.number)), metric)
        self._ledger.tell(record.number, record.state, value, record.reason, reports)
        self._leaderboard.add(record)
        self._watcher.trial_ended(record, self._leaderboard.standings, self._outlook())

    def _outlook(self) -> Outlook:
        begun = self._proposals
        return self._planner.outlook(begun.tried, self._leaderboard.finished, begun.finals_to_come)


def _failure(outcome: Outcome) -> str | None:
    return outcome.reason if outcome.state == "failed" else None
