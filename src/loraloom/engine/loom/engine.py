"""The loom engine: trains packs of trials over one frozen encoder that stays in memory.

`train_pack` builds each trial as the reference engine does (the same draws of head and adapter), takes the frozen
weights out of the first model and drops those of the others, steps all trials until each has ended, and saves them as
PEFT does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from transformers import Trainer

from loraloom.backbone.anatomy import Anatomy, anatomy
from loraloom.backbone.classifier import switch_dropout_off
from loraloom.backbone.sources import Source, load_config, pin
from loraloom.data import Encoded
from loraloom.engine.adapted import add_lora, build_base, save_adapter
from loraloom.engine.job import Job, Listener, Outcome
from loraloom.engine.loom import compiled
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.evaluation import Chunk, chunks, gather
from loraloom.engine.loom.frozen import FrozenEncoder, freeze
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.pack import Batch, Member, Pack
from loraloom.engine.loom.parameters import Layout, lay_out
from loraloom.engine.loom.prefix_file import PrefixFile
from loraloom.engine.loom.prefix_states import PrefixStates, read
from loraloom.engine.loom.projection import lora_a, lora_b
from loraloom.engine.loom.trial import Trial
from loraloom.engine.objective import class_weights
from loraloom.engine.precision import choose_dtype, device
from loraloom.engine.progress import OUT_OF_MEMORY, is_out_of_memory
from loraloom.errors import LoraloomError, TrialFailedError
from loraloom.recipe import Configuration

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def why_not(source: Source, configuration: Configuration) -> str | None:
    """Why loom can't train a configuration, in a sentence; None where it can."""
    found = read_anatomy(source, configuration)
    return found if isinstance(found, str) else None


def read_anatomy(source: Source, configuration: Configuration) -> Anatomy | str:
    """The anatomy of a configuration's backbone, with its dropout as the recipe has it, or why there is none."""
    config = load_config(source)
    if configuration.backbone.dropout == "off":
        switch_dropout_off(config)
    return anatomy(config, configuration.head)


class LoomEngine:
    """Trains packs of jobs that share their backbone, head, targets, biases and longest text."""

    name = "loom"

    def __init__(self) -> None:
        self._frozen: tuple[tuple[Any, ...], FrozenEncoder] | None = None
        self._chunks: dict[int, tuple[Encoded, tuple[Chunk, ...]]] = {}
        self._prefixes = PrefixStates()
        self._pin = lru_cache(pin)

    def train(self, job: Job, listener: Listener) -> Outcome:
        """Trains one job; see `train_pack`."""
        return self.train_pack([job], listener)[0]

    def train_pack(self, jobs: Sequence[Job], listener: Listener) -> tuple[Outcome, ...]:
        """Trains jobs together, writing metrics.jsonl as they go and each adapter at its end.

        Raises:
            LoraloomError: what would befall every trial: an architecture that loom does not know (`engine: trainer`
                does), no weights, a target that is not there, a count that differs.
        """
        trials = [self._begin(job) for job in jobs]
        joined = device().type == "cuda"
        groups = [trials] if joined else [[trial] for trial in trials]
        turns = [self._run(group, listener) for group in groups]
        try:
            while turns:
                turns = [turn for turn in turns if next(turn, None) is not None]
        finally:
            self._prefixes.close()
        return tuple(trial.outcome() for trial in trials)

    def _begin(self, job: Job) -> Trial:
        found = read_anatomy(job.source, job.configuration)
        if isinstance(found, str):
            raise LoraloomError(f"engine: loom can't train {job.source.model!r}: {found}; use engine: trainer")
        dtype = choose_dtype(job.configuration.train)
        model = add_lora(build_base(job), job)
        self._freeze(job, model, found, dtype)
        for parameter in model.parameters():
            if not parameter.requires_grad and parameter.ndim > 1:
                parameter.data = parameter.data.new_empty(0)  # the frozen encoder has them now
        return Trial(job, model, dtype, window=SORTED_BATCHES)

    def _freeze(self, job: Job, model: PeftModel, found: Anatomy, dtype: str) -> FrozenEncoder:
        """The frozen encoder of a job's backbone, laid out once for all jobs that have the same."""
        lowest = lowest_layer(found, trained_parameters(model))
        key = (job.source, dtype, lowest, found)
        if self._frozen is None or self._frozen[0] != key:
            self._frozen = None  # its memory is free before the next is laid out
            base = cast(Any, model.get_base_model())
            ops = choose_ops(DTYPES[dtype], device(), found, _intermediate(base.config))
            frozen = freeze(base, found, ops, DTYPES[dtype], device(), lowest=lowest)
            self._frozen = (key, frozen)
        return self._frozen[1]

    def _run(self, trials: list[Trial], listener: Listener) -> Iterator[bool]:
        """Steps trials as one pack until all have ended; yields after each step."""
        assert self._frozen is not None
        frozen = self._frozen[1]
        active = list(trials)
        pack: Pack | None = self._pack(trials, frozen)
        while pack is not None:
            try:
                self._step(pack, active, listener)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                for trial in active:
                    trial.fail(OUT_OF_MEMORY)
            for number in reversed(range(len(active))):
                if active[number].over:
                    self._end(active.pop(number), pack, number)
                    pack = pack.without(number)
                    if pack is None:
                        return
            yield True

    def _pack(self, trials: Sequence[Trial], frozen: FrozenEncoder) -> Pack:
        labels = trials[0].job.rows.data
        members = [
            Member(
                train=trial.job.configuration.train,
                lora=trial.job.configuration.lora,
                trained={name: value.to(frozen.device) for name, value in trained_parameters(trial.model).items()},
                class_weights=class_weights(trial.job.configuration.train, trial.labels, len(labels.labels)),
            )
            for trial in trials
        ]
        layout, decayed = plan_layout(trials[0].model, members, frozen)
        return Pack(members, frozen, layout, decayed, frozen.ops)

    def _step(self, pack: Pack, trials: Sequence[Trial], listener: Listener) -> None:
        start = time.monotonic()
        steps = [trial.batches() for trial in trials]
        normalisers = [float(sum(len(batch.rows) for batch in batches)) for batches in steps]
        for turn in range(max(len(batches) for batches in steps)):
            # A trial with fewer batches than its neighbours sees none in the last passes of a step.
            now = [batches[turn] if turn < len(batches) else EMPTY for batches in steps]
            prefix = self._prefix(pack, trials, now)
            losses = pack.accumulate([trial.job.rows.train for trial in trials], now, normalisers, prefix)
            for trial, seen, batch, normaliser in zip(trials, losses, now, normalisers, strict=True):
                trial.saw(seen, batch, normaliser)
        pack.step([trial.rate for trial in trials])
        share = (time.monotonic() - start) / len(trials)
        for number, trial in enumerate(trials):
            trial.step_seconds += share
            if trial.stepped():
                self._evaluate(pack, number, trial, listener)

    def _evaluate(self, pack: Pack, number: int, trial: Trial, listener: Listener) -> None:
        start = time.monotonic()
        rows = trial.job.rows
        states = self._states(trial, rows.validation, pack)

        def logits_of(part: Chunk) -> Tensor:
            width = part.tokens.ids.shape[1]
            prefix = None if states is None else read([states], [part.rows], width, pack.encoder.frozen.device)
            return pack.logits(part.tokens, number, prefix)

        logits = gather(self._split(rows.validation, pack), len(rows.data.labels), logits_of)
        trial.evaluation_seconds += time.monotonic() - start
        trial.evaluated(logits, listener)

    def _prefix(self, pack: Pack, trials: Sequence[Trial], batches: Sequence[Batch]) -> Tensor | None:
        """The hidden states that enter the lowest trained layer, where they are kept."""
        files = [self._states(trial, trial.job.rows.train, pack) for trial in trials]
        kept = [file for file in files if file is not None]
        rows = [batch.rows for batch in batches]
        if len(kept) < len(files) or any(len(own) == 0 for own in rows):
            return None
        lengths = [trial.lengths[own] for trial, own in zip(trials, rows, strict=True)]
        batch = max(len(own) for own in rows)
        width = max(int(own.sum()) + batch - len(own) for own in lengths)  # filler texts have a token each
        return read(kept, rows, width, pack.encoder.frozen.device)

    def _states(self, trial: Trial, encoded: Encoded, pack: Pack) -> PrefixFile | None:
        if id(encoded) not in trial.states:
            source = trial.job.source
            weights = f"{source.model} {source.revision or self._pin(source)}"
            trial.states[id(encoded)] = self._prefixes.of(encoded, pack.encoder, weights, trial.job.deadline)
        return trial.states[id(encoded)]

    def _split(self, encoded: Encoded, pack: Pack) -> tuple[Chunk, ...]:
        """A split's batches, worked out once."""
        if id(encoded) not in self._chunks:
            frozen = pack.encoder.frozen
            self._chunks = {id(encoded): (encoded, chunks(encoded, frozen.anatomy.embedding, frozen.device))}
        return self._chunks[id(encoded)][1]

    def _end(self, trial: Trial, pack: Pack, number: int) -> None:
        """Writes a trial's parameters back into PEFT's model, and saves it as PEFT does."""
        if trial.state == "failed":
            return
        targets = {canonical(name): value for name, value in trial.model.named_parameters() if value.requires_grad}
        for name, value in pack.trained(number).items():
            targets[name].data.copy_(value)
        try:
            save_adapter(trial.model, trial.job.folder)
        except TrialFailedError as error:
            trial.fail(str(error))


SORTED_BATCHES = 8
EMPTY = Batch(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def choose_ops(dtype: torch.dtype, place: torch.device, found: Anatomy, intermediate: int) -> PlainOps:
    """The compiled kernels where they are to be had, else plain torch."""
    by_kernels = dtype == torch.bfloat16 and place.type == "cpu"
    return CompiledOps() if by_kernels and compiled.why_not(found, intermediate) is None else PlainOps()


def _intermediate(config: Any) -> int:
    """The width of the MLP; DistilBERT has a name of its own for it."""
    return int(getattr(config, "intermediate_size", None) or config.hidden_dim)


def canonical(name: str) -> str:
    """A parameter's name in PEFT's model as the transformers model has it, LoRA's as `module.lora_A`."""
    name = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".modules_to_save.default", "")
    return name.removesuffix(".default.weight") if ".lora_" in name else name


def trained_parameters(model: PeftModel) -> dict[str, Tensor]:
    """What a model trains, by canonical name, in the model's order."""
    return {canonical(name): value.detach() for name, value in model.named_parameters() if value.requires_grad}


def lowest_layer(found: Anatomy, trained: dict[str, Tensor]) -> int:
    """The lowest layer with a trained parameter; -1 where the embeddings have one."""
    numbers = [-1 if ".embeddings" in name else None for name in trained]
    for name in trained:
        _, inside, rest = name.partition(f".{found.layers}.")
        numbers.append(int(rest.split(".")[0]) if inside else None)
    return min(number for number in numbers if number is not None)


def plan_layout(model: PeftModel, members: Sequence[Member], frozen: FrozenEncoder) -> tuple[Layout, frozenset[str]]:
    """Where each parameter lies: the A of modules that share a product side by side, the rest in the model's order."""
    names = list(members[0].trained)
    if any(list(member.trained) != names for member in members):
        raise LoraloomError("trials of a pack must train the same parameters")
    modules = [part.parts for layer in frozen.layers for part in (layer.qkv, layer.out, layer.up, layer.down)]
    wanted = [of(part.name) for parts in modules for of in (lora_a, lora_b) for part in parts]
    first = [name for name in wanted if name in members[0].trained]
    ordered = first + [name for name in names if name not in set(first)]
    shapes = {name: [tuple(member.trained[name].shape) for member in members] for name in names}
    decayed = frozenset(canonical(name) for name in Trainer.get_decay_parameter_names(cast(Any, None), model))
    return lay_out(ordered, shapes, decayed), decayed & set(names)
