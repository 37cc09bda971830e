"""Adapter folders with random weights: what a finished trial leaves, in a second and without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from loraloom.backbone import sources
from loraloom.backbone.adapting import adapt
from loraloom.backbone.classifier import build_pretrained
from loraloom.engine.adapted import count_parts, save_adapter
from loraloom.recipe import Configuration
from loraloom.study.durable import write_manifest, write_text
from loraloom.study.record import TrialRecord


def save_random_adapter(
    folder: Path,
    model: Path | str,
    recipe: dict[str, Any] | None = None,
    *,
    labels: Sequence[str] = ("a", "b", "c"),
    seed: int = 0,
    dtype: str = "fp32",
    spread: float = 0.1,
) -> Path:
    """A trial's folder over the model in `model`: every trained parameter is moved off its first value."""
    recipe = {"data": {"max_length": 32}, **(recipe or {})}
    configuration = Configuration.model_validate(recipe | {"backbone": {"model": str(model)}})
    source = sources.find(str(model))
    torch.manual_seed(seed)
    adapted = adapt(build_pretrained(source, configuration, labels), configuration.lora)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
    folder.mkdir(parents=True)
    save_adapter(adapted, folder)
    record = TrialRecord.model_validate(
        {
            "number": 0,
            "state": "complete",
            "configuration": configuration,
            "point": {},
            "seed": seed,
            "labels": tuple(labels),
            "label_codes": tuple(str(code) for code in range(len(labels))),
            "counts": count_parts(adapted),
            "backbone_revision": sources.pin(source),
            "engine": "loom",
            "dtype": dtype,
        }
    )
    write_text(folder / "trial.json", record.model_dump_json(indent=2))
    write_manifest(folder)
    return folder
