"""Worker processes that are forked: they import nothing, which is most of what a worker of a tiny search does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loraloom.execute import workers


def fork_workers(patch: pytest.MonkeyPatch) -> None:
    """Has worker processes forked from this one, where it has used no GPU: its children could not use that.

    Nor from Python 3.12 on, which warns of forks beside threads: on 3.13 some ended by SIGSEGV, late in many tests.
    """
    cuda: Any = torch.cuda  # whose function has no types
    if sys.version_info < (3, 12) and not cuda.is_initialized():
        known = {"PIPE": subprocess.PIPE, "TimeoutExpired": subprocess.TimeoutExpired}
        patch.setattr(workers, "subprocess", SimpleNamespace(Popen=_Forked, **known))


class _Forked:
    """What a worker's driver asks of a `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **_: Any) -> None:
        reading, writing = os.pipe()
        self.stdin = os.fdopen(writing, "wb")
        self._process = get_context("fork").Process(target=_work, args=(command[-1], env, reading))
        self._process.start()
        os.close(reading)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float | None = None) -> int:
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a worker", seconds or 0)
        return self._process.exitcode


def _work(handle: str, environment: Mapping[str, str], reading: int) -> None:
    os.setsid()
    os.dup2(reading, 0)
    sys.stdin = os.fdopen(0)
    os.environ.update(environment)
    sys.argv = ["", handle]
    workers.main()
