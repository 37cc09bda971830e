"""Tells a run's trackers what its watcher hears: the search, each trial's metrics by step, its end, the winner's test.

Names of metrics: train/loss, train/learning_rate, train/accuracy, train/epoch, validation/loss,
validation/accuracy, validation/macro_f1 by step; and result/… of a trial that ended. What a tracker was not told, since
it failed or a kill came between, it is told when the run goes on: the run folder holds it all.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loraloom.errors import MissingExtraError, StoppedError, in_a_line, is_installed
from loraloom.recipe import Configuration, Tracker
from loraloom.search.outlook import Outlook
from loraloom.search.proposals import Proposal
from loraloom.search.watcher import SearchPlan, Watcher, Watchers
from loraloom.study.durable import write_text
from loraloom.study.leaderboard import Standing
from loraloom.study.record import Evaluation, Score, TrialRecord, read_metrics
from loraloom.study.run import Run
from loraloom.tracking.channel import Channel, Limits
from loraloom.tracking.child import CLASSES
from loraloom.tracking.tracker import Scalar

TRACKING, KEY = "tracking", "key"


@contextmanager
def tracked(
    run: Run,
    watcher: Watcher,
    *,
    seconds_left: Callable[[], float | None] = lambda: None,
) -> Iterator[Watcher]:
    """The watcher of `run` by which its trackers (`report_to`) hear too; at the end they are closed, in a bounded time.

    Trackers are not waited for beyond the run's deadline, which is `seconds_left` away.
    """
    if not run.recipe.report_to:
        yield watcher
        return
    folder, limits = run.path.absolute() / TRACKING, Limits()
    channels = [Channel(name, CLASSES[name], folder, limits) for name in run.recipe.report_to]
    reporter = Reporter(run, channels, watcher.warned)
    finished = False
    try:
        yield Watchers(watcher, reporter)
        finished = True
    finally:
        seconds, left = limits.close_seconds if finished else limits.broken_off_seconds, seconds_left()
        reporter.end(seconds if left is None else max(0.0, min(seconds, left)), finished=finished)


def refuse_missing(names: Sequence[Tracker]) -> None:
    """Refuses trackers whose library is not installed; none is imported for it.

    Raises:
        MissingExtraError: one is not; it names the extra that brings it.
    """
    for name in names:
        if not is_installed(name):
            raise MissingExtraError(f"report_to: {name}", name)


class Reporter(Watcher):
    """Hears of a run and tells its trackers; a tracker's failure is said once, and is no failure of the run."""

    def __init__(self, run: Run, channels: Sequence[Channel], say: Callable[[str], None]) -> None:
        self._run, self._channels, self._say = run, channels, say
        self._told: dict[int, set[int]] = {}
        """The steps of each trial under way whose evaluations were told."""
        self._said: set[str] = set()

    def planned(self, plan: SearchPlan) -> None:
        """Also tells of finished trials whose end a tracker has not been told."""
        with self._harmless():
            path = self._run.path.absolute()
            (key, name), facts = run_key(path / TRACKING, path.name), facts_of(plan)
            records = self._run.records()
            for channel in self._channels:
                folder = str(path / TRACKING / channel.name)
                channel.send("begin", name=name, key=key, folder=folder, facts=facts)
                ended = channel.ended_trials()
                missed = [record for record in records if record.number not in ended]
                # not at once: thousands may be missing, and more calls than a tracker may be behind by
                channel.send_all(call for record in missed for call in self._whole(record))

    def trial_started(self, proposal: Proposal, parameters: int) -> None:
        """Where a trial goes on from a checkpoint, what it had evaluated before is told first."""
        with self._harmless():
            beginning = self._beginning(proposal.number, proposal.point, proposal.configuration)
            self._tell_all("begin_trial", **beginning)
            self._told[proposal.number] = set()
            self._tell_missing(proposal.number)

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        with self._harmless():
            told = self._told.setdefault(number, set())
            if evaluation.step not in told:
                told.add(evaluation.step)
                self._tell_all("log", number=number, points=points_of([evaluation]))

    def trial_ended(self, record: TrialRecord, standings: tuple[Standing, ...], outlook: Outlook) -> None:
        with self._harmless():
            if record.number in self._told:
                self._tell_missing(record.number)
                self._tell_all("end_trial", **_ending(record))
                del self._told[record.number]
            else:  # it was finished at a kill, and is settled without being trained
                for channel in self._channels:
                    if record.number not in channel.ended_trials():
                        channel.send_all(self._whole(record))

    def crowned(self, winner: TrialRecord) -> None:
        with self._harmless():
            parameters = parameters_of(winner.configuration)
            self._tell_all("crown", number=winner.number, parameters=parameters, figures=figures_of(winner))

    def end(self, seconds: float, *, finished: bool) -> None:
        """Closes all trackers, side by side, in `seconds` at most; says which of them failed."""
        deadline = time.monotonic() + seconds
        try:
            for channel in self._channels:
                channel.close(finished=finished)
            for channel in self._channels:
                channel.wait(deadline - time.monotonic())
        finally:
            for channel in self._channels:
                channel.wait(0)
            self._say_failures()

    def _tell_all(self, call: str, **arguments: Any) -> None:
        for channel in self._channels:
            channel.send(call, **arguments)

    def _whole(self, record: TrialRecord) -> Iterator[tuple[str, dict[str, Any]]]:
        """The calls that tell of a finished trial, from its folder."""
        points = points_of(read_metrics(self._run.trial_folder(record.number)))
        yield "begin_trial", self._beginning(record.number, record.point, record.configuration)
        yield "log", {"number": record.number, "points": points}
        yield "end_trial", _ending(record)

    def _tell_missing(self, number: int) -> None:
        """Evaluations in the trial's folder that were not told."""
        told = self._told[number]
        missing = [line for line in read_metrics(self._run.trial_folder(number)) if line.step not in told]
        if missing:
            told.update(line.step for line in missing)
            self._tell_all("log", number=number, points=points_of(missing))

    def _beginning(self, number: int, point: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
        varied = {name: scalar(value) for name, value in point.items()}
        if self._run.recipe.tells_seeds(configuration):
            varied["train.seed"] = configuration.train.seed
        return {"number": number, "varied": varied, "parameters": parameters_of(configuration)}

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """What goes wrong here (a folder that can't be written to, say) ends tracking, not the run."""
        try:
            yield
        except StoppedError:
            raise
        except Exception as error:
            for channel in self._channels:
                channel.give_up(in_a_line(error))
        self._say_failures()

    def _say_failures(self) -> None:
        for channel in self._channels:
            if channel.why_ended is not None and channel.name not in self._said:
                self._said.add(channel.name)
                self._say(
                    f"{channel.name} is no longer told of this run: {channel.why_ended} ({channel.log} may say more); "
                    "the run is not affected, and 'loraloom resume' tells it what it missed"
                )


def _ending(record: TrialRecord) -> dict[str, Any]:
    return {"number": record.number, "state": record.state, "reason": record.reason, "figures": figures_of(record)}


def run_key(folder: Path, name: str) -> tuple[str, str]:
    """Eight characters that name a run among all others, and its name, made on first use and kept in its folder.

    The name stays, since trackers know a run by both: one whose folder was moved would be another to them.
    """
    path = folder / KEY
    key, _, kept = path.read_text(encoding="utf-8").partition("\n") if path.is_file() else ("", "", "")
    if not kept:  # one of an older version has no name
        folder.mkdir(parents=True, exist_ok=True)
        key, kept = key or uuid.uuid4().hex[:8], name
        write_text(path, f"{key}\n{kept}\n")
    return key, kept.removesuffix("\n")


def facts_of(plan: SearchPlan) -> dict[str, Scalar]:
    """What is said of the search as a whole."""
    recipe = plan.recipe
    facts: dict[str, Scalar | None] = {
        "data": plan.data,
        "labels": len(plan.labels),
        "training_rows": plan.rows[0],
        "validation_rows": plan.rows[1],
        "test_rows": plan.rows[2],
        "engine": plan.engine,
        "sampler": recipe.search.sampler,
        "pruner": recipe.search.pruner,
        "metric": recipe.search.metric,
        "max_trainable_parameters": recipe.budget.max_trainable_parameters,
        "max_seconds": recipe.budget.max_seconds,
    }
    return {name: value for name, value in facts.items() if value is not None}


def parameters_of(configuration: Configuration) -> dict[str, Scalar]:
    """A configuration by dotted names; what it leaves open is left out."""
    sections = configuration.model_dump(mode="json")
    flat = {f"{section}.{name}": value for section, fields in sections.items() for name, value in fields.items()}
    return {name: scalar(value) for name, value in flat.items() if value is not None}


def scalar(value: Any) -> Scalar:
    """A value that any tracker takes: lists and null as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def points_of(evaluations: Sequence[Evaluation]) -> list[tuple[int, dict[str, float]]]:
    """(step, metrics), steps rising: the traced steps of training, and the evaluations."""
    steps: dict[int, dict[str, float]] = {}
    for line in evaluations:
        for step, loss, rate in line.trace or ((line.step, line.train_loss, line.learning_rate),):
            steps.setdefault(step, {}).update({"train/loss": loss, "train/learning_rate": rate})
        steps.setdefault(line.step, {}).update(
            {
                "train/accuracy": line.train_accuracy,
                "train/epoch": line.epoch,
                "validation/loss": line.validation_loss,
                "validation/accuracy": line.validation_accuracy,
                "validation/macro_f1": line.validation_macro_f1,
            }
        )
    return [(step, _finite(steps[step])) for step in sorted(steps)]


def figures_of(record: TrialRecord) -> dict[str, float]:
    """Counts, speed, and the result of a trial that ended; its test result where it is the winner's."""
    figures: dict[str, float] = {f"result/{name}_parameters": n for name, n in record.counts.model_dump().items()}
    if record.timings is not None:
        figures["result/seconds"] = record.timings.seconds
        figures["result/examples_per_second"] = record.timings.examples_per_second
    if record.result is not None:
        figures |= _score("validation", record.result.validation)
        if record.result.test is not None:
            figures |= {**_score("test", record.result.test), "result/tested_rows": record.tested_rows}
    return _finite(figures)


def _score(split: str, score: Score) -> dict[str, float]:
    return {f"result/{split}_{name}": getattr(score, name) for name in ("accuracy", "macro_f1", "loss")}


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """A loss that is not finite is not a point that every tracker can keep."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
