"""Where AG News is, which doesn't come along. Imports next to nothing: see `cases.py`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from loraloom.errors import DataError


def agnews(name: str = "train.csv") -> Path:
    """A file of AG News: $LORALOOM_AGNEWS/train.csv, by default ../shared/agnews/train.csv.

    Raises:
        DataError: it is not there.
    """
    path = Path(os.environ.get("LORALOOM_AGNEWS", "../shared/agnews")) / name
    if not path.is_file():
        raise DataError(f"{path}: is missing; set LORALOOM_AGNEWS to a folder of AG News' train.csv and test.csv")
    return path


def need_agnews(parser: argparse.ArgumentParser) -> None:
    """Ends a command, with the reason and exit code 2, that could measure nothing."""
    try:
        for name in ("train.csv", "test.csv"):
            agnews(name)
    except DataError as error:
        parser.error(str(error))
