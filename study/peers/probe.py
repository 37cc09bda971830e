"""Logistic regression on the frozen encoder's embeddings: the mean over a text's tokens, scaled to unit length."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from study.peers.regularization import best_classifier
from study.peers.task import Answer, Task

_STRENGTHS = (10.0, 30.0, 3.0, 100.0, 1.0)
_BATCH = 64
_TIMED_ROWS = 256
_FITS = 2 + 2 * len(_STRENGTHS)
"""Fits to all rows that the regression takes: the first, the chosen one, and for each C three to two thirds of them."""
_SPARE, _FIXED = 1.5, 10.0
"""The regression may take so many times what was measured, and so many seconds more."""


def answer(task: Task) -> Answer:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(task.encoder)
    model = AutoModel.from_pretrained(task.encoder).eval()
    dtype, rate = _fastest(model, tokenizer, task)
    order = np.random.default_rng(task.seed).permutation(len(task.texts))
    with torch.inference_mode():
        held = _embedded(model, tokenizer, task.test, task.max_length, dtype)

        def embedded(rows: Any) -> Any:
            return _embedded(model, tokenizer, [task.texts[row] for row in rows], task.max_length, dtype)

        vectors = embedded_in_time(task, order, embedded, rate)
    labels = [task.labels[row] for row in order[: len(vectors)]]
    final, chosen = best_classifier(task, _classifier, _STRENGTHS, vectors, labels)
    settings = chosen | {"rows_embedded": len(vectors), "bf16": dtype == torch.bfloat16}
    return Answer(final.predict(held).tolist(), settings)


def embedded_in_time(task: Task, order: Any, embedded: Callable[[Any], Any], rate: float) -> Any:
    """The first rows of `order`, embedded (rows, width): as many as leave time for the regression over them.

    Chunks grow as the rows that are there, over which one fit is timed, and are of half the time that is left; `rate`
    is the rows embedded in a second, until a chunk was slower.
    """
    vectors = embedded(order[: max(_TIMED_ROWS, 2 * len(task.classes))])
    while (done := len(vectors)) < len(order):
        began = time.perf_counter()
        _classifier(_STRENGTHS[0]).fit(vectors, [task.labels[row] for row in order[:done]])
        fitting = _SPARE * _FITS * (time.perf_counter() - began) / done
        able = int((task.remaining() - _FIXED - fitting * done) / (1 / rate + fitting))
        if able < _BATCH:
            break
        chunk = order[done : done + min(done, max(_BATCH, able // 2))]
        began = time.perf_counter()
        vectors = np.concatenate([vectors, embedded(chunk)])
        rate = min(rate, len(chunk) / (time.perf_counter() - began))
    return vectors


def _classifier(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=1000)


def _fastest(model: Any, tokenizer: Any, task: Task) -> tuple[Any, float]:
    """The faster of fp32 and bf16 on this machine, and the rows that it embeds in a second."""
    import torch

    drawn = np.random.default_rng(task.seed).permutation(len(task.texts))[:_TIMED_ROWS]
    sample = [task.texts[row] for row in drawn]
    rates = {}
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            _embedded(model, tokenizer, sample[:_BATCH], task.max_length, dtype)
            began = time.perf_counter()
            _embedded(model, tokenizer, sample, task.max_length, dtype)
            rates[dtype] = len(sample) / (time.perf_counter() - began)
    best = max(rates, key=lambda dtype: rates[dtype])
    return best, rates[best]


def _embedded(model: Any, tokenizer: Any, texts: Sequence[str], length: int, dtype: Any) -> Any:
    """(texts, width) in float32; texts of like length pass together."""
    import torch

    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    vectors = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = tokenizer(
            [texts[row] for row in rows], padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        means = (states.float() * mask).sum(dim=1) / mask.sum(dim=1)
        vectors[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
    return vectors
