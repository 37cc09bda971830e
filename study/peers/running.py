"""A peer in a process of its own, ended when its time is up, with all that it started.

Its time runs from the start of the process to its answer: imports, loading, training and predicting all count (but for
loraloom's compiled kernels, which a machine makes once), and what has not answered by then has no result. Nobody
reaches a network, and nobody sees the labels of the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from study.peers import PEERS, Peer
from study.peers.environments import python_of
from study.peers.task import Task
from study.surroundings import own_cache, surroundings

ROOT = Path(__file__).parent.parent.parent
_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a peer; `answer` is what the child wrote (see `child.py`), where it did in time."""

    state: Literal["answered", "stopped", "failed"]
    seconds: float
    answer: dict[str, Any] | None = None
    reason: str | None = None


def run(name: str, task: dict[str, Any], *, child: str = "study.peers.child", python: str | None = None) -> Outcome:
    """Asks the peer `name`; `task` has the fields of `Task` but for `started` and `folder`.

    Raises:
        DataError: the peer's environment is not there.
    """
    peer = PEERS[name]
    interpreter = python or python_of(peer)
    with tempfile.TemporaryDirectory(prefix="loraloom-peer-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        (folder / "work").mkdir()
        started = time.time()
        whole = Task(**task, started=started, folder=str(folder / "work"))
        (folder / "task.json").write_text(json.dumps(asdict(whole)), encoding="utf-8")
        (folder / "packages").write_text("\n".join(_names(peer)), encoding="utf-8")
        command = [interpreter, "-m", child, name, str(folder / "task.json"), str(folder / "answer.json")]
        with (folder / "packages").open() as packages, (folder / "said").open("wb") as said:
            process = subprocess.Popen(
                command, cwd=ROOT, env=_environment(whole, folder, peer), stdin=packages, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = process.wait(timeout=max(0.0, whole.remaining()))
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return _outcome(whole, folder, code)


def _outcome(task: Task, folder: Path, code: int | None) -> Outcome:
    file = folder / "answer.json"
    if file.is_file():
        # what a process does after its answer, as taking torch apart, is not in its time
        seconds = file.stat().st_mtime - task.started
        answer = json.loads(file.read_text(encoding="utf-8"))
        wrong = _wrong(answer["predictions"], task)
        if wrong:
            return Outcome("failed", seconds, reason=wrong)
        return Outcome("answered", seconds, answer)
    if code is None:
        return Outcome("stopped", task.seconds, reason=f"no answer within {task.seconds:g} s")
    seconds = time.time() - task.started
    if code == -signal.SIGKILL:  # by the system alone: who is too slow has no code
        return Outcome("failed", seconds, reason="was killed by the system, as where memory does not suffice")
    return Outcome("failed", seconds, reason=_last_words(folder / "said", task, folder) or f"ended with code {code}")


def _wrong(predictions: list[int], task: Task) -> str | None:
    if len(predictions) != len(task.test):
        return f"{len(predictions)} predictions for {len(task.test)} rows"
    if off := [label for label in predictions if not 0 <= label < len(task.classes)]:
        return f"predicted the class {off[0]}, of 0 to {len(task.classes) - 1}"
    return None


def _last_words(said: Path, task: Task, folder: Path) -> str:
    """The last line that was printed and tells something, without the names of this machine's folders."""
    lines = map(str.strip, said.read_text(encoding="utf-8", errors="replace").splitlines())
    telling = [line for line in lines if line and not line.startswith("For further information")]  # pydantic's last
    last = telling[-1] if telling else ""
    for place, name in ((task.encoder, "ENCODER"), (str(folder), "…"), (str(ROOT), "."), (str(Path.home()), "~")):
        last = last.replace(place, name) if place else last
    return last[:_REASON_LENGTH]


def _environment(task: Task, folder: Path, peer: Peer) -> dict[str, str]:
    """The processor alone, offline, with the same threads for all; caches are empty but for compiled kernels."""
    from loraloom.data.encoding import default_cache

    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    sources = [str(ROOT)] if peer.packages else [str(ROOT), str(ROOT / "src")]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(sources),
        "HF_HOME": str(folder / "huggingface"),
        **surroundings(own_cache(folder, default_cache() / "kernels"), task.threads),
    }


def _names(peer: Peer) -> list[str]:
    return [package.partition("==")[0].partition("[")[0] for package in peer.packages]
