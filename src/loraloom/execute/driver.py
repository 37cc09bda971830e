"""The driver: takes proposals, has them trained, and writes what became of them. It alone writes the ledger.

A trial's order of writing is: its adapter and metrics, its record, its manifest, and then the ledger. A kill between
the last two leaves a finished folder under a running entry, which the next start settles without training again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from loraloom.data import TextData
from loraloom.engine import Job, Outcome, pack_key
from loraloom.errors import RunError
from loraloom.execute.in_process import InProcess
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Configuration
from loraloom.search.clock import Clock
from loraloom.search.proposals import Proposal, Proposals
from loraloom.search.restoring import open_ledger
from loraloom.search.watcher import SearchPlan, Watcher
from loraloom.study.durable import disk_is_full, is_whole, write_json, write_manifest, write_text
from loraloom.study.leaderboard import LEADERBOARD, leaderboard_csv, standings, validation
from loraloom.study.record import RECORD, Evaluation, TrialRecord, read_record
from loraloom.study.run import Run


class Driver:
    """Runs the trials of one run."""

    def __init__(self, run: Run, place: Workplace, executor: InProcess, watcher: Watcher, clock: Clock) -> None:
        self._run, self._place, self._executor = run, place, executor
        self._watcher, self._clock = watcher, clock
        self._ledger = open_ledger(run, watcher.note)
        self._waiting: Proposal | None = None
        self._proposals = Proposals(run.recipe, self._ledger, place.why_not)

    def announce(self, engine: str, reason: str) -> None:
        """Tells the watcher what is about to be done."""
        data = self._place.data
        self._watcher.planned(
            SearchPlan(
                recipe=self._run.recipe,
                run=self._run.path,
                data=data.name,
                labels=data.labels,
                rows=(len(data.train.texts), len(data.validation.texts), len(data.test.texts)),
                configurations=self._proposals.configurations,
                trials=self._proposals.trials,
                finished=len(self._run.records()),
                dropped=tuple(self._run.recipe.provenance.get("dropped_points", ())),
                engine=engine,
                engine_reason=reason,
            )
        )

    def run_trials(self) -> None:
        """Trains until the plan is done or the time is used."""
        for interrupted in self._proposals.interrupted():
            self._settle(interrupted)
        while self._clock.has_room() and (pack := self._next_pack()):
            self._train(pack)

    def _next_pack(self) -> list[Proposal]:
        """As many proposals as are best trained together; one that can't join them waits for the next pack."""
        first = self._waiting or self._proposals.next()
        self._waiting = None
        if first is None:
            return []
        pack, key = [first], pack_key(first.configuration)
        source = self._place.source(first.configuration.backbone)
        size = self._executor.pack_size(source, first.configuration)
        while len(pack) < size and (more := self._proposals.next()) is not None:
            if pack_key(more.configuration) != key:
                self._waiting = more
                break
            pack.append(more)
        return pack

    def _settle(self, proposal: Proposal) -> None:
        """A trial that was under way at a kill: finished in its folder, or to be begun again."""
        folder = self._run.trial_folder(proposal.number)
        if is_whole(folder):
            self._tell(read_record(folder))
        else:
            self._train([proposal])

    def _train(self, proposals: Sequence[Proposal]) -> None:
        """Trains proposals as one pack."""
        jobs = [self._begin(proposal) for proposal in proposals]
        start = time.monotonic()
        try:
            outcomes = self._executor.run(jobs, self._hear)
        except Exception as error:
            if disk_is_full(error):
                raise RunError(
                    f"{self._run.path}: no space is left on the disk; free some, then: loraloom resume {self._run.path}"
                ) from error
            raise
        self._clock.note_trial(time.monotonic() - start)
        for proposal, job, outcome in zip(proposals, jobs, outcomes, strict=True):
            record = self._record(proposal, outcome)
            write_json(job.folder / RECORD, record.model_dump(mode="json"))
            write_manifest(job.folder)
            self._tell(record)

    def _begin(self, proposal: Proposal) -> Job:
        parameters = self._place.parameters(proposal.configuration).trainable
        rows = self._place.rows(proposal.configuration)
        self._watcher.trial_started(proposal, parameters)
        return Job(
            number=proposal.number,
            configuration=proposal.configuration,
            source=self._place.source(proposal.configuration.backbone),
            rows=rows,
            folder=self._run.empty_trial_folder(proposal.number),
            expected_parameters=parameters,
            deadline=self._clock.trial_deadline,
        )

    def _hear(self, job: Job, evaluation: Evaluation) -> bool:
        self._watcher.evaluated(job.number, evaluation)
        metric = self._run.recipe.search.metric
        value = evaluation.validation_accuracy if metric == "accuracy" else evaluation.validation_macro_f1
        return self._ledger.report(job.number, evaluation.step, value)

    def _tell(self, record: TrialRecord) -> None:
        metric = self._run.recipe.search.metric
        value = validation(record, metric) if record.state == "complete" else None
        self._ledger.tell(record.number, record.state, value, record.reason)
        records = self._run.records()
        write_text(self._run.path / LEADERBOARD, leaderboard_csv(records, metric))
        self._watcher.trial_ended(record, standings(records, metric), self._clock.seconds)

    def _record(self, proposal: Proposal, outcome: Outcome) -> TrialRecord:
        data = self._place.data
        marks = (*outcome.marks, *(("leaked rows were kept",) if data.leak_kept else ()))
        return TrialRecord(
            number=proposal.number,
            state=outcome.state,
            reason=outcome.reason,
            configuration=_with_columns(proposal.configuration, data),
            point=proposal.point,
            seed=proposal.configuration.train.seed,
            labels=data.labels,
            label_codes=data.label_codes,
            backbone_revision=self._place.revision(proposal.configuration.backbone),
            counts=outcome.counts,
            result=outcome.result,
            timings=outcome.timings,
            engine=outcome.engine,
            dtype=outcome.dtype,
            marks=marks,
        )


def _with_columns(configuration: Configuration, data: TextData) -> Configuration:
    """The configuration with the columns that were read, guessed ones too: predictions read the same."""
    columns = {"text_column": data.text_column, "label_column": data.label_column}
    return configuration.model_copy(update={"data": configuration.data.model_copy(update=columns)})
