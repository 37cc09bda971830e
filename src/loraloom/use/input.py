"""What is predicted: whether it can be read again, whether it is as it was, and how much of it was read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from loraloom.data.opening import format_of
from loraloom.data.record import Record
from loraloom.data.text_folder import text_files
from loraloom.errors import DataError
from loraloom.study.durable import sha256

T = TypeVar("T")
State = tuple[int, int, int]
Stamp = list[tuple[Path, State | None]]


class ChangedError(DataError):
    """An input that is no longer the one that was begun with."""


def is_read_once(source: str) -> bool:
    """Whether what is read is gone then, as of standard input or a pipe."""
    path = Path(source)
    return source == "-" or (path.exists() and not path.is_file() and not path.is_dir())


def stamp(source: str) -> Stamp:
    """Tells at once that a file, or one of a folder's files that are rows, is not the one that it was.

    Raises:
        DataError: the file can't be read, or the folder is without one of texts.
    """
    path = Path(source)
    if path.is_dir():
        return _of_rows(path, _state)
    try:
        return [(path, _state(path))]
    except OSError as error:
        raise DataError(f"{source}: can't be read: {error.strerror}") from None


def fingerprint(path: Path) -> dict[str, Any]:
    """What an input is: its size and SHA-256; of a folder, names and SHA-256 of the files that are rows.

    Raises:
        DataError: a folder without one of texts.
    """
    if path.is_dir():
        digests = _of_rows(path, lambda file: sha256(file) if file.is_file() else None)  # a pipe would be waited for
        return {"files": [[file.relative_to(path).as_posix(), digest] for file, digest in digests]}
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def share_read(source: str, file: IO[bytes] | None) -> Callable[[Record], float | None]:
    """Gives the share of a file that was read with a record: of its bytes, or of Parquet's rows."""
    if file is None or is_read_once(source):
        return lambda record: None
    form = format_of(Path(source))
    if form.kind == "parquet":
        if form.compression:
            return lambda record: None
        import pyarrow.parquet as pq

        read_metadata: Any = pq.read_metadata
        try:
            rows = max(1, int(read_metadata(source).num_rows))
        except Exception:  # the reader says what is wrong
            return lambda record: None
        return lambda record: record.number / rows
    size = max(1, os.fstat(file.fileno()).st_size)
    return lambda record: min(1.0, os.lseek(file.fileno(), 0, os.SEEK_CUR) / size)


def _of_rows(folder: Path, told: Callable[[Path], T]) -> list[tuple[Path, T | None]]:
    """What is `told` of each of a folder's files that are rows; None of one that can't be read: it may be a bad row.

    Its other entries are no part of the input: an output and its parts may be written there.
    """
    found: list[tuple[Path, T | None]] = []
    for file in (file for _, files in text_files(folder) for file in files):
        try:
            found.append((file, told(file)))
        except OSError:
            found.append((file, None))
    return found


def _state(path: Path) -> State:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
