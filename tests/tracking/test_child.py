"""The process of a tracker: a line for each call, a line for each answer, and an end of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.tracking.telling import Call, begin, begin_trial, end_trial, log


def serve(tracker: str, *calls: Call, cut: str = "") -> subprocess.CompletedProcess[str]:
    """A tracker's process that is told `calls`, a part of one more, and then nothing: whoever told it is gone."""
    lines = "".join(json.dumps({"call": call, "arguments": arguments}) + "\n" for call, arguments in calls)
    start = "from loraloom.tracking.child import main; main()"
    command = [sys.executable, "-c", start, f"tests.tracking.failing:{tracker}"]
    return subprocess.run(command, input=lines + cut, capture_output=True, text=True, check=False, timeout=120)


def noted(folder: Path) -> list[str]:
    return [json.loads(line)["call"] for line in (folder / "fake" / "calls.jsonl").read_text().splitlines()]


def test_each_call_has_an_answer(tmp_path: Path) -> None:
    done = serve("Noting", begin(tmp_path, "fake"), begin_trial(0, r=2), log(0, (1, 0.5)), end_trial(0))
    assert done.stdout == "{}\n" * 4
    assert done.returncode == 0


def test_the_end_of_the_run_s_process_closes_the_tracker_as_broken_off(tmp_path: Path) -> None:
    serve("Noting", begin(tmp_path, "fake"), begin_trial(0, r=2))
    lines = (tmp_path / "fake" / "calls.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == {"call": "close", "finished": False}


def test_a_call_that_was_cut_off_with_the_run_s_process_is_its_end(tmp_path: Path) -> None:
    done = serve("Noting", begin(tmp_path, "fake"), cut='{"call": "begin_tri')
    assert noted(tmp_path) == ["begin", "close"]
    assert (done.returncode, done.stdout) == (0, "{}\n")


def test_a_tracker_that_was_not_begun_is_not_closed() -> None:
    done = serve("Noting")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_after_close_nothing_more_is_done(tmp_path: Path) -> None:
    serve("Noting", begin(tmp_path, "fake"), ("close", {"finished": True}), begin_trial(0, r=2))
    assert noted(tmp_path) == ["begin", "close"]


def test_an_error_is_a_sentence_and_the_last_answer(tmp_path: Path) -> None:
    done = serve("Raising", begin(tmp_path, "fake"), begin_trial(0, r=2), log(0, (1, 0.5)), end_trial(0))
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {},
        {},
        {"error": "RuntimeError: can't keep a metric"},
    ]
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_only_what_a_tracker_is_told_can_be_called(tmp_path: Path) -> None:
    done = serve("Noting", begin(tmp_path, "fake"), ("__init__", {}))
    assert json.loads(done.stdout.splitlines()[-1]) == {"error": "ValueError: '__init__' is not a call of a tracker's"}
