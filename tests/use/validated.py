"""An adapter's folder with validation predictions that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from loraloom.calibration import at_temperature
from loraloom.study.durable import write_manifest

LABELS = ("cat", "dog", "owl")
TEXTS = ["the cat near a dog", "old bread and cheese", "a saw"]


def keep_validation(
    folder: Path, sharpness: float, rows: int = 400, shares: tuple[float, float, float] = (1, 1, 1)
) -> None:
    """Validation predictions that are too sure by `sharpness`: labels are drawn from the probabilities before it.

    `shares` are those in which the classes are expected.
    """
    from safetensors.numpy import save

    generator = np.random.default_rng(0)
    honest = generator.dirichlet(shares, rows)
    labels = (honest.cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    tensors: dict[str, Any] = {
        "probabilities": at_temperature(honest, 1 / sharpness).astype(np.float32),
        "labels": labels.astype(np.int32),
        "rows": np.arange(rows, dtype=np.int32),
    }
    (folder / "validation.safetensors").write_bytes(save(tensors))
    write_manifest(folder)
