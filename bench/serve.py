"""What serving costs: `python -m bench.serve [--model demo] [--seconds 10] [--soak 600] [--adapters 100] [--budget]`.

Adapters with random weights over one encoder are served by `loraloom serve` in a process of its own, on this machine's
loopback, and asked by one client process that keeps its connections. Printed, and kept in bench/results/serve.json
(`--out`):

- one request after another, and 32 clients that each ask again as soon as they are answered: texts a second, p50, p99;
  the same where each request is for another adapter;
- requests that come at random times (Poisson) at half of the rate of the 32: p99 beside a lone request's;
- twice that rate, with few permits: how many are answered 503, and how soon; resident memory before and after;
- resident memory with one adapter and with `--adapters`;
- what a request is made of, in microseconds, and what the 32 can gain at most by it (`--budget`: this alone);
- LitServe serving transformers + PEFT with the same adapter in batches, where it is installed.

The client and the server share the processor, as they do for every peer. Texts are AG News' where shared/agnews is to
be had (`LORALOOM_AGNEWS`), else sentences of about their length.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.http_load import (
    Load,
    closed_loop,
    free_port,
    memory_mb,
    open_loop,
    processor_seconds,
    request,
    serving,
)
from bench.measure import RESULTS
from loraloom.errors import DataError
from loraloom.machine import read_machine
from loraloom.study.durable import write_json
from study.agnews_files import agnews_rows
from study.machine import described

RESULT = RESULTS / "serve.json"
CLIENTS = 32


def texts_of(count: int) -> list[str]:
    """AG News' test rows, or sentences of their length."""
    with suppress(DataError):
        return [text for text, _ in islice(agnews_rows("test.csv"), count)]
    words = ("shares", "of", "a", "small", "company", "fell", "after", "its", "bank", "warned", "that", "it", "slows")
    generator = random.Random(1)  # noqa: S311
    return [" ".join(generator.choices(words, k=40)) for _ in range(count)]


def serve_command(folders: Sequence[Path], port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "loraloom", "serve", *map(str, folders), "--port", str(port), *options]


def random_adapter(model: str, folder: Path, number: int) -> Path:
    from bench.random_adapters import save_random_adapter

    recipe = {"data": {"max_length": 128}, "lora": {"r": 8}}
    labels = ("World", "Sports", "Business", "Sci/Tech")
    return save_random_adapter(folder / f"a{number}", model, recipe, labels=labels, seed=number, dtype="bf16")


def measure_budget(model: str, seconds: float, folder: Path) -> None:
    """One client and 32, and `budget`."""
    adapter, texts, port = random_adapter(model, folder, 0), texts_of(2000), free_port()

    def one(number: int) -> bytes:
        return request("/v1/classify", {"texts": [texts[number % len(texts)]]})

    with serving(serve_command([adapter], port), port):
        asyncio.run(closed_loop(port, one, CLIENTS, 1))
        lone, full = (asyncio.run(closed_loop(port, one, clients, seconds)) for clients in (1, CLIENTS))
    say("lone", lone)
    say(f"{CLIENTS}_clients", full)
    print(f"{'throughput_ratio':24}{full.rate / lone.rate:9.2f}", flush=True)
    budget(adapter, texts, lone, seconds)


def measure(model: str, seconds: float, soak: float, adapters: int, folder: Path) -> dict[str, Any]:
    """All of it; prints as it goes."""
    folders = [random_adapter(model, folder, number) for number in range(adapters)]
    texts = texts_of(2000)
    port = free_port()

    def one(number: int) -> bytes:
        return request("/v1/classify", {"adapter": "a0", "texts": [texts[number % len(texts)]]})

    def each(number: int) -> bytes:
        name = f"a{number % min(adapters, CLIENTS)}"
        return request("/v1/classify", {"adapter": name, "texts": [texts[number % len(texts)]]})

    found: dict[str, Any] = {"machine": described(), "model": model, "seconds": seconds, "soak_seconds": soak}
    with serving(serve_command(folders[:1], port), port) as pid:
        asyncio.run(closed_loop(port, one, 1, 2))
        found["memory_1_adapter_mb"] = memory_mb(pid)
    with serving(serve_command(folders, port), port) as pid:
        asyncio.run(closed_loop(port, each, 1, 2))
        found[f"memory_{adapters}_adapters_mb"] = memory_mb(pid)
        lone = asyncio.run(closed_loop(port, one, 1, seconds))
        full = asyncio.run(closed_loop(port, one, CLIENTS, seconds))
        mixed = asyncio.run(closed_loop(port, each, CLIENTS, seconds))
        half = asyncio.run(open_loop(port, one, full.rate / 2, seconds))
    for name, load in (("lone", lone), (f"{CLIENTS}_clients", full), ("each_its_adapter", mixed), ("half_load", half)):
        found[name] = load.as_json()
        say(name, load)
    with serving(serve_command(folders[:1], port, "--max_waiting", "64"), port) as pid:
        asyncio.run(closed_loop(port, one, CLIENTS, 2))
        before = memory_mb(pid)
        over = asyncio.run(open_loop(port, one, full.rate * 2, soak))
        found["overload"] = {**over.as_json(), "memory_before_mb": before, "memory_after_mb": memory_mb(pid)}
        say("overload", over)
    found["throughput_ratio"] = round(full.rate / lone.rate, 2)
    found["p99_ratio"] = round(half.percentile(99) / lone.percentile(99), 2)
    found["grown_ratio"] = round(found["overload"]["memory_after_mb"] / found["overload"]["memory_before_mb"], 3)
    found["memory_ratio"] = round(found[f"memory_{adapters}_adapters_mb"] / found["memory_1_adapter_mb"], 2)
    found["budget"] = budget(folders[0], texts, lone, seconds)
    found["litserve"] = litserve(folders[0], texts, seconds)
    return found


def budget(adapter: Path, texts: Sequence[str], lone: Load, seconds: float) -> dict[str, float]:
    """Microseconds of each part of a request, and the most that 32 clients can gain by them over one.

    The model's time for a text alone and in a batch of 32, and the tokenizer's, are measured in this process, while
    nothing else runs. HTTP, JSON and all else that is Python's is the processor time of requests for an adapter that
    there is not, which are read and answered whole; the client's is its own. With all cores at work all the time, a
    text takes (cores * batch / 32 + the rest) / cores: no server of this model on this processor is faster.
    """
    from loraloom.use.backbones import Backbones

    backbones = Backbones()
    classifier = backbones.add(adapter)
    rows = [classifier.encoded([text]) for text in texts[:CLIENTS]]

    def model(together: int) -> None:
        for first in range(0, CLIENTS, together):
            backbones.attempt([classifier] * together, rows[first : first + together])

    found = {
        "model_alone_us": _microseconds(lambda: model(1), CLIENTS),
        "model_of_32_us": _microseconds(lambda: model(CLIENTS), CLIENTS),
        "tokenizer_us": _microseconds(lambda: [classifier.encoded([text]) for text in texts[:CLIENTS]], CLIENTS),
    }
    port = free_port()

    def refused(number: int) -> bytes:
        return request("/v1/classify", {"adapter": "nobody", "texts": [texts[number % len(texts)]]})

    with serving(serve_command([adapter], port), port) as pid:
        before, own = processor_seconds(pid), time.process_time()
        load = asyncio.run(closed_loop(port, refused, CLIENTS, seconds, 404))
        count = len(load.answered) + CLIENTS
        found["server_us"] = (processor_seconds(pid) - before) / count * 1e6
        found["client_us"] = (time.process_time() - own) / count * 1e6
    cores = read_machine().logical_cores
    rest = found["tokenizer_us"] + found["server_us"] + found["client_us"]
    found["lone_us"] = lone.percentile(50) * 1000
    found["least_of_32_us"] = found["model_of_32_us"] + rest / cores
    found["model_ratio"] = found["model_alone_us"] / found["model_of_32_us"]
    found["most_ratio"] = found["lone_us"] / found["least_of_32_us"]
    for name, value in found.items():
        print(f"{name:24}{value:9.2f}" if name.endswith("ratio") else f"{name:24}{value:9.0f}", flush=True)
    return {name: round(value, 2) for name, value in found.items()}


def _microseconds(work: Callable[[], object], texts: int, times: int = 15) -> float:
    """The median of a few runs, for each of its texts."""
    work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) / texts * 1e6


def litserve(adapter: Path, texts: Sequence[str], seconds: float) -> dict[str, Any] | str:
    """The same adapter by LitServe, as its documentation has it."""
    if importlib.util.find_spec("litserve") is None:
        return "not installed"
    port = free_port()

    def ask(number: int) -> bytes:
        return request("/predict", {"text": texts[number % len(texts)]})

    with serving([sys.executable, "-m", "bench.litserve", str(adapter), str(port)], port):
        lone = asyncio.run(closed_loop(port, ask, 1, seconds))
        full = asyncio.run(closed_loop(port, ask, CLIENTS, seconds))
    say("litserve, lone", lone)
    say(f"litserve, {CLIENTS} clients", full)
    return {"lone": lone.as_json(), f"{CLIENTS}_clients": full.as_json()}


def say(name: str, load: Load) -> None:
    refused = f", {len(load.refused)} refused (p99 {load.percentile(99, of_refused=True):.1f} ms)" * bool(load.refused)
    how = "".join(f" ({count} by {name})" for name, count in load.breaks.items())
    lost = f", {load.broken} broken{how}, {load.unsent} not sent" * bool(load.broken or load.unsent)
    times = f"p50 {load.percentile(50):.1f} ms, p99 {load.percentile(99):.1f} ms"
    print(f"{name:24}{load.rate:9.1f} texts/s, {times}{refused}{lost}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--soak", type=float, default=10, help="seconds at twice the capacity")
    parser.add_argument("--adapters", type=int, default=100)
    parser.add_argument("--budget", action="store_true", help="only what a request is made of; nothing is kept")
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result is written")
    asked = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as place:
        if asked.budget:
            measure_budget(asked.model, asked.seconds, Path(place))
            return
        found = measure(asked.model, asked.seconds, asked.soak, asked.adapters, Path(place))
    for name in ("throughput_ratio", "p99_ratio", "memory_ratio", "grown_ratio"):
        print(f"{name:24}{found[name]:9.2f}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.out, found)
    print(asked.out)


if __name__ == "__main__":
    main()
