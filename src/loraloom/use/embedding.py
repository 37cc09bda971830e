"""Embeddings of texts by the frozen backbone: the mean of the last hidden states over real tokens, of unit length.

The mean, since an encoder's first token carries meaning only where it was trained to (BERT's next sentence, a
classifier), and the mean does in all. Unit length, since the length of a mean says how long and how usual a text is
and its direction what it is about: distances then lie in [0, 2] in every run, and equal texts are at 0. No LoRA: the
question is how alike texts are, not how alike a trained model finds them. By loom's pass, where it knows the
architecture, else by transformers; in the type that the winner was trained in: in bf16 a vector is off by some 0.005,
where neighbours are tenths apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone.anatomy import anatomy
from loraloom.backbone.sources import Source, known_tokens, load_config, load_tokenizer
from loraloom.data import Encoded, default_cache, encode
from loraloom.errors import BackboneError
from loraloom.recipe import Head
from loraloom.study.record import Dtype

BATCH = 32
Means = Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]
"""Numbers of rows (B,) and their vectors (B, D)."""


class _Pass(Protocol):
    def batches(self, encoded: Encoded) -> Means:
        """Means of all rows, the dearest first: what is then estimated of the rest errs upwards."""


class Embedder:
    """A frozen backbone, loaded once."""

    def __init__(self, source: Source, max_length: int, dtype: Dtype = "fp32") -> None:
        """Loads the encoder and its tokenizer; texts are cut at `max_length` tokens, and computed in `dtype`.

        Raises:
            BackboneError: they can't be had.
        """
        self._tokenizer: Any = load_tokenizer(source)
        self._known_tokens = known_tokens(load_config(source), self._tokenizer)
        self._pass = _by_loom(source, dtype) or _Transformers(source, self._tokenizer, dtype)
        self._source, self._max_length = source, max_length

    def readable(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) which texts the model can read: those of which the tokenizer makes tokens, all of them the model's."""
        encoded = encode(self._tokenizer, texts, max_length=self._max_length, cache=default_cache())
        readable = encoded.lengths > 0
        readable[list(encoded.beyond(self._known_tokens))] = False
        return np.asarray(readable)

    def embed(self, texts: Sequence[str], after: Callable[[int], None] = lambda _: None) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length; `after` hears of each batch how many texts it had, and may end it by raising.

        Raises:
            BackboneError: a vector is not finite.
        """
        from loraloom.engine.linear import whole_fp32

        encoded = encode(self._tokenizer, texts, max_length=self._max_length, cache=default_cache())
        vectors = np.zeros((0, 0), dtype=np.float32)
        with whole_fp32():
            for rows, means in self._pass.batches(encoded):
                if not len(vectors):
                    vectors = np.empty((len(texts), means.shape[1]), dtype=np.float32)
                vectors[rows] = means / np.linalg.norm(means, axis=1, keepdims=True).clip(min=1e-12)
                after(len(rows))
        if not np.isfinite(vectors).all():
            raise BackboneError(f"backbone.model: {self._source.model!r} gives hidden states that are not finite")
        return vectors


def _by_loom(source: Source, dtype: Dtype) -> _Pass | None:
    """None where loom does not know the architecture."""
    from loraloom.backbone.frozen_encoder import load_encoder
    from loraloom.engine.loom.inference import MeanStates, freeze_for_use
    from loraloom.engine.precision import DTYPES

    config = load_config(source)
    found = anatomy(config, Head(kind="linear", pooling="mean"))
    if isinstance(found, str):
        return None
    encoder, _ = load_encoder(source)
    return MeanStates(freeze_for_use(encoder, config, found, DTYPES[dtype]))


class _Transformers:
    """The encoder as transformers has it; in 16 bits by autocast."""

    def __init__(self, source: Source, tokenizer: Any, dtype: Dtype) -> None:
        from loraloom.backbone.frozen_encoder import load_encoder
        from loraloom.engine.device import device

        encoder, _ = load_encoder(source)
        self._model, self._tokenizer, self._dtype = encoder.to(device()), tokenizer, dtype

    def batches(self, encoded: Encoded) -> Means:
        import torch
        from transformers import DataCollatorWithPadding

        from loraloom.backbone.classifier import mean_of_tokens
        from loraloom.engine.precision import DTYPES

        collate: Any = DataCollatorWithPadding(self._tokenizer)
        place = next(self._model.parameters()).device
        by_length = np.argsort(-np.diff(encoded.offsets), kind="stable")
        for start in range(0, len(by_length), BATCH):
            rows = by_length[start : start + BATCH]
            batch = collate([encoded[int(row)] for row in rows]).to(place)
            in_type = torch.autocast(place.type, DTYPES[self._dtype], enabled=self._dtype != "fp32")
            with torch.inference_mode(), in_type:
                hidden = self._model(**batch).last_hidden_state.float()  # (B, T, D); what follows is in fp32
                mean = mean_of_tokens(hidden, batch["attention_mask"])
            yield rows, mean.cpu().numpy()
