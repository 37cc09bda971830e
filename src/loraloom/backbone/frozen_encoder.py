"""The pretrained encoder alone, frozen: no head, no LoRA. What it makes of a text says nothing of any training."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import AutoModel

from loraloom.backbone.classifier import pooler_argument, switch_dropout_off
from loraloom.backbone.pretrained import load_pretrained, refuse_random
from loraloom.backbone.sources import Source, load_config


def load_encoder(source: Source, *, pooler: bool = True) -> tuple[nn.Module, bool]:
    """The encoder with its pretrained weights in fp32, in evaluation mode and without gradients.

    Beside it, whether its checkpoint holds its pooler; with `pooler` off, it is built without one.

    Raises:
        BackboneError: the weights can't be had, or the checkpoint lacks a part of the encoder other than its pooler.
    """
    config = load_config(source)
    switch_dropout_off(config)
    model, missing = load_pretrained(AutoModel, source, config, {} if pooler else pooler_argument(config))
    refuse_random(source, [name for name in missing if "pooler" not in name])
    return cast(nn.Module, model.eval().requires_grad_(requires_grad=False)), pooler and not missing


def encoder_prefix(config: Any) -> str:
    """What an architecture's own classifier calls its encoder."""
    return str(cast(Any, AutoModel)._model_mapping[type(config)].base_model_prefix)
