"""What a model and a recipe mean for the engine: what is trained, by which names and operations, laid out how.

All of it is read once a pack, before the first step; a step pays nothing for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from loraloom.backbone.anatomy import Anatomy, anatomy
from loraloom.backbone.classifier import switch_dropout_off
from loraloom.backbone.sources import Source, intermediate_size, load_config, shape_config
from loraloom.engine.loom import compiled, fused
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.frozen import FrozenEncoder
from loraloom.engine.loom.fused import FusedOps
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.pack import Member
from loraloom.engine.loom.parameters import Layout, lay_out
from loraloom.engine.loom.projection import lora_a, lora_b
from loraloom.errors import LoraloomError
from loraloom.recipe import Configuration, Lora


def why_not(source: Source, configuration: Configuration) -> str | None:
    """Why loom can't train a configuration, in a sentence; None where it can."""
    found = anatomy(shape_config(source), configuration.head)
    return found if isinstance(found, str) else None


def read_anatomy(source: Source, configuration: Configuration) -> Anatomy | str:
    """The anatomy of a configuration's backbone, with its dropout as the recipe has it, or why there is none."""
    config = load_config(source)
    if configuration.backbone.dropout == "off":
        switch_dropout_off(config)
    return anatomy(config, configuration.head)


def why_plain(dtype: torch.dtype, place: torch.device, found: Anatomy, config: Any) -> str | None:
    """Why plain torch computes a model and not the compiled kernels, in a sentence; None where they do.

    Where they may, their first use compiles them.
    """
    if place.type != "cpu":
        return "The kernels are a processor's, and a GPU computes here."
    if dtype == torch.float16:
        return "There are none for fp16, which processors are slow in."
    embedding = int(getattr(config, "embedding_size", found.hidden))
    why_not_kernels = fused.why_not if dtype == torch.float32 else compiled.why_not
    return why_not_kernels(found, intermediate_size(config), embedding)


def choose_ops(dtype: torch.dtype, place: torch.device, found: Anatomy, config: Any) -> PlainOps:
    """The compiled kernels of a type where they are to be had, else plain torch."""
    start = time.monotonic()
    is_plain = why_plain(dtype, place, found, config) is not None
    ops = PlainOps() if is_plain else FusedOps() if dtype == torch.float32 else CompiledOps()
    ops.ready_seconds = time.monotonic() - start
    return ops


def canonical(name: str) -> str:
    """A parameter's name in PEFT's model as the transformers model has it, LoRA's as `module.lora_A`."""
    name = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".modules_to_save.default", "")
    return name.removesuffix(".default.weight") if ".lora_" in name else name


def trained_parameters(model: PeftModel) -> dict[str, Tensor]:
    """What a model trains, by canonical name, in the model's order."""
    return {canonical(name): value.detach() for name, value in model.named_parameters() if value.requires_grad}


def lowest_layer(lora: Lora, found: Anatomy) -> int:
    """The lowest layer that a recipe trains anything of; 0 where the embeddings' biases are trained, too."""
    return 0 if lora.bias == "all" else min(lora.layers(found.layer_count))


def plan_layout(members: Sequence[Member], frozen: FrozenEncoder) -> Layout:
    """Where each parameter lies: the A of modules that share a product side by side, the rest in the model's order."""
    names = list(members[0].trained)
    if any(list(member.trained) != names for member in members):
        raise LoraloomError("trials of a pack must train the same parameters")
    modules = [product.parts for layer in frozen.layers for product in layer.products]
    wanted = [of(part.name) for parts in modules for of in (lora_a, lora_b) for part in parts]
    first = [name for name in wanted if name in members[0].trained]
    ordered = first + [name for name in names if name not in set(first)]
    shapes = {name: [tuple(member.trained[name].shape) for member in members] for name in names}
    decayed = frozenset(name for name in names if members[0].trained[name].ndim > 1)  # biases and norms are not
    return lay_out(ordered, shapes, decayed)
