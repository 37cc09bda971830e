"""What a run keeps of single rows is read as it was written, or refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from loraloom.errors import RunError
from loraloom.study.durable import MANIFEST, write_manifest
from loraloom.study.evidence import (
    ROWS_FILE,
    VALIDATION,
    Predicted,
    has_rows,
    in_float32,
    read_predicted,
    read_rows,
    write_predicted,
    write_rows,
)

ROWS: list[dict[str, Any]] = [
    {"row": 0, "text": "one\u2028two\n", "label": 0, "tokens": 3, "source": "=cmd()"},
    {"row": 1, "text": "<b>", "label": 1, "tokens": 2, "source": ""},
]


def predicted() -> Predicted:
    shares = np.array([[0.2, 0.8], [0.5 + 1e-7, 0.5 - 1e-7], [1.0, 0.0]], dtype=np.float32)
    return Predicted(shares, np.array([1, 0, 0]), np.array([0, 3, 7]))


def finished(folder: Path) -> Path:
    folder.mkdir()
    write_predicted(folder, predicted())
    write_manifest(folder)
    return folder


def tensors(**changes: Any) -> Mapping[str, Any]:
    given = predicted()
    parts = {"probabilities": given.probabilities, "labels": given.labels, "rows": given.rows}
    return {name: np.ascontiguousarray(value) for name, value in (parts | changes).items() if value is not None}


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    read = read_predicted(finished(tmp_path / "0000"), classes=2, rows=8)
    assert read is not None
    assert (read.probabilities == predicted().probabilities).all()
    assert read.probabilities.argmax(axis=1).tolist() == [1, 0, 0]
    assert (read.labels.tolist(), read.rows.tolist()) == ([1, 0, 0], [0, 3, 7])


def test_rounding_predicts_no_row_otherwise() -> None:
    """Where it did, a trial was not that of its record: it lost its temperature, and the report its rows."""
    shares = np.array([[0.5 - 1e-9, 0.5 + 1e-9, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3 - 1e-10, 1 / 3 + 1e-10]])
    rounded = in_float32(shares)
    assert rounded.dtype == np.float32
    assert rounded.argmax(axis=1).tolist() == shares.argmax(axis=1).tolist() == [1, 0, 2]
    assert np.allclose(rounded, shares, rtol=0, atol=1e-7)


def test_the_same_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    one, two = finished(tmp_path / "1"), finished(tmp_path / "2")
    assert (one / VALIDATION).read_bytes() == (two / VALIDATION).read_bytes()


def test_a_run_of_an_older_version_has_none(tmp_path: Path) -> None:
    (tmp_path / "0000").mkdir()
    write_manifest(tmp_path / "0000")
    assert read_predicted(tmp_path / "0000", classes=2) is None
    assert read_rows(tmp_path, classes=2) == {}


def test_predictions_that_are_missing_are_not_those_of_an_older_version(tmp_path: Path) -> None:
    (finished(tmp_path / "0000") / VALIDATION).unlink()
    with pytest.raises(RunError, match="is missing"):
        read_predicted(tmp_path / "0000", classes=2)


def test_predictions_that_the_manifest_does_not_name_are_refused(tmp_path: Path) -> None:
    folder = finished(tmp_path / "0000")
    (folder / MANIFEST).write_text('{"sha256": {}}')
    with pytest.raises(RunError, match="does not name"):
        read_predicted(folder, classes=2)


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    file = finished(tmp_path / "0000") / VALIDATION
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        read_predicted(tmp_path / "0000", classes=2)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "can't be read"),
        (b"\xff" * 64, "can't be read"),
        (save(dict(tensors(rows=None))), "can't be read: KeyError"),
        (save(dict(tensors(probabilities=np.ones((3, 3), dtype=np.float32) / 3))), "shapes"),
        (save(dict(tensors(probabilities=np.ones((2, 2), dtype=np.float32) / 2))), "shapes"),
        (save(dict(tensors(probabilities=np.float32(1)))), "shapes"),
        (save(dict(tensors(labels=np.array([[1], [0], [0]])))), "not lists"),
        (save(dict(tensors(labels=np.array([0.0, 1.0, 0.0])))), "other types"),
        (save(dict(tensors(probabilities=np.ones((3, 2), dtype=np.int64)))), "other types"),
        (save(dict(tensors(probabilities=np.full((3, 2), np.nan, dtype=np.float32)))), "not probabilities"),
        (save(dict(tensors(probabilities=np.full((3, 2), 0.7, dtype=np.float32)))), "not probabilities"),
        (save(dict(tensors(probabilities=np.array([[-1, 2]] * 3, dtype=np.float32)))), "not probabilities"),
        (save(dict(tensors(labels=np.array([0, 1, 2])))), "not one of 2 classes"),
        (save(dict(tensors(labels=np.array([0, -1, 0])))), "not one of 2 classes"),
        (save(dict(tensors(rows=np.array([0, 3, 3])))), "do not ascend"),
        (save(dict(tensors(rows=np.array([-1, 3, 4])))), "do not ascend"),
        (save(dict(tensors(rows=np.array([0, 3, 8])))), "row 8 is not one of 8"),
        (save(dict(tensors(rows=np.array([0, 3, 2**63], dtype=np.uint64)))), "is not one of 8"),
    ],
)
def test_predictions_that_can_not_be_a_trials_are_refused_though_the_manifest_names_them(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    (tmp_path / VALIDATION).write_bytes(content)
    write_manifest(tmp_path)
    with pytest.raises(RunError, match=rule):
        read_predicted(tmp_path, classes=2, rows=8)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_rows(tmp_path, ROWS)
    assert has_rows(tmp_path)
    assert [row.model_dump() for row in read_rows(tmp_path, classes=2).values()] == ROWS


def test_damaged_rows_are_refused_and_are_to_be_written_anew(tmp_path: Path) -> None:
    write_rows(tmp_path, ROWS)
    path = tmp_path / "rows" / ROWS_FILE
    path.write_bytes(path.read_bytes()[:-3])
    assert not has_rows(tmp_path)
    with pytest.raises(RunError, match="is damaged"):
        read_rows(tmp_path, classes=2)


@pytest.mark.parametrize(
    "row",
    [{"row": -1, "text": "", "label": 0}, {"row": 0, "label": 0}, {"row": 0, "text": "", "label": 2}, [], "x"],
)
def test_rows_that_can_not_be_rows_are_refused(tmp_path: Path, row: Any) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / ROWS_FILE).write_text(json.dumps(row) + "\n")
    write_manifest(folder)
    with pytest.raises(RunError, match=ROWS_FILE):
        read_rows(tmp_path, classes=2)
