"""The shim of shim.c: compiled once, told what to count, to fail, or when to cut the power."""

from __future__ import annotations

import errno
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EMFILE", "EACCES")}
SOURCE = Path(__file__).with_name("shim.c")


def compiler() -> str | None:
    """A C compiler, where there is one."""
    return shutil.which("cc") or shutil.which("gcc")


def compile_shim(folder: Path) -> Path:
    """The shim as a library in `folder`."""
    cc, library = compiler(), folder / "shim.so"
    assert cc is not None
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([cc, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-pthread"], check=True)
    return library


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to befall a command: the `nth` call of the write path under `folder`.

    With `error` EMFILE calls that open files to read count too, since they need a handle as well.
    """

    folder: Path
    kind: Literal["counts", "fail", "cut"]
    nth: int = 0
    error: str = "EIO"
    forever: bool = False

    @property
    def report(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.calls")

    @property
    def journal(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.journal")

    @property
    def store(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.synced")

    def request(self) -> dict[str, Any]:
        """What the zygote's child gives to the shim."""
        cut = self.kind == "cut"
        journal, store = (str(self.journal), str(self.store)) if cut else ("", "")
        if cut:
            self.journal.unlink(missing_ok=True)
            shutil.rmtree(self.store, ignore_errors=True)
            self.store.mkdir()
        error = ERRORS[self.error]
        settings = [str(self.folder), self.kind, self.nth, error, int(self.forever), journal, store]
        return {"settings": settings, "report": str(self.report)}

    def calls(self) -> list[str]:
        """The calls that were counted, or the one that failed: 'write /run/study.db'."""
        return self.report.read_text(encoding="utf-8").splitlines()[1:]
