"""What a peer's process does: reads its task, asks the peer, writes the answer. Started by `running.py`.

python -m study.peers.child PEER TASK.json ANSWER.json
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from study.peers.task import Answer, Task

_NAMED = ("torch", "transformers", "peft", "scikit-learn", "numpy")


def main() -> None:
    name, task_file, answer_file = sys.argv[1:]
    task = Task(**json.loads(Path(task_file).read_text(encoding="utf-8")))
    os.environ["OMP_NUM_THREADS"] = str(task.threads)
    answer: Answer = importlib.import_module(f"study.peers.{name}").answer(task)
    content = {
        "predictions": [int(number) for number in answer.predictions],
        "settings": answer.settings,
        "peak_mb": _peak_mb(),
        "packages": {
            package: found for package in (*_NAMED, *sys.stdin.read().split()) if (found := _version(package))
        },
    }
    unfinished = Path(f"{answer_file}.new")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.rename(answer_file)


def _peak_mb() -> float:
    """The peak of resident memory in 2^20 bytes: this process's, or that of the largest it started, if that is more."""
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(who).ru_maxrss for who in whose) / 1024


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
