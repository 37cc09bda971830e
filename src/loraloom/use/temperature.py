"""The temperature of an adapter: what its logits are divided by, so that a confidence is the chance to be right.

Fitted on the validation predictions that a trial's folder keeps, in milliseconds, each time that it is wanted: nothing
is stored that could disagree with them. It never changes which label is the most probable.
"""

from __future__ import annotations

from pathlib import Path

from loraloom.calibration import Temperature, fit_temperature
from loraloom.errors import RunError
from loraloom.study.evidence import agrees, read_predicted
from loraloom.study.record import TrialRecord


def fitted_temperature(folder: Path, record: TrialRecord) -> Temperature | None:
    """The temperature of the adapter in `folder`; None where its validation rows do not show that it needs one.

    None also where the folder keeps no predictions, or not those of its record.
    """
    try:
        predicted = read_predicted(folder, len(record.labels))
    except RunError:
        return None
    if predicted is None or not agrees(predicted, record):
        return None
    fitted = fit_temperature(predicted.labels, predicted.probabilities)
    return fitted if fitted.is_needed else None
