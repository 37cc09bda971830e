"""Embeddings of texts by the frozen backbone: the mean of the last hidden states over real tokens, of unit length.

The mean, since an encoder's first token carries meaning only where it was trained to (BERT's next sentence, a
classifier), and the mean does in all. Unit length, since the length of a mean says how long and how usual a text is
and its direction what it is about: distances then lie in [0, 2] in every run, and equal texts are at 0. No LoRA: the
question is how alike texts are, not how alike a trained model finds them. By transformers, in the type that the winner
was trained in: in bf16 a vector is off by some 0.005, where neighbours are tenths apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data import default_cache, encode
from loraloom.errors import BackboneError

if TYPE_CHECKING:
    from torch import nn

    from loraloom.backbone.sources import Source

BATCH = 32


class Embedder:
    """A frozen backbone, loaded once."""

    def __init__(self, source: Source, max_length: int, *, bf16: bool = False) -> None:
        """Loads the encoder and its tokenizer; texts are cut at `max_length` tokens. `bf16` is by autocast.

        Raises:
            BackboneError: they can't be had.
        """
        from loraloom.backbone.frozen_encoder import load_encoder
        from loraloom.backbone.sources import load_tokenizer
        from loraloom.engine.precision import device

        self._tokenizer: Any = load_tokenizer(source)
        self._model: nn.Module = load_encoder(source).to(device())
        self._source, self._max_length, self._bf16 = source, max_length, bf16

    def embed(self, texts: Sequence[str], after: Callable[[int], None] = lambda _: None) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length; `after` hears of each batch how many texts it had, and may end it by raising.

        Raises:
            BackboneError: a vector is not finite.
        """
        import torch
        from transformers import DataCollatorWithPadding

        encoded = encode(self._tokenizer, texts, max_length=self._max_length, cache=default_cache())
        collate: Any = DataCollatorWithPadding(self._tokenizer)
        place = next(self._model.parameters()).device
        by_length = np.argsort(-np.diff(encoded.offsets), kind="stable")  # the dearest first: estimates err upwards
        parts, order = [], []
        with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=self._bf16):
            for start in range(0, len(by_length), BATCH):
                rows = by_length[start : start + BATCH]
                batch = collate([encoded[int(row)] for row in rows]).to(place)
                hidden = self._model(**batch).last_hidden_state.float()  # (B, T, D); what follows is in fp32
                weight = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
                mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)  # (B, D)
                parts.append(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())
                order.append(rows)
                after(len(rows))
        if not parts:
            return np.zeros((0, 0), dtype=np.float32)
        vectors = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
        vectors[np.concatenate(order)] = np.concatenate(parts)
        if not np.isfinite(vectors).all():
            raise BackboneError(f"backbone.model: {self._source.model!r} gives hidden states that are not finite")
        return vectors
