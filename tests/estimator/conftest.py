"""A classifier that fits in about a second, and one that is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom import LoraClassifier
from tests.conftest import make_rows

TEXTS, LABELS = map(list, zip(*make_rows(120, seed=3), strict=True))


def tiny(model: Path | str, **parameters: Any) -> LoraClassifier:
    """Learns the words of `make_rows`, in fp32."""
    given: dict[str, Any] = {
        "dropout": "off",
        "head": "linear",
        "pooling": "mean",
        "optim": "adamw",
        "learning_rate": 0.02,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 10,
        "max_length": 16,
        "validation_share": 0.15,
        "bf16": False,
    }
    return LoraClassifier(str(model), **given | parameters)


@pytest.fixture(scope="session")
def fitted(tiny_model: Path) -> LoraClassifier:
    """Fitted on texts in a list, with whole numbers for labels whose order is not that of the names."""
    return tiny(tiny_model).fit(TEXTS, numbers())


def numbers() -> np.ndarray[Any, Any]:
    """The labels as numbers: 30, 4 and 5 for animals, food and tools."""
    return np.array([{"animals": 30, "food": 4, "tools": 5}[label] for label in LABELS])
