"""An adapter as transformers and PEFT have it, in fp32: for exports, and for architectures that loom does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.data import Encoded
from loraloom.study.record import TrialRecord
from loraloom.use.adapter_checks import backbone_of, check_backbone, check_config
from loraloom.use.peft_weights import build_adapted, checked_weights

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn


class PeftForward:
    """A classifier as PEFT has it."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        from transformers import DataCollatorWithPadding

        model.requires_grad_(requires_grad=False)
        self._model, self._collate = model.eval(), DataCollatorWithPadding(tokenizer)

    def logits(
        self, encoded: Encoded, classes: int, done: Callable[[int], None] = lambda _: None
    ) -> NDArray[np.float32]:
        """Logits (N, C) of encoded rows, in their order; `done` hears after each batch how many rows have theirs."""
        import torch

        from loraloom.engine.loom.evaluation import by_length
        from loraloom.engine.precision import in_own_type

        logits, computed = np.zeros((len(encoded), classes), dtype=np.float32), 0
        device = next(self._model.parameters()).device
        with torch.inference_mode(), in_own_type(device):
            for rows in by_length(np.diff(encoded.offsets)):
                batch = cast(Any, self._collate([encoded[int(row)] for row in rows])).to(device)
                logits[rows] = self._model(**batch).logits.float().cpu().numpy()
                computed += len(rows)
                done(computed)
        return logits


def load_peft(folder: Path, record: TrialRecord) -> tuple[sources.Source, PeftModel]:
    """Where the backbone of an adapter is, and PEFT's model over it, in fp32 on the CPU, with the adapter's weights.

    Raises:
        AdapterError: the folder's files are not those of its record, its weights are not finite, or its backbone here
            is not the one that it was trained on.
        BackboneError: its backbone can't be had.
    """
    check_config(folder, record.configuration.lora)
    source = backbone_of(folder, record)
    check_backbone(folder, record, sources.pin(source) if source.local else None)
    config = sources.load_config(source)
    return source, build_adapted(source, record, config, checked_weights(folder, record, config))
