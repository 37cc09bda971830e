"""One trial's optimizer over its row of a pack's parameters, and its state by the parameters' names.

Adam and SGD step a trial's flat row in two pieces (under weight decay, and not); Muon needs matrices, and is given each
parameter. A checkpoint holds the state by name and in each parameter's own shape, so that it fits any pack: a layout
pads ranks to the greatest among the mates.

Beside values and gradients Adam keeps 8 bytes a parameter, Muon 4 of a matrix, SGD none. What a step reads and writes,
and one optimizer for all rows, which was rejected, are in `pack.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loraloom.engine.loom.parameters import Parameters
from loraloom.engine.optimizers import build_optimizer, read_state, write_state
from loraloom.recipe import Train


@dataclass(frozen=True, slots=True)
class _Held:
    """What the optimizer takes for one parameter: the trained ones that lie in it, and where it lies in the row."""

    parameter: nn.Parameter
    names: tuple[str, ...]
    span: tuple[int, int] | None  # None for one parameter in its own shape


class RowOptimizer:
    """The recipe's optimizer of trial `number` of `parameters`."""

    def __init__(self, parameters: Parameters, number: int, train: Train) -> None:
        self._own = parameters.only(number)
        self._held = tuple(self._matrices() if train.optim == "muon" else self._pieces())
        named = [(held.names[0], held.parameter) for held in self._held]
        layout = parameters.layout
        decayed = [name for name, _ in named if layout.offsets[name] < layout.decayed]
        self._optimizer = build_optimizer(train, named, decayed)

    def step(self, rate: float) -> None:
        """A step at `rate` by the gradients in the parameters' buffer."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """All but the parameters that the next step depends on, as `key:name`; copies."""
        found: dict[str, Tensor] = {}
        for held in self._held:
            for key, value in read_state(self._optimizer, held.parameter).items():
                for name, part in self._parts(held, value):
                    found[f"{key}:{name}"] = part.clone(memory_format=torch.contiguous_format)
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` gave, in this pack or another."""
        for held in self._held:
            keys = [key for key, name in (label.split(":", 1) for label in state) if name == held.names[0]]
            joined = {key: self._joined(held, [state[f"{key}:{name}"] for name in held.names]) for key in keys}
            write_state(self._optimizer, held.parameter, joined)

    def _matrices(self) -> Iterator[_Held]:
        for name in self._own.layout.shapes:
            parameter = nn.Parameter(self._own.of_trial(self._own.values, 0, name))
            parameter.grad = self._own.of_trial(self._own.gradients, 0, name)
            yield _Held(parameter, (name,), None)

    def _pieces(self) -> Iterator[_Held]:
        layout = self._own.layout
        for start, stop in ((0, layout.decayed), (layout.decayed, layout.size)):
            if stop > start:
                parameter = nn.Parameter(self._own.values[0, start:stop])
                parameter.grad = self._own.gradients[0, start:stop]
                yield _Held(
                    parameter, tuple(name for name, at in layout.offsets.items() if start <= at < stop), (start, stop)
                )

    def _parts(self, held: _Held, value: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The part of `value` that is of each of the parameters held; a count of steps is of each."""
        if held.span is None or value.ndim == 0:
            yield from ((name, value) for name in held.names)
            return
        row = torch.zeros_like(self._own.values)
        row[0, slice(*held.span)] = value
        yield from ((name, self._own.of_trial(row, 0, name)) for name in held.names)

    def _joined(self, held: _Held, parts: list[Tensor]) -> Tensor:
        """`_parts` undone."""
        if held.span is None or parts[0].ndim == 0:
            return parts[0]
        row = torch.zeros_like(self._own.values)
        for name, part in zip(held.names, parts, strict=True):
            self._own.of_trial(row, 0, name).copy_(part)
        return row[0, slice(*held.span)]
