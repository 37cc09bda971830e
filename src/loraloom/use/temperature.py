"""The temperature of an adapter: what its logits are divided by, so that a confidence is the chance to be right.

Fitted on the validation predictions that a trial's folder keeps, in milliseconds, each time that it is wanted, so that
no stored value can disagree with them. A copy that goes without them, since their labels are the rows', keeps what was
fitted. It never changes which label is the most probable.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from loraloom.calibration import Temperature, fit_temperature
from loraloom.errors import AdapterError, RunError
from loraloom.recipe.problems import reason_of
from loraloom.study.durable import read_verified, write_json
from loraloom.study.evidence import agrees, read_predicted
from loraloom.study.record import TrialRecord
from loraloom.use.adapter_checks import TEMPERATURE


def fitted_temperature(folder: Path, record: TrialRecord) -> Temperature | None:
    """The temperature of the adapter in `folder`; None where its validation rows do not show that it needs one.

    None also where the folder keeps no predictions, or not those of its record, and is no copy that keeps what was
    fitted on them.

    Raises:
        AdapterError: what a copy keeps is not what can be fitted.
    """
    try:
        predicted = read_predicted(folder, len(record.labels))
    except RunError:
        return None
    if predicted is None:
        return _kept(folder)
    if not agrees(predicted, record):
        return None
    fitted = fit_temperature(predicted.labels, predicted.probabilities)
    return fitted if fitted.is_needed else None


def keep_temperature(fitted: Temperature | None, copy: Path) -> None:
    """Writes into the folder `copy` of an adapter, which goes without its predictions, what was fitted on them."""
    if fitted is not None:
        write_json(copy / TEMPERATURE, asdict(fitted))


def _kept(folder: Path) -> Temperature | None:
    path = folder / TEMPERATURE
    if not path.is_file():
        return None
    try:
        kept = TypeAdapter(Temperature).validate_json(read_verified(folder, TEMPERATURE))
    except ValidationError as error:
        raise AdapterError(f"{path}: can't be read: {reason_of(error)}") from None
    low, high = kept.interval
    if not (kept.is_needed and 0 < low <= kept.value <= high < math.inf and kept.rows > 0):
        raise AdapterError(f"{path}: holds no temperature that validation rows can have shown; take another copy")
    return kept
