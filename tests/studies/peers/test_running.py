"""A peer's process: its answer is taken, a failure is said, and nothing of it is left when its time is up."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.peers import PEERS, running
from study.peers.running import Outcome
from study.peers.task import Task

TASK: dict[str, Any] = {
    "texts": ["a", "b"],
    "labels": [0, 1],
    "classes": ["x", "y"],
    "test": ["c", "d", "e"],
    "encoder": "",
    "seconds": 60.0,
    "seed": 0,
    "threads": 1,
}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks a peer whose process runs the lines given; `task` and `answer` are the files' paths there."""
    monkeypatch.setattr(running, "ROOT", tmp_path)
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path / "cache"))

    def asked(lines: str, **changed: Any) -> Outcome:
        head = "import json, os, sys, time\ntask, answer = json.load(open(sys.argv[2])), sys.argv[3]\n"
        (tmp_path / "child.py").write_text(head + textwrap.dedent(lines), encoding="utf-8")
        return running.run("svm", TASK | changed, child="child", python=sys.executable)

    return asked


def test_an_answer_is_taken_with_the_time_until_it_was_written(ask: Any) -> None:
    outcome = ask(
        """
        assert "labels_of_test" not in task and len(task["test"]) == 3
        json.dump({"predictions": [1, 0, 1], "settings": {"C": 1}}, open(answer, "w"))
        """
    )
    assert outcome.state == "answered"
    assert outcome.answer == {"predictions": [1, 0, 1], "settings": {"C": 1}}
    assert 0 < outcome.seconds < 60


def test_a_process_that_does_not_answer_is_ended_with_all_that_it_started(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"

    class UpWhenStarted(Task):
        def remaining(self) -> float:
            wait_until(pid.exists)
            return 0.0

    monkeypatch.setattr(running, "Task", UpWhenStarted)
    outcome = ask(
        f"""
        import subprocess
        started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(pid)!r} + ".new", "w").write(str(started.pid))
        os.rename({str(pid)!r} + ".new", {str(pid)!r})
        time.sleep(600)
        """
    )
    assert outcome == Outcome("stopped", 60.0, reason="no answer within 60 s")
    left = Path("/proc") / pid.read_text() / "stat"
    wait_until(lambda: not left.exists() or left.read_text().rpartition(")")[2].split()[0] == "Z")  # init buries it


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_failure_is_its_last_line_without_names_of_folders(ask: Any) -> None:
    outcome = ask("raise ValueError(f'no weights in {os.getcwd()}/model and {answer}')")
    assert outcome.state == "failed"
    assert outcome.reason.startswith("ValueError: no weights in ./model and …/answer.json")


@pytest.mark.parametrize(
    ("predictions", "reason"),
    [("[0, 1]", "2 predictions for 3 rows"), ("[0, 1, 2]", "predicted the class 2, of 0 to 1")],
)
def test_an_answer_that_is_none_is_a_failure(ask: Any, predictions: str, reason: str) -> None:
    outcome = ask(f"json.dump({{'predictions': {predictions}, 'settings': {{}}}}, open(answer, 'w'))")
    assert (outcome.state, outcome.answer, outcome.reason) == ("failed", None, reason)


def test_a_peer_reaches_no_hub_and_has_the_threads_that_all_have(ask: Any) -> None:
    outcome = ask(
        """
        names = ("HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
        settings = {name: os.environ[name] for name in names}
        json.dump({"predictions": [0, 0, 0], "settings": settings}, open(answer, "w"))
        """
    )
    expected = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    assert outcome.answer["settings"] == expected


def test_compiled_kernels_are_found_where_the_cache_is_named_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORALOOM_CACHE", "own")
    (tmp_path / "peer").mkdir()
    (tmp_path / "own" / "kernels").mkdir(parents=True)
    task = Task(**TASK, started=time.time(), folder="")
    cache = Path(running._environment(task, tmp_path / "peer", PEERS["svm"])["LORALOOM_CACHE"])
    assert (cache / "kernels").samefile(tmp_path / "own" / "kernels")


def test_what_remains_counts_from_the_start_of_the_process() -> None:
    task = Task(**TASK, started=time.time() - 45, folder="")
    assert 14 < task.remaining() <= 15
