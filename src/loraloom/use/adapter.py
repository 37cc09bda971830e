"""An adapter loaded from its folder: from texts to logits, probabilities and labels.

Computed by the loom engine's forward pass where it knows the architecture, in the type that the adapter was trained
in if this machine is fast in it, else in fp32; by transformers and PEFT where it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from loraloom import metrics
from loraloom.backbone import sources
from loraloom.data import Encoded, encode
from loraloom.errors import AdapterError, RunError
from loraloom.recipe import Train
from loraloom.study.durable import verify_manifest
from loraloom.study.record import CARD, TrialRecord, read_record

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

BATCH = 64
WINDOW = 4096
"""Texts read ahead: within a window they are batched by length, and given back in order."""
_UNSAFE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so"}


@dataclass(frozen=True, slots=True)
class Prediction:
    """A text's label, its probability, and the probabilities (C,) of all labels."""

    label: str
    confidence: float
    probabilities: NDArray[np.float64]


class Forward(Protocol):
    """What gives logits (N, C) of encoded rows."""

    def logits(self, encoded: Encoded, classes: int) -> NDArray[np.float32]: ...


class Classifier:
    """A trained classifier: backbone, adapter and head in one; made by `load`."""

    def __init__(self, forward: Forward, tokenizer: Any, record: TrialRecord) -> None:
        self._forward, self._tokenizer, self.record = forward, tokenizer, record

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, by the column of `logits` and `predict_proba`."""
        return self.record.labels

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each text."""
        return [self.labels[index] for index in self.logits(texts).argmax(axis=1)]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (N, C), columns in the order of `labels`."""
        return metrics.softmax(self.logits(texts))

    def stream(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Predictions in the order of `texts`, which may be more than memory holds."""
        waiting = iter(texts)
        while window := list(islice(waiting, WINDOW)):
            for probabilities in self.predict_proba(window):
                best = int(probabilities.argmax())
                yield Prediction(self.labels[best], float(probabilities[best]), probabilities)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C).

        Raises:
            TypeError: `texts` is one text, or holds something else.
            AdapterError: a logit is not finite.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("texts must be a list of texts")
        return self.logits_of(self.encoded(texts))

    def encoded(self, texts: Sequence[str]) -> Encoded:
        """Token ids of texts, cut as in training."""
        return encode(self._tokenizer, texts, max_length=self.record.configuration.data.max_length, cache=None)

    def logits_of(self, encoded: Encoded) -> NDArray[np.float32]:
        """Logits (N, C) of what `encoded` gives.

        Raises:
            AdapterError: a logit is not finite.
        """
        if not len(encoded):
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        logits = self._forward.logits(encoded, len(self.labels))
        if not np.isfinite(logits).all():
            raise AdapterError("the adapter gives logits that are not finite; its weights can't be used")
        return logits


def load(path: Path | str) -> Classifier:
    """Loads the adapter in `path` (a trial's folder, such as RUN/best) over its backbone.

    Raises:
        AdapterError: the folder is not a finished trial's, is damaged, or holds what is not safe to load.
        BackboneError: its backbone can't be had, or is not the one that it was trained on.
    """
    record = read_adapter_record(Path(path))
    return Classifier(*_build(Path(path), record), record)


def read_adapter_record(folder: Path) -> TrialRecord:
    """The record of an adapter's folder, after its files were checked.

    Raises:
        AdapterError: see `load`.
    """
    if not folder.is_dir():
        raise AdapterError(f"{folder}: no such folder; give a trial's folder, such as RUN/best")
    if (folder / "recipe.yaml").is_file():
        raise AdapterError(f"{folder}: is a run; give {folder / 'best'}, or one of {folder / 'trials'}")
    for file in folder.rglob("*"):
        if file.suffix.lower() in _UNSAFE:
            raise AdapterError(f"{file}: can hold code, which is never loaded; an adapter is safetensors and JSON")
    verify_manifest(folder, but=(CARD,))
    try:
        record = read_record(folder)
    except RunError as error:
        raise AdapterError(str(error)) from None
    if not (folder / "adapter_model.safetensors").is_file():
        raise AdapterError(
            f"{folder}: holds no adapter: the trial {record.state}" + f" ({record.reason})" * bool(record.reason)
        )
    return record


class PeftForward:
    """The forward pass of transformers and PEFT, in fp32."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        from transformers import DataCollatorWithPadding

        model.requires_grad_(requires_grad=False)
        self._model, self._collate = model.eval(), DataCollatorWithPadding(tokenizer)

    def logits(self, encoded: Encoded, classes: int) -> NDArray[np.float32]:
        import torch

        logits = np.zeros((len(encoded), classes), dtype=np.float32)
        by_length = np.argsort(np.diff(encoded.offsets), kind="stable")
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            for start in range(0, len(by_length), BATCH):
                rows = by_length[start : start + BATCH]
                batch = cast(Any, self._collate([encoded[int(row)] for row in rows])).to(device)
                logits[rows] = self._model(**batch).logits.float().cpu().numpy()
        return logits


def _build(folder: Path, record: TrialRecord) -> tuple[Forward, Any]:
    from loraloom.engine.loom.inference import Inference
    from loraloom.engine.loom.setting import read_anatomy
    from loraloom.engine.precision import choose_dtype, device

    source, model = load_peft(folder, record)
    tokenizer = sources.load_tokenizer(source)
    found = read_anatomy(source, record.configuration)
    if isinstance(found, str):
        return PeftForward(model.to(device()), tokenizer), tokenizer
    dtype: Literal["fp32", "bf16"] = "bf16" if record.dtype == "bf16" and choose_dtype(Train()) == "bf16" else "fp32"
    return Inference(model, found, record.configuration, dtype, device()), tokenizer


def load_peft(folder: Path, record: TrialRecord) -> tuple[sources.Source, PeftModel]:
    """Where the backbone of a checked adapter is, and PEFT's model over it, in fp32 on the CPU.

    Raises:
        AdapterError: PEFT can't load it, or its weights are not those that the record counts, or not finite.
        BackboneError: its backbone can't be had, or is not the one that it was trained on.
    """
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError

    from loraloom.backbone.adapting import trainable_parameters
    from loraloom.backbone.classifier import build_pretrained
    from loraloom.backbone.quiet import quietly

    backbone = record.configuration.backbone
    source = sources.find(backbone.model, record.backbone_revision)
    if source.local and record.backbone_revision not in (None, sources.pin(source)):
        raise AdapterError(f"{folder}: was trained on another {backbone.model!r} than the one on this machine")
    base = build_pretrained(source, record.configuration, record.labels)
    try:
        with quietly():
            model = PeftModel.from_pretrained(cast(Any, base), str(folder), is_trainable=True)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AdapterError(f"{folder}: PEFT can't load the adapter: {first}") from None
    if trainable_parameters(model) != record.counts.trainable:
        raise AdapterError(
            f"{folder}: holds {trainable_parameters(model):,} parameters, not {record.counts.trainable:,}"
        )
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad):
        raise AdapterError(f"{folder}: holds weights that are not finite")
    return source, model
