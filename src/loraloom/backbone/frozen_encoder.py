"""The pretrained encoder alone, frozen: no head, no LoRA. What it makes of a text says nothing of any training."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import AutoModel

from loraloom.backbone.classifier import pooler_argument, switch_dropout_off
from loraloom.backbone.pretrained import load_pretrained, refuse_random
from loraloom.backbone.sources import Source, load_config


def load_encoder(source: Source) -> nn.Module:
    """The encoder with its pretrained weights in fp32, in evaluation mode and without gradients.

    Raises:
        BackboneError: the weights can't be had, or the checkpoint lacks a part of the encoder other than its pooler.
    """
    return _load(source, {})[0]


def load_whole_encoder(source: Source, *, pooler: bool) -> tuple[nn.Module, bool]:
    """The encoder as `load_encoder` gives it, and whether its checkpoint holds its pooler, where one is asked for.

    Raises:
        BackboneError: as `load_encoder`.
    """
    model, missing = _load(source, {} if pooler else pooler_argument(load_config(source)))
    return model, pooler and not missing


def _load(source: Source, arguments: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """The encoder and the names of its pooler's parameters that its checkpoint lacks."""
    config = load_config(source)
    switch_dropout_off(config)
    model, missing = load_pretrained(AutoModel, source, config, arguments)
    refuse_random(source, [name for name in missing if "pooler" not in name])
    return cast(nn.Module, model.eval().requires_grad_(requires_grad=False)), missing


def encoder_prefix(config: Any) -> str:
    """What an architecture's own classifier calls its encoder."""
    return str(cast(Any, AutoModel)._model_mapping[type(config)].base_model_prefix)
