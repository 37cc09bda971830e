"""An adapter's weights, checked against what PEFT trains in the same model, and PEFT's model with them in their places.

What is expected is told by PEFT of a model without weights, so that a file is believed name by name and shape by shape
before any of it is read, and PEFT never reads a folder by itself.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loraloom.backbone.sources import Source
from loraloom.errors import AdapterError
from loraloom.study.record import WEIGHTS, TrialRecord
from loraloom.use.adapter_checks import check_rank, read_weights

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor, nn

Expected = dict[str, tuple[str | None, tuple[int, ...]]]
"""By the name in PEFT's file: the canonical name of a parameter and its shape; no name where it is there twice."""


def checked_weights(
    folder: Path, record: TrialRecord, config: Any, known: dict[str, Expected] | None = None
) -> dict[str, Tensor]:
    """The parameters in fp32 of the adapter in `folder`, by canonical name; names are within the encoder.

    `config` is transformers' of the backbone; `known` holds what is expected of its adapters by their kind, and is
    added to.

    Raises:
        AdapterError: the file does not hold what the record's trial trains, or what is not finite.
    """
    head, lora = record.configuration.head, record.configuration.lora
    check_rank(folder, lora.r, config.hidden_size)
    known = {} if known is None else known
    key = f"{head.model_dump_json()} {lora.model_dump_json()} {len(record.labels)}"
    if key not in known:
        known[key] = _expected(record, config)
    expected = known[key]
    size = sum(int(np.prod(shape)) for name, shape in expected.values() if name is not None)
    if size != record.counts.trainable:
        raise AdapterError(f"{folder}: trains {size:,} parameters, where trial.json says {record.counts.trainable:,}")
    return read_weights(folder / WEIGHTS, expected)


def _expected(record: TrialRecord, config: Any) -> Expected:
    """What PEFT trains and saves, as it has it of a model without weights."""
    import torch
    from peft import get_peft_model_state_dict

    from loraloom.backbone.adapting import adapt
    from loraloom.backbone.classifier import build_empty
    from loraloom.engine.adapted import name_when_saved

    base = build_empty(copy.deepcopy(config), record.configuration.head, record.labels)
    with torch.device("meta"):
        model = adapt(base, record.configuration.lora)
    # With bias=all PEFT saves the head's biases a second time, and those that the head had before.
    saved = get_peft_model_state_dict(model, save_embedding_layers=False)
    twice: Expected = {name: (None, tuple(value.shape)) for name, value in saved.items()}
    trained: Expected = {
        name_when_saved(name): (_within_encoder(name, base, config), tuple(parameter.shape))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return twice | trained


def build_adapted(source: Source, record: TrialRecord, config: Any, weights: dict[str, Tensor]) -> PeftModel:
    """PEFT's model of an adapter, in fp32 on the CPU, with `weights` that `checked_weights` gave.

    Raises:
        BackboneError: the backbone's weights can't be had.
    """
    import torch

    from loraloom.backbone.adapting import adapt
    from loraloom.backbone.classifier import build_pretrained

    base = build_pretrained(source, record.configuration, record.labels)
    model = adapt(base, record.configuration.lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[_within_encoder(name, base, config)])
    return model


def _within_encoder(name: str, base: nn.Module, config: Any) -> str:
    """A parameter's canonical name, its encoder called as the architecture's own classifier calls it."""
    from loraloom.backbone.frozen_encoder import encoder_prefix
    from loraloom.engine.loom.setting import canonical

    inside, own = canonical(name), f"{base.base_model_prefix}."
    return f"{encoder_prefix(config)}.{inside.removeprefix(own)}" if inside.startswith(own) else inside
