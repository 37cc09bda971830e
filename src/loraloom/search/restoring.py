"""The ledger compared with the trial folders, and written anew from them where the two disagree.

SQLite has no checksums: a flipped bit in study.db can make another number of a value, unnoticed. What a finished trial
was is in its folder too, under SHA-256. So where an entry is not what the folder says, or the file can't be used at
all, the folders decide; the old file is kept beside the new as study.db.damaged. Entries that have no finished folder
are taken from the old ledger where it can be read: rejected ones as they are, ended ones to be trained again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from loraloom.data.telling import Telling
from loraloom.errors import DamagedError
from loraloom.recipe import Recipe
from loraloom.search.points import distribution, ledger_params
from loraloom.search.pruning import make_pruner
from loraloom.study.durable import is_whole
from loraloom.study.integrity import put_aside_damage
from loraloom.study.leaderboard import reported, validation
from loraloom.study.ledger import (
    NOT_TRAINED,
    REASON,
    ROWS,
    SEED_INDEX,
    STATES,
    Ledger,
    noted,
    was_rejected,
    write_trials,
)
from loraloom.study.pruning_notes import ENDED, pruner_notes
from loraloom.study.record import Evaluation, TrialRecord, read_metrics
from loraloom.study.run import BEST, LEDGER, Run, read_trial, trial_folders

LOST = f"{NOT_TRAINED}: its entry was lost with a damaged ledger"


def open_ledger(run: Run, say: Callable[[str], None]) -> Ledger:
    """The run's ledger, after all of the run was checked and put right; what was wrong is said.

    Raises:
        RunError: the disk is full, or a file can't be read.
    """
    folders, telling = trial_folders(run.path), Telling(say)
    put_aside_damage(run.path, telling.trials("checking the trial folders", folders), run.path / BEST, say)
    whole = [folder for folder in folders if is_whole(folder)]
    reading = telling.trials("reading the trial folders", whole)
    found = {int(folder.name): (read_trial(folder), read_metrics(folder)) for folder in reading}
    path = run.path / LEDGER
    existed = path.exists()
    try:
        ledger = _open(run)
        old = {trial.number: trial for trial in ledger.trials()}
        wrong = _disagreement(run.recipe, found, old)
    except DamagedError as error:
        if not existed:
            raise  # a new one can't be written either
        old, wrong = {}, str(error)
    if wrong is None:
        return ledger
    say(f"{wrong}; the ledger is written anew from the trial folders")
    if existed:  # it stays in its place until the new one takes it: rejected entries are nowhere else
        shutil.copyfile(path, path.with_name(f"{LEDGER}.damaged"))
    write_trials(path, telling.trials("writing the ledger", _trials(run.recipe, found, old)))
    return _open(run)


def _open(run: Run) -> Ledger:
    return Ledger(run.path / LEDGER, make_pruner(run.recipe))


Found = Mapping[int, tuple[TrialRecord, tuple[Evaluation, ...]]]


def _disagreement(recipe: Recipe, found: Found, old: Mapping[int, FrozenTrial]) -> str | None:
    """The first difference between folders and ledger, in a sentence; None where there is none."""
    for number, (record, evaluations) in sorted(found.items()):
        if number not in old:
            return f"study.db: has no trial {number}, which has a finished folder"
        trial, expected = old[number], _trial(recipe, record, evaluations)
        told = trial.state != TrialState.RUNNING  # else a kill came between the folder and the ledger
        pairs: list[tuple[str, Any, Any]] = [
            ("values", trial.params, expected.params),
            ("seed", trial.user_attrs.get(SEED_INDEX, 0), expected.user_attrs.get(SEED_INDEX, 0)),
            ("rows", trial.user_attrs.get(ROWS), expected.user_attrs.get(ROWS)),
        ]
        if told:
            pairs += [
                ("evaluations", trial.intermediate_values, expected.intermediate_values),
                ("pruner's notes", trial.system_attrs, expected.system_attrs),
                ("state", trial.state, expected.state),
                ("value", trial.value, expected.value),
            ]
        for name, held, wanted in pairs:
            if held != wanted:
                return f"study.db: the {name} of trial {number} are not those in its folder"
    for number, trial in sorted(old.items()):
        if trial.state != TrialState.RUNNING and number not in found and not was_rejected(trial):
            return f"study.db: trial {number} has ended, but has no finished folder"
    return None


def _trials(recipe: Recipe, found: Found, old: Mapping[int, FrozenTrial]) -> list[FrozenTrial]:
    """What the ledger is to hold, by number and without a gap: samplers are seeded by numbers."""
    trials = []
    for number in range(max([*found, *old], default=-1) + 1):
        if number in found:
            trials.append(_trial(recipe, *found[number]))
        elif number in old and was_rejected(old[number]):
            trials.append(old[number])
        elif number in old:
            trials.append(_begun(old[number]))
        else:
            trials.append(create_trial(state=TrialState.FAIL, user_attrs={REASON: LOST}))
    return trials


def _begun(trial: FrozenTrial) -> FrozenTrial:
    """A trial that is to be trained, again or on, with what its pruner has decided: beside later trials it might decide
    otherwise."""
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={name: value for name, value in trial.user_attrs.items() if name != REASON},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _trial(recipe: Recipe, record: TrialRecord, evaluations: tuple[Evaluation, ...]) -> FrozenTrial:
    """A finished trial as the driver tells it to the ledger."""
    metric = recipe.search.metric
    values = reported(evaluations, metric)
    first = recipe.configuration(record.point).train.seed
    rows = record.configuration.data.max_train_samples
    user = noted(record.seed - first, None if rows == recipe.data.max_train_samples else rows)
    if record.reason is not None:
        user[REASON] = record.reason
    if record.state == "pruned" and values:
        user[ENDED] = max(values)
    value = None
    if record.state == "complete":
        value = validation(record, metric)
    elif record.state == "pruned" and values:
        value = values[max(values)]  # as Optuna has it
    params = ledger_params(recipe.axes, record.point)
    return create_trial(
        state=STATES[record.state],
        value=value,
        params=params,
        distributions={name: distribution(recipe.axes[name]) for name in params},
        user_attrs=user,
        system_attrs=pruner_notes(make_pruner(recipe), record.number, values),
        intermediate_values=values,
    )
