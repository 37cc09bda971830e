"""An adapter as transformers and PEFT have it, in fp32: for exports, and for architectures that loom does not know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.data import Encoded
from loraloom.errors import AdapterError
from loraloom.study.record import TrialRecord

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

BATCH = 64


class PeftForward:
    """A classifier as PEFT has it."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        from transformers import DataCollatorWithPadding

        model.requires_grad_(requires_grad=False)
        self._model, self._collate = model.eval(), DataCollatorWithPadding(tokenizer)

    def logits(self, encoded: Encoded, classes: int) -> NDArray[np.float32]:
        """Logits (N, C) of encoded rows, in their order."""
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
