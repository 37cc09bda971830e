"""The output of the frozen layers below the lowest adapted one, computed once and kept for all epochs and trials.

Without dropout in the backbone, and with only top layers adapted, what enters the lowest adapted layer is the same in
every epoch and every trial. It is kept in a file that is named for all it depends on, filled by `prefix_states.py`
before the first step, and read by every pass of any process (`prefix_file.py`).

Cost: tokens x D x 2 bytes, in fp32 4, taken in full when a file is begun: 120,000 texts of 53 tokens x 768 are
9.8 GB. What a file would take is known before, and one that does not fit is refused, never begun.

A row's values may differ in the last bits from what another batch would have given (sums are ordered by shape), so a
split is filled in batches that are a function of the split. All else that can change them belongs in
`PrefixKey.weights`.

Rejected: safetensors of whole splits (nothing is kept until an epoch has ended, and a batch that is not kept can't be
told from one that is); a file per row or batch (100,000 files, and batches differ between trials); a budget of rows
(a file that is partly kept saves little: each batch has missing rows); sparse files (a full disk shows in mid-epoch).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraloom.data.encoding import Encoded
from loraloom.engine.loom.prefix_file import FORMAT, Layout, PrefixFile, attach, create, in_use, remove
from loraloom.study.record import Dtype

FREE_BYTES = 1 << 30
"""Disk space that is left for others: checkpoints and reports matter more than speed."""
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """All that kept hidden states depend on: where any part differs, so does the file."""

    rows: str  # `rows_digest` of the split
    weights: str  # the model and its revision, or a digest of weights and configuration
    layers: int  # how many layers were run: hidden states are those that enter layer number `layers`
    dtype: Dtype

    @property
    def name(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True).encode()).hexdigest()


def rows_digest(encoded: Encoded) -> str:
    """SHA-256 of the token ids and of where each row begins; how many texts were cut does not matter."""
    digest = hashlib.sha256(len(encoded).to_bytes(8, "little"))
    digest.update(encoded.offsets.astype("<i8").tobytes())
    digest.update(encoded.input_ids.astype("<i4").tobytes())
    return digest.hexdigest()


class PrefixCache:
    """A folder of prefix files that take `max_bytes` together; the least recently used are removed to make room.

    Files that a process has open are never removed. Several caches and processes may share a folder.
    """

    reason: str | None = None
    """Why the last `open` gave None."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes

    def open(self, key: PrefixKey, offsets: NDArray[np.int64], width: int) -> PrefixFile | None:
        """The file of `key`, as it was left or new, or None where it can't be kept: `reason` says why.

        Args:
            key: what the rows are and what they were made by.
            offsets: (rows + 1,), as in `Encoded`.
            width: D.
        """
        layout, path = Layout(key.name, offsets, width, key.dtype), self.folder / f"{key.name}.prefix"
        try:
            with self._alone():
                self.reason = self._beyond_budget(layout.total_bytes)
                if self.reason is not None:
                    return None
                prefix = attach(path, layout)
                if prefix is not None:
                    self._make_room(0)
                    return prefix
                path.unlink(missing_ok=True)  # who has it open keeps what was in it
                self.reason = self._make_room(layout.total_bytes)
                return create(path, layout) if self.reason is None else None
        except OSError as error:
            self.reason = f"{self.folder}: {error.strerror}"
            return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time opens and removes files; that takes milliseconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _beyond_budget(self, needed: int) -> str | None:
        if needed <= self.max_bytes:
            return None
        return f"{self.folder}: {_gb(needed)} are needed, and {_gb(self.max_bytes)} are allowed"

    def _make_room(self, needed: int) -> str | None:
        """Removes the least recently used files until `needed` bytes fit, or none where that would not do; says why."""
        states = {path: path.stat() for path in self.folder.glob("*.prefix")}
        # A kill may have left a file that is allocated beyond its size.
        sizes = {path: max(state.st_size, state.st_blocks * 512) for path, state in states.items()}
        idle = sorted((path for path in states if not in_use(path)), key=lambda path: states[path].st_mtime_ns)
        idle_bytes = sum(sizes[path] for path in idle)
        beyond_budget = sum(sizes.values()) + needed - self.max_bytes
        beyond_disk = needed + FREE_BYTES - shutil.disk_usage(self.folder).free
        if needed and beyond_disk > idle_bytes:
            return f"{self.folder}: {_gb(needed)} are needed, and the disk has too little left"
        if needed and beyond_budget > idle_bytes:
            others = _gb(sum(sizes.values()) - idle_bytes)
            return f"{self.folder}: {_gb(needed)} are needed; of {_gb(self.max_bytes)}, {others} are in use"
        excess = max(beyond_budget, beyond_disk)
        for path in idle:
            if excess <= 0:
                break
            remove(path)
            excess -= sizes[path]
        return None


def _gb(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
