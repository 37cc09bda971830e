"""The temperature of an adapter: what its logits are divided by, so that a confidence is the chance to be right.

Fitted on the validation predictions that a trial's folder keeps, in milliseconds, each time that it is wanted: nothing
is stored that could disagree with them. It never changes which label is the most probable.
"""

from __future__ import annotations

from pathlib import Path

from loraloom.calibration import COLDEST, HOTTEST, Temperature, fit_temperature
from loraloom.errors import RunError
from loraloom.study.evidence import agrees, read_predicted
from loraloom.study.record import TrialRecord


def fitted_temperature(folder: Path, record: TrialRecord) -> Temperature | None:
    """The temperature of the adapter in `folder`; None where its validation rows do not show that it needs one.

    They don't where the 95 % interval holds 1, and where there is no best one: a model that is right in all rows is
    likelier the surer it is made. None also where the folder keeps no predictions, or not those of its record.
    """
    try:
        predicted = read_predicted(folder, len(record.labels))
    except RunError:
        return None
    if predicted is None or not agrees(predicted, record):
        return None
    fitted = fit_temperature(predicted.labels, predicted.probabilities)
    low, high = fitted.interval
    inside = 1.01 * COLDEST < fitted.value < 0.99 * HOTTEST
    return fitted if inside and not low <= 1 <= high else None
