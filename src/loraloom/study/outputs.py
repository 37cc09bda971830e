"""Where a command may write a file that its user names: over nothing that it reads, and nothing that loraloom keeps."""

from __future__ import annotations

from pathlib import Path

from loraloom.errors import AdapterError, DataError
from loraloom.machine import with_home
from loraloom.study.commands import COMMANDS
from loraloom.study.durable import files_beside, is_whole
from loraloom.study.integrity import RECIPE
from loraloom.study.leaderboard import LEADERBOARD
from loraloom.study.record import RECORD
from loraloom.study.run import LEDGER, PLAN, is_run

_OF_A_RUN = {RECIPE, LEDGER, PLAN, COMMANDS, LEADERBOARD}


def refuse_over(path: Path, *read: Path) -> None:
    """Refuses to write in the place of a file that is `read`, or that a run or an adapter consists of.

    Raises:
        DataError: as it says.
        AdapterError: the file is in an adapter's folder, whose manifest can't be read.
    """
    if not path.exists():
        return
    places = map(with_home, read)  # as rows are read from them
    if any(one.exists() and path.samefile(one) for one in places):
        raise DataError(f"{path}: is a file that is read; choose another --out")
    folder = path.absolute().parent
    if is_run(folder) and path.name in _OF_A_RUN:
        raise DataError(f"{path}: is a file of a run, which would be lost; give another name")
    if is_whole(folder) and _is_named(path.name, folder):
        raise DataError(f"{path}: is a file of an adapter or an export, which would be lost; give another name")


def _is_named(name: str, folder: Path) -> bool:
    """Whether the manifest of an adapter or an export names a file of its folder, or is it."""
    try:
        return name not in files_beside(folder)
    except AdapterError:
        if (folder / RECORD).exists():
            raise
        return False  # a manifest.json of something else, as web projects have one
