"""The arithmetic of a budget: what a configuration trains, and what it costs, from shapes alone.

`backbone/adapting.py: describe` reads the shapes off a model without weights. The counts here equal PEFT's own on the
built model (the engine refuses to train where they do not); what they add is the parts, and what would fit. Memory and
time are estimates, and say so. For D_in × D_out layers adapted at rank R, LoRA (Hu et al. 2021, section 4.1) trains
R · (D_in + D_out) parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from loraloom.wording import plural

Bias = Literal["none", "all", "lora_only"]

PROCESS_BYTES = 0.7e9
"""Python, torch, transformers and the tokenised rows, resident before a model is loaded."""
STEP_FLOPS = 2.0
"""FLOPs of forward and backward over those of forward: weights are frozen, so only inputs get gradients."""
OPTIMIZER_STATES = {"adam": 2, "adamw": 2, "sgd": 0, "muon": 1}
"""Numbers that an optimizer keeps for each trained parameter."""
ACHIEVED_SHARE = 0.4
"""Share of the measured GEMM rate that HF Trainer reaches on short texts."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer that can be adapted: `name` in the encoder, `kind` as layers share it, `layer` from 0."""

    name: str
    kind: str
    layer: int
    d_in: int
    d_out: int
    bias: bool

    @property
    def weights(self) -> int:
        return self.d_in * self.d_out


def matches(name: str, target: str) -> bool:
    """Whether `target` names the layer `name` as PEFT has it: whole, or from a dot on."""
    return name == target or name.endswith(f".{target}")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the budget must know of a classifier: one encoder with one head."""

    linears: tuple[Linear, ...]
    hidden: int
    layers: int
    attention_heads: int
    frozen: int
    biases: int
    """Elements of all biases outside the head."""
    head: int


@dataclass(frozen=True, slots=True)
class Part:
    """A line of the count: what it is, how it comes about, how many parameters it trains."""

    name: str
    formula: str
    parameters: int


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Trainable parameters by part."""

    parts: tuple[Part, ...]
    lora: int
    bias: int
    head: int

    @property
    def trainable(self) -> int:
        return self.lora + self.bias + self.head


@dataclass(frozen=True, slots=True)
class Remedy:
    """A smallest change by which a configuration fits: fields as `--set` takes them, and the count then."""

    changes: tuple[str, ...]
    parameters: int

    @property
    def change(self) -> str:
        """The changes in words."""
        return " and ".join(self.changes)

    @property
    def options(self) -> str:
        """The changes as options of a command line."""
        return " ".join(f"--set {change}" for change in self.changes)


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What is counted: the shape, the adapted modules (by name), rank and bias mode.

    `layers` are those that `lora.layers_to_transform` leaves, None where it leaves all.
    """

    shape: ModelShape
    targets: tuple[str, ...]
    r: int
    bias: Bias
    layers: frozenset[int] | None = None

    @property
    def adapted(self) -> tuple[Linear, ...]:
        chosen = set(self.targets)
        return tuple(linear for linear in self.shape.linears if linear.name in chosen)


def count(adaptation: Adaptation) -> ParameterCount:
    """Counts the trainable parameters of `adaptation`, by part."""
    parts: list[Part] = []
    by_kind = sorted(adaptation.adapted, key=lambda linear: (linear.kind, linear.d_in, linear.d_out))
    for (kind, d_in, d_out), group in itertools.groupby(by_kind, key=lambda x: (x.kind, x.d_in, x.d_out)):
        layers = len(list(group))
        for name, matrix, width in (("A", "r × D_in", d_in), ("B", "D_out × r", d_out)):
            formula = f"{plural(layers, 'layer')} × {adaptation.r} × {width}  ({matrix})"
            parts.append(Part(f"{name} of {kind}", formula, layers * adaptation.r * width))
    lora = sum(part.parameters for part in parts)
    bias = _biases(adaptation)
    if bias:
        whose = "adapted layers" if adaptation.bias == "lora_only" else "all layers but the head"
        parts.append(Part("biases", f"of {whose}", bias))
    parts.append(Part("head", "trained whole", adaptation.shape.head))
    return ParameterCount(tuple(parts), lora, bias, adaptation.shape.head)


def _biases(adaptation: Adaptation) -> int:
    match adaptation.bias:
        case "none":
            return 0
        case "all":
            return adaptation.shape.biases
        case "lora_only":
            return sum(linear.d_out for linear in adaptation.adapted if linear.bias)


def per_rank(adaptation: Adaptation) -> int:
    """Parameters that one more rank adds: the sum of D_in + D_out over adapted layers."""
    return sum(linear.d_in + linear.d_out for linear in adaptation.adapted)


def largest_rank(adaptation: Adaptation, cap: int) -> int:
    """The largest rank that fits `cap`; 0 where not even rank 1 does."""
    fixed = count(replace(adaptation, r=1)).trainable - per_rank(adaptation)
    return max(0, (cap - fixed) // per_rank(adaptation))


def remedies(adaptation: Adaptation, cap: int, linear_head: ModelShape | None) -> tuple[Remedy, ...]:
    """Every smallest single change that brings it under `cap`; where none does, each with a smaller rank that does.

    A linear head that makes room for a larger rank than there would be without it is among them, with that rank.

    Args:
        linear_head: the same model with a linear head, where the recipe's is another.
    """
    lighter = [] if linear_head is None else [("head.kind=linear", replace(adaptation, shape=linear_head))]
    single = [
        *_smaller_rank(adaptation, cap),
        *_fewer_biases(adaptation, cap),
        *_fewer_targets(adaptation, cap),
        *_fewer_layers(adaptation, cap),
        *((change, after) for change, after in lighter if count(after).trainable <= cap),
    ]
    least = replace(adaptation, r=1)
    room = largest_rank(adaptation, cap)
    with_rank = (
        [(change, after) for change, after in lighter if room < largest_rank(after, cap) < adaptation.r]
        if single
        else [*_fewer_biases(least, cap), *_fewer_targets(least, cap), *_fewer_layers(least, cap), *lighter]
    )
    return (
        *(_remedy(after, change) for change, after in single),
        *(
            _remedy(fitting, change, rank)
            for change, after in with_rank
            for rank, fitting in _smaller_rank(replace(after, r=adaptation.r), cap)
        ),
    )


def _remedy(after: Adaptation, *changes: str) -> Remedy:
    return Remedy(changes, count(after).trainable)


def _smaller_rank(adaptation: Adaptation, cap: int) -> Iterator[tuple[str, Adaptation]]:
    if rank := min(adaptation.r, largest_rank(adaptation, cap)):
        yield f"lora.r={rank}", replace(adaptation, r=rank)


def _fewer_biases(adaptation: Adaptation, cap: int) -> Iterator[tuple[str, Adaptation]]:
    order: tuple[Bias, ...] = ("all", "lora_only", "none")
    for bias in order[order.index(adaptation.bias) + 1 :]:
        after = replace(adaptation, bias=bias)
        if count(after).trainable <= cap:
            yield f"lora.bias={bias}", after
            return


def _fewer_targets(adaptation: Adaptation, cap: int) -> Iterator[tuple[str, Adaptation]]:
    """The largest proper subset of the adapted kinds that fits."""
    kinds = sorted({linear.kind for linear in adaptation.adapted})
    best: tuple[int, tuple[str, ...], Adaptation] | None = None
    for size in range(len(kinds) - 1, 0, -1):
        for subset in itertools.combinations(kinds, size):
            names = tuple(
                x.name
                for x in adaptation.shape.linears
                if (adaptation.layers is None or x.layer in adaptation.layers)
                and any(matches(x.name, kind) for kind in subset)
            )
            after = replace(adaptation, targets=names)
            trained = count(after).trainable
            if trained <= cap and (best is None or trained > best[0]):
                best = (trained, subset, after)
        if best:
            yield f"lora.target_modules={_listed(best[1])}", best[2]
            return


def _fewer_layers(adaptation: Adaptation, cap: int) -> Iterator[tuple[str, Adaptation]]:
    """The most of the topmost adapted layers that fit."""
    layers = sorted({linear.layer for linear in adaptation.adapted})
    for first in range(1, len(layers)):
        kept = layers[first:]
        after = replace(adaptation, targets=tuple(linear.name for linear in adaptation.adapted if linear.layer in kept))
        if count(after).trainable <= cap:
            yield f"lora.layers_to_transform={_listed(kept)}", after
            return


def _listed(values: Sequence[object]) -> str:
    """A list as `--set` takes it without quotes: a single value is one too in such a field."""
    return ",".join(map(str, values))


def estimate_memory_gb(adaptation: Adaptation, *, batch: int, tokens: int, states: int, halves: bool) -> float:
    """Peak memory of training one trial, in 10^9 bytes; an estimate, within about a third of what was measured.

    Weights (and a copy in 16 bits where these `halves` are computed in), gradients and optimizer `states` of what is
    trained, and activations by Korthikanti et al. 2022, equation 1: per layer s·b·h·(34 + 5·a·s/h) bytes in 16 bits.
    """
    shape = adaptation.shape
    linear_weights = sum(linear.weights for linear in shape.linears)
    weights = 4 * shape.frozen + (2 * linear_weights if halves else 0)
    trained = (4 + 4 + 4 * states) * count(adaptation).trainable
    per_layer = batch * tokens * shape.hidden * (34 + 5 * shape.attention_heads * tokens / shape.hidden)
    activations = shape.layers * per_layer * (1 if halves else 2)
    return (PROCESS_BYTES + weights + trained + activations) / 1e9


def estimate_seconds(
    adaptation: Adaptation, *, rows: int, tokens: int, epochs: float, flops_per_second: float
) -> float:
    """Seconds of training on `rows` texts of `tokens` tokens at most; an estimate from the machine's GEMM rate.

    A multiply and an add are two FLOPs: forward costs 2 · weights a token and attention 4 · T · D a layer and token.
    """
    shape = adaptation.shape
    linear_weights = sum(linear.weights for linear in shape.linears)
    forward = 2 * linear_weights + 4 * tokens * shape.hidden * shape.layers
    return rows * epochs * tokens * forward * STEP_FLOPS / (flops_per_second * ACHIEVED_SHARE)
