"""A transformers model with its weights, as safetensors hold them: for training, and alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError

from loraloom.backbone.quiet import quietly
from loraloom.backbone.sources import Source, hub_arguments
from loraloom.errors import BackboneError, first_line


def load_pretrained(auto: Any, source: Source, config: Any, extra: dict[str, Any]) -> tuple[Any, list[str]]:
    """What `auto` makes of the weights, in fp32, and the names of parameters that it has drawn.

    Those are what the weights lack, or have in another shape, as the head of another number of classes.

    Raises:
        BackboneError: the weights can't be had.
    """
    try:
        with quietly():
            model, info = auto.from_pretrained(
                source.location,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                **extra,
                **hub_arguments(source),
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = f"the weights of {source.model!r} can't be loaded: {first_line(error)}"
        if "use_safetensors" in str(error):  # which is no setting here
            why = f"{source.model!r} has no model.safetensors; download it, and save the model as safetensors"
        raise BackboneError(f"backbone.model: {why}") from None
    return model, sorted(info["missing_keys"] | {name for name, _, _ in info["mismatched_keys"]})


def refuse_random(source: Source, missing: Sequence[str], fix: str = "") -> None:
    """Raises BackboneError where anything is missing: it would stay random, and no adapter would hold it."""
    if missing:
        raise BackboneError(
            f"backbone.model: {source.model!r} has no weights for {missing[0]} in its shape ({len(missing)} missing), "
            f"which would stay random{fix}"
        )
