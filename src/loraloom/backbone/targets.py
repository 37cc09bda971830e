"""Which layers of an encoder can be adapted, and which of them a recipe names."""

from __future__ import annotations

import re
from typing import Any, cast

from torch import nn

from loraloom.backbone.classifier import encoder_of
from loraloom.budget import Linear, matches
from loraloom.errors import BackboneError
from loraloom.recipe import Lora

_BESIDE_PEFT = {"distilbert": ("q_lin", "v_lin"), "mpnet": ("attn.q", "attn.v"), "modernbert": ("Wqkv",)}
"""Query and value projections of architectures that PEFT's table of defaults lacks, by names of their own."""
_QUERY_AND_VALUE = ("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin")
"""The same of all others that it lacks: the first of which a model has both."""


def adaptable(model: nn.Module) -> tuple[Linear, ...]:
    """The linear layers of the encoder's blocks, named as in the encoder (embeddings and poolers left out)."""
    found = []
    for name, module in encoder_of(model).named_modules():
        numbered = re.fullmatch(r"(?:.*?\.)?(\d+)\.(.+)", name)  # a layer may hold a list itself
        if isinstance(module, nn.Linear) and numbered:
            layer, kind = int(numbered[1]), _short(numbered[2])
            found.append(Linear(name, kind, layer, module.in_features, module.out_features, module.bias is not None))
    return tuple(found)


def _short(path: str) -> str:
    """`attention.self.query` is known as `query`; a `dense` is told apart by what it is in."""
    parts = path.split(".")
    return path if parts[-1] == "dense" or len(parts[-1]) == 1 else parts[-1]


def resolve(lora: Lora, linears: tuple[Linear, ...], architecture: str) -> tuple[str, ...]:
    """Names of the linear layers that `lora` adapts.

    Raises:
        BackboneError: a target or a layer that the model has not got, or a model without linear layers.
    """
    if not linears:  # as of I-BERT, whose layers are quantised
        raise BackboneError(f"backbone.model: no layer of this model ({architecture}) is one that LoRA can adapt")
    chosen = linears if lora.target_modules == "all-linear" else _named(lora, linears, architecture)
    layers = left_layers(lora, linears)
    if layers is not None:
        chosen = tuple(linear for linear in chosen if linear.layer in layers)
    if not chosen:
        raise BackboneError("lora: no layer is left to adapt; widen lora.target_modules or lora.layers_to_transform")
    return tuple(linear.name for linear in chosen)


def left_layers(lora: Lora, linears: tuple[Linear, ...]) -> frozenset[int] | None:
    """The layers that `lora.layers_to_transform` leaves; None where it leaves all.

    Raises:
        BackboneError: a layer that the model has not got.
    """
    if lora.layers_to_transform is None:
        return None
    have = sorted({linear.layer for linear in linears})
    layers = frozenset(lora.layers(len(have)))
    if unknown := sorted(layers - set(have)):
        raise BackboneError(
            f"lora.layers_to_transform: {unknown[0]} is not a layer of the model; it has {have[0]} to {have[-1]}"
        )
    return layers


def _named(lora: Lora, linears: tuple[Linear, ...], architecture: str) -> tuple[Linear, ...]:
    targets = lora.target_modules or _defaults(architecture, linears)
    kinds = list(dict.fromkeys(linear.kind for linear in linears))
    if not targets:
        raise BackboneError(
            f"lora.target_modules: there is no default for a {architecture} model; name some of {', '.join(kinds)}"
        )
    for target in targets:
        if not any(matches(linear.name, target) for linear in linears):
            raise BackboneError(
                f"lora.target_modules: the model has no {target!r}; it has {', '.join(kinds)}, or all-linear"
            )
    return tuple(linear for linear in linears if any(matches(linear.name, target) for target in targets))


def _defaults(architecture: str, linears: tuple[Linear, ...]) -> tuple[str, ...]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TABLE

    if known := cast(dict[str, Any], TABLE).get(architecture) or _BESIDE_PEFT.get(architecture):
        return tuple(known)
    has = [pair for pair in _QUERY_AND_VALUE if all(any(matches(one.name, name) for one in linears) for name in pair)]
    return has[0] if has else ()
