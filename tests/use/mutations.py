"""Folders of adapters that somebody has changed, by mistake or with malice: each is a function of its seed.

Some are plain damage; in others the manifest is written anew, as whoever changes a file on purpose can do.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from loraloom.study.durable import write_manifest

WEIGHTS, CONFIG, RECORD, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "trial.json", "manifest.json"
TERMS, SCORES = "tfidf.json", "tfidf.safetensors"
"""Of a blend alone."""
FILES = WEIGHTS, CONFIG, RECORD, MANIFEST, TERMS, SCORES
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, 1e308, "", "x", "../..", "/etc/passwd", "a" * 10_000, [], {}, [[]],
    {"a": 1}, ["query"], "all-linear", "__import__('os').system('x')", "http://evil.example/x", "\u0000", "\u202e",
)  # fmt: skip
SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so")


class Canary:
    """What would leave a file behind if it were unpickled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._place,)


def mutated(adapter: Path, out: Path, seed: int, canary: Path) -> str:
    """A changed copy of the adapter in `adapter`; returns what was done. `canary` appears where code was run."""
    generator = random.Random(seed)  # noqa: S311
    shutil.copytree(adapter, out)
    kinds = list(_KINDS)
    done = []
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        kind = generator.choice(kinds)
        try:
            kind(out, generator, canary)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError):
            continue  # an earlier change left nothing for this one to change
        done.append(kind.__name__.strip("_"))
        if kind in (_pipe, _link):
            break  # what is read of these has no end
    if generator.random() < 0.7 and (out / MANIFEST).is_file() and "manifest" not in " ".join(done):
        try:
            write_manifest(out)
        except (OSError, ValueError):
            return " ".join(done)
        done.append("signed")
    return " ".join(done)


def _of(out: Path, *names: str) -> list[str]:
    """Those of these files that are there, and such as every adapter has."""
    return [name for name in names if name not in (TERMS, SCORES) or (out / name).is_file()]


def _bytes(out: Path, generator: random.Random, canary: Path) -> None:
    del canary
    path = out / generator.choice(_of(out, *FILES))
    data = bytearray(path.read_bytes())
    for _ in range(generator.choice((1, 3, 40))):
        data[generator.randrange(len(data))] = generator.randrange(256)
    path.write_bytes(bytes(data))


def _cut(out: Path, generator: random.Random, _: Path) -> None:
    path = out / generator.choice(_of(out, *FILES))
    data = path.read_bytes()
    path.write_bytes(data[: generator.randrange(len(data))])


def _grown(out: Path, generator: random.Random, _: Path) -> None:
    path = out / generator.choice(_of(out, *FILES))
    path.write_bytes(path.read_bytes() + generator.randbytes(generator.choice((1, 100, 10_000))))


def _lost(out: Path, generator: random.Random, _: Path) -> None:
    (out / generator.choice(_of(out, *FILES))).unlink()


def _folder_for_file(out: Path, generator: random.Random, _: Path) -> None:
    path = out / generator.choice(_of(out, *FILES))
    path.unlink()
    path.mkdir()


def _value(out: Path, generator: random.Random, _: Path) -> None:
    path = out / generator.choice(_of(out, CONFIG, RECORD, MANIFEST, TERMS))
    value = json.loads(path.read_text())
    _change(value, generator)
    path.write_text(json.dumps(value))


def _rank(out: Path, generator: random.Random, _: Path) -> None:
    """A rank that record and configuration agree on, and the weights do not."""
    rank = generator.choice((1, 3, 64, 10**6, 10**9, 2**62))
    record, config = json.loads((out / RECORD).read_text()), json.loads((out / CONFIG).read_text())
    record["configuration"]["lora"]["r"] = config["r"] = rank
    (out / RECORD).write_text(json.dumps(record))
    (out / CONFIG).write_text(json.dumps(config))


def _labels(out: Path, generator: random.Random, _: Path) -> None:
    record = json.loads((out / RECORD).read_text())
    record["labels"] = generator.choice(([], ["a"], ["a"] * 3, [str(n) for n in range(10_000)]))
    (out / RECORD).write_text(json.dumps(record))


def _deep(out: Path, generator: random.Random, _: Path) -> None:
    depth = generator.choice((500, 2_000, 100_000))
    kind = generator.choice(("[]", "{}"))
    opened = "[" * depth + "]" * depth if kind == "[]" else '{"a":' * depth + "1" + "}" * depth
    (out / generator.choice(_of(out, CONFIG, RECORD, MANIFEST, TERMS))).write_text(opened)


def _config_code(out: Path, generator: random.Random, _: Path) -> None:
    config = json.loads((out / CONFIG).read_text())
    config["auto_map"] = {"AutoModel": "evil.Model"}
    config["base_model_name_or_path"] = generator.choice(("evil/model", "../..", None))
    (out / CONFIG).write_text(json.dumps(config))


def _code_file(out: Path, generator: random.Random, canary: Path) -> None:
    name = generator.choice(("adapter_model", "extra", "inner/deep")) + generator.choice(SUFFIXES)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(pickle.dumps(Canary(canary)))


def _pickled_weights(out: Path, generator: random.Random, canary: Path) -> None:
    (out / generator.choice(_of(out, *FILES))).write_bytes(pickle.dumps(Canary(canary)))


def _link(out: Path, generator: random.Random, _: Path) -> None:
    path = out / generator.choice(_of(out, *FILES, "extra"))
    path.unlink(missing_ok=True)
    outside = out.with_name("outside")
    outside.write_text("{}")
    path.symlink_to(generator.choice((outside, "/dev/zero", "..", path.name, "/nowhere")))


def _pipe(out: Path, generator: random.Random, _: Path) -> None:
    path = out / generator.choice(_of(out, *FILES))
    path.unlink()
    os.mkfifo(path)


def _weights(out: Path, generator: random.Random, _: Path) -> None:
    """Other names, shapes, types and values in a file that is well formed."""
    path = out / generator.choice(_of(out, WEIGHTS, SCORES))
    weights = load_file(path)
    name = generator.choice(sorted(weights))
    kind = generator.choice(("drop", "more", "rename", "shape", "nan", "inf", "huge", "int", "float64", "empty"))
    value = weights[name]
    if kind in ("drop", "rename"):
        del weights[name]
    if kind in ("more", "rename"):
        weights[name + generator.choice(("x", ".default", ".modules_to_save", "\u202e"))] = value
    if kind == "shape":
        weights[name] = generator.choice((value.T.copy(), value.reshape(-1), np.zeros((1, 1), np.float32)))
    if kind in ("nan", "inf", "huge"):
        weights[name].reshape(-1)[0] = {"nan": np.nan, "inf": np.inf, "huge": 3e38}[kind]
    if kind in ("int", "float64"):
        weights[name] = value.astype({"int": np.int64, "float64": np.float64}[kind])
    if kind == "empty":
        weights = {}
    save_file(weights, path)


def _header(out: Path, generator: random.Random, _: Path) -> None:
    """A header of safetensors that promises what is not there."""
    path = out / generator.choice(_of(out, WEIGHTS, SCORES))
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    _change(header, generator)
    written = json.dumps(header).encode()
    length = generator.choice((len(written), len(written), 2**40, 2**63, 0))
    path.write_bytes(struct.pack("<Q", length) + written + data[8 + size :])


def _change(value: Any, generator: random.Random) -> None:
    """Puts something else somewhere in a JSON value, or takes it out."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = generator.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and generator.random() < 0.8:
            value = value[key]
            continue
        if generator.random() < 0.2:
            del value[key]
        else:
            value[key] = generator.choice(VALUES)
        return


_KINDS: tuple[Callable[[Path, random.Random, Path], None], ...] = (
    _bytes, _cut, _grown, _lost, _folder_for_file, _value, _value, _rank, _labels, _deep, _config_code, _code_file,
    _pickled_weights, _link, _pipe, _weights, _weights, _header,
)  # fmt: skip
