"""RUN/cross_fitted/ is read as it was written, or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom.errors import RunError
from loraloom.study.cross_fitted import ABOUT, FOLDER, ROWS_FILE, CrossFitted, read_cross_fitted, write_cross_fitted
from loraloom.study.durable import write_manifest
from loraloom.study.embeddings import Key
from loraloom.study.evidence import Predicted

FITTED = CrossFitted(
    key=Key("sha256:data", "demo", "sha256:model", 96, 8),
    predicted=Predicted(np.array([[0.2, 0.8], [0.9, 0.1]], np.float32), np.array([0, 1]), np.array([3, 7])),
    texts={3: "one\u2028line\n<b>", 7: "=cmd()"},
    of=8,
    folds=5,
    penalty=1.0,
    seconds=0.5,
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_cross_fitted(tmp_path, FITTED)
    kept = read_cross_fitted(tmp_path, 2)
    assert kept is not None
    assert (kept.predicted.probabilities == FITTED.predicted.probabilities).all()
    assert kept.predicted.rows.tolist() == [3, 7]
    assert (kept.key, kept.texts, kept.of, kept.folds) == (FITTED.key, FITTED.texts, FITTED.of, FITTED.folds)
    assert (kept.penalty, kept.seconds) == (FITTED.penalty, FITTED.seconds)


def test_a_run_without_it_has_none(tmp_path: Path) -> None:
    assert read_cross_fitted(tmp_path, 2) is None


def changed(run: Path, name: str, text: str) -> None:
    """As if the folder had been written so: only what stands in it can be wrong then."""
    (run / FOLDER / name).write_text(text, encoding="utf-8")
    write_manifest(run / FOLDER)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (ABOUT, {"format": 2}, "is of format 2.*`loraloom report RUN` makes it anew"),
        (ABOUT, {"of": 7}, "row 7 is not one of 7"),
        (ABOUT, {"folds": 1}, "can't be read: .*`loraloom report RUN` makes it anew"),
        (ROWS_FILE, {"label": 1}, "row 3 has another label beside its text"),
        (ROWS_FILE, {"label": 2}, "label 2 is not one of 2 classes"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, name: str, change: dict[str, Any], said: str) -> None:
    write_cross_fitted(tmp_path, FITTED)
    first, *rest = (tmp_path / FOLDER / name).read_text(encoding="utf-8").split("\n")
    if name == ABOUT:
        first, rest = "\n".join([first, *rest]), []
    changed(tmp_path, name, "\n".join([json.dumps(json.loads(first) | change), *rest]))
    with pytest.raises(RunError, match=said):
        read_cross_fitted(tmp_path, 2)


def test_damage_is_found(tmp_path: Path) -> None:
    write_cross_fitted(tmp_path, FITTED)
    (tmp_path / FOLDER / ROWS_FILE).write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="labels of training rows are not judged"):
        read_cross_fitted(tmp_path, 2)
