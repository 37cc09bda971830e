"""Logits by transformers and PEFT in fp32, for architectures that loom does not know: a model for each adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Encoded

if TYPE_CHECKING:
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
