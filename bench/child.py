"""What a measuring process does: reads its task, does it, and writes what it found. Started by `measure.py`.

Each part is imported where it is used, so that no peer carries the weight of another.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from bench.measure import Task, threads
from bench.span import Span


def main() -> None:
    torch.set_num_threads(threads())
    task = Task.from_json(sys.stdin.read())
    Path(sys.argv[1]).write_text(json.dumps(_answer(task)), encoding="utf-8")


def _answer(task: Task) -> dict[str, Any]:
    match task.do:
        case "prepare":
            from bench.loom import train_for_evaluation
            from bench.texts import make_models

            make_models(task.folder, tiny=task.work.tiny, depth=task.work.depth)
            train_for_evaluation(task)
            return {}
        case "peak":
            from bench import peak

            return peak.measure(task)
    assert task.peer is not None
    span = _loom(task) if task.peer.kind == "loom" else _peer(task)
    return {
        "seconds": span.seconds / task.peer.trials,
        "each_seconds": span.each_seconds,
        "tokens": span.tokens,
        "trainable": span.trainable,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _loom(task: Task) -> Span:
    from bench import loom

    return loom.evaluate(task) if task.do == "evaluation" else loom.train(task)


def _peer(task: Task) -> Span:
    from bench import peers

    return peers.evaluate(task) if task.do == "evaluation" else peers.train(task)


if __name__ == "__main__":
    main()
