"""What `evaluate` says of the rows that it scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.data import telling
from loraloom.use.adapter import read_adapter_record
from loraloom.use.evaluate import evaluate
from tests.conftest import make_rows, write_csv


@pytest.mark.parametrize(
    ("blank", "said"), [([""], "1 row has no text, and is"), (["", " "], "2 rows have no text, and are")]
)
def test_rows_without_a_text_are_scored_and_told(taught: Path, tmp_path: Path, blank: list[str], said: str) -> None:
    label, file = read_adapter_record(taught).labels[0], tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text in ["soup", *blank]))
    found = evaluate(taught, file)
    assert (found.scores.examples, found.note) == (1 + len(blank), f"{said} scored all the same")


def test_how_far_it_is_is_told_from_the_reading_on(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, heard = write_csv(tmp_path / "rows.csv", make_rows(30, seed=1)), list[str]()
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    evaluate(taught, path, note=heard.append)
    for said in (f"reading {path}: 30 rows so far", "tokenising: 0 of 30 rows so far", "testing: 30 of 30 rows so far"):
        assert said in heard
