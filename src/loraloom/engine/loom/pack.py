"""K trials over one frozen encoder: a step of all of them, each with its own loss, clipping, rate and optimizer.

A pack's batch is the trials' batches side by side; frozen products run over all their tokens at once, LoRA products
are batched over the trials. Nothing is summed over trials: a gradient is clipped, and a loss normalised, by itself
(the two classic errors of a fused batch). Where a processor is busy with one trial's batch, packs are of one trial,
and trials take turns.

Beside the encoder and the head: 50 bytes a trained parameter and step (Adam reads values, gradients and two moments,
16, and writes all but the gradients, 12; clipping, clearing and the copy in bf16 are 22), about 2 % of a step of a
base-size encoder. Rejected: one optimizer over all rows of the buffer, since trials may have different ones, and each
must go on alone when others have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraloom.data import Encoded
from loraloom.engine.loom.encoder import Encoder, Travelled
from loraloom.engine.loom.frozen import FrozenEncoder
from loraloom.engine.loom.head import Head, Target
from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.parameters import Layout, Parameters
from loraloom.engine.loom.row_optimizer import RowOptimizer
from loraloom.engine.loom.tokens import Ints, Tokens, lay_out
from loraloom.engine.loom.transfer import onto
from loraloom.recipe import Lora, Train

_VALUE = "value"


@dataclass(frozen=True, slots=True)
class Member:
    """What a pack must know of a trial: its recipe, its initial parameters by name, and its class weights (C,)."""

    train: Train
    lora: Lora
    trained: Mapping[str, Tensor]
    class_weights: Tensor | None

    @property
    def scale(self) -> float:
        return self.lora.lora_alpha / (self.lora.r**0.5 if self.lora.use_rslora else self.lora.r)


@dataclass(frozen=True, slots=True)
class Batch:
    """A trial's rows in one pass, with their labels."""

    rows: Ints
    labels: Ints


def no_section(name: str) -> AbstractContextManager[None]:
    """Times nothing."""
    del name
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Seen:
    """A pass of all trials, its sums still on the device."""

    loss_sums: Tensor  # (K,)
    hits: Tensor  # (K,)

    def read(self) -> list[tuple[float, int]]:
        """Of each trial the sum of its examples' losses, and how many were right; waits for the device."""
        return list(zip(self.loss_sums.tolist(), self.hits.tolist(), strict=True))


class Pack:
    """Trials that step together."""

    def __init__(
        self,
        members: Sequence[Member],
        frozen: FrozenEncoder,
        layout: Layout,
        section: Callable[[str], AbstractContextManager[None]] = no_section,
    ) -> None:
        if len({member.lora.lora_dropout for member in members}) > 1:
            raise ValueError("trials of a pack share lora.lora_dropout")
        self.members = list(members)
        self.parameters = Parameters(layout, [member.trained for member in members], frozen.dtype, frozen.device)
        self._frozen, self._section = frozen, section
        self._passes = [0] * len(members)
        wide = self.parameters.values.dtype
        smoothing = [[member.train.label_smoothing_factor] for member in members]
        self._smoothing = torch.tensor(smoothing, dtype=wide, device=frozen.device)
        weights = _class_weights(members)
        self._class_weights = None if weights is None else weights.to(frozen.device, wide)
        self.encoder, self.head = self._bind(self.parameters, members)
        self._optimizers = [RowOptimizer(self.parameters, number, own.train) for number, own in enumerate(members)]
        self._refresh()

    def _bind(self, parameters: Parameters, members: Sequence[Member]) -> tuple[Encoder, Head]:
        frozen = self._frozen
        scales = [member.scale for member in members]
        dropout = members[0].lora.lora_dropout
        encoder = Encoder(frozen, parameters, scales, dropout)
        return encoder, Head(frozen.anatomy.head, parameters, frozen.head, frozen.anatomy.norm_eps)

    def _refresh(self) -> None:
        self.parameters.refresh()
        self.encoder.refresh()

    def run(
        self,
        encoded: Sequence[Encoded],
        batches: Sequence[Batch],
        normalisers: Sequence[float],
        prefix: Tensor | None = None,
    ) -> Seen:
        """One pass forward and back; each trial's gradients grow by its batch's loss over its normaliser.

        The host does not wait for the device here: losses are read when they are needed.
        """
        frozen = self._frozen
        with self._section("tokens of the batch"):
            tokens = lay_out(encoded, [batch.rows for batch in batches], frozen.anatomy.embedding, frozen.device)
            target = self._target(batches, normalisers, tokens)
        noise = Noise(tuple(member.train.seed for member in self.members), tuple(self._passes))
        with self._section("encoder, between operations"):
            pooled, way = self.encoder.forward(tokens, noise, prefix)
        with self._section("head"):
            scored = self.head.score(pooled, target, noise)
        with self._section("encoder, between operations"):
            self._backward(scored.gradient, way)
        # Only a trial's own batches count, or its masks would depend on its neighbours' accumulation.
        self._passes = [count + bool(len(own.rows)) for count, own in zip(self._passes, batches, strict=True)]
        hits = (scored.logits.argmax(dim=-1) == target.labels) & (target.real > 0)
        return Seen(scored.examples.sum(dim=1), hits.sum(dim=1))

    def _backward(self, gradient: Tensor, way: Travelled) -> None:
        """Through the encoder, from the gradient (K, B, D) of the pooled vectors.

        In fp16 numbers end at 65,504 and at 6e-8, so that each trial's gradient goes in scaled by a power of two, its
        largest number between a half and one, and what it leaves in the parameters' is scaled back. Rejected: a scale
        that is lowered when a step overflows and raised after so many that did not (Micikevicius et al. 2018), which
        skips steps, and is more to keep in a checkpoint.
        """
        dtype = self._frozen.dtype
        if dtype != torch.float16:
            self.encoder.backward(gradient.to(dtype), way)
            return
        largest = gradient.abs().amax(dim=(1, 2), keepdim=True)  # (K, 1, 1); 0 of a trial without rows
        scales = torch.exp2(-largest.log2().ceil().clamp_min(-100)).where(largest > 0, 1.0)
        gathered = self.parameters.gradients
        self.parameters.gradients = torch.zeros_like(gathered)
        self.encoder.backward((gradient * scales).to(dtype), way)
        self.parameters.gradients = gathered.addcdiv_(self.parameters.gradients, scales[:, 0])

    def _target(self, batches: Sequence[Batch], normalisers: Sequence[float], tokens: Tokens) -> Target:
        device, wide = self._frozen.device, self.parameters.values.dtype
        labels = torch.zeros(tokens.trials, tokens.batch, dtype=torch.int64)
        real = torch.zeros(tokens.trials, tokens.batch, dtype=wide)
        for number, batch in enumerate(batches):
            labels[number, : len(batch.labels)] = torch.from_numpy(batch.labels)
            real[number, : len(batch.labels)] = 1
        return Target(
            labels=onto(labels, device),
            real=onto(real, device),
            normalisers=onto(torch.tensor(normalisers, dtype=wide), device),
            class_weights=self._class_weights,
            smoothing=self._smoothing,
        )

    def step(self, rates: Sequence[float]) -> None:
        """An optimizer step of each trial at its rate, from the gradients that its passes left."""
        with torch.no_grad(), self._section("optimizer"):
            for number, (member, optimizer, rate) in enumerate(zip(self.members, self._optimizers, rates, strict=True)):
                gradient = self.parameters.gradients[number]
                if member.train.max_grad_norm > 0:
                    # torch.nn.utils.clip_grad_norm_ over this trial alone
                    norm = torch.linalg.vector_norm(gradient)
                    gradient.mul_((member.train.max_grad_norm / (norm + 1e-6)).clamp_max(1.0))
                optimizer.step(rate)
            self.parameters.gradients.zero_()
            self._refresh()

    def trained(self, number: int) -> dict[str, Tensor]:
        """A trial's parameters as they are now, by name; views."""
        parameters = self.parameters
        return {name: parameters.of_trial(parameters.values, number, name) for name in parameters.layout.shapes}

    def without(self, ended: Collection[int]) -> Pack | None:
        """The pack that goes on when trials have ended; None where they were the last."""
        kept = [index for index in range(len(self.members)) if index not in ended]
        if not kept:
            return None
        rest = Pack(
            [replace(self.members[index], trained=self.trained(index)) for index in kept],
            self._frozen,
            self.parameters.layout,
            self._section,
        )
        rest._passes = [self._passes[index] for index in kept]
        for optimizer, index in zip(rest._optimizers, kept, strict=True):
            optimizer.restore(self._optimizers[index].state())
        return rest

    def state(self, number: int) -> tuple[dict[str, Tensor], int]:
        """A trial between two steps: its parameters and its optimizer's state as `key:name`, and its passes so far.

        Raises:
            RuntimeError: gradients are accumulated, which are never saved.
        """
        if bool(self.parameters.gradients[number].any()):
            raise RuntimeError("a trial's state is asked for within a step")
        values = {f"{_VALUE}:{name}": value.contiguous().clone() for name, value in self.trained(number).items()}
        return values | self._optimizers[number].state(), self._passes[number]

    def restore(self, number: int, tensors: Mapping[str, Tensor], passes: int) -> None:
        """Has a trial go on from what `state` gave, among these mates or others."""
        for name, value in self.trained(number).items():
            value.copy_(tensors[f"{_VALUE}:{name}"])
        self._optimizers[number].restore({key: own for key, own in tensors.items() if not key.startswith(f"{_VALUE}:")})
        self._passes[number] = passes
        self._refresh()

    def evaluator(self, number: int) -> Callable[[Tokens, Tensor | None], Tensor]:
        """What gives logits (B, C) of one trial, as it is now, on batches of its own, without dropout."""
        encoder, head = self.encoder, self.head
        if len(self.members) > 1:
            encoder, head = self._bind(self.parameters.only(number), [self.members[number]])
            encoder.refresh()

        @torch.no_grad()
        def logits(tokens: Tokens, prefix: Tensor | None = None) -> Tensor:
            pooled, _ = encoder.forward(tokens, None, prefix)
            return head.logits(pooled)[0]

        return logits


def _class_weights(members: Sequence[Member]) -> Tensor | None:
    """Each trial's weights (K, C), 1 where it has none; None where no trial has."""
    given = [member.class_weights for member in members if member.class_weights is not None]
    if not given:
        return None
    rows = [torch.ones(len(given[0])) if own.class_weights is None else own.class_weights for own in members]
    return torch.stack(rows)
