"""The compiled kernels as processors without AMX have them, on one that has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from loraloom.data import default_cache
from loraloom.engine.loom import kernels

REASON = kernels.load()
CACHE = default_cache()
"""Where compiled kernels stay from one run of the tests to the next."""
CHECKS = "[1 and (named_for or linear_norm or thin_products or (attention_and_its_backward and 100))"
"""Those of each source that multiplies by tiles, in one thread, and of the name that says which kernels they are."""
pytestmark = pytest.mark.skipif(
    REASON is not None or not torch.ops.loraloom.amx(), reason=REASON or "the kernels have no AMX here anyway"
)


def test_kernels_without_amx_pass_the_same_checks() -> None:
    checks = str(Path(__file__).with_name("test_kernels.py"))
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-k", CHECKS, checks]
    environment = os.environ | {"LORALOOM_KERNELS": "avx512", "LORALOOM_CACHE": str(CACHE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
