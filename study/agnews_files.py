"""Where AG News' files are, which don't come along, and their rows. Imports next to nothing: see `bench/cases.py`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from loraloom.errors import DataError

AGNEWS = "LORALOOM_AGNEWS"


def agnews_folder() -> Path:
    """$LORALOOM_AGNEWS, by default ../shared/agnews."""
    return Path(os.environ.get(AGNEWS) or "../shared/agnews")


def agnews_file(name: str, folder: Path | None = None) -> Path:
    """A file in that folder, or in the one that is given.

    Raises:
        DataError: it is not there.
    """
    path = (folder or agnews_folder()) / name
    if not path.is_file():
        how = f"set {AGNEWS} to" if path.parent == agnews_folder() else "name"
        raise DataError(
            f"{path}: is missing; {how} a folder of train.csv, test.csv and, if there is one, robust.csv, "
            "with the columns text and label"
        )
    return path


def agnews_rows(name: str, folder: Path | None = None) -> Iterator[tuple[str, str]]:
    """Text and label of each row of a file there, read by and by.

    Raises:
        DataError: it is not there, or lacks a column.
    """
    path = agnews_file(name, folder)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        for column in ("text", "label"):
            if column not in (rows.fieldnames or ()):
                raise DataError(f"{path}: has no column {column!r}")
        for row in rows:
            yield row["text"], row["label"]
