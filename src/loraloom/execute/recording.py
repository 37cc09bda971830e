"""What is written of a trial that has ended: its record, then its manifest, by which the folder counts as finished."""

from __future__ import annotations

import numpy as np

from loraloom.data import TextData
from loraloom.engine import Job, Outcome
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Configuration
from loraloom.search.proposals import Proposal
from loraloom.study.durable import discard, write_manifest
from loraloom.study.record import CHECKPOINT, LEAKED, Counts, Evaluation, TrialRecord, read_metrics, write_record


class Recorder:
    """Makes records of outcomes, and writes them into their folders."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._epochs: dict[int, float] = {}

    def hear(self, job: Job, evaluation: Evaluation) -> None:
        """Takes note of how far a trial has come."""
        self._epochs[job.number] = evaluation.epoch

    def epochs(self, job: Job) -> float:
        """Passes that a trial under way has done, as far as was heard."""
        return self._epochs.get(job.number, 0.0)

    def write(self, proposal: Proposal, job: Job, outcome: Outcome) -> TrialRecord:
        """The record of a trial, written with the folder's manifest after it; its checkpoint is removed then."""
        record = self._record(proposal, job, outcome)
        write_record(job.folder, record)
        write_manifest(job.folder, without=CHECKPOINT)
        discard(job.folder / CHECKPOINT)
        return record

    def lost(self, job: Job, reason: str) -> Outcome:
        """The outcome of a trial that ended without one."""
        adaptation = self._place.demands.adaptation(job.configuration)
        counted = self._place.demands.parameters(job.configuration)
        return Outcome(
            engine="none",
            state="failed",
            dtype=job.configuration.train.number_type or "fp32",  # nothing is measured for it
            counts=Counts(
                trainable=counted.trainable,
                lora=counted.lora,
                bias=counted.bias,
                head=counted.head,
                frozen=adaptation.shape.frozen,
            ),
            reason=reason,
        )

    def _record(self, proposal: Proposal, job: Job, outcome: Outcome) -> TrialRecord:
        assert outcome.state != "stopped"
        data = self._place.data
        marks = (*outcome.marks, *((LEAKED,) if data.leak_kept else ()))
        return TrialRecord(
            number=proposal.number,
            state=outcome.state,
            reason=outcome.reason,
            configuration=_with_columns(proposal.configuration, data),
            point=proposal.point,
            seed=proposal.configuration.train.seed,
            train_rows=len(job.rows.train),
            epochs=_passes(job, self._epochs.pop(job.number, 0.0)),
            labels=data.labels,
            label_codes=data.label_codes,
            class_rows=tuple(np.bincount(data.train.labels, minlength=len(data.labels)).tolist()),
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
    return configuration.with_fields(data={"text_column": data.text_column, "label_column": data.label_column})


def _passes(job: Job, heard: float) -> float:
    """Passes up to the last evaluation: of a trial that went on from a checkpoint this process may have heard none."""
    kept = read_metrics(job.folder)
    return max(heard, kept[-1].epoch if kept else 0.0)  # a shared disk may show what was heard later
