"""Files that are whole or absent: written under a temporary name, synced, renamed, and the folder synced.

A rename alone is not durable (the folder's entry can be lost), and a folder can't be replaced in one step: so
`replacing_folder` moves the old one aside first, and `mend_folders` puts it back if a kill came between.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from loraloom.errors import AdapterError, LoraloomError, RunError
from loraloom.wording import is_utf8

MANIFEST = "manifest.json"
_NEW, _OLD = ".new", ".old"
_DAMAGED = "{}: is damaged (its SHA-256 is not the manifest's); take another copy of the folder"
_SYSTEM_ERROR = re.compile(r"\bos error ([0-9]+)")
_FULL_DISK = "No space left on device", "inline_container", "iostream error"
_DEVICES = Path("/dev")
"""/dev/stdout leads to a file where that takes the output, and is none."""


@contextmanager
def replacing(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file, of text unless it is `binary`, that takes `path`'s place when the block ends without an error.

    Several processes and threads may write to one path: each file is whole, and the last one stands.
    """
    refuse_place(path)
    temporary, handle = _temporary(path.absolute())
    with os.fdopen(handle, "wb") if binary else os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        try:
            yield file
            file.flush()
            os.fsync(handle)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(temporary.parent)


def _temporary(path: Path) -> tuple[Path, int]:
    """A new file beside `path`, and its handle: the one that a kill has left, if any, so that none pile up.

    Its lock is held while it is written. Where another writer has it, or there are no locks, a name of one's own is.
    """
    shared = path.with_name(f".{path.name}{_NEW}")
    handle = os.open(shared, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(found := os.fstat(handle), shared.stat()):
            if found.st_size:
                os.truncate(handle, 0)
            return shared, handle
    except (BlockingIOError, FileNotFoundError):
        pass  # another writes to it, or has just put it in its place
    except OSError:
        shared.unlink(missing_ok=True)
    os.close(handle)
    own = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{_NEW}")
    handle = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return own, handle


def refuse_place(path: Path) -> None:
    """Refuses to write a file where there is a folder, a device or a pipe, or no folder to write into.

    It is asked before the work, not after it.

    Raises:
        RunError: as it says.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise RunError(f"{path}: {'is a folder' if path.is_dir() else 'there is no such folder to write into'}")
    if path.absolute().parent == _DEVICES or (path.exists() and not path.is_file()):
        raise RunError(f"{path}: is a device or a pipe, whose place a file would take; name a file")


def refuse_bytes(path: Path) -> None:
    """Refuses a path that is not UTF-8, which no recipe can name and safetensors can't open.

    Raises:
        RunError: it is none.
    """
    if not is_utf8(str(path)):
        raise RunError(f"{str(path)!a}: is no name in UTF-8; rename it, or choose another")


def refuse_dangling(path: Path) -> None:
    """Refuses to make a folder where a link to nothing stands, or below one.

    Raises:
        RunError: as it says.
    """
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise RunError(f"{place}: is a link to nothing ({place.readlink()}); make that folder, or remove the link")


def disk_is_full(error: BaseException) -> bool:
    """Whether `error`, or what it came from, says that the disk is full: libraries say it in words of their own."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(
        _system_error(one) in (errno.ENOSPC, errno.EDQUOT) or any(word in str(one) for word in _FULL_DISK)
        for one in chain
    )


@contextmanager
def system_errors_of(path: Path) -> Iterator[None]:
    """Raises as an OSError of `path` what the system refused to safetensors and tokenizers: theirs are no OSErrors."""
    try:
        yield
    except (LoraloomError, OSError):
        raise
    except Exception as error:
        number = _system_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _system_error(error: BaseException) -> int | None:
    """The number of what the system refused: an OSError has it, safetensors and tokenizers say it in their words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = _SYSTEM_ERROR.search(str(error))
    return None if said is None else int(said[1])


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path, binary=True) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Refuses NaN and infinity, which JSON has not; of a path that is not UTF-8, bytes are escaped, and read back."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def sync_folder(folder: Path) -> None:
    """Makes the folder's own entries durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes `target`'s place, synced and with a manifest, when the block ends without an error.

    Who writes in the same place waits until it has ended: a report may be written while a search writes its own.
    """
    new, old = target.with_name(f".{target.name}{_NEW}"), target.with_name(f".{target.name}{_OLD}")
    with held_folder(new):
        try:
            yield new
            write_manifest(new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        discard(old)
        if os.path.lexists(target):  # a link to nothing is in its place too
            target.rename(old)
        new.rename(target)
        sync_folder(target.parent)
        discard(old)


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with what it holds."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def discard(folder: Path) -> None:
    """Removes a folder, or a link or file in its place, as far as that can be done."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _make_folders(folder: Path) -> None:
    """Makes a folder and those above it that there are not; a power cut takes none of them later."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync_folder(one.parent)


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """The folder, made or emptied, and no one else's within the block, as far as the file system has locks."""
    _make_folders(folder.parent)
    while True:
        if folder.is_symlink():
            folder.unlink(missing_ok=True)  # what lies behind it is not ours to empty
        with suppress(FileExistsError):  # by a file, which can't be opened as a folder
            folder.mkdir(exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # it took its place, or was removed, meanwhile
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                break
        os.close(handle)  # as well, while it was waited for
    try:
        for left in folder.iterdir():
            remove(left)
        yield
    finally:
        os.close(handle)


@contextmanager
def _if_free(path: Path) -> Iterator[bool]:
    """Whether no process writes to a file or into a folder, which none does within the block then."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # there is none
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # who writes has it alone; NFS gives a reader no other
        free = True
    except BlockingIOError:
        free = False
    except OSError:  # a file system without locks
        free = True
    try:
        yield free
    finally:
        os.close(handle)


def mend_folders(parent: Path) -> None:
    """Ends what a kill left between: what is unfinished goes, a folder moved aside without a successor comes back.

    What a process writes now is left to it.
    """
    for left in parent.glob(f".*{_NEW}"):
        with _if_free(left) as free:
            if free:
                discard(left)
    for old in parent.glob(f".*{_OLD}"):
        name = old.name.removeprefix(".").removesuffix(_OLD)
        with _if_free(old.with_name(f".{name}{_NEW}")) as free:
            if free and old.with_name(name).exists():
                discard(old)
            elif free:
                old.rename(old.with_name(name))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, *, without: str | None = None) -> None:
    """Syncs every file of `folder`, then writes their SHA-256; written last, it vouches for the whole.

    What lies in the folder `without`, which is to be removed, is left out.
    """
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST and path.relative_to(folder).parts[0] != without:
            path.chmod(0o644)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            digests[path.relative_to(folder).as_posix()] = sha256(path)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        sync_folder(inner)
    write_json(folder / MANIFEST, {"sha256": digests})


def is_whole(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """Which file a path is, another stamp where it was replaced or changed; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def files_beside(folder: Path) -> list[str]:
    """Names, from `folder` on, of the files and links in it that its manifest does not name, and of empty folders.

    Raises:
        AdapterError: the manifest can't be read.
        FileNotFoundError: there is none.
    """
    named = {MANIFEST, *_digests(folder)}
    entries = sorted(folder.rglob("*"))
    found = (path for path in entries if path.is_symlink() or not path.is_dir() or not any(path.iterdir()))
    return [name for path in found if (name := path.relative_to(folder).as_posix()) not in named]


def read_verified(folder: Path, name: str) -> bytes:
    """A file's bytes, read once and compared with the folder's manifest; without one they are taken as they are.

    Raises:
        OSError: the file can't be read.
        AdapterError: the manifest is unreadable or does not name the file, or the file differs.
    """
    content = (folder / name).read_bytes()
    try:
        digests = _digests(folder)
    except FileNotFoundError:
        return content
    if name not in digests:
        raise AdapterError(f"{folder / MANIFEST}: does not name {name}; take another copy of the folder")
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise AdapterError(_DAMAGED.format(folder / name))
    return content


def verify_manifest(folder: Path, only: Collection[str] | None = None, *, but: Collection[str] = ()) -> None:
    """Compares every file with the manifest, or those named in `only`, or all `but` some.

    Raises:
        AdapterError: the manifest is missing or damaged, or a file is missing or differs.
        OSError: a file can't be read now.
    """
    path = folder / MANIFEST
    try:
        digests = _digests(folder)
    except FileNotFoundError:
        raise AdapterError(f"{folder}: has no {MANIFEST}; it is not a finished trial's folder") from None
    if only is not None and (unknown := sorted(name for name in only if name not in digests)):
        raise AdapterError(f"{path}: does not name {unknown[0]}; take another copy of the folder")
    found: dict[tuple[int, int], str] = {}  # each file is read once, by however many names a stranger's manifest has it
    for name, digest in digests.items():
        if name in but or (only is not None and name not in only):
            continue
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise AdapterError(f"{path}: names {name!r}, which is outside the folder")
        if not file.is_file():
            raise AdapterError(f"{file}: is missing; take another copy of the folder")
        about = file.stat()
        known = about.st_dev, about.st_ino
        if known not in found:
            found[known] = sha256(file)
        if found[known] != digest:
            raise AdapterError(_DAMAGED.format(file))


def _digests(folder: Path) -> dict[str, str]:
    """What the manifest says; raises FileNotFoundError where there is none, AdapterError where it is damaged.

    Where it can't be read now, as from a network's disk, an OSError, which is no reason to make anything anew.
    """
    path = folder / MANIFEST
    try:
        digests = json.loads(path.read_bytes())["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdapterError(f"{path}: can't be read: {error}; take another copy of the folder") from None
    if not isinstance(digests, dict):
        raise AdapterError(f"{path}: is not a manifest; take another copy of the folder")
    return digests
