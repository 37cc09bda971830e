"""A pruner's decisions, so that a trial that begins again after a kill is told what it was told before.

Optuna's halving notes on a trial what it had at each rung, and compares others with it. These notes are a function of
the trial's values, so that a ledger can be written anew with them. Whether a trial was ended depends on the others by
then: it is noted too, and not decided again. The ledger writes a value, its notes and the decision in one transaction,
of which a kill leaves all or nothing. Costs a commit for each evaluation of a search that prunes. Rejected: deciding
anew, by which a trial that was to be ended is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from loraloom.study.drawing import Shown, Trials

STUDY_NAME = "loraloom"
ENDED = "pruner_ended"
"""The step at which a pruner ended a trial, among what the ledger notes of it."""

Values = Mapping[int, float]
"""A trial's intermediate values, by step."""


def went_on(trial: FrozenTrial, step: int) -> bool | None:
    """What was decided at `step` of a trial as the ledger has it; None where nothing was."""
    if ENDED in trial.user_attrs:
        return step < int(trial.user_attrs[ENDED])
    return True if step <= max(trial.intermediate_values, default=0) else None


def decide(pruner: optuna.pruners.BasePruner, trials: Trials, number: int, values: Values) -> bool:
    """Whether trial `number` goes on after the last of its `values`, beside what other trials had."""
    last = max(values)
    noted = pruner_notes(pruner, number, {step: value for step, value in values.items() if step < last})
    others = [trial for trial in trials if trial.number != number]
    return not _ends(_study(Shown(lambda: others), pruner), number, values, noted)


def pruner_notes(pruner: optuna.pruners.BasePruner, number: int, values: Values) -> dict[str, Any]:
    """What the pruner notes of trial `number` at these values, as Optuna's system attributes."""
    alone = Shown(lambda: ())  # which trials there are beside it changes a decision, not what is noted
    study = _study(alone, pruner)
    for step in sorted(values):
        _ends(study, number, {earlier: values[earlier] for earlier in values if earlier <= step}, alone.noted)
    return alone.noted


def _study(shown: Shown, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    return optuna.create_study(storage=shown, study_name=STUDY_NAME, pruner=pruner, direction="maximize")


def _ends(study: optuna.Study, number: int, values: Values, noted: Mapping[str, Any]) -> bool:
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=dict(values), system_attrs=dict(noted))
    trial.number = number
    return study.pruner.prune(study, trial)
