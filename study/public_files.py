"""Files of public repositories, named by commit and SHA-256: found in a folder, or fetched there once.

None of them is copied into this repository. A file is taken as it is or not at all: whatever its SHA-256 does not vouch
for is refused, and so is one of which the fetch broke off.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from loraloom.errors import DataError
from loraloom.study.durable import sha256, write_bytes

FOLDER = "LORALOOM_SETS"
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PublicFile:
    """One file at one commit of a public repository on GitHub."""

    repository: str  # owner/name
    commit: str
    path: str
    sha256: str

    @property
    def address(self) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"

    def place(self, folder: Path) -> Path:
        return folder / self.repository / self.commit / self.path


def sets_folder() -> Path:
    """$LORALOOM_SETS, by default ~/.cache/loraloom/sets."""
    return Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "loraloom" / "sets")


def local_copy(file: PublicFile, folder: Path) -> Path:
    """The file in `folder`, which is asked first; else it is fetched into it.

    Raises:
        DataError: it is there with other bytes, can't be fetched, or what was fetched has other bytes.
    """
    place = file.place(folder)
    if place.exists():
        if (found := sha256(place)) != file.sha256:
            raise DataError(f"{place}: has SHA-256 {found[:12]}…, not {file.sha256[:12]}…; remove it to fetch it again")
        return place
    content = _fetched(file, place)
    if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise DataError(f"{file.address}: has SHA-256 {found[:12]}…, not {file.sha256[:12]}…: it is not the set's file")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(place, content)
    return place


def _fetched(file: PublicFile, place: Path) -> bytes:
    try:
        with urllib.request.urlopen(file.address, timeout=_SECONDS) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"{file.address}: can't be fetched ({reason}); put the file at {place}, or set {FOLDER} to where it is"
        ) from None
