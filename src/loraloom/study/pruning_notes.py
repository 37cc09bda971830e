"""A pruner's decisions, so that a trial that begins again after a kill is told what it was told before.

Optuna's halving notes the rung that a trial reached before it decides, and asked again it would see the trial one rung
further and let it go on. So what stood before a decision is noted, and a decision to end a trial is kept. Costs a
commit for each evaluation of a search that prunes. Rejected: deciding anew, by which a
trial that was to be ended is trained on.
"""

from __future__ import annotations

import copy

import optuna
from optuna.pruners import _filter_study
from optuna.trial import FrozenTrial

_ASKED, _ENDED = "pruner_asked", "pruner_ended"
_RUNG = "completed_rung_"


def goes_on(study: optuna.Study, trial: FrozenTrial, step: int) -> bool:
    """Whether the study's pruner lets a trial go on whose value at `step` stands in the ledger."""
    if isinstance(study.pruner, optuna.pruners.NopPruner):
        return True
    if _ENDED in trial.user_attrs:
        return step < int(trial.user_attrs[_ENDED])
    if step < max(trial.intermediate_values):
        return True  # it went on then
    storage, number = study._storage, trial._trial_id
    reached = sum(key.startswith(_RUNG) for key in trial.system_attrs)
    asked = trial.user_attrs.get(_ASKED)
    if asked is None or asked[0] != step:
        storage.set_trial_user_attr(number, _ASKED, [step, reached])
    else:
        trial = copy.copy(trial)
        trial.system_attrs = {k: v for k, v in trial.system_attrs.items() if _before(k, int(asked[1]))}
    if not study.pruner.prune(_filter_study(study, trial), trial):
        return True
    storage.set_trial_user_attr(number, _ENDED, step)
    return False


def _before(key: str, reached: int) -> bool:
    """Whether a note of the pruner's is older than the decision that a kill broke off."""
    return not key.startswith(_RUNG) or int(key.removeprefix(_RUNG)) < reached
