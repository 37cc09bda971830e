"""The trained parameters of K trials as one buffer (K, P), and views of it by name.

A trial's parameters are a row, so that its optimizer, its clipping and its gradient are over one flat tensor, while a
layer reads the same parameter of all trials as one strided view. Parameters that weight decay pulls at come first: the
two halves are the optimizer's groups. Where ranks differ, the smaller is padded with zeros, which stay zero: the
gradient of a padded row of A comes through a padded column of B, and the other way round.

Cost: 4 bytes a parameter each for values and gradients, 2 for the bf16 copy that the products read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Names in their order, padded shapes and offsets; the first `decayed` values are under weight decay."""

    shapes: Mapping[str, Shape]
    offsets: Mapping[str, int]
    decayed: int
    size: int


def lay_out(names: Sequence[str], shapes: Mapping[str, Sequence[Shape]], decayed: frozenset[str]) -> Layout:
    """The layout of `names`, in order but decayed ones first; `shapes` gives each trial's shape of each."""
    ordered = sorted(names, key=lambda name: name not in decayed)
    padded = {name: tuple(max(sizes) for sizes in zip(*shapes[name], strict=True)) for name in ordered}
    sizes = [math.prod(padded[name]) for name in ordered]
    ends = list(accumulate(sizes))
    offsets = {name: end - size for name, end, size in zip(ordered, ends, sizes, strict=True)}
    under_decay = sum(size for name, size in zip(ordered, sizes, strict=True) if name in decayed)
    return Layout(padded, offsets, under_decay, ends[-1])


class Parameters:
    """Values and gradients of K trials, on one device."""

    def __init__(
        self,
        layout: Layout,
        trials: Sequence[Mapping[str, Tensor]],
        dtype: torch.dtype,
        device: torch.device,
        *,
        gradients: bool = True,
    ) -> None:
        """`gradients` False leaves no room for them: the parameters are for use, not for training."""
        self.layout = layout
        self.shapes = [{name: tuple(value.shape) for name, value in trial.items()} for trial in trials]
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.values = torch.zeros(len(trials), layout.size, dtype=wide, device=device)
        self.gradients = torch.zeros_like(self.values) if gradients else self.values.new_empty(len(trials), 0)
        self.compute = self.values if dtype == wide else torch.zeros_like(self.values, dtype=dtype)
        for number, trial in enumerate(trials):
            for name, value in trial.items():
                self.of_trial(self.values, number, name).copy_(value.detach())
        self.refresh()

    @property
    def trials(self) -> int:
        return len(self.values)

    def refresh(self) -> None:
        """Brings the copy that products read up to date with the values."""
        if self.compute is not self.values:
            self.compute.copy_(self.values)

    def only(self, trial: int) -> Parameters:
        """One trial of these, on the same memory."""
        own = object.__new__(Parameters)
        own.layout, own.shapes = self.layout, [self.shapes[trial]]
        own.values, own.gradients = self.values[trial : trial + 1], self.gradients[trial : trial + 1]
        own.compute = own.values if self.compute is self.values else self.compute[trial : trial + 1]
        return own

    def view(self, buffer: Tensor, name: str) -> Tensor:
        """A parameter of all trials: (K, *padded shape), a view."""
        start, shape = self.layout.offsets[name], self.layout.shapes[name]
        return buffer[:, start : start + math.prod(shape)].view(len(buffer), *shape)

    def span(self, buffer: Tensor, names: Sequence[str]) -> Tensor:
        """Matrices that lie one after the other as one: (K, sum of rows, columns), a view."""
        shapes = [self.layout.shapes[name] for name in names]
        start = self.layout.offsets[names[0]]
        rows = sum(shape[0] for shape in shapes)
        expected = list(accumulate(map(math.prod, shapes), initial=start))[:-1]
        if [self.layout.offsets[name] for name in names] != expected or len({shape[1] for shape in shapes}) != 1:
            raise ValueError(f"{', '.join(names)} do not lie one after the other")
        return buffer[:, start : start + rows * shapes[0][1]].view(len(buffer), rows, shapes[0][1])

    def of_trial(self, buffer: Tensor, trial: int, name: str) -> Tensor:
        """A parameter of one trial in its own shape, a view."""
        value = self.view(buffer, name)[trial]
        for dimension, size in enumerate(self.shapes[trial][name]):
            value = value.narrow(dimension, 0, size)
        return value
