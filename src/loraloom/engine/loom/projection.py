"""A frozen linear layer and what its trials add to it: LoRA, and biases of their own.

Computes y = x W^T + bias + s · dropout(x) A^T B^T, W' = W + s·B·A as PEFT has it, for one or more modules side by side
(query, key and value are one product). The A of all adapted modules lie one below the other, so the low-rank input
u = x A^T is one product; B is spread into a (K, R, D_out) matrix of blocks, scaled, so that its product is one addition
to the frozen one. A step's cost beside the frozen product: 6·K·M·R·(D_in + D_out) FLOPs, a third of them forward.

Dropout before A draws a mask per module, as PEFT does, and takes the products apart by module.

Rejected: adding s·B·A to the frozen weight for each step. It costs 2·R·D_in·D_out FLOPs and a layout a step, rounds the
sum to the weight's type, and a pack could not share the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.ops import FrozenLinear, LowRank, PlainOps, Product
from loraloom.engine.loom.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Part:
    """A module of the model: its name, and the outputs that are its own."""

    name: str
    start: int
    stop: int


@dataclass(slots=True)
class Saved:
    """What a backward pass needs of the forward where LoRA is: the input, the low-rank one, and the dropout between."""

    x: Tensor | None = None
    u: Tensor | None = None
    drops: tuple[Drop | None, ...] = ()


@dataclass(slots=True)
class Projection:
    """Parts over one frozen product. `adapted` and `biased` name the parts with LoRA and with a trained bias."""

    frozen: FrozenLinear
    parts: tuple[Part, ...]
    frozen_bias: Tensor | None
    parameters: Parameters
    scales: Tensor  # (K, 1, 1)
    adapted: tuple[Part, ...] = ()
    biased: tuple[Part, ...] = ()
    _a: Tensor | None = field(default=None, init=False)
    _b: Tensor | None = field(default=None, init=False)
    bias: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        shapes = self.parameters.layout.shapes
        self.adapted = tuple(part for part in self.parts if lora_a(part.name) in shapes)
        self.biased = tuple(part for part in self.parts if bias_of(part.name) in shapes)
        self.bias = self.frozen_bias
        trials, compute = self.parameters.trials, self.parameters.compute
        if self.adapted:
            ranks = [shapes[lora_a(part.name)][0] for part in self.adapted]
            self._a = self.parameters.span(compute, [lora_a(part.name) for part in self.adapted])
            self._b = compute.new_zeros(trials, sum(ranks), self.frozen.out_features)
        if self.biased and self.frozen_bias is not None:
            self.bias = self.frozen_bias.to(self.parameters.values.dtype).repeat(trials, 1).unsqueeze(1)

    @property
    def trained(self) -> bool:
        """Whether anything here has a gradient."""
        return bool(self.adapted or self.biased)

    def refresh(self) -> None:
        """Takes over the values of a new step."""
        if self._b is not None:
            for part, (start, stop) in self._ranks():
                b = self.parameters.view(self.parameters.values, lora_b(part.name))  # (K, D_part, R)
                self._b[:, start:stop, part.start : part.stop] = (b * self.scales).mT
        if self.biased:
            assert self.bias is not None
            for part in self.biased:
                value = self.parameters.view(self.parameters.values, bias_of(part.name))  # (K, D_part)
                self.bias[:, 0, part.start : part.stop] = value

    def product(self, x: Tensor, ops: PlainOps, drops: Sequence[Drop | None]) -> tuple[Product, Saved]:
        """What is to be computed of x, the low-rank way begun."""
        if self._a is None or self._b is None:
            return Product(self.frozen, self.bias), Saved()
        if any(drops):
            inputs = [
                ops.project(ops.dropout(x, drop), self._a[:, start:stop])
                for drop, (_, (start, stop)) in zip(drops, self._ranks(), strict=True)
            ]
            u = torch.cat(inputs, dim=-1)
        else:
            u = ops.project(x, self._a)  # (K, M, R)
        return Product(self.frozen, self.bias, LowRank(u, self._b)), Saved(x, u, tuple(drops))

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """A (K, R, D_in) and B (K, R, D_out), scaled and spread, as products read them; None where LoRA is not."""
        return None if self._a is None or self._b is None else (self._a, self._b)

    def bias_change(self) -> Tensor | None:
        """What one trial's trained bias differs by from the frozen one, (D_out,) in the products' type; or None."""
        if not self.biased or self.bias is None or self.frozen_bias is None:
            return None
        return (self.bias.reshape(-1) - self.frozen_bias).to(self.parameters.compute.dtype)

    @property
    def columns(self) -> int:
        """Columns that this place takes in a product of several adapters (`mixed.py`)."""
        return (0 if self._a is None else self._a.shape[1]) + bool(self.biased)

    def collect(
        self, dy: Tensor, saved: Saved, ops: PlainOps, *, need_input: bool
    ) -> tuple[LowRank | None, Tensor | None]:
        """Adds the gradients of A, B and biases; returns what the low-rank way adds to dx.

        It is a product to be added to the frozen one, or, under dropout before A, a tensor (K, M, D_in).
        """
        gradients = self.parameters.gradients
        for part in self.biased:
            total = ops.column_sums(dy[..., part.start : part.stop])
            self.parameters.view(gradients, bias_of(part.name)).add_(total)
        if self._a is None or self._b is None:
            return None, None
        assert saved.x is not None
        assert saved.u is not None
        du = ops.project(dy, self._b)  # (K, M, R)
        by_b = ops.gram(saved.u, dy)  # (K, R, D_out)
        for part, (start, stop) in self._ranks():
            block = by_b[:, start:stop, part.start : part.stop].mT * self.scales
            self.parameters.view(gradients, lora_b(part.name)).add_(block)
        a_gradient = self.parameters.span(gradients, [lora_a(part.name) for part in self.adapted])
        if not any(saved.drops):
            a_gradient.add_(ops.gram(du, saved.x))
            return (LowRank(du, self._a) if need_input else None), None
        dx: Tensor | None = None
        for drop, (_, (start, stop)) in zip(saved.drops, self._ranks(), strict=True):
            own = du[..., start:stop].contiguous()
            a_gradient[:, start:stop].add_(ops.gram(own, ops.dropout(saved.x, drop)))
            if need_input:
                back = torch.bmm(own, self._a[:, start:stop])
                back = ops.dropout(back, drop)
                dx = back if dx is None else dx.add_(back)
        return None, dx

    def _ranks(self) -> list[tuple[Part, tuple[int, int]]]:
        """Adapted parts with their rows of A."""
        start, spans = 0, []
        for part in self.adapted:
            rank = self.parameters.layout.shapes[lora_a(part.name)][0]
            spans.append((part, (start, start + rank)))
            start += rank
        return spans


def lora_a(module: str) -> str:
    return f"{module}.lora_A"


def lora_b(module: str) -> str:
    return f"{module}.lora_B"


def bias_of(module: str) -> str:
    return f"{module}.bias"
