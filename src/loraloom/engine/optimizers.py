"""The optimizers of a recipe: adam (L2 decay, as Adam has it), adamw, sgd (no momentum, as transformers has it), muon.

Biases and norms are not decayed, as in transformers. Muon (Jordan et al. 2024) orthogonalises matrices only; all other
parameters go to AdamW beside it. Its updates are scaled to AdamW's size (Liu et al. 2025, "Muon is Scalable for LLM
Training", equation 4), so that one learning rate means the same for both.

torch's own Muon takes one matrix after another, each by 15 products that cost more to begin than to compute. Those of
one shape are stacked here: a step over 48 matrices of 8 × 768 takes 3.8 ms where torch's takes 12.6 (AMD EPYC of
family 25, 2 threads, 2026-11-29, `bench/kernels.py --only muon`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from loraloom.recipe import Train


class StackedMuon(torch.optim.Muon):
    """`torch.optim.Muon` as `adjust_lr_fn="match_rms_adamw"` has it, matrices of one shape together.

    Wide ones and tall ones are one shape, since a tall one is turned over. Its numbers are torch's own.
    """

    def __init__(self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float = 1e-3) -> None:
        super().__init__(params, lr, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None if closure is None else closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._with_momentum(parameter, group["momentum"])
                    wide = update if update.size(0) <= update.size(1) else update.T
                    alike[wide.shape].append((parameter, wide))
            for shape, members in alike.items():
                updates = _orthogonalised(torch.stack([wide for _, wide in members]), group)
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for (parameter, _), update in zip(members, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update if update.shape == parameter.shape else update.T, alpha=-rate)
        return loss

    def _with_momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient with Nesterov's momentum, which is noted."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad, memory_format=torch.preserve_format)
        state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum_buffer"], momentum)


def _orthogonalised(matrices: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Newton and Schulz's iteration in bf16, [matrices, rows, columns] with no more rows than columns."""
    a, b, c = group["ns_coefficients"]
    x = matrices.bfloat16()
    x /= torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class MuonBesideAdamW(torch.optim.Optimizer):
    """`StackedMuon` on matrices and `torch.optim.AdamW` on the rest, as one optimizer of shared groups."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        matrices: list[dict[str, Any]] = []
        rest: list[dict[str, Any]] = []
        for group in groups:
            for chosen, wanted in ((matrices, True), (rest, False)):
                parameters = [p for p in group["params"] if (p.ndim == 2) is wanted]
                if parameters:
                    chosen.append({**group, "params": parameters})
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            self.parts.append(StackedMuon(matrices, lr=lr))
        if rest:
            self.parts.append(torch.optim.AdamW(rest, lr=lr))
        # The dictionaries of the parts themselves: a schedule writes rates into them.
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def build_optimizer(
    train: Train, parameters: Iterable[tuple[str, nn.Parameter]], decayed: Iterable[str]
) -> torch.optim.Optimizer:
    """The recipe's optimizer over those of `parameters` that are trained; `decayed` are under weight decay."""
    names = set(decayed)
    trained = [(name, p) for name, p in parameters if p.requires_grad]
    groups = [
        {"params": [p for name, p in trained if name in names], "weight_decay": train.weight_decay},
        {"params": [p for name, p in trained if name not in names], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate = train.learning_rate
    match train.optim:
        case "adam":
            return torch.optim.Adam(groups, lr=rate)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate)
        case "muon":
            return MuonBesideAdamW(groups, lr=rate)


def read_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """What an optimizer keeps of a parameter between steps; nothing before the first."""
    found: dict[str, Tensor] = {}
    for part in _parts(optimizer):
        found |= {key: value for key, value in part.state.get(parameter, {}).items() if value is not None}
    return found


def write_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, state: Mapping[str, Tensor]) -> None:
    """Goes on from what `read_state` gave of a parameter; counts of steps (without dimensions) stay on the CPU."""
    for part in _parts(optimizer):
        if any(parameter is own for group in part.param_groups for own in group["params"]):
            part.state[parameter] = {
                key: value.clone() if value.ndim == 0 else value.to(parameter.device, copy=True)
                for key, value in state.items()
            }


def _parts(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    return optimizer.parts if isinstance(optimizer, MuonBesideAdamW) else [optimizer]
