"""The hidden states that enter the lowest trained layer, where they are the same in every pass: read, not computed.

They are when the backbone drops nothing and its lower layers train nothing. All rows of a split are then computed
once, in batches that are a function of the split alone (so that a trial's result does not depend on who filled the
file), and read from then on by all epochs, trials and processes (`prefix_cache.py`). Filling costs one forward pass
of the lower layers over the split: what the first epoch would have cost anyway, and more than that where a trial sees
less than one epoch, and no other trial sees the rows.

Rejected: keeping what the first epoch's batches compute. It saves nothing over that pass, and a trial's last bits would
depend on which trial came first.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from loraloom.data import Encoded, default_cache
from loraloom.engine.job import silent
from loraloom.engine.loom.encoder import Encoder
from loraloom.engine.loom.evaluation import by_length
from loraloom.engine.loom.frozen import FrozenEncoder
from loraloom.engine.loom.prefix_cache import PrefixCache, PrefixKey, rows_digest
from loraloom.engine.loom.prefix_file import PrefixFile, Trust
from loraloom.engine.loom.prefix_filling import only_filler
from loraloom.engine.loom.tokens import Ints, lay_out
from loraloom.engine.loom.transfer import onto
from loraloom.engine.precision import name_of
from loraloom.errors import LoraloomError
from loraloom.machine import read_machine
from loraloom.study.provenance import version_of

DEFAULT_GB = 20.0
"""Disk that the cache may take, in 10^9 bytes; $LORALOOM_PREFIX_GB says otherwise, and 0 switches it off."""
LOOK_ROWS = 64
"""Rows between two looks at the clock where a file is read through: some 2 ms of warm ones."""
_PACKAGE = Path(__file__).parents[2]


class PrefixStates:
    """Open prefix files of the splits that trials of one backbone read."""

    def __init__(self) -> None:
        self._cache = PrefixCache(default_cache() / "prefix", int(_allowed_gb() * 1e9))
        self._open: dict[PrefixKey, PrefixFile] = {}
        self._trusts: dict[PrefixKey, Trust] = {}  # of files that were closed: each is read through once
        self._failed: set[PrefixKey] = set()  # of files that the disk failed: they are not filled again
        self._digests: dict[int, tuple[Encoded, str]] = {}
        self._told: set[str] = set()  # digests of splits
        self.computed = 0
        """Rows whose states were computed, of all splits together."""

    def keeps(self, encoder: Encoder) -> bool:
        """Whether states are kept: not where nothing is frozen below, nor where dropout would change them."""
        return encoder.lowest > 0 and not encoder.frozen.anatomy.dropouts.any and self._cache.max_bytes > 0

    def of(
        self,
        encoded: Encoded,
        encoder: Encoder,
        weights: Callable[[], str],
        deadline: float | None,
        heed: Callable[[], None] = lambda: None,
        note: Callable[[str], None] = silent,
    ) -> PrefixFile | None:
        """The states of a split, filled, of an encoder of which they are kept; None where disk or time forbid it.

        `weights` names the model's weights. `heed` is called between batches that are looked at or filled, and may
        break off by an exception: what was filled stays. `note` is told what is wrong with the disk, once for a split.
        """
        frozen = encoder.frozen
        made_by = f"{weights()} {_computed_by(frozen)}"
        key = PrefixKey(self._digest(encoded), made_by, encoder.lowest, name_of(frozen.dtype))
        file = self._open.get(key) or self._opened(key, encoded, frozen.anatomy.hidden)
        if file is None:
            self._say(key.rows, self._cache.reason, note)
            return None
        # Without the lock, which would have processes look one after another: a row is marked once it is on the disk.
        if file.trust.rows.all() or _whole(file, encoded, deadline, heed):
            return file
        if key not in self._failed:
            with only_filler(self._cache.folder / f"{key.name}.filling", deadline, heed) as alone:
                if alone and self._filled(file, encoded, encoder, deadline, heed):
                    return file
            if file.reason is not None:
                self._failed.add(key)
        self._say(key.rows, file.reason, note)
        return None

    def _filled(
        self, file: PrefixFile, encoded: Encoded, encoder: Encoder, deadline: float | None, heed: Callable[[], None]
    ) -> bool:
        """Computes the rows that are missing; False where time or disk did not suffice."""
        frozen = encoder.frozen
        try:
            with torch.no_grad():
                for rows in by_length(np.diff(encoded.offsets)):
                    if _late(deadline):
                        return False
                    heed()
                    if file.missing(rows).any():
                        tokens = lay_out([encoded], [rows], frozen.anatomy.embedding, frozen.device)
                        self.computed += len(rows)
                        file.write(rows, encoder.prefix(tokens, encoder.lowest)[0])
                        if file.missing(rows).any():  # the file will not be whole, and no other is read
                            return False
        finally:
            file.sync()  # who waits to fill it then finds these rows, and computes the others
        return not file.missing(np.arange(len(encoded))).any()

    def _opened(self, key: PrefixKey, encoded: Encoded, width: int) -> PrefixFile | None:
        file = self._cache.open(key, encoded.offsets, width)
        if file is not None:
            self._open[key] = file
            if key in self._trusts:
                file.take_up(self._trusts[key])
        return file

    def _say(self, rows: str, reason: str | None, note: Callable[[str], None]) -> None:
        if reason is not None and rows not in self._told:
            self._told.add(rows)
            note(f"the frozen layers of a split are computed in every pass, since their states can't be kept: {reason}")

    def close(self) -> None:
        """Lets the files be removed when their space is needed."""
        for key, file in self._open.items():
            file.close()
            self._trusts[key] = file.trust
        self._open.clear()

    def _digest(self, encoded: Encoded) -> str:
        if id(encoded) not in self._digests:
            self._digests[id(encoded)] = (encoded, rows_digest(encoded))  # kept, so that its id stays its own
        return self._digests[id(encoded)][1]


def _whole(file: PrefixFile, encoded: Encoded, deadline: float | None, heed: Callable[[], None]) -> bool:
    """Whether all rows are kept, by a look at each, as they lie on the disk; False too where time did not suffice."""
    for start in range(0, len(encoded), LOOK_ROWS):
        if _late(deadline):
            return False
        heed()
        if file.missing(np.arange(start, min(start + LOOK_ROWS, len(encoded)))).any():
            return False
    return True


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _computed_by(frozen: FrozenEncoder) -> str:
    """What a state's last bits depend on beside the weights."""
    cuda = frozen.device.type == "cuda"
    where = torch.cuda.get_device_name(frozen.device) if cuda else f"cpu threads {torch.get_num_threads()}"
    return f"{frozen.ops.name} on {where} {_versions()}"


@cache
def _versions() -> str:
    """What computes a state, and may be mended in it one day; transformers reads the weights and the configuration."""
    versions = f"torch {torch.__version__} transformers {version_of('transformers')}"
    return f"{read_machine().cpu} loraloom {_code()} {versions}"


def _code() -> str:
    """SHA-256 of the code that reads a model and runs its layers: two checkouts have one version."""
    digest = hashlib.sha256()
    for folder in ("backbone", "engine"):
        for path in sorted((_PACKAGE / folder).rglob("*")):
            if path.suffix in {".py", ".cpp", ".h"}:
                content = path.read_bytes()
                digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _allowed_gb() -> float:
    """Raises LoraloomError where $LORALOOM_PREFIX_GB is no number of gigabytes."""
    said = os.environ.get("LORALOOM_PREFIX_GB", "")
    try:
        allowed = float(said) if said.strip() else DEFAULT_GB
    except ValueError:
        allowed = math.nan
    if not 0 <= allowed < math.inf:
        raise LoraloomError(f"LORALOOM_PREFIX_GB: {said!r} is no number of gigabytes; it must be 0 or more")
    return allowed


def read(files: Sequence[PrefixFile], rows: Sequence[Ints], width: int, device: torch.device) -> Tensor | None:
    """The states of K trials' rows side by side: (K, M, D), filler zero; None where a row is not kept."""
    parts = [file.read(own) for file, own in zip(files, rows, strict=True)]
    states = [part for part in parts if part is not None]
    if len(states) < len(parts):
        return None
    if len(states) == 1 and len(states[0]) == width:
        return onto(states[0].unsqueeze(0), device)
    padded = states[0].new_zeros(len(states), width, states[0].shape[-1])
    for number, part in enumerate(states):
        padded[number, : len(part)] = part
    return onto(padded, device)
