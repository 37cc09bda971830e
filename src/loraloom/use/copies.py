"""What a copy of an adapter keeps of its validation predictions, without which it goes: they hold rows' labels."""

from __future__ import annotations

from pathlib import Path

from loraloom.study.record import TrialRecord
from loraloom.use.adapter_checks import CLASS_SHARES, TEMPERATURE
from loraloom.use.class_shares import keep_expected
from loraloom.use.temperature import fitted_temperature, keep_temperature

KEPT = (TEMPERATURE, CLASS_SHARES)


def keep_fitted(folder: Path, record: TrialRecord, copy: Path) -> None:
    """Writes into the folder `copy` of the adapter in `folder` what `predict` needs of the validation predictions.

    `record` is of the copy, which may be a refit of that adapter.

    Raises:
        AdapterError: `folder` is a copy itself, and what it keeps can't be read.
    """
    fitted = fitted_temperature(folder, record)
    keep_temperature(fitted, copy)
    keep_expected(folder, record, fitted, copy)
