"""Logits of texts by adapters, as fast as the machine allows: the engine's forward pass, without a way back.

Frozen weights and adapters are apart: any number of adapters read one `FrozenEncoder`, whatever their heads and
pooling. An adapter costs its own parameters in fp32 and as the products read them, some 1 to 5 MB at base size.
2 FLOPs a frozen weight and token, once for a batch, however many adapters its texts have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loraloom.backbone.anatomy import Anatomy
from loraloom.backbone.frozen_encoder import encoder_prefix
from loraloom.data import Encoded
from loraloom.engine.device import device
from loraloom.engine.loom.allocator import keep_freed_memory
from loraloom.engine.loom.encoder import Encoder
from loraloom.engine.loom.evaluation import by_length, chunks, gather
from loraloom.engine.loom.frozen import FrozenEncoder, freeze
from loraloom.engine.loom.head import Head
from loraloom.engine.loom.mixed import Owners, columns, mixable, pooled
from loraloom.engine.loom.pack import Member
from loraloom.engine.loom.parameters import Layout, Parameters
from loraloom.engine.loom.setting import choose_ops, plan_layout
from loraloom.engine.loom.tokens import Ints, Tokens, lay_out
from loraloom.engine.precision import in_own_type
from loraloom.errors import AdapterError
from loraloom.recipe import Configuration

MOST_COLUMNS = 256
"""Columns of the low-rank products of one pass; with more they would cost as much as a small encoder's frozen ones."""


def freeze_for_use(encoder: nn.Module, config: Any, found: Anatomy, dtype: torch.dtype) -> FrozenEncoder:
    """Frozen weights that no gradient will pass, on this machine's device; `encoder` is left without its matrices."""
    place = device()
    ops = choose_ops(dtype, place, found, config)
    return freeze(encoder, encoder_prefix(config), found, ops, dtype, place, lowest=found.layer_count)


class Inference:
    """One adapter over frozen weights that others may read, too."""

    def __init__(self, frozen: FrozenEncoder, trained: Mapping[str, Tensor], configuration: Configuration) -> None:
        """`trained` are the adapter's parameters by canonical name, within `frozen.prefix`.

        Raises:
            AdapterError: a weight is not finite as it is computed with.
        """
        member = Member(configuration.train, configuration.lora, trained, None)
        layout = plan_layout([member], frozen)
        self.frozen = frozen
        self._parameters = Parameters(layout, [trained], frozen.dtype, frozen.device, gradients=False)
        self.encoder = Encoder(frozen, self._parameters, [member.scale], 0.0)
        self.encoder.refresh()
        self._head = Head(frozen.anatomy.head, self._parameters, frozen.head, frozen.anatomy.norm_eps)
        self.mixable, self.columns = mixable(self.encoder), columns(self.encoder)
        if not self._finite():
            raise AdapterError("holds weights that are not finite, or are once they are scaled")
        keep_freed_memory()

    @torch.inference_mode()
    def logits(
        self, encoded: Encoded, classes: int, done: Callable[[int], None] = lambda _: None
    ) -> NDArray[np.float32]:
        """Logits (N, C) of encoded rows, in their order; `done` hears after each batch how many rows have theirs."""
        parts = chunks(encoded, self.frozen.anatomy.embedding, self.frozen.device)
        with in_own_type(self.frozen.device):
            return gather(parts, (len(encoded), classes), lambda part: self.of_batch(part.tokens), done)

    def of_batch(self, tokens: Tokens) -> Tensor:
        """Logits (B, C) of one batch."""
        return self.by_head(self.encoder.forward(tokens, None)[0])

    def by_head(self, vectors: Tensor) -> Tensor:
        """Logits (B, C) of pooled vectors (1, B, D)."""
        return self._head.logits(vectors)[0]

    def _finite(self) -> bool:
        """Mixed products multiply what other adapters hold by zero, so that nothing in them may be infinite."""
        parts = [self._parameters.values, self._parameters.compute]
        for layer in self.encoder.layers:
            for place in layer.weights.projections:
                parts += [*(place.low_rank() or ()), *([] if (own := place.bias_change()) is None else [own])]
        return all(bool(torch.isfinite(part).all()) for part in parts)


class MeanStates:
    """Frozen weights without an adapter: the mean of each text's last hidden states."""

    def __init__(self, frozen: FrozenEncoder) -> None:
        """`frozen` are weights under a head that pools by the mean."""
        nothing = Parameters(Layout({}, {}, 0, 0), [{}], frozen.dtype, frozen.device, gradients=False)
        self.frozen = frozen
        self._encoder = Encoder(frozen, nothing, [0.0], 0.0)
        keep_freed_memory()

    @torch.inference_mode()
    def batches(self, encoded: Encoded) -> Iterator[tuple[Ints, NDArray[np.float32]]]:
        """Numbers of rows (B,) and their vectors (B, D), all rows once, the longest first."""
        for rows in reversed(list(by_length(np.diff(encoded.offsets)))):
            tokens = lay_out([encoded], [rows], self.frozen.anatomy.embedding, self.frozen.device)
            yield rows, self._encoder.forward(tokens, None)[0][0].float().cpu().numpy()


@torch.inference_mode()
def mixed_logits(adapters: Sequence[Inference], encoded: Encoded, owners: Ints) -> list[NDArray[np.float32]]:
    """Logits of rows of which each has its own adapter, all of them over the same frozen weights.

    `owners` (N,) are places in `adapters`. Each row's logits (C of its own adapter,) come in its place.
    """
    found: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)] * len(owners)
    embedding, device = adapters[0].frozen.anatomy.embedding, adapters[0].frozen.device
    with in_own_type(device):
        for together in by_length(np.diff(encoded.offsets)):
            for rows, present in _passes(adapters, owners, together):
                tokens = lay_out([encoded], [rows], embedding, device)
                batches: Iterable[tuple[Ints, Tensor]]
                if len(present) == 1:
                    batches = iter([(rows, adapters[present[0]].of_batch(tokens))])
                else:
                    batches = _by_adapter([adapters[number] for number in present], rows, owners[rows], present, tokens)
                for own, logits in batches:
                    for row, values in zip(own, logits.float().cpu().numpy(), strict=True):
                        found[row] = values
    return found


def _passes(adapters: Sequence[Inference], owners: Ints, rows: Ints) -> Iterator[tuple[Ints, list[int]]]:
    """Rows in as few passes as may be, each with the adapters in it, by which its rows are sorted."""
    rows = rows[np.argsort(owners[rows], kind="stable")]
    present: list[int] = []
    for number in np.unique(owners[rows]).tolist():
        if not adapters[number].mixable:
            yield rows[owners[rows] == number], [number]
            continue
        if present and sum(adapters[own].columns for own in [*present, number]) > MOST_COLUMNS:
            yield rows[np.isin(owners[rows], present)], present
            present = []
        present = [*present, number]
    if present:
        yield rows[np.isin(owners[rows], present)], present


def _by_adapter(
    adapters: Sequence[Inference], rows: Ints, owners: Ints, present: Sequence[int], tokens: Tokens
) -> Iterator[tuple[Ints, Tensor]]:
    """One pass; rows and logits of each adapter."""
    places = np.searchsorted(present, owners)  # (B,)
    texts = torch.from_numpy(places).to(tokens.ids.device)
    own = Owners(texts.repeat_interleave(tokens.real.sum(dim=1)), texts)
    firsts, means = pooled([adapter.encoder for adapter in adapters], tokens, own)
    for place, adapter in enumerate(adapters):
        chosen = np.flatnonzero(places == place)
        vectors = firsts if adapter.encoder.pools_first else means
        yield rows[chosen], adapter.by_head(vectors[:, chosen[0] : chosen[-1] + 1])
