"""The pretrained encoder alone, frozen: no head, no LoRA. What it makes of a text says nothing of any training."""

from __future__ import annotations

from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel

from loraloom.backbone.classifier import switch_dropout_off
from loraloom.backbone.quiet import quietly
from loraloom.backbone.sources import Source, load_config, loading_arguments
from loraloom.errors import BackboneError


def load_encoder(source: Source) -> nn.Module:
    """The encoder with its pretrained weights in fp32, in evaluation mode and without gradients.

    Raises:
        BackboneError: the weights can't be had.
    """
    config = load_config(source)
    switch_dropout_off(config)
    try:
        with quietly():
            model = cast(Any, AutoModel).from_pretrained(
                source.location, config=config, dtype=torch.float32, **loading_arguments(source)
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackboneError(f"backbone.model: the weights of {source.model!r} can't be loaded: {first}") from None
    return cast(nn.Module, model.eval().requires_grad_(requires_grad=False))
