"""A power cut: what the disk holds when what was not synced is gone.

Worked out from the shim's journal over the folder as it was before. A file holds what its last fsync made safe
(nothing, where there was none); a folder has the names that its last fsync made safe. So is the strictest disk that
POSIX allows. With a generator, each folder's and each file's unsynced changes survive or not by a coin.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class _File:
    safe: bytes
    live: Path | None = None


@dataclass(slots=True)
class _Folder:
    safe: dict[str, _File | _Folder] = field(default_factory=dict)
    live: dict[str, _File | _Folder] = field(default_factory=dict)


class Disk:
    """A folder's state on disk: made before a command, and asked for what is left after its power was cut."""

    def __init__(self, root: Path) -> None:
        self._root, self._tree = root, _read(root)

    def cut(self, journal: Path, store: Path, generator: random.Random | None = None) -> None:
        """Leaves in the folder what survived the cut; `journal` and `store` are the shim's."""
        for line in journal.read_text(encoding="utf-8").splitlines():
            kind, path, other = line.split("\t")
            self._apply(kind, Path(path), other, store)
        _locate(self._tree, self._root)
        left = self._root.with_name(f"{self._root.name}.left")
        shutil.rmtree(left, ignore_errors=True)
        _write(self._tree, left, generator)
        shutil.rmtree(self._root)
        left.rename(self._root)

    def _apply(self, kind: str, path: Path, other: str, store: Path) -> None:
        if kind == "d":
            folder = self._folder(path)
            folder.safe = dict(folder.live)
            return
        if path == self._root:
            return
        names = self._folder(path.parent).live
        if kind == "n":
            names.setdefault(path.name, _File(b""))
        elif kind == "k":
            names[path.name] = _Folder()
        elif kind in "ur":
            names.pop(path.name, None)
        elif kind == "m":
            moved = names.pop(path.name)
            self._folder(Path(other).parent).live[Path(other).name] = moved
        elif kind == "s":
            _note_persisted(names, path.name)
            file = names.get(path.name)
            if isinstance(file, _File):  # else it was unlinked while open
                file.safe = (store / other).read_bytes()

    def _folder(self, path: Path) -> _Folder:
        found = self._tree
        for name in path.relative_to(self._root).parts:
            inner = found.live[name]
            assert isinstance(inner, _Folder)
            found = inner
        return found


def _note_persisted(names: dict[str, _File | _Folder], name: str) -> None:
    """The safetensors library renames by the kernel's own call, past the shim: from the one temporary name there is."""
    temporary = [other for other in names if other.startswith(".tmp")]
    if name not in names and len(temporary) == 1 and name.endswith(".safetensors"):
        names[name] = names.pop(temporary[0])


def _read(path: Path) -> _Folder:
    folder = _Folder()
    for inner in path.iterdir():
        folder.live[inner.name] = _read(inner) if inner.is_dir() else _File(inner.read_bytes())
    folder.safe = dict(folder.live)
    return folder


def _locate(folder: _Folder, path: Path) -> None:
    """Notes where what each file holds now is to be read."""
    for name, inner in folder.live.items():
        if isinstance(inner, _Folder):
            _locate(inner, path / name)
        elif (path / name).is_file():
            inner.live = path / name


def _write(folder: _Folder, path: Path, generator: random.Random | None) -> None:
    path.mkdir()
    names = folder.live if generator is not None and generator.random() < 0.5 else folder.safe
    for name, inner in names.items():
        if isinstance(inner, _Folder):
            _write(inner, path / name, generator)
        elif generator is not None and inner.live is not None and generator.random() < 0.5:
            (path / name).write_bytes(inner.live.read_bytes())
        else:
            (path / name).write_bytes(inner.safe)
