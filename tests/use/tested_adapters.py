"""What a run does to the folder of an adapter when it tests it: the result is in its record from then on."""

from __future__ import annotations

from pathlib import Path

from loraloom.study.durable import write_manifest, write_text
from loraloom.study.record import RECORD, Result, Score, read_record


def add_test_result(folder: Path) -> None:
    """The record with a test result, and the manifest with that record."""
    score = Score(examples=10, accuracy=0.5, macro_f1=0.5, loss=0.7)
    tested = read_record(folder).model_copy(update={"result": Result(validation=score, test=score)})
    write_text(folder / RECORD, tested.model_dump_json(indent=2) + "\n")
    write_manifest(folder)
