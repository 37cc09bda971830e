"""What tests hear of the machine that they run on, and of whose it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import NO_HUB, unheard
from tests.pages import REPOSITORY


def test_no_test_reads_what_a_person_has_of_the_hub_nor_ends_with_their_job() -> None:
    theirs = {
        "HF_HOME": "/theirs",
        "HF_ENDPOINT": "https://theirs",
        "SLURM_JOB_END_TIME": "1",
        "LORALOOM_PREFIX_GB": "1",
    }
    code = f"import os, tests.conftest; print(*(os.environ.get(name) for name in {list(theirs)}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | theirs, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(NO_HUB), "https://hub.invalid", "None", "None"]


def test_neither_a_proxy_nor_colours_that_are_forced_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"https_proxy", "HTTP_PROXY", "FORCE_COLOR", "COLUMNS"}
    for name in theirs:
        monkeypatch.setenv(name, "1")
    with unheard():
        assert not theirs & os.environ.keys()
    assert theirs <= os.environ.keys()
