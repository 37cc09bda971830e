"""The pretrained encoder alone, frozen: no head, no LoRA. What it makes of a text says nothing of any training."""

from __future__ import annotations

from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel

from loraloom.backbone.classifier import pooler_argument, switch_dropout_off
from loraloom.backbone.quiet import quietly
from loraloom.backbone.sources import Source, load_config, loading_arguments
from loraloom.errors import BackboneError, first_line


def load_encoder(source: Source) -> nn.Module:
    """The encoder with its pretrained weights in fp32, in evaluation mode and without gradients.

    Raises:
        BackboneError: the weights can't be had.
    """
    return _load(source, {})[0]


def load_whole_encoder(source: Source, *, pooler: bool) -> tuple[nn.Module, bool]:
    """The encoder as `load_encoder` gives it, and whether its checkpoint holds its pooler, where one is asked for.

    Raises:
        BackboneError: the weights can't be had, or the checkpoint lacks another part of the encoder.
    """
    model, missing = _load(source, {} if pooler else pooler_argument(load_config(source)))
    lost = [name for name in missing if "pooler" not in name]
    if lost:
        raise BackboneError(
            f"backbone.model: {source.model!r} has no weights for {lost[0]} ({len(lost)} missing), "
            "which would stay random"
        )
    return model, pooler and not missing


def _load(source: Source, arguments: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """The encoder and the names of parameters that its checkpoint lacks."""
    config = load_config(source)
    switch_dropout_off(config)
    try:
        with quietly():
            model, info = cast(Any, AutoModel).from_pretrained(
                source.location,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                **arguments,
                **loading_arguments(source),
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BackboneError(
            f"backbone.model: the weights of {source.model!r} can't be loaded: {first_line(error)}"
        ) from None
    return cast(nn.Module, model.eval().requires_grad_(requires_grad=False)), sorted(info["missing_keys"])


def encoder_prefix(config: Any) -> str:
    """What an architecture's own classifier calls its encoder."""
    return str(cast(Any, AutoModel)._model_mapping[type(config)].base_model_prefix)
