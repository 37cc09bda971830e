"""A soup of LoRA classifiers: one with the mean of their weights, at the rank, and so of the parameters, of each.

What is averaged of an adapted layer is its update, the mean of B A, not A and B by themselves, which two seeds have in
different bases. The mean of three updates has up to three times the rank; of what the rank has room for, a truncated
singular value decomposition is the nearest. Heads are averaged as they are.

Sources: Wortsman et al. 2022, "Model soups", section 2, the uniform soup; Eckart and Young 1936.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

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
        update = torch.stack([b @ a for a, b in others]).mean(dim=0)  # (out, in), but for the scale that all have
        left, sizes, right = torch.linalg.svd(update, full_matrices=False)
        rank = len(first)
        roots = sizes[:rank].sqrt()
        first.copy_(roots[:, None] * right[:rank])
        second.copy_(left[:, :rank] * roots)
    return mixed


def factors(model: Classifier) -> list[tuple[Tensor, Tensor]]:
    """A (R, in) and B (out, R) of each adapted layer."""
    layers: list[Any] = [module for module in model.encoder.modules() if isinstance(module, LoraLayer)]
    return [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers]
