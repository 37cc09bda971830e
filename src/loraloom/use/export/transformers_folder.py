"""`merged`: W' = W + (alpha / r) · B A in fp32, saved as a plain transformers folder with its tokenizer.

`pipeline("text-classification", FOLDER, truncation=True)` gives the adapter's labels by name, which is checked by
calling just that. The tokenizer's `model_max_length` is the recipe's max_length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from loraloom.backbone.quiet import quietly
from loraloom.errors import AdapterError
from loraloom.use.export.subject import Subject

BATCH, TOKENS = 32, 4096
"""Texts of a batch, and its tokens where all are as long as texts may be."""


def merged_model(subject: Subject) -> nn.Module:
    """The classifier without PEFT, LoRA added to its weights in fp32; the subject's own model is used up.

    Raises:
        AdapterError: a merged weight is not finite.
    """
    try:
        with quietly():
            merged = cast(Any, subject.model).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise AdapterError(f"{subject.folder}: its LoRA can't be merged: {error}") from None
    return cast(nn.Module, merged.eval())


def write_transformers(subject: Subject, folder: Path) -> None:
    """Writes config.json, model.safetensors and the tokenizer's files into `folder`."""
    model: Any = merged_model(subject)
    tokenizer = subject.tokenizer
    tokenizer.model_max_length = subject.max_length
    with quietly():
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


class TransformersFolder:
    """A written folder, by transformers' own pipeline."""

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        from transformers import pipeline

        with quietly():
            self._classify: Any = cast(Any, pipeline)(
                "text-classification", model=str(folder), truncation=True, device="cpu"
            )
        self._ids = {label: number for number, label in enumerate(labels)}

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C), put in order by the names that the pipeline gives them."""
        logits = np.full((len(texts), len(self._ids)), np.nan, dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        batch = max(1, min(BATCH, TOKENS // self._classify.tokenizer.model_max_length))
        with quietly():
            found = self._classify(
                [texts[row] for row in by_length], batch_size=batch, top_k=None, function_to_apply="none"
            )
        for row, scores in zip(by_length, found, strict=True):
            for score in scores:
                logits[row, self._ids[score["label"]]] = score["score"]
        return logits
