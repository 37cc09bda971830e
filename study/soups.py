"""A soup of LoRA classifiers: one with the mean of their weights, at the rank, and so of the parameters, of each.

As `loraloom.use.soup` makes it of saved adapters, and by its means: updates are averaged, heads as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from loraloom.use.soup import nearest
from study.plain_peft import Classifier


@torch.no_grad()
def soup(models: Sequence[Classifier]) -> Classifier:
    """The soup of classifiers that are adapted in the same layers, by the same rank and alpha; these stay as they are.

    A decomposition of each adapted weight is what it costs.
    """
    mixed = copy.deepcopy(models[0])
    for own, *others in zip(*(model.head.parameters() for model in (mixed, *models)), strict=True):
        own.copy_(torch.stack(others).mean(dim=0))
    for (first, second), *others in zip(*map(factors, (mixed, *models)), strict=True):
        a, b, *_ = nearest(others)
        first.copy_(a)
        second.copy_(b)
    return mixed


def factors(model: Classifier) -> list[tuple[Tensor, Tensor]]:
    """A (R, in) and B (out, R) of each adapted layer."""
    layers: list[Any] = [module for module in model.encoder.modules() if isinstance(module, LoraLayer)]
    return [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers]
