"""The frozen encoder: its weights taken out of a transformers model and laid out for the engine's products.

One copy serves all trials. Query, key and value become one weight; weights take the type that is computed in (bf16 or
fp32), norms and biases stay fp32. Laying out reads and writes each weight once; a base-size encoder keeps 170 MB in
bf16, twice that in the compiled kernels' layout above the lowest adapted layer, since forward and backward read it
differently. Rejected: one layout read both ways, as torch does it: its products of 3072 with 768 ran at half the rate.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from loraloom.backbone.anatomy import Anatomy
from loraloom.engine.loom.ops import FrozenLinear, Norm, PlainOps
from loraloom.engine.loom.projection import Part
from loraloom.engine.loom.relative import RelativePositions
from loraloom.errors import BackboneError


@dataclass(frozen=True, slots=True)
class FrozenModule:
    """Linear modules side by side as one product."""

    linear: FrozenLinear
    bias: Tensor | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class NamedNorm:
    """A norm and the name of its module."""

    name: str
    norm: Norm


@dataclass(frozen=True, slots=True)
class FrozenLayer:
    """The weights of one layer."""

    qkv: FrozenModule
    out: FrozenModule
    up: FrozenModule
    down: FrozenModule
    attention_norm: NamedNorm | None
    mlp_norm: NamedNorm

    @property
    def products(self) -> tuple[FrozenModule, ...]:
        """All linear modules, in the order of the forward pass."""
        return self.qkv, self.out, self.up, self.down


@dataclass(frozen=True, slots=True)
class FrozenEmbedding:
    """The tables (V, E); `position` holds the token type's row too, since every text is of type 0."""

    word: Tensor
    position: Tensor | None
    norm: NamedNorm
    project: Tensor | None  # (D, E)
    project_name: str
    project_bias: Tensor | None


@dataclass(frozen=True, slots=True)
class FrozenEncoder:
    """All frozen weights of an encoder, and of the frozen layers that a head has (BERT's pooler)."""

    anatomy: Anatomy
    ops: PlainOps
    dtype: torch.dtype
    device: torch.device
    prefix: str
    embedding: FrozenEmbedding
    layers: tuple[FrozenLayer, ...]
    final_norm: NamedNorm | None
    relative: RelativePositions | None
    head: Mapping[str, Tensor]

    def under(self, anatomy: Anatomy) -> FrozenEncoder:
        """The same weights, nothing copied, read with another head or pooling of the same encoder.

        Raises:
            BackboneError: the head reads a frozen layer that was not taken (BERT's pooler).
        """
        for module in _read_by_head(anatomy, self.prefix):
            if f"{module}.weight" not in self.head:
                raise BackboneError(f"backbone.model: has no weights for {module}; head.kind: linear does without it")
        return replace(self, anatomy=anatomy)

    def flops_per_token(self, lowest: int, *, prefix_kept: bool) -> float:
        """FLOPs of the layers' linear products that a training step asks for, in all tokens and without shortcuts.

        Forward through all layers (those from `lowest` on, where the states below are kept), back through the latter.
        """
        weights = [
            sum(own.linear.out_features * own.linear.in_features for own in layer.products) for layer in self.layers
        ]
        above = sum(weights[lowest:])
        return 2.0 * (2 * above if prefix_kept else sum(weights) + above)


def freeze(
    encoder: nn.Module,
    prefix: str,
    anatomy: Anatomy,
    ops: PlainOps,
    dtype: torch.dtype,
    device: torch.device,
    *,
    lowest: int,
) -> FrozenEncoder:
    """Takes the frozen weights out of an encoder, with LoRA or without; gradients pass the layers from `lowest`.

    The encoder is left without the matrices that were taken, each dropped as soon as it is laid out, so that memory
    never holds both. Vectors are copied: a trial may train its own biases in the model. `prefix` is what its classifier
    calls it.
    """
    state = {name.replace(".base_layer.", "."): value for name, value in encoder.named_parameters()}
    reader = _Reader(state, prefix, anatomy, ops, dtype, device)
    frozen_head = {
        f"{module}.{kind}": value.detach().to(device, copy=True)
        for module in _read_by_head(anatomy, prefix)
        for kind in ("weight", "bias")
        if (value := state.get(f"{module.removeprefix(prefix + '.')}.{kind}")) is not None
    }
    final = reader.norm(anatomy.final_norm) if anatomy.final_norm else None
    relative = None if anatomy.relative_bias is None else RelativePositions(reader.table(anatomy.relative_bias))
    return FrozenEncoder(
        anatomy=anatomy,
        ops=ops,
        dtype=dtype,
        device=device,
        prefix=prefix,
        embedding=reader.embedding(),
        layers=tuple(reader.layer(number, backward=number >= lowest) for number in range(anatomy.layer_count)),
        final_norm=final,
        relative=relative,
        head=frozen_head,
    )


def _read_by_head(anatomy: Anatomy, prefix: str) -> list[str]:
    """Frozen layers that the head has within the encoder (BERT's pooler), by their names in the classifier."""
    named = (str(module) for step, module in anatomy.head if step in ("linear", "norm"))
    return [module for module in named if module.startswith(f"{prefix}.")]


class _Reader:
    """Reads modules of an encoder's state."""

    def __init__(
        self,
        state: Mapping[str, nn.Parameter],
        prefix: str,
        anatomy: Anatomy,
        ops: PlainOps,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._state, self._prefix, self._anatomy = state, prefix, anatomy
        self._ops, self._dtype, self._device = ops, dtype, device
        self._wide = torch.promote_types(dtype, torch.float32)

    def layer(self, number: int, *, backward: bool) -> FrozenLayer:
        block, place = self._anatomy.block, f"{self._anatomy.layers}.{number}"
        attention_norm = f"{place}.{block.attention_norm}"
        return FrozenLayer(
            qkv=self._linear([f"{place}.{name}" for name in block.qkv], backward=backward),
            out=self._linear([f"{place}.{block.out}"], backward=backward),
            up=self._linear([f"{place}.{block.up}"], backward=backward),
            down=self._linear([f"{place}.{block.down}"], backward=backward),
            attention_norm=self.norm(attention_norm) if f"{attention_norm}.weight" in self._state else None,
            mlp_norm=self.norm(f"{place}.{block.mlp_norm}"),
        )

    def norm(self, name: str) -> NamedNorm:
        norm = Norm(self._vector(f"{name}.weight"), self._bias(name), self._anatomy.norm_eps)
        return NamedNorm(f"{self._prefix}.{name}", norm)

    def embedding(self) -> FrozenEmbedding:
        names = self._anatomy.embedding
        position = None if names.position is None else self.table(names.position)
        if names.token_type is not None and position is not None:
            position = position + self.table(names.token_type)[0]
        project = None if names.project is None else self.table(names.project)
        return FrozenEmbedding(
            word=self.table(names.word, self._dtype),
            position=None if position is None else position.to(self._dtype),
            norm=self.norm(names.norm),
            project=None if project is None else project.to(self._dtype),
            project_name=f"{self._prefix}.{names.project}",
            project_bias=None if names.project is None else self._bias(names.project),
        )

    def table(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A matrix by its module's name, taken out of the model."""
        parameter = self._state[f"{name}.weight"]
        value = parameter.detach()
        parameter.data = value.new_empty(0)
        copied = value.to(self._device, dtype or self._wide, copy=True)
        _give_back(value)
        return copied

    def _vector(self, name: str) -> Tensor:
        return self._state[name].detach().to(self._device, self._wide, copy=True)

    def _bias(self, module: str) -> Tensor | None:
        return self._vector(f"{module}.bias") if f"{module}.bias" in self._state else None

    def _linear(self, names: list[str], *, backward: bool) -> FrozenModule:
        weights = [self.table(name, self._dtype) for name in names]
        parts, start = [], 0
        for name, weight in zip(names, weights, strict=True):
            parts.append(Part(f"{self._prefix}.{name}", start, start + len(weight)))
            start += len(weight)
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        given = [bias for name in names if (bias := self._bias(name)) is not None]
        bias = torch.cat(given) if len(given) == len(names) else None
        return FrozenModule(self._ops.freeze(weight, backward=backward), bias, tuple(parts))


def _give_back(value: Tensor) -> None:
    """Gives the pages of a dead matrix back at once: a checkpoint is mapped whole, and stays until its last part goes.

    Only pages that are the matrix's own, and only hints: where there is no madvise, they go with the last part.
    """
    if value.device.type != "cpu" or not value.is_contiguous():
        return
    start = -(-value.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (value.data_ptr() + value.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start and _madvise is not None:
        _madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


_madvise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
