"""What a command does that measures on AG News where that is missing. Imports next to nothing: see `cases.py`."""

from __future__ import annotations

import argparse

from loraloom.errors import DataError
from study.agnews_files import agnews_file


def need_agnews(parser: argparse.ArgumentParser) -> None:
    """Ends a command, with the reason and exit code 2, that could measure nothing."""
    try:
        for name in ("train.csv", "test.csv"):
            agnews_file(name)
    except DataError as error:
        parser.error(str(error))
