"""What a process of `bench/predict.py` does: it makes what peers need, or is one of them, and prints JSON."""

from __future__ import annotations

import csv
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from bench.measure import threads
from bench.predict import MAX_LENGTH
from study.agnews_files import agnews_rows

WARM_UP = 64
BATCH = 64
Predict = Callable[[Sequence[str]], list[str]]


def main() -> None:
    task = json.loads(sys.argv[1])
    torch.set_num_threads(threads())
    folder = Path(task["folder"])
    if task["do"] == "prepare":
        prepare(folder, task["rows"], onnx=task["onnx"])
        print("{}")
        return
    texts, labels = _rows(task["rows"] + WARM_UP)
    predict = PEERS[task["do"]](folder)
    predict(texts[:WARM_UP])
    start = time.perf_counter()
    found = predict(texts[WARM_UP:])
    seconds = time.perf_counter() - start
    right = sum(one == label for one, label in zip(found, labels[WARM_UP:], strict=True))
    answer = {
        "seconds": seconds,
        "labels": found,
        "accuracy": right / len(found),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(answer))


def prepare(folder: Path, rows: int, *, onnx: bool) -> None:
    """The adapter merged into a plain transformers model; with `onnx`, as ONNX too."""
    from loraloom.use.export import export

    some = folder / "some.csv"
    texts, labels = _rows(min(rows, 128))
    with some.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    for form in ("merged", *(["onnx"] if onnx else [])):
        export(folder / "adapter", form, folder / form, rows=some, text_column=("text",), label_column="label")


def _loraloom(folder: Path) -> Predict:
    from loraloom.use.backbones import load

    return load(folder / "adapter").predict


def _pipeline(folder: Path, **options: Any) -> Any:
    from transformers import pipeline

    make: Any = pipeline
    return make("text-classification", model=str(folder / "merged"), device="cpu", **options)


def _as_people_use_it(folder: Path) -> Predict:
    made = _pipeline(folder)
    return lambda texts: [one["label"] for one in made(list(texts), truncation=True, max_length=MAX_LENGTH)]


def _batched(folder: Path, **options: Any) -> Predict:
    made = _pipeline(folder, **options)

    def predict(texts: Sequence[str]) -> list[str]:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        given = [texts[place] for place in order]
        found = made(given, batch_size=BATCH, truncation=True, max_length=MAX_LENGTH)
        labels = [""] * len(texts)
        for place, one in zip(order, found, strict=True):
            labels[place] = one["label"]
        return labels

    return predict


def _onnx(folder: Path, name: str) -> Predict:
    import numpy as np
    from tokenizers import Tokenizer

    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = runtime.InferenceSession(str(folder / "onnx" / name), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "onnx" / "tokenizer.json"))
    names = json.loads((folder / "onnx" / "labels.json").read_text(encoding="utf-8"))

    def predict(texts: Sequence[str]) -> list[str]:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        labels = [""] * len(texts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            encoded = tokenizer.encode_batch([texts[place] for place in places])
            ids = np.array([one.ids for one in encoded], dtype=np.int64)
            mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
            (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
            for place, best in zip(places, logits.argmax(axis=1).tolist(), strict=True):
                labels[place] = names[best]
        return labels

    return predict


PEERS: dict[str, Callable[[Path], Predict]] = {
    "loraloom": _loraloom,
    "pipeline": _as_people_use_it,
    "batched": _batched,
    "batched_bf16": lambda folder: _batched(folder, dtype=torch.bfloat16),
    "onnx": lambda folder: _onnx(folder, "model.onnx"),
    "onnx_int8": lambda folder: _onnx(folder, "model_int8.onnx"),
}


def _rows(count: int) -> tuple[list[str], list[str]]:
    """The first texts and labels of the test set."""
    rows = list(islice(agnews_rows("test.csv"), count))
    return [text for text, _ in rows], [label for _, label in rows]


if __name__ == "__main__":
    main()
