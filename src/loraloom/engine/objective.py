"""The loss of a batch: cross entropy with label smoothing and class weights, normalised over an optimizer step.

A step's loss is the mean over all its examples, also where accumulation splits them into unequal batches. With balanced
class weights an example's loss, smoothed or not, is multiplied by rows / (classes × rows of its class), which is 1 on
average over the training rows. Rejected: torch's own `weight` beside `label_smoothing`, by which a rare class
becomes the likeliest of every row (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from loraloom.errors import TrialFailedError
from loraloom.recipe import Train


def class_weights(train: Train, labels: NDArray[np.int64], classes: int) -> Tensor | None:
    """Weights (C,) of the classes, or None where all weigh the same."""
    if train.class_weight == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * np.maximum(counts, 1))).to(torch.float32)


class Running:
    """Loss and accuracy of the training batches since they were last asked for."""

    def __init__(self) -> None:
        self.step = 0
        self._step_loss = 0.0
        self._reset()

    def see(self, loss_sum: float, correct: int, examples: int, normaliser: float) -> None:
        """Takes note of a batch: the sum of its examples' losses, and what the step's loss divides it by.

        Raises:
            TrialFailedError: the loss is NaN or infinite.
        """
        if not math.isfinite(loss_sum):
            raise TrialFailedError(f"the loss became {loss_sum} at step {self.step + 1}; lower train.learning_rate")
        self._loss_sum += loss_sum
        self._correct += correct
        self._examples += examples
        self._step_loss += loss_sum / normaliser

    def end_step(self) -> float:
        """Ends an optimizer step; returns its loss."""
        self.step += 1
        loss, self._step_loss = self._step_loss, 0.0
        return loss

    def take(self) -> tuple[float, float]:
        """Loss and accuracy over the training examples since the last call."""
        examples = max(1, self._examples)
        seen = self._loss_sum / examples, self._correct / examples
        self._reset()
        return seen

    def state(self) -> dict[str, Any]:
        """What is known between two steps, for a checkpoint."""
        return {"step": self.step, "sums": [self._loss_sum, self._correct, self._examples]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.step = state["step"]
        self._loss_sum, self._correct, self._examples = state["sums"]

    def _reset(self) -> None:
        self._loss_sum, self._correct, self._examples = 0.0, 0, 0


class Objective(Running):
    """The loss as HF Trainer calls it; a call with gradients is a training batch."""

    def __init__(self, train: Train, weights: Tensor | None) -> None:
        super().__init__()
        self._smoothing = train.label_smoothing_factor
        self._weights = weights

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The loss of logits (B, C) and labels (B,), over `num_items_in_batch` examples (by default B).

        Raises:
            TrialFailedError: a training loss is NaN or infinite.
        """
        logits = outputs.logits.float()  # (B, C)
        losses = functional.cross_entropy(logits, labels, label_smoothing=self._smoothing, reduction="none")  # (B,)
        if self._weights is not None:
            losses = losses * self._weights.to(logits.device)[labels]
        normaliser = num_items_in_batch or len(labels)
        if torch.is_grad_enabled():
            correct = int((logits.detach().argmax(dim=-1) == labels).sum())
            self.see(float(losses.detach().sum()), correct, len(labels), float(normaliser))
        return losses.sum() / normaliser
