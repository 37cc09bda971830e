"""System calls that fail and power cuts: a sentence, and the run goes on when the cause is gone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.commands import Commands
from tests.faults.failing import count_calls, cut_power, fail_call
from tests.faults.kills import Whole
from tests.faults.shim import Fault, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="the shim that fails system calls needs a C compiler")


@pytest.fixture(scope="module")
def calls(commands: Commands, loom: Whole, scratch: Path) -> list[str]:
    return count_calls(commands, loom, scratch)


def test_the_shim_sees_what_sqlite_and_safetensors_and_python_write(calls: list[str]) -> None:
    for seen in ("fsync /run/study.db", "write /run/trials/0000/.tmp", "rename /run/trials/0000/manifest.json"):
        assert any(call.startswith(seen) for call in calls), seen


@pytest.mark.parametrize(
    ("error", "forever"),
    [("ENOSPC", True), ("ENOSPC", False), ("EIO", True), ("EIO", False), ("EMFILE", True), ("EACCES", False)],
)
def test_a_call_that_fails_is_a_sentence_and_the_run_goes_on(
    commands: Commands, loom: Whole, calls: list[str], tmp_path: Path, error: str, forever: bool
) -> None:
    nth = random.Random(f"{error} {forever}").randint(1, len(calls))  # noqa: S311
    assert fail_call(commands, loom, tmp_path, nth, error, forever=forever).wrong == []


@pytest.mark.parametrize(("part", "seed"), [(0.2, None), (0.8, None), (0.5, 1)])
def test_a_power_cut_loses_nothing_that_was_finished(
    commands: Commands, loom: Whole, calls: list[str], tmp_path: Path, part: float, seed: int | None
) -> None:
    assert cut_power(commands, loom, tmp_path, int(part * len(calls)), seed).wrong == []


def test_a_folder_that_may_only_be_read_is_said_to_be(commands: Commands, loom: Whole, tmp_path: Path) -> None:
    commands.run("search", loom.search.recipe, "--out", tmp_path / "case" / "run", "--quiet")
    fault = Fault(tmp_path / "case", "fail", 1, "EACCES", forever=True)
    ended = commands.start("resume", tmp_path / "case" / "run", shim=fault.request()).wait()
    assert (ended.code, ended.traceback) == (2, False)
    assert "can't be written to: Permission denied" in ended.sentence
