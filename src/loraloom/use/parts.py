"""What is finished of an output, in `.NAME.parts/` beside it, so that a run that was broken off goes on.

    manifest.json     what the output is of: the input's SHA-256, the adapters', options, version
    00000.csv         windows of rows, written and synced under another name first
    00000.json        written after it: rows, counts, its SHA-256; without it the part does not count

A part is closed after some seconds or megabytes, so that a kill costs seconds. The output is joined from the parts and
takes its place in one step. One process has the folder: `flock` on a file in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loraloom.errors import RunError
from loraloom.study.durable import MANIFEST, replacing, sha256, sync_folder, write_json
from loraloom.use.writing import Output

SECONDS, BYTES = 5.0, 32_000_000
"""A part is closed when it has taken so long, or when so much is in it."""
_QUICK_SECONDS, _LOOKS = 0.1, 20
"""Where it takes longer to see that the input is as it was, as with a folder of very many files, parts take so many
times as long."""
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of an input: all, those written, the bad, those that the model abstains from, and predictions by label."""

    rows: int = 0
    written: int = 0
    bad: int = 0
    abstained: int = 0
    by_label: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.rows + other.rows,
            self.written + other.written,
            self.bad + other.bad,
            self.abstained + other.abstained,
            self.by_label + other.by_label,
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """What the bytes of an output depend on; parts of another are of no use."""

    input: Any
    adapter: Any
    options: Any
    version: str
    on_error: str


def parts_folder(out: Path) -> Path:
    return out.absolute().with_name(f".{out.name}.parts")


class Parts:
    """The parts of one output."""

    def __init__(self, out: Path, output: Output, identity: Identity | None, refuse: Callable[[], None]) -> None:
        """Reads what is there of the same `identity`, and removes what is not; without one nothing is gone on with.

        `refuse` raises DataError where what was added may not be of that identity's input.
        """
        self._out, self._output, self._refuse = out, output, refuse
        self._folder = parts_folder(out)
        self.done = Counts()
        """Of the parts that are closed."""
        self.number = 0
        self.why_anew: str | None = None
        """What of the identity is another than that of the parts that were there, or 'damaged'."""
        self._held: tuple[tuple[Any, Counts], ...] = ()
        """Windows that no part has yet: what is written of each, its counts. One value, which a signal can't halve."""
        self._size, self._looked_seconds = 0, 0.0
        self._since = time.monotonic()
        self._begin(identity)

    def add(self, rendered: Any, counts: Counts) -> None:
        """A window, None if nothing of it is written."""
        self._held = (*self._held, (rendered, counts))
        self._size += _size(rendered)
        seconds = max(SECONDS, _LOOKS * (self._looked_seconds - _QUICK_SECONDS))
        if self._size >= BYTES or time.monotonic() - self._since >= seconds:
            self.close_part()

    def close_part(self) -> None:
        """Makes what was added durable.

        Raises:
            DataError: it may be of another input, and is in no part then; those before it stay.
        """
        held, own = self._held, Counts()
        for _, counts in held:
            own += counts
        if own.rows == 0:
            return
        began = time.monotonic()
        self._refuse()
        self._looked_seconds = time.monotonic() - began
        path = self._part(self.number)
        with replacing(path, binary=True) as file:
            self._output.save([rendered for rendered, _ in held if rendered is not None], file)
        values = {name: getattr(own, name) for name in ("rows", "written", "bad", "abstained")}
        write_json(path.with_suffix(".json"), {**values, "by_label": dict(own.by_label), "sha256": sha256(path)})
        now, done, number = time.monotonic(), self.done + own, self.number + 1
        self._held, self.done, self.number, self._size, self._since = (), done, number, 0, now

    def finish(self) -> None:
        """Puts the output in its place, and removes the parts."""
        self.close_part()
        with replacing(self._out, binary=True) as file:
            self._output.join([self._part(number) for number in range(self.number)], file)
        self.discard()

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:05d}{self._output.suffix}"

    def _begin(self, identity: Identity | None) -> None:
        told = None if identity is None else json.loads(json.dumps(asdict(identity)))
        kept = _read_json(self._folder / MANIFEST)
        if kept is not None:
            self.why_anew = "input" if told is None else _difference(kept, told)
        if kept is None or self.why_anew is not None:
            self._clear()
        else:
            assert identity is not None
            self._keep(same_errors=kept["on_error"] == identity.on_error)
        if told is not None:
            write_json(self._folder / MANIFEST, told)

    def _keep(self, *, same_errors: bool) -> None:
        """Takes over the parts that are whole, up to the first with bad rows if those are treated otherwise now."""
        while (values := _read_json(self._part(self.number).with_suffix(".json"))) is not None:
            path = self._part(self.number)
            if not path.is_file() or sha256(path) != values["sha256"]:
                self.why_anew = "damaged" if self.number == 0 else None
                break
            if values["bad"] and not same_errors:
                break
            labels = Counter(values["by_label"])
            self.done += Counts(values["rows"], values["written"], values["bad"], values["abstained"], labels)
            self.number += 1
        for path in self._folder.iterdir():
            if path.name not in (MANIFEST, _LOCK) and not (path.stem.isdigit() and int(path.stem) < self.number):
                path.unlink()
        kept = map(self._part, range(self.number))
        if (first := next((path for path in kept if path.stat().st_size), None)) is not None:
            self._output.go_on(first)

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
        sync_folder(self._folder)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Holds the folder of parts, which is made, for this process.

    Raises:
        RunError: the output can't be written, or another process is writing it, or may be: there are no locks.
    """
    folder = parts_folder(out)
    try:
        handle = _lock(folder, out)
    except BlockingIOError:
        raise RunError(f"{out}: another process is writing it; wait for it, or choose another --out") from None
    except OSError as error:
        raise RunError(f"{out}: can't be written: {error.strerror}") from None
    try:
        yield
    finally:  # the folder goes before the lock does, so that nobody else has it then
        if _is_held(folder, handle):
            _remove_empty(folder)
        os.close(handle)


def _remove_empty(folder: Path) -> None:
    """Removes a folder of parts that has none: there is nothing in it to go on with."""
    if not any(folder.glob("[0-9]*.json")):
        shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path, handle: int) -> bool:
    """Whether the lock in the folder is ours: who came after a finished output has made both anew."""
    with contextlib.suppress(OSError):
        return os.fstat(handle).st_ino == (folder / _LOCK).stat().st_ino
    return False


def _lock(folder: Path, out: Path) -> int:
    """A descriptor that holds the folder's lock; BlockingIOError where another process does, RunError without locks."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder went with the process that had it
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == (folder / _LOCK).stat().st_ino:
                return handle
        except FileNotFoundError:
            pass
        except BaseException as error:
            os.close(handle)
            if not isinstance(error, OSError) or isinstance(error, BlockingIOError):
                raise
            _remove_empty(folder)
            two = "so that two commands could write to it; choose an --out on a file system with locks"
            raise RunError(f"{out}: can't be locked ({error.strerror}), {two}") from None
        os.close(handle)  # what is locked is a file that is gone


def _size(rendered: Any) -> int:
    """Bytes of a window in memory, which is bytes or a table of pyarrow's."""
    if rendered is None:
        return 0
    return len(rendered) if isinstance(rendered, bytes) else int(rendered.nbytes)


def _difference(kept: dict[str, Any], told: dict[str, Any]) -> str | None:
    return next((name for name in ("input", "adapter", "options", "version") if kept.get(name) != told[name]), None)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
