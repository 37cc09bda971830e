"""One file of kept rows: the hidden states that enter the lowest adapted layer, and which of them can be trusted.

    4096 bytes   header: says exactly what the file is for; any other header is another file's, or damage
    rows x 8     marks: (1, CRC-32 of the row's bytes), zero while the row is not kept; padded to 4096
    tokens x D   hidden states in bf16, fp16 or fp32, rows one after the other

A row counts as kept once its mark is set, and marks are set only after the rows themselves are synced to the disk;
the checksum is compared on a process's first look at a row (`Trust` has those that it has looked at). So a kill loses
what was not yet synced (32 MiB), a power cut or a flipped bit costs the rows that it hit, and neither makes a wrong row
count as kept.

One process writes at a time: by `prefix_filling.py` one fills a file while others wait.

Cost (one thread of a busy 2-core machine, ext4, page cache warm): 16 rows of 50 tokens x 768 bf16, 1.2 MB, are read in
0.26 ms, at a process's first look in 0.5 ms; they are written in 1 ms, and 25 ms go into a sync after every 32 MiB.
Memory is a byte a row.

Rejected: reading through a memory map. A gather from it is no slower (slices 0.16 ms, `index_select` 0.16-0.18, plain
indexing 0.6; at the first touch 0.22), but a bad sector or a shortened file kills the process (SIGBUS) where pread
gives an error, and what it touches counts as the process's memory (1.2 GB for 16,000 texts, against a memory budget).
Syncing each batch makes every step wait; never syncing leaves to luck what a power cut keeps.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loraloom.engine.precision import DTYPES
from loraloom.study.durable import sync_folder
from loraloom.study.record import Dtype

FORMAT = 1
SYNC_BYTES = 32 << 20
"""Rows are synced and marked once this much has been written: the most that a kill loses."""
PAGE = 4096
MARK = struct.Struct("<II")
_KEPT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What a file is for and where each row of it lies."""

    name: str
    offsets: NDArray[np.int64]  # (rows + 1,): row i is the tokens offsets[i] : offsets[i + 1]
    width: int  # D
    dtype: Dtype

    @property
    def rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def token_bytes(self) -> int:
        return self.width * self.torch_dtype.itemsize

    @property
    def data_at(self) -> int:
        return PAGE + -(-self.rows * MARK.size // PAGE) * PAGE

    @property
    def total_bytes(self) -> int:
        return self.data_at + int(self.offsets[-1]) * self.token_bytes

    def mark_at(self, row: int) -> int:
        return PAGE + row * MARK.size

    def header(self) -> bytes:
        said = {
            "loraloom prefix": FORMAT,
            "name": self.name,
            "offsets": hashlib.sha256(self.offsets.astype("<i8").tobytes()).hexdigest(),
            "width": self.width,
            "dtype": self.dtype,
            "byteorder": sys.byteorder,
        }
        return json.dumps(said).encode().ljust(PAGE, b"\n")


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """The rows that this process has found whole, or written, in a file that it has closed."""

    file: tuple[int, int]  # device and inode
    rows: NDArray[np.bool_]


def attach(path: Path, layout: Layout) -> PrefixFile | None:
    """The file as it was left, or None where there is none, or it is damaged, unfinished or made for something else.

    Callers of `attach` and `create` keep other processes from making or removing files meanwhile.

    Raises:
        OSError: the file can't be opened or read.
    """
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        whole = os.fstat(file.fileno()).st_size == layout.total_bytes and file.read(PAGE) == layout.header()
    except BaseException:
        file.close()
        raise
    if whole:
        return PrefixFile(file, path, layout)
    file.close()
    return None


def create(path: Path, layout: Layout) -> PrefixFile:
    """A new file, its space taken at once, so that a full disk is found here and not in the middle of an epoch.

    Its header is written last: a file that a kill left without one is begun again.

    Raises:
        OSError: the disk is full, or the folder can't be written to. Nothing is left behind.
    """
    # Texts can in part be read back from hidden states: only the user's own processes may open them.
    path.touch(0o600, exist_ok=False)
    file = path.open("r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        _allocate(file.fileno(), layout)
        _pwrite(file.fileno(), layout.header(), 0)
        os.fsync(file.fileno())
        sync_folder(path.parent)
    except BaseException:
        file.close()
        path.unlink(missing_ok=True)
        raise
    return PrefixFile(file, path, layout)


def in_use(path: Path) -> bool:
    """Whether any process, this one included, has the file open as a `PrefixFile`; also where that can't be asked.

    NFS emulates such a lock and wants a file that is open for writing. Asked so, it would take this process's own lock
    for none, and let go of it.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def remove(path: Path) -> None:
    """The file, and what is beside it under its name."""
    for own in path.parent.glob(f"{path.stem}.*"):
        own.unlink(missing_ok=True)


class PrefixFile:
    """Rows of hidden states that are kept on disk; no process removes the file until it is closed.

    Not for two threads at once. What goes wrong on the disk is no error here: rows stay missing, nothing more is
    written, and `reason` says why.
    """

    reason: str | None = None
    """Why rows are no longer written, or None."""

    def __init__(self, file: IO[bytes], path: Path, layout: Layout) -> None:
        """`file` is open for reading and writing, with a shared lock that `close` lets go by closing it."""
        self._file, self._path, self._layout = file, path, layout
        self._handle = file.fileno()
        state = os.fstat(self._handle)
        self._own = state.st_dev, state.st_ino
        self._trusted = np.zeros(layout.rows, dtype=np.bool_)  # found whole, or written, by this process
        self._unmarked: dict[int, int] = {}  # checksums of rows that are written and not yet synced
        self._unsynced_bytes = 0
        self._touch()

    @property
    def trust(self) -> Trust:
        """What is taken up where the closed file is opened again."""
        return Trust(self._own, self._trusted)

    def take_up(self, trust: Trust) -> None:
        """Spares a second look at rows that are still marked as kept.

        Another process may have removed the file and begun it anew in the same inode: its rows are marked once synced.
        """
        marks = bytearray(self._layout.rows * MARK.size)
        if trust.file == self._own and self._fill(marks, self._layout.mark_at(0)):
            kept = np.frombuffer(marks, dtype="<u4")[::2] == _KEPT
            self._trusted |= trust.rows & kept

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `rows` are not kept; a row's bytes are read and compared with its checksum at the first look.

        Raises:
            IndexError: there is no such row.
        """
        starts, ends = self._spans(rows)
        for number in np.flatnonzero(~self._trusted[rows]).tolist():
            self._verify(int(rows[number]), int(starts[number]), int(ends[number]))
        return ~self._trusted[rows]

    def read(self, rows: NDArray[np.int64]) -> Tensor | None:
        """The hidden states of `rows`, one after the other: (tokens of those rows, D), or None if any is not kept.

        Raises:
            IndexError: there is no such row.
        """
        starts, ends = self._spans(rows)
        expected: dict[int, int] = {}
        for row in rows[~self._trusted[rows]].tolist():
            checksum = self._checksum_of(row)
            if checksum is None:
                return None
            expected[row] = checksum
        bytes_needed = int((ends - starts).sum())
        hidden = torch.empty(
            (bytes_needed // self._layout.token_bytes, self._layout.width), dtype=self._layout.torch_dtype
        )
        rest = _bytes_of(hidden)
        for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            part, rest = rest[: end - start], rest[end - start :]
            if not self._fill(part, start):
                return None
            if row in expected and zlib.crc32(part, row) != expected[row]:
                return None
            self._trusted[row] = True
        return hidden

    def write(self, rows: NDArray[np.int64], hidden: Tensor) -> int:
        """Keeps those of `rows` that are not kept yet, and says how many it wrote.

        No other process writes meanwhile. Rows with NaN or infinity are left out; so are all after the disk failed.

        Args:
            rows: (rows,)
            hidden: (tokens of those rows, D), one row after the other, in the file's dtype, on any device.

        Raises:
            IndexError: there is no such row.
            ValueError: `hidden` has another shape or dtype.
        """
        starts, ends = self._spans(rows)
        expected = (int((ends - starts).sum()) // self._layout.token_bytes, self._layout.width)
        if tuple(hidden.shape) != expected or hidden.dtype != self._layout.torch_dtype:
            raise ValueError(
                f"hidden: {tuple(hidden.shape)} {hidden.dtype}; these rows take {expected} {self._layout.torch_dtype}"
            )
        if self.reason is not None or self._trusted[rows].all():
            return 0
        kept, rest = 0, hidden.detach().cpu().contiguous()
        try:
            for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
                length = (end - start) // self._layout.token_bytes
                part, rest = rest[:length], rest[length:]
                # A row that another process has kept is left as it is.
                if not self._trusted[row] and not self._verify(row, start, end) and _is_finite(part):
                    self._put(row, start, part)
                    kept += 1
        except OSError as error:
            self._give_up(error)
        if self.reason is not None or self._unsynced_bytes >= SYNC_BYTES:  # what was written before may well be whole
            self.sync()
        return kept

    def sync(self) -> None:
        """Makes what was written count as kept, for every process and after a kill."""
        try:
            if self._unmarked:
                os.fsync(self._handle)
                for row, checksum in self._unmarked.items():
                    _pwrite(self._handle, MARK.pack(_KEPT, checksum), self._layout.mark_at(row))
        except OSError as error:
            self._give_up(error)
            # They may not be on the disk, whatever the page cache says.
            self._trusted[list(self._unmarked)] = False
        self._unmarked.clear()
        self._unsynced_bytes = 0

    def close(self) -> None:
        """Syncs, and lets the file be removed when its space is needed."""
        if not self._file.closed:
            self.sync()
            self._touch()
            self._file.close()
            self._handle = -1  # the number may soon be another file's

    def _spans(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the rows' bytes begin and end in the file."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < self._layout.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()}: the file has {self._layout.rows}")
        size, at = self._layout.token_bytes, self._layout.data_at
        return at + self._layout.offsets[rows] * size, at + self._layout.offsets[rows + 1] * size

    def _verify(self, row: int, start: int, end: int) -> bool:
        """Whether the row is kept and whole, by what is on the disk."""
        expected = self._checksum_of(row)
        if expected is None:
            return False
        content = bytearray(end - start)
        if self._fill(content, start) and zlib.crc32(content, row) == expected:
            self._trusted[row] = True
            return True
        return False

    def _checksum_of(self, row: int) -> int | None:
        """What the row's mark says, or None where it has none."""
        mark = bytearray(MARK.size)
        if not self._fill(mark, self._layout.mark_at(row)):
            return None
        state, checksum = MARK.unpack(mark)
        return int(checksum) if state == _KEPT else None

    def _fill(self, buffer: bytearray | memoryview, at: int) -> bool:
        """Reads as many bytes as `buffer` takes; False where the disk does not give them."""
        try:
            return os.preadv(self._handle, [buffer], at) == len(buffer)
        except OSError:
            return False

    def _put(self, row: int, start: int, part: Tensor) -> None:
        content = _bytes_of(part)
        _pwrite(self._handle, content, start)
        # The row's number goes into its checksum, so that bytes that land in another row's place are found too.
        self._unmarked[row] = zlib.crc32(content, row)
        self._unsynced_bytes += len(content)
        self._trusted[row] = True

    def _give_up(self, error: OSError) -> None:
        self.reason = f"{self._path}: can't be written to: {error.strerror}"

    def _touch(self) -> None:
        """The time of last use, which decides what is removed first; reading alone would not change it."""
        try:
            os.utime(self._handle)
        except OSError:  # a disk that went away: nothing depends on the time
            return


def _bytes_of(hidden: Tensor) -> memoryview:
    """The tensor's own memory; numpy has no bf16."""
    content: memoryview = hidden.reshape(-1).view(torch.uint8).numpy().data
    return content


def _is_finite(hidden: Tensor) -> bool:
    """By the least and the greatest, which NaN passes through: a tenth of the time of asking every element."""
    return not hidden.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(hidden))).all())


def _pwrite(handle: int, content: bytes | memoryview, at: int) -> None:
    """All of it: a disk that is nearly full takes a part and reports no error."""
    rest = memoryview(content)
    while rest:
        done = os.pwrite(handle, rest, at)
        if done == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest, at = rest[done:], at + done


def _allocate(handle: int, layout: Layout) -> None:
    """Takes the space now where the system can; elsewhere a full disk shows as an error of a later write."""
    try:
        os.posix_fallocate(handle, 0, layout.total_bytes)
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.ftruncate(handle, layout.total_bytes)
        _pwrite(handle, bytes(layout.data_at - PAGE), PAGE)  # room for marks, once rows have filled the disk
