"""Gives a run of `report_runs` what runs keep of single rows: predictions of each trial, rows, facts of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from loraloom.study.durable import write_manifest
from loraloom.study.evidence import Predicted, write_predicted, write_rows
from loraloom.study.record import TrialRecord, read_record
from tests.report.report_runs import LABELS, PROVENANCE, TEST_ROWS, VALIDATION_ROWS, make_predictions

CLASS_ROWS = {
    "train": dict(zip(LABELS, (520, 410, 310, 208, 110), strict=True)),
    "validation": dict(zip(LABELS, (45, 45, 44, 44, 44), strict=True)),
    "test": dict(zip(LABELS, (89, 89, 89, 89, 89), strict=True)),
}
QUANTILES = [12, 31, 62, 88, 130, 310, 2110]
FACTS: dict[str, Any] = {
    **PROVENANCE["data"],
    "class_rows": CLASS_ROWS,
    "overlaps": [
        {"splits": ["train", "validation"], "equal": 3, "near": 8},
        {"splits": ["train", "test"], "equal": 0, "near": 10},
        {"splits": ["validation", "test"], "equal": 1, "near": 0},
    ],
    "tokens": {
        "model": "demo",
        "max_length": 256,
        "at": [0, 5, 25, 50, 75, 95, 100],
        "splits": {
            split: {"measured": rows, "quantiles": QUANTILES, "cut": rows // 10}
            for split, rows in (("train", 1558), ("validation", 222), ("test", 445))
        },
    },
}
"""What `provenance.data` has of a run of this version."""


def make_predicted(record: TrialRecord, *, always_wrong: int = 4, seed: int | None = None) -> Predicted:
    """Predictions as right as the record says; the first `always_wrong` rows are wrong in every trial."""
    rows, classes = record.validation.examples, len(record.labels)
    generator = np.random.default_rng(record.number if seed is None else seed)
    labels = np.arange(rows) % classes
    wrong = np.zeros(rows, dtype=np.bool_)
    count = rows - round(record.validation.accuracy * rows)
    wrong[:always_wrong] = True
    wrong[always_wrong + generator.permutation(rows - always_wrong)[: count - always_wrong]] = True
    said = np.where(wrong, (labels + 1) % classes, labels)
    sure = np.where(wrong, 0.6, 0.97) + generator.uniform(-0.02, 0.02, rows)
    shares = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1)
    shares[np.arange(rows), said] = sure
    return Predicted(shares.astype(np.float32), labels, np.arange(rows))


def make_rows(text: str = "A validation row.", source: str | None = "paper", rows: int = VALIDATION_ROWS) -> Any:
    for row in range(rows):
        line = {"row": row, "text": f"{text} Number {row}.", "label": row % len(LABELS), "tokens": 20 + row}
        yield line if source is None else line | {"source": f"{source} {row % 3}"}


def keep(run: Path, **options: Any) -> Path:
    """Adds predictions to every complete trial of a run, and its validation rows; returns `run`."""
    for folder in [*sorted((run / "trials").iterdir()), run / "best"]:
        if folder.is_dir() and (record := read_record(folder)).state == "complete":
            write_predicted(folder, make_predicted(record))
            write_manifest(folder)
    write_rows(run, make_rows(**options))
    return run


def kept_predictions(source: str = "paper", text: str = "A row about {label}.", **options: Any) -> list[dict[str, Any]]:
    """Test predictions with lengths and sources."""
    lines = make_predictions(text=text, rows=TEST_ROWS, **options)
    return [line | {"tokens": 20 + 37 * row % 400, "source": f"{source} {row % 3}"} for row, line in enumerate(lines)]
