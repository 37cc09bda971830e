"""Where a run is: under way, ended, broken off or gone; and a stamp that changes with what the report reads.

Reads names, times and sizes of files, the small commands.json, and the system's table of locks. Takes no lock.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loraloom.report.wording import clean
from loraloom.study.commands import COMMANDS, known_commands
from loraloom.study.cross_fitted import FOLDER as CROSS_FITTED
from loraloom.study.durable import MANIFEST, file_stamp
from loraloom.study.embeddings import SIMILARITY
from loraloom.study.evidence import ROWS
from loraloom.study.integrity import RECIPE
from loraloom.study.run import BEST, BLEND, PLAN, SOUP, TRIALS, in_use, is_run

Stamp = tuple[object, ...]
_FOLDERS = (BEST, SOUP, BLEND, ROWS, SIMILARITY, CROSS_FITTED)
_READ = (RECIPE, PLAN, COMMANDS, *(f"{folder}/{MANIFEST}" for folder in _FOLDERS))


@dataclass(frozen=True, slots=True)
class State:
    """`goes_on` is whether more is to be expected soon."""

    name: Literal["waiting", "under way", "ended", "broken off", "unknown", "gone"]
    sentence: str

    @property
    def goes_on(self) -> bool:
        return self.name in ("waiting", "under way", "unknown")


def is_awaited(run: Path) -> bool:
    """Whether a search can still make the run: where it is to be there is nothing."""
    try:
        return not any(run.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def state_of(run: Path, *, seen: bool = True) -> State:
    """Who holds the run's lock goes on with it; else the last command's end says how it ended.

    `seen` says whether the run was there before: if not, it may be yet to come.
    """
    if not is_run(run):
        if not seen and is_awaited(run):
            return State("waiting", "There is no run here yet. It is shown as soon as a search begins it.")
        return State("gone", "The run's folder is gone. This is the last that was seen of it.")
    held = in_use(run)
    commands = known_commands(run)
    last = commands[-1] if commands else None
    if held:
        searches = last is None or last.ended is None  # another, as a blend, is not among the commands
        return State("under way", "The search is under way." if searches else "A command is at work on the run.")
    if last is not None and last.ended == "done":
        return State("ended", "The search has ended.")
    if last is not None and last.ended is not None:
        why, how = clean((last.why or "").partition(";")[0]), "was stopped" if last.ended == "stopped" else "failed"
        said = f"was {why}" if why.startswith("stopped by") else f"{how}: {why}" if why else how
        return State("broken off", f"The search {said}.")
    if held is None:
        return State("unknown", "Whether the search is under way can't be told on this system.")
    if last is None and (run / BEST / MANIFEST).is_file():
        return State("ended", "The search has ended.")
    return State(
        "broken off", "No process of this machine is at work on the run: it was broken off, or runs elsewhere."
    )


def stamp_of(run: Path) -> Stamp:
    """Changes when a trial begins or ends, and with the files beside the trials."""
    parts: list[object] = [file_stamp(run / name) for name in _READ]
    try:
        with os.scandir(run / TRIALS) as folders:
            parts += sorted((folder.name, file_stamp(Path(folder.path) / MANIFEST)) for folder in folders)
    except OSError:
        parts.append(None)
    return tuple(parts)
