"""The head of K trials: from pooled tokens to the loss, by autograd, over K × B rows.

Its layers are batched over the trials; at B rows they cost next to nothing (a native head of base size: 1.2 MFLOP a
text against 9,000 of the encoder), so they are computed in fp32 and not by hand. A trial's loss is its own: the
weighted sum of its examples' cross entropies over its own normaliser. The sum of all is what is differentiated, which
leaves each trial the gradient of its own loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from loraloom.backbone.anatomy import HeadStep
from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.parameters import Parameters

PLACE = 1 << 20
"""Dropout places of the head, beyond those of any layer."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a batch is scored against: labels (K, B), which are real (K, B), the loss's normalisers (K,)."""

    labels: Tensor
    real: Tensor
    normalisers: Tensor
    class_weights: Tensor | None  # (K, C)
    smoothing: Tensor  # (K, 1)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a head makes of a batch; `examples` are unreduced."""

    logits: Tensor  # (K, B, C)
    examples: Tensor  # (K, B), each example's loss, 0 for filler
    gradient: Tensor  # (K, B, D) of the pooled input, in fp32 or more


class Head:
    """The steps of a head over trained parameters and the frozen ones that it reads (BERT's pooler)."""

    def __init__(
        self, steps: tuple[HeadStep, ...], parameters: Parameters, frozen: Mapping[str, Tensor], eps: float
    ) -> None:
        self._steps, self._parameters, self._eps = steps, parameters, eps
        wide = parameters.values.dtype
        self._frozen = {name: value.to(wide) for name, value in frozen.items()}

    def logits(self, pooled: Tensor) -> Tensor:
        """Logits (K, B, C) of pooled tokens (K, B, D), without dropout."""
        return self._run(pooled.to(self._parameters.values.dtype), self._values(), None)

    def score(self, pooled: Tensor, target: Target, noise: Noise) -> Scored:
        """The losses of a training batch; adds the head's gradients to the parameters'."""
        trained = self._values()
        with torch.enable_grad():
            leaf = pooled.detach().to(self._parameters.values.dtype).requires_grad_()
            leaves = {name: value.detach().requires_grad_() for name, value in trained.items()}
            logits = self._run(leaf, leaves, noise)
            examples = cross_entropy(logits, target) * target.real
            total = (examples.sum(dim=1) / target.normalisers).sum()
            gradients = torch.autograd.grad(total, [leaf, *leaves.values()])
        for name, gradient in zip(leaves, gradients[1:], strict=True):
            self._parameters.view(self._parameters.gradients, name).add_(gradient)
        return Scored(logits.detach(), examples.detach(), gradients[0])

    def _values(self) -> dict[str, Tensor]:
        """Trained parameters of the head's modules, of all trials."""
        shapes = self._parameters.layout.shapes
        names = [f"{module}.{kind}" for step, module in self._steps if step in ("linear", "norm") for kind in _KINDS]
        return {name: self._parameters.view(self._parameters.values, name) for name in names if name in shapes}

    def _run(self, x: Tensor, trained: Mapping[str, Tensor], noise: Noise | None) -> Tensor:
        for place, (step, argument) in enumerate(self._steps):
            match step:
                case "dropout":
                    drop = None if noise is None else noise.drop(PLACE + place, float(argument))
                    x = x if drop is None else drop.apply(x)
                case "linear":
                    weight, bias = self._pair(str(argument), trained)
                    assert weight is not None
                    x = x @ weight.mT if bias is None else torch.baddbmm(bias, x, weight.mT.expand(len(x), -1, -1))
                case "norm":
                    gain, bias = self._pair(str(argument), trained)
                    assert gain is not None
                    x = functional.layer_norm(x, x.shape[-1:], eps=self._eps) * gain
                    x = x if bias is None else x + bias
                case "activation":
                    x = _ACTIVATIONS[str(argument)](x)
        return x

    def _pair(self, module: str, trained: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias of a module, of all trials: (K, …) or (1, …) where frozen; vectors as (K, 1, D)."""
        values = []
        for kind in _KINDS:
            name = f"{module}.{kind}"
            frozen = self._frozen.get(name)
            value = trained.get(name, None if frozen is None else frozen.unsqueeze(0))
            values.append(value.unsqueeze(1) if value is not None and value.ndim == 2 else value)
        return values[0], values[1]


def cross_entropy(logits: Tensor, target: Target) -> Tensor:
    """Cross entropies (K, B) with label smoothing, times the weights of the labels' classes, each trial's own."""
    logs = logits.log_softmax(dim=-1)  # (K, B, C)
    nll = -logs.gather(-1, target.labels.unsqueeze(-1)).squeeze(-1)  # (K, B)
    smoothing = target.smoothing.to(logs.dtype)
    losses = (1 - smoothing) * nll - smoothing / logits.shape[-1] * logs.sum(dim=-1)
    if target.class_weights is None:
        return losses
    return losses * target.class_weights.to(logs.dtype).gather(1, target.labels)


_KINDS = "weight", "bias"
_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": functional.gelu}
