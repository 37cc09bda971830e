"""The winner trained once more, on the rows that were held out to choose it too: RUN/refit.

What a search holds out to choose by is lost to its trainings. Here the winner's configuration, with its seed and its
passes, is trained on training and validation rows together. The test rows stay held out, with validation rows that are
among them, or nearly: the refitted adapter is tested on them as the winner was. Its validation result is the winner's,
as `best_score_` is beside the refitted `best_estimator_` of scikit-learn's GridSearchCV; so is its temperature. Where
the winner is the mean of several seeds, each of them is trained again, and the refit is their mean.

Costs one training, or one of each seed. The adapter appears whole or not at all; a training that was broken off is gone
on with.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloom import metrics
from loraloom.data import TextData
from loraloom.data.checks import with_validation
from loraloom.data.sampling import part_of
from loraloom.data.text_data import fingerprint
from loraloom.engine import Job, Outcome
from loraloom.errors import AdapterError, LoraloomError, RunError
from loraloom.execute.alone import alone, left_as_found
from loraloom.execute.in_process import InProcess, choose_engine
from loraloom.execute.recording import Recorder
from loraloom.execute.stopping import Stop
from loraloom.execute.workplace import Workplace
from loraloom.preparation import prepare_again
from loraloom.recipe import Configuration
from loraloom.report.model_card import model_card
from loraloom.report.wording import roughly, share
from loraloom.search.proposals import Proposal
from loraloom.search.watcher import Watcher
from loraloom.souping import is_soup_of, mix_into, numbers, standing_of
from loraloom.study.choice import to_mix
from loraloom.study.commands import command_on, go_on_command
from loraloom.study.durable import (
    discard,
    replacing_folder,
    system_errors_of,
    verify_manifest,
    write_manifest,
    write_text,
)
from loraloom.study.record import (
    CARD,
    CONFIG,
    RECORD,
    REFITTED,
    TEST_PREDICTIONS,
    WEIGHTS,
    Evaluation,
    Result,
    TrialRecord,
    read_record,
    write_record,
)
from loraloom.study.run import BEST, REFIT, REFITTING, Run, folder_to_begin
from loraloom.use.backbones import Backbones
from loraloom.use.copies import keep_fitted
from loraloom.use.evaluate import test_winner
from loraloom.wording import in_passes, plural

SAID_EVERY = 30.0
"""Seconds after which how far a training is may be said again: it has a line each time."""


def refit(
    out: Path | str,
    *,
    watcher: Watcher | None = None,
    stop: Stop | None = None,
    **in_memory: Any,
) -> TrialRecord:
    """Trains the winner of the run in `out` on its training and validation rows; returns the record of RUN/refit.

    `in_memory` are rows that were given to the search from Python, which are given again.

    Raises:
        RunError: there is no run or no winner, its rows or models have changed, or all validation rows are in test too.
        LoraloomError: the training failed, or came to less than the winner.
        StoppedError: it was stopped; the same command goes on with it.
    """
    with alone(), left_as_found():
        run, watcher, stop = Run(Path(out)), watcher or Watcher(), stop or Stop()
        with run.locked():
            winner = run.winner()
            place = prepare_again(run, watcher, in_memory, command_on("refit", run.path, run.recipe))
            work = run.path / REFITTING
            place = place.over(data=_with_held_out(run, _asked_for(place), watcher))
            if work.is_symlink() or work.is_file():
                work.unlink()  # what lies behind a link is not the run's to write into
            trials = _trials(run, winner)
            folders = [work / f"{trial.number:04d}" for trial in trials]
            for trial, folder in zip(trials, folders, strict=True):
                _train_again(place, trial, folder, watcher, stop)
            watcher.note("testing it")
            refitted = _publish(run, winner, folders, place, watcher.note)
            discard(work)
            return refitted


def _trials(run: Run, winner: TrialRecord) -> tuple[TrialRecord, ...]:
    """The trials that the winner's weights are of: its own, or those whose mean it is, the best first.

    Raises:
        RunError: one of those is gone.
    """
    if not winner.is_soup:
        return (winner,)
    seeds = standing_of(run, winner)
    if not is_soup_of(winner, seeds):
        had = f"{winner.called}, of which the run has {numbers(to_mix(seeds))}"
        raise RunError(f"{run.path / BEST}: is {had}; go on by: {go_on_command(run.path)}")
    return to_mix(seeds)


def _train_again(place: Workplace, trial: TrialRecord, folder: Path, watcher: Watcher, stop: Stop) -> None:
    """Trains a trial on all rows of `place` in `folder`, or goes on with that, unless it was done before.

    Raises:
        LoraloomError: it failed, or came to less than it was.
        StoppedError: it was stopped.
    """
    configuration = _configuration(trial)
    if _is_trained(folder, trial, configuration):
        return
    watcher.note(_foreseen(trial, len(place.data.train)))
    job = place.job(trial.number, configuration, folder_to_begin(folder), noted=False)
    outcome = _train(place, job, stop, watcher.note)
    if outcome.state == "stopped":
        stop.raise_if_asked()
    if outcome.result is None:
        raise LoraloomError(f"the training failed: {outcome.reason}; {BEST}/ is as it was")
    _refuse_less(outcome.result.validation.accuracy, trial, folder.parent)
    _record(place, trial, configuration, job, outcome)
    stop.raise_if_asked()


def _asked_for(place: Workplace) -> TextData:
    """The rows that the recipe trains on: a part where it writes how many, whatever part a rung or the clock left."""
    limit, data = place.recipe.data.max_train_samples, place.data
    return data if limit is None else replace(data, train=part_of(data.train, limit, place.recipe.train.seed))


def _with_held_out(run: Run, data: TextData, watcher: Watcher) -> TextData:
    """The rows with those of validation among those of training too, which then tell a training that collapsed.

    Raises:
        RunError: all of these are in test too.
    """
    train = with_validation(data)
    added = len(train) - len(data.train)
    if added == 0:
        why = "validation has no row that test has not, or nearly: there is nothing more to train on"
        raise RunError(f"{run.path}: {why}")
    if left_out := len(data.validation) - added:
        watcher.note(f"leaving out {plural(left_out, 'validation row')} without a text, or in test too, or nearly")
    watcher.note(f"adding {plural(added, 'validation row')} to {plural(len(data.train), 'training row')}")
    return replace(data, train=train, fingerprint=fingerprint(data.labels, (train, data.validation, data.test)))


def _configuration(trial: TrialRecord) -> Configuration:
    """The trial's, on all rows of the `Workplace`, for as many passes as it had."""
    configuration = trial.configuration.with_fields(data={"max_train_samples": None})
    return configuration.with_fields(train={"num_train_epochs": trial.epochs}) if trial.cut_short else configuration


def _is_trained(folder: Path, trial: TrialRecord, configuration: Configuration) -> bool:
    """Whether the training of this trial came to its end in `folder`, and what follows it was broken off."""
    try:
        verify_manifest(folder)
        record = read_record(folder)
    except (AdapterError, RunError):
        return False
    return record.is_refitted and (record.number, record.configuration) == (trial.number, configuration)


def _foreseen(trial: TrialRecord, rows: int) -> str:
    """What is trained, and how long that takes, by the trial's own training."""
    said = f"training trial {trial.number} again on {rows:,} rows"
    if trial.timings is None or not trial.train_rows:
        return said
    return f"{said}, in about {roughly(trial.timings.train_seconds * rows / trial.train_rows)}"


def _done(epoch: float, passes: float) -> str:
    """How far it is; its last batch may be more than was asked for."""
    return f"{round(min(epoch, passes), 2):g} of {in_passes(passes)} done"


def _train(place: Workplace, job: Job, stop: Stop, note: Callable[[str], None]) -> Outcome:
    """Trains the job in this process, or to its next step once it is to `stop`.

    Raises:
        LoraloomError: it came to nothing.
    """
    passes, said = job.configuration.train.num_train_epochs, time.monotonic()

    def heard(job: Job, evaluation: Evaluation) -> bool:
        nonlocal said
        del job
        if time.monotonic() - said < SAID_EVERY:
            return True
        said = time.monotonic()
        note(f"{_done(evaluation.epoch, passes)}, training loss {evaluation.train_loss:.3f}")
        return True

    with closing(InProcess(choose_engine(place.recipe).engine, note)) as executor, stop.politely():
        executor.start([job])
        finished = executor.wait(heard, stop.asked)
    if finished.lost is not None:
        raise LoraloomError(f"the training failed: {finished.lost}; {BEST}/ is as it was")
    (outcome,) = finished.outcomes
    return outcome


def _refuse_less(accuracy: float, before: TrialRecord, work: Path) -> None:
    """Refuses what has learnt less of the validation rows, which it was trained on, than it knew of them `before`.

    Raises:
        LoraloomError: it is so.
    """
    knew = before.validation
    if knew.is_above(accuracy):
        discard(work)
        raise LoraloomError(
            f"the training came to an accuracy of {share(accuracy)} on the validation rows, which it was trained on, "
            f"where {before.called} has {share(knew.accuracy)} without; it is not kept, and {BEST}/ is as it was"
        )


def _record(place: Workplace, winner: TrialRecord, configuration: Configuration, job: Job, outcome: Outcome) -> None:
    """Writes the record into the job's folder, and its manifest: it can be loaded then, as a user would."""
    outcome = replace(outcome, result=Result(validation=winner.validation), marks=(*outcome.marks, REFITTED))
    Recorder(place).write(Proposal(winner.number, winner.point, configuration), job, outcome)


def _publish(
    run: Run, winner: TrialRecord, folders: Sequence[Path], place: Workplace, note: Callable[[str], None]
) -> TrialRecord:
    """Makes RUN/refit of what was trained in `folders`, their mean if they are several, and tests it as it is loaded.

    Raises:
        UnmixableError: they have no mean.
        LoraloomError: it came to less than the winner.
    """
    trained, backbones = [read_record(folder) for folder in folders], Backbones()
    with replacing_folder(run.path / REFIT) as new, system_errors_of(run.path / REFIT):
        if len(folders) > 1:
            rows = place.rows(trained[0].configuration, noted=False)
            mix_into(new, trained, folders, rows.validation, backbones)
            classifier = backbones.add(new)
            probabilities = metrics.softmax(classifier.logits_of(rows.validation))
            accuracy = metrics.score(rows.data.validation.labels, probabilities).accuracy
            _refuse_less(accuracy, winner, folders[0].parent)  # seeds that learnt may have a mean that knows nothing
        else:
            for name in (WEIGHTS, CONFIG, RECORD):
                shutil.copyfile(folders[0] / name, new / name)
            write_manifest(new)
            classifier = backbones.add(new)
        tested, predictions = test_winner(classifier, place.data.test, winner.tested_rows, note)
        record = tested.model_copy(update={"result": Result(validation=winner.validation, test=tested.test)})
        write_record(new, record)
        write_text(new / TEST_PREDICTIONS, predictions)
        write_text(new / CARD, model_card(run.path, record))
        keep_fitted(run.path / BEST, record, new)
    return record
