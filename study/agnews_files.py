"""Where AG News' files are, which don't come along. Imports next to nothing: see `bench/cases.py`."""

from __future__ import annotations

import os
from pathlib import Path

from loraloom.errors import DataError

AGNEWS = "LORALOOM_AGNEWS"


def agnews_folder() -> Path:
    """$LORALOOM_AGNEWS, by default ../shared/agnews."""
    return Path(os.environ.get(AGNEWS) or "../shared/agnews")


def agnews_file(name: str) -> Path:
    """A file in that folder.

    Raises:
        DataError: it is not there.
    """
    path = agnews_folder() / name
    if not path.is_file():
        raise DataError(
            f"{path}: is missing; set {AGNEWS} to a folder of train.csv, test.csv and, if there is one, robust.csv, "
            "with the columns text and label"
        )
    return path
