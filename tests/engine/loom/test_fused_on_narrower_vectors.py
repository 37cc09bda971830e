"""The fp32 kernels as processors with vectors of eight numbers, and of four, have them, on one that may have wider."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from loraloom.data import default_cache
from loraloom.engine.loom import kernels

REASON = kernels.load_fp32()
CACHE = default_cache()
"""Where compiled kernels stay from one run of the tests to the next."""
CHECKS = """
import sys
import pytest

class Narrower:
    def pytest_configure(self):
        from loraloom.engine.loom import kernels
        kernels._FLAGS += (sys.argv[1],)

sys.exit(pytest.main(["-p", "no:xdist", "-k", "[1 and (plain_torch or twin)", sys.argv[2]], [Narrower()]))
"""
"""Those of one thread that compare with plain torch."""
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the compiler's options are x86's"),
]


@pytest.mark.parametrize("without", ["-mno-avx512f", "-mno-avx"])
def test_kernels_of_narrower_vectors_pass_the_same_checks(without: str) -> None:
    command = [sys.executable, "-c", CHECKS, without, str(Path(__file__).with_name("test_fused.py"))]
    done = subprocess.run(
        command, env=os.environ | {"LORALOOM_CACHE": str(CACHE)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
