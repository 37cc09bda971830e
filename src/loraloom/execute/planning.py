"""The plan of a run: made from a warm-up, kept in plan.json (`kept_plan.py`), and made anew as trials are timed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from loraloom.engine import Job, Outcome
from loraloom.errors import BudgetError
from loraloom.execute.executor import Executor
from loraloom.execute.kept_plan import as_json, known_costs, plan_of, read_plan, write_plan
from loraloom.execute.reserve import TEST_CAUTION, Reserve
from loraloom.execute.warm_up import WarmedUp, WarmUpFailedError, measure_one, quietest, warm_up
from loraloom.execute.warmup_steps import told_by_plan
from loraloom.execute.workplace import Workplace
from loraloom.machine import read_machine
from loraloom.recipe import Configuration
from loraloom.search.costs import Costs, Key, Measured, cost_key, measured
from loraloom.search.outlook import Outlook, look_ahead
from loraloom.search.pace import Pace, named
from loraloom.search.plan import NoTrialFitsError, Plan, foreseen, is_hurried, make_plan, recounted
from loraloom.search.presets import EACH_SEEN
from loraloom.search.proposals import Proposals
from loraloom.search.replanning import extended, planned_anew
from loraloom.search.space import without_longer
from loraloom.search.task import Task
from loraloom.study.choice import SOUP_ROWS
from loraloom.study.record import read_metrics
from loraloom.wording import plural


class Planner:
    """Makes and keeps the plan, which it gives to the `pace` that the `proposals` ask."""

    def __init__(self, run: Path, place: Workplace, pace: Pace, proposals: Proposals) -> None:
        self._run, self._place = run, place
        self.pace, self._clock = pace, pace.clock
        few = place.most_rows[0] < SOUP_ROWS
        self.reserve = Reserve(run, pace, len(place.data.test), mixes=few)
        self._proposals, self._listing = proposals, proposals.listing
        self._kept: Plan | None = None
        self._first: dict[str, Any] | None = None
        self._idle = False
        self._where, self._seen, self._every_layer_first = "", 0.0, False
        self._planned_at = 0.0
        self._fastest: dict[Key, float] = {}

    def prepare(self, executor: Executor, note: Callable[[str], None], apart: Executor | None = None) -> None:
        """Measures, where there is a deadline, and makes the plan, or takes up the one that the run has.

        What is measured of `executor` is by `apart`, where that is given: a command before ended over it.

        Raises:
            BudgetError: the time does not suffice for one trial.
            WarmUpFailedError: nothing could be measured, and no trial was finished before.
            RunError: plan.json is damaged, or another version's.
        """
        pace, listing = self.pace, self._listing
        pace.task = Task(
            self._place.recipe,
            *self._place.most_rows,
            len(self._place.data.labels),
            listing.configurations,
            listing.leading,
            tuple(self._place.demands.fitting()),
            listing.every,
        )
        if listing.leads_alone:
            note(
                f"{pace.task.eval_rows} held-out rows are too few to choose among many configurations: only those most "
                "like the first presets, known to be good, are tried, unless search.n_trials asks for more"
            )
        kept = read_plan(self._run)
        self._first = kept.get("first")
        self._where = f"{_machine()}, {executor.where}"
        executor, is_apart = apart or executor, apart is not None
        self._measure(kept, executor, note, is_apart=is_apart)
        begun = "rungs" in kept
        self._cut_texts(kept.get("longest") if begun else self.reserve.longest_testable(pace.task), note)
        self._test_a_part(note)
        self.reserve.keep()
        if begun:
            self._take_up(kept, executor)
        else:
            self._plan_first(executor, note)
            if pace.limited and (told := told_by_plan(pace.plan, pace.task)) is not None:
                note(told)

    def _cut_texts(self, longest: int | None, note: Callable[[str], None]) -> None:
        """Has no texts tried that are longer than this, where it is given."""
        pace = self.pace
        assert pace.task is not None
        pace.longest = longest
        if longest is not None:
            pace.task = replace(pace.task, recipe=without_longer(pace.task.recipe, longest))
            self._foresee(0.0)
            note(f"texts are cut at {longest} tokens: the test of longer ones would take too much of the time")

    def _test_a_part(self, note: Callable[[str], None]) -> None:
        """Has a part of the test rows tested, where all of them would take most of the time."""
        assert self.pace.task is not None
        self._clock.test_rows = every = len(self._place.data.test)
        if (part := self.reserve.test_a_part(self.pace.task)) is not None:
            self._clock.test_rows = part
            note(
                f"the winner is tested on {part:,} of {every:,} test rows at least, a stratified part: a test on all "
                "of them would take most of the time"
            )

    def _take_up(self, kept: Mapping[str, Any], executor: Executor) -> None:
        """What the run began with stays, whatever time it is given now; with more there may be rungs above."""
        pace = self.pace
        assert pace.task is not None
        self._seen, self._every_layer_first = kept.get("seen", 0.0), kept.get("every_layer_first", False)
        if self._every_layer_first and self._fastest:  # goes on elsewhere, where other costs were measured
            for every_layer in _of_every_layer(pace.task)[:1]:
                self._note_measured(self._measure_one(every_layer, executor))
        left = self._begin_to_plan()
        pace.plan = extended(plan_of(kept), pace.task, pace.costs, left, pace.slots)

    def _plan_first(self, executor: Executor, note: Callable[[str], None]) -> None:
        """The plan of a run that begins."""
        pace = self.pace
        assert pace.task is not None
        self._seen, self._every_layer_first = self._seen_first(pace.task, executor)
        left = self._begin_to_plan()
        pace.plan = self._first_plan(pace.task)
        if left is not None and is_hurried(pace.task, pace.costs, left, pace.slots):
            layers = "every layer" if self._every_layer_first else "the upper half of the layers"
            note(
                f"one configuration, with {layers} adapted, has all the time: rows are so many that passes over "
                "them are worth more than trying others, unless search.n_trials asks for it"
            )

    def _begin_to_plan(self) -> float | None:
        """Notes when it is planned, and fits what leads to what finals will see; returns the seconds for training."""
        self._planned_at, left = self._clock.seconds, self._clock.training_seconds_left
        self._foresee(self._seen)
        return left

    def _measure(
        self, kept: Mapping[str, Any], executor: Executor, note: Callable[[str], None], *, is_apart: bool
    ) -> None:
        """Measures, where that is needed, and leaves out what could not be."""
        pace, left = self.pace, self._clock.seconds_left
        here = kept.get("machine", self._where) == self._where  # what was measured on another is not so here
        before, left_out = known_costs(kept)
        if here:
            pace.costs, pace.left_out = before, left_out
            self.reserve.loading_seconds = kept.get("loading_seconds", 0.0)
        if left is not None and pace.costs.known:
            self._clock.look_again()
        if left is not None and not pace.costs.known:
            self._clock.refuse_too_little()
            own = ", in a process of its own, since the last command ended before that was done" if is_apart else ""
            note(f"measuring what a row costs here{own}")
            try:
                warmed = quietest(lambda: self._warmed_up(executor), self._left)
            except WarmUpFailedError as error:
                if not before.known or not self._proposals.has_results:
                    raise
                note(f"{error}; no trial is begun, and the best of those that were finished is tested")
                pace.costs, pace.left_out, self._idle = before, error.left_out, True
            else:
                pace.costs, pace.left_out = Costs(warmed.measured), warmed.left_out
                self._fastest = pace.costs.row_seconds  # what an earlier command measured may be of another machine
        if left is not None and pace.left_out:
            self._leave_out(note)

    def _warmed_up(self, executor: Executor) -> WarmedUp:
        """What was measured; for the test the time of the first loading is kept, since later tries have the model."""
        found = self._clock.undisturbed(lambda: warm_up(self._place, executor, self._left, self._run))
        self.reserve.loading_seconds = max(self.reserve.loading_seconds, found.loading_seconds)
        return found

    def _leave_out(self, note: Callable[[str], None]) -> None:
        """Has what could not be measured neither proposed nor planned for; where that is all, nothing is proposed."""
        pace, listing = self.pace, self._listing
        assert pace.task is not None
        listing.leave_out()
        fitting = tuple(kind for kind in pace.task.fitting if kind not in pace.left_out)
        pace.task = replace(
            pace.task,
            configurations=listing.configurations,
            leading=listing.leading,
            every=listing.every,
            fitting=fitting,
        )
        if fitting:
            note(f"left out, since it could not be measured: {named(pace.left_out)}")

    def _foresee(self, seen: float) -> None:
        """Has what leads fitted to as many examples as a final will see, within the limits that are known."""
        assert self.pace.task is not None
        self._listing.foresee(seen, every_layer_first=self._every_layer_first)
        leading, configurations = self._listing.leading, self._listing.configurations
        self.pace.task = replace(self.pace.task, leading=leading, configurations=configurations)

    def _seen_first(self, task: Task, executor: Executor) -> tuple[float, bool]:
        """Examples that a final of what comes first sees, and whether that is with every layer adapted.

        It is where by the clock it sees many, with no less a rank than what leads beside it. What it costs is measured
        where that may be so.
        """
        costs, clock = self.pace.costs, self._clock
        every_layer = _of_every_layer(task)
        of_one_rank = len({one.lora.r for one in task.leading}) == 1
        is_open = task.recipe.search.epochs == "clock" and 0 < len(every_layer) < len(task.leading)

        def sees_many(costs: Costs) -> bool:
            return foreseen(task, costs, clock.training_seconds_left, every_layer) >= EACH_SEEN * task.classes

        # Before it is measured it is taken to cost what the other one does, which is less.
        if is_open and of_one_rank and sees_many(costs):
            one = self._measure_one(every_layer[0], executor)
            if one is not None and sees_many(Costs([one])):
                self._note_measured(one)
                return foreseen(task, costs, clock.training_seconds_left, every_layer), True
        return foreseen(task, costs, clock.training_seconds_left, task.leading), False

    def _measure_one(self, configuration: Configuration, executor: Executor) -> Measured | None:
        def measure() -> Measured | None:
            return measure_one(self._place, executor, configuration, self._left, self._run)

        return quietest(lambda: self._clock.undisturbed(measure), self._left)

    @property
    def _left(self) -> float:
        """Seconds until the command must have ended, where that is limited."""
        return self._clock.seconds_left or 0.0

    def _note_measured(self, one: Measured | None) -> None:
        """Has what one more kind costs here known, which a machine that slows down is compared with too."""
        if one is not None:
            self.pace.costs.note(one)
            self._fastest[one.key] = one.train_row_seconds

    def _first_plan(self, task: Task) -> Plan:
        try:
            return make_plan(task, self.pace.costs, self._clock.training_seconds_left, self.pace.slots)
        except NoTrialFitsError as error:
            left, kept = self._left, self._clock.reserve
            after = f"{kept:.0f} s of {left:.0f} are kept for the test and the report"
            if kept > left:
                test = f"the test of {plural(self._clock.test_rows, 'row')}"
                after = f"{test} and the report alone take about {kept:.0f} s, and {left:.0f} s are left in all"
            raise BudgetError(f"{error}: {after}; give it {self._clock.would_do(left + error.missing)}") from None

    def write(self) -> None:
        """Keeps the plan with the run; where nothing could be measured, that of the machine where it was stays."""
        if self._idle:
            return
        plan, self._first = self.pace.plan, self._first or asdict(self.outlook(0, 0))
        values = {
            **as_json(plan),
            "first": self._first,
            "configurations": self._listing.configurations,
            "measured": self.pace.costs.as_json(),
            "machine": self._where,
            "loading_seconds": self.reserve.loading_seconds,
            "left_out": [[*kind, why] for kind, why in self.pace.left_out.items()],
            "longest": self.pace.longest,
            "seen": self._seen,
            "every_layer_first": self._every_layer_first,
        }
        write_plan(self._run, values)
        self._kept = plan

    def write_what_changed(self) -> None:
        """Keeps a plan that was fitted to the time left before a trial is begun by it: a resume goes on by it too."""
        if self.pace.limited and self.pace.plan != self._kept:
            self.write()

    def outlook(self, tried: int, ended: int, finals_to_come: int | None = None) -> Outlook:
        """The plan as people see it, with `tried` configurations begun and `ended` trials ended, as by `look_ahead`."""
        configurations = self._listing.configurations
        return look_ahead(self.pace, configurations, tried=tried, ended=ended, finals_to_come=finals_to_come)

    def note(self, job: Job, outcome: Outcome, epochs: float, seconds: float | None) -> None:
        """Plans anew after a trial, by what it took: `seconds` from its start to its end.

        None of one that was trained with others, in part by another process, or while this one stood still: it says
        nothing of what one by itself takes here, as finals are.
        """
        if outcome.timings is None or not epochs:
            return
        if seconds is not None:
            one = measured(
                job.configuration,
                outcome.timings,
                seconds,
                train_rows=len(job.rows.train),
                eval_rows=len(job.rows.validation),
                passes=epochs,
                evaluated=max(1, len(read_metrics(job.folder))),
            )
            self.pace.costs.note(one)
            self._note_speed(job.configuration)
            self.reserve.keep()
        self._plan_anew()
        if self.pace.limited:
            self.write()  # a run that is gone on with knows what trials take here

    def extend(self) -> bool:
        """Adds rungs above where the time left suffices for more rows, by the rule of `extended`; whether it did.

        A machine that has become faster, or that was slow for a moment, leaves time where all that was planned is done.
        Where no trial has a result there is nothing to compare with, and all is planned anew: a trial that was to have
        all the time may fail in its first steps.
        """
        pace, left = self.pace, self._clock.training_seconds_left
        if left is None or pace.task is None or self._idle:
            return False
        if self._proposals.has_results:
            plan = extended(pace.plan, pace.task, pace.costs, left, pace.slots)
            changed = plan.top != pace.plan.top
        else:
            plan = _anew(pace.plan, pace.task, pace.costs, left, pace.slots)
            changed = plan != pace.plan
        if changed:
            pace.plan, self._planned_at = plan, self._clock.seconds
            self.write()
        return changed

    def would_end(self, configuration: Configuration, step: int) -> bool:
        """Whether a trial that goes on from `step` would end in time."""
        from loraloom.engine.progress import plan_schedule

        left, task = self.pace.seconds_left, self.pace.task
        if left is None or task is None or not self.pace.costs.known:
            return True
        rung = task.rung_of(configuration.data.max_train_samples)
        rows, validated = task.rows(rung), task.validated(rung)
        done = min(1.0, step / plan_schedule(configuration.train, rows).total)
        return (1 - done) * self.pace.costs.seconds(configuration, rows, validated) <= left

    def job_deadline(self, eval_rows: int, configuration: Configuration) -> float | None:
        """The monotonic time at which a trial must have taken its last step: what is left is for `eval_rows`."""
        end = self._clock.training_end
        if end is None or not self.pace.costs.known:
            return end
        beside = self.pace.costs.beside_seconds(configuration)
        return end - TEST_CAUTION * (eval_rows * self.pace.costs.eval_row_seconds(configuration) + beside)

    def _note_speed(self, configuration: Configuration) -> None:
        """How much slower the machine has become, by rows of one kind: those of another may be dearer on any day.

        One that is timed for the first time is taken to be as much slower as the last.
        """
        key, row = cost_key(configuration), self.pace.costs.train_row_seconds(configuration)
        if key in self._fastest:
            self._clock.slowdown = max(1.0, row / self._fastest[key])
        self._fastest[key] = row / self._clock.slowdown

    def _plan_anew(self) -> None:
        """Finalists and seeds by what is known now, and passes and the last rung until a final has them."""
        pace, left = self.pace, self._clock.training_seconds_left
        if left is None or pace.task is None or pace.plan.finalists is None:
            return
        seconds = self._clock.seconds - self._planned_at + left  # as it was planned, by what is kept for the end now
        if pace.final_begun and pace.plan.epochs is not None:
            if not pace.plan.fitted:  # else the time that is left says how many of them are begun
                pace.plan = recounted(pace.plan, pace.task, pace.costs, seconds, pace.slots)
            return
        try:
            new = make_plan(pace.task, pace.costs, seconds, pace.slots)
        except NoTrialFitsError:
            return
        pace.plan = planned_anew(pace.plan, new, pace.task, pace.costs, seconds, begun=pace.final_begun)


def _of_every_layer(task: Task) -> tuple[Configuration, ...]:
    """What leads with every layer adapted."""
    return tuple(one for one in task.leading if one.lora.layers_to_transform is None)


def _anew(kept: Plan, task: Task, costs: Costs, seconds: float, slots: int) -> Plan:
    """The plan of a search that begins now; `kept` where no trial fits."""
    try:
        return make_plan(task, costs, seconds, slots)
    except NoTrialFitsError:
        return kept


@cache
def _machine() -> str:
    """What durations depend on; GPUs are counted and not touched, since workers may be who trains on them."""
    import torch

    machine, visible = read_machine(), os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = f"{torch.cuda.device_count()} GPUs" + (f" ({visible})" if visible else "")
    return ", ".join((machine.cpu, f"{machine.logical_cores} cores", gpus, *machine.gpus))
