"""Writers of a prefix file that die in the middle; run as a program, since it forks, and torch should do little before.

python killed_writers.py FOLDER

FOLDER/calls     of one writer for each system call that changes the file, killed in it
FOLDER/moments   of writers that are killed from outside after a while
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraloom.engine.loom import prefix_file
from loraloom.engine.loom.prefix_cache import PrefixCache, PrefixKey

KEY = PrefixKey("rows", "weights", 3, "bf16")
WIDTH = 24
OFFSETS = np.concatenate([[0], np.cumsum(np.arange(36) % 7)]).astype(np.int64)
BATCH = 5
FILES = 15
SYNC_BYTES = 1500


def hidden_of(rows: Sequence[int]) -> Tensor:
    """What a row holds depends on its number, so that a row in another's place is noticed."""
    tokens = np.concatenate([np.arange(OFFSETS[row], OFFSETS[row + 1]) for row in rows])
    grid = torch.arange(WIDTH).unsqueeze(0) * 0.5 + torch.from_numpy(tokens).unsqueeze(1)
    return grid.float().sin().bfloat16()


def fill(folder: Path) -> None:
    prefix_file.SYNC_BYTES = SYNC_BYTES
    prefix = PrefixCache(folder, 1 << 30).open(KEY, OFFSETS, WIDTH)
    assert prefix is not None
    with closing(prefix):
        rows = np.random.default_rng(0).permutation(len(OFFSETS) - 1)
        for start in range(0, len(rows), BATCH):
            prefix.write(rows[start : start + BATCH], hidden_of(rows[start : start + BATCH].tolist()))


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    work()
    os._exit(0)


def die_in_call(deadly: int) -> None:
    """Has the `deadly`-th call of this process that changes a file do half of its work, and kill."""
    count = 0

    def wrap(call: Any, halve: Callable[..., tuple[Any, ...]]) -> Any:
        def wrapped(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == deadly:
                call(*halve(*arguments))
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return wrapped

    os.pwrite = wrap(os.pwrite, lambda handle, content, at: (handle, content[: len(content) // 2], at))
    os.posix_fallocate = wrap(os.posix_fallocate, lambda handle, at, size: (handle, at, size // 2))
    os.fsync = wrap(os.fsync, lambda handle: (handle,))


def killed_in_each_call(folder: Path) -> None:
    def work(deadly: int) -> None:
        die_in_call(deadly)
        fill(folder / f"{deadly:03d}")

    status, deadly = 1, 0
    while status != 0:  # until one lives to its end
        deadly += 1
        status = os.waitpid(fork(lambda number=deadly: work(number)), 0)[1]  # type: ignore[misc]


def killed_at_moments(folder: Path) -> None:
    """Later and later, until as many files as that have been begun: how soon that is depends on the machine."""
    number = 0
    while len(list(folder.iterdir())) <= FILES:
        number += 1
        child = fork(lambda place=folder / f"{number:03d}": fill(place))  # type: ignore[misc]
        time.sleep(0.0005 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda fd: None  # a kill leaves what was written, synced or not
    for name, work in {"calls": killed_in_each_call, "moments": killed_at_moments}.items():
        place = Path(sys.argv[1], name)
        place.mkdir()
        work(place)
