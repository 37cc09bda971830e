"""A folder with one folder of .txt files per class, whose name is the label; each file that is not hidden is a text."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from string import ascii_letters
from typing import Any

from loraloom.data.opening import utf16
from loraloom.data.saved_dataset import is_saved, not_by_rows
from loraloom.errors import DataError

MAX_FILE_BYTES = 4_000_000  # no text of 1,000,000 characters is longer
_BEYOND_ASCII = bytes(range(128, 256))


def class_folders(folder: Path) -> list[Path]:
    """The folders of classes by name; hidden ones and those that begin with '_' are not classes.

    Raises:
        DataError: there is none, it can't be read, or `folder` is a saved dataset, which has none.
    """
    if is_saved(folder):
        raise not_by_rows(folder)
    found = _entries(folder, lambda path: path.is_dir() and path.name[0] not in "._")
    if not found:
        raise DataError(f"{folder}: has no folder in it; it must have one folder of .txt files per class")
    return found


def _entries(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """What is `wanted` of a folder, by name."""
    try:
        return sorted(filter(wanted, folder.iterdir()))
    except OSError as error:
        raise DataError(f"{folder}: can't be read: {error.strerror}") from None


def _is_hidden(path: Path) -> bool:
    """As `._1.txt`, which macOS puts beside a file on a disk of another kind, and archives keep."""
    return path.name.startswith(".")


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and not _is_hidden(path)


def text_files(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Each class folder, and its files by name: all that is read of `folder`.

    Raises:
        DataError: no class folder, or one that can't be read.
    """
    for label_folder in class_folders(folder):
        yield label_folder, _entries(label_folder, _is_text)


def folder_rows(folder: Path, *, lenient: bool) -> Iterator[tuple[dict[str, Any], str, str]]:
    """`{"text": …, "label": …}` for each file, by class and name; the file; what is wrong with it, '' in most.

    The text of a file that is not one is None. A file that is not UTF-8 is read as Latin-1, in which any bytes would be
    a text: one that can't well be meant is wrong. Those who are `lenient`, who go on after what is wrong, are told of
    each, with U+FFFD in the text.

    Raises:
        DataError: no class folder, or a class folder without .txt files.
    """
    for label_folder, files in text_files(folder):
        if not files:
            raise DataError(f"{label_folder}: has no .txt file; each class needs some")
        for file in files:
            text, problem = _read(file, lenient)
            yield {"text": text, "label": label_folder.name}, f"{label_folder.name}/{file.name}", problem


def files_left_out(folder: Path) -> list[str]:
    """Names of what else lies in class folders, but for what is hidden."""

    def is_other(path: Path) -> bool:
        return not _is_text(path) and not _is_hidden(path)

    others = (path for one in class_folders(folder) for path in _entries(one, is_other))
    return [path.relative_to(folder).as_posix() for path in others]


def files_not_utf8(folder: Path) -> list[str]:
    """Names of the files that were read as Latin-1."""
    found = (file for _, files in text_files(folder) for file in files)
    return [file.relative_to(folder).as_posix() for file in found if _not_utf8(file.read_bytes()) is not None]


def _read(file: Path, lenient: bool) -> tuple[str | None, str]:
    """A file's text, or what is wrong with the file."""
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            return None, "is no file"
        if state.st_size > MAX_FILE_BYTES:
            return None, f"has {state.st_size:,} bytes; a text may have {MAX_FILE_BYTES:,}"
        raw = file.read_bytes()
    except OSError as error:
        return None, f"can't be read: {error.strerror}"
    if utf16(raw):
        return None, "is in UTF-16; convert it to UTF-8"
    if b"\0" in raw:
        return None, f"has a NUL byte at byte {raw.find(bytes(1))}; this is not a text file"
    if (place := _not_utf8(raw)) is None:
        return raw.decode("utf-8-sig"), ""
    if lenient:
        return raw.decode("utf-8-sig", "replace"), f"has a byte 0x{raw[place]:02x} at byte {place}, which is not UTF-8"
    if not _may_be_latin(raw):
        return None, "is in neither UTF-8 nor Latin-1, by its bytes; convert it to UTF-8"
    return raw.decode("latin-1"), ""


def _may_be_latin(raw: bytes) -> bool:
    """Not Cyrillic, Greek, Chinese and so on, in whose encodings letters, or halves of them, are beyond ASCII."""
    beyond, letters = (len(raw) - len(raw.translate(None, of)) for of in (_BEYOND_ASCII, ascii_letters.encode()))
    return beyond <= letters


def _not_utf8(raw: bytes) -> int | None:
    """The place, from 0, of the first byte that is not UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None
