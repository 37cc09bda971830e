"""From texts to labels, tokenising included: `python -m bench.predict [--models demo,base] [--rounds 3]`.

The first rows of AG News' test set through one adapter, by loraloom and by what people would use in its place, side by
side: each a process of its own, in an order that is turned round every time, after a warm-up of 64 rows; its best time
counts. `transformers.pipeline` gets the adapter merged into its model. onnxruntime gets what `loraloom export --format
onnx` writes. The demo's adapter is trained on 2,000 rows, so that its accuracy means something; the base-size model has
random weights, and says nothing but what such a size costs. Takes ten minutes on two cores; needs the extra `export`
for onnxruntime's part, which is left out and said so where it is not there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.agnews import need_agnews
from bench.cases import Work
from bench.comparison import machine_folder, refuse_other_machine
from bench.measure import RESULTS, ROOT, Task, environment, run, threads
from loraloom.study.durable import write_json
from study.machine import described
from study.surroundings import own_cache

NAME = "predict.json"
"""The file's, in this machine's folder of results."""
Model = Literal["demo", "base"]
ROWS: dict[str, int] = {"demo": 1024, "base": 192}
TRAINED_ON: dict[str, int] = {"demo": 2000, "base": 64}
MAX_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Peer:
    """A way from texts to labels; loraloom is to be `goal` times as fast, where there is one."""

    name: str
    words: str
    goal: float | None = None


PEERS = (
    Peer("loraloom", "loraloom"),
    Peer("pipeline", "transformers.pipeline as people use it: fp32, one text at a time", 5),
    Peer("batched", "the same, sorted by length, batch_size=64", 2),
    Peer("batched_bf16", "the same, in bf16", 2),
    Peer("onnx", "onnxruntime fp32, sorted, batches of 64", 3),
    Peer("onnx_int8", "onnxruntime int8 (dynamic), sorted, batches of 64", 1),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A peer with one model: its best time, and what its labels are worth. `times` is loraloom's rate by its own."""

    model: str
    peer: str
    words: str
    rows: int
    seconds: float
    rows_per_second: float
    peak_mb: float
    accuracy: float
    same_labels: float
    times: float
    goal: float | None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.predict", description=__doc__)
    parser.add_argument("--models", default="demo,base", help="demo, base or both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help=f"where it is kept (bench/results/engines/MACHINE/{NAME})")
    given = parser.parse_args()
    need_agnews(parser)
    refuse_other_machine(RESULTS)
    lines: list[Line] = []
    for model in given.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            lines += compare(model, Path(folder), given.rounds)
    out = given.out or machine_folder(RESULTS) / NAME
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {"machine": described(), "threads": threads(), "lines": [asdict(line) for line in lines]})


def compare(model: str, folder: Path, rounds: int) -> list[Line]:
    """All peers with one model."""
    work = Work(model, (16, 64), max_length=MAX_LENGTH)  # type: ignore[arg-type]
    run(Task("prepare", work, folder, rows=TRAINED_ON[model]))
    own_cache(folder, folder / "kernels")
    peers = [peer for peer in PEERS if not peer.name.startswith("onnx") or _has_onnx()]
    if len(peers) < len(PEERS):
        print("onnxruntime is not installed: left out", flush=True)
    child(folder, "prepare", model, onnx=_has_onnx())
    found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    for round_ in range(rounds):
        for peer in peers[:: -1 if round_ % 2 else 1]:
            found[peer.name].append(child(folder, peer.name, model))
            print(f"{model}, round {round_ + 1}, {peer.words}: {found[peer.name][-1]['seconds']:.2f} s", flush=True)
    ours = found["loraloom"][0]["labels"]
    fastest = min(one["seconds"] for one in found["loraloom"])
    lines = []
    for peer in peers:
        seconds = min(one["seconds"] for one in found[peer.name])
        first = found[peer.name][0]
        same = sum(a == b for a, b in zip(first["labels"], ours, strict=True)) / len(ours)
        rows = ROWS[model]
        lines.append(
            Line(
                model=model,
                peer=peer.name,
                words=peer.words,
                rows=rows,
                seconds=seconds,
                rows_per_second=rows / seconds,
                peak_mb=min(one["peak_mb"] for one in found[peer.name]),
                accuracy=first["accuracy"],
                same_labels=same,
                times=seconds / fastest,
                goal=peer.goal,
            )
        )
        print(json.dumps(asdict(lines[-1])), flush=True)
    return lines


def child(folder: Path, do: str, model: str, **options: Any) -> dict[str, Any]:
    """What a measuring process (`bench/predicting.py`) gives back.

    Raises:
        RuntimeError: it failed.
    """
    task = {"folder": str(folder), "do": do, "model": model, "rows": ROWS[model], **options}
    tokenizers = {"RAYON_NUM_THREADS": str(threads()), "TOKENIZERS_PARALLELISM": "true"}
    command = [sys.executable, "-m", "bench.predicting", json.dumps(task)]
    around = environment(folder / "cache", **tokenizers)
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{do} with {model} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _has_onnx() -> bool:
    """Whether there is what its export needs."""
    names = ("onnx", "onnxscript", "onnxruntime")
    return all(importlib.util.find_spec(name) is not None for name in names)


if __name__ == "__main__":
    main()
