"""The loom engine: trains packs of trials over one frozen encoder that stays in memory.

`train_pack` builds each trial as the reference engine does (the same draws of head and adapter), takes the frozen
weights out of the first model and drops those of the others, steps all trials until each has ended, and saves them as
PEFT does. A second trial of a backbone, its dropout and its kind of head costs milliseconds before its first step:
nothing is read from disk again, its adapter is drawn anew, and of its head what the checkpoint does not hold. Rejected:
LoRA and head drawn by rules of our own, which would make the engine a part of the result.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from loraloom.backbone.anatomy import Anatomy
from loraloom.backbone.classifier import encoder_of, loaded_head
from loraloom.backbone.quiet import quietly
from loraloom.backbone.sources import Source, intermediate_size, load_config, pin
from loraloom.data import Encoded
from loraloom.engine.adapted import add_lora, build_base, count_without_weights, redrawn_base, save_adapter
from loraloom.engine.checkpoint import HaltError, Rhythm, heeding
from loraloom.engine.device import device
from loraloom.engine.gemm_rates import LayerSize, gemm_peak
from loraloom.engine.job import OUT_OF_MEMORY, Job, Listener, Outcome, memory_key, never, pack_key, silent, take_fewer
from loraloom.engine.linear import whole_fp32
from loraloom.engine.loom import kernels
from loraloom.engine.loom.allocator import keep_freed_memory
from loraloom.engine.loom.evaluation import Chunk, chunks, gather
from loraloom.engine.loom.frozen import FrozenEncoder, freeze
from loraloom.engine.loom.pack import Batch, Member, Pack, Seen, no_section
from loraloom.engine.loom.packing import measure_pack
from loraloom.engine.loom.prefix_file import PrefixFile
from loraloom.engine.loom.prefix_states import PrefixStates, read
from loraloom.engine.loom.profile import Profile
from loraloom.engine.loom.setting import (
    canonical,
    choose_ops,
    lowest_layer,
    plan_layout,
    read_anatomy,
    trained_parameters,
    why_plain,
)
from loraloom.engine.loom.trial import Trial
from loraloom.engine.objective import class_weights
from loraloom.engine.precision import DTYPES, choose_dtype
from loraloom.engine.progress import is_out_of_memory
from loraloom.errors import LoraloomError, TrialFailedError
from loraloom.recipe import Configuration

NO_MEMORY = f"{OUT_OF_MEMORY}, or use engine: trainer"
EMPTY = Batch(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Ready:
    """A backbone laid out for gradients from layer `lowest` on, and its classifier without the frozen matrices."""

    key: tuple[Any, ...]
    lowest: int
    frozen: FrozenEncoder
    emptied: nn.Module
    loaded: frozenset[str]  # names of the head's parameters that the checkpoint held
    taken: int  # parameters that the model no longer holds
    why_plain: str | None  # why the compiled kernels don't compute it


@dataclass(slots=True)
class _Group:
    """Trials that step as one pack, and have not ended; None where all have."""

    trials: list[Trial]
    pack: Pack | None

    def save(self) -> None:
        """Writes a checkpoint of each trial that has gone on since its last."""
        for number, trial in enumerate(self.trials):
            if trial.state != "failed" and trial.step > trial.saved_at:
                assert self.pack is not None
                trial.save(*self.pack.state(number))


def _save_all(groups: Sequence[_Group]) -> None:
    for group in groups:
        group.save()


class LoomEngine:
    """Trains packs of jobs that share their backbone, head, targets, biases and longest text."""

    name = "loom"

    def __init__(self, *, profile: bool = False, rhythm: Callable[[], Rhythm] = Rhythm) -> None:
        """`rhythm` makes what says when checkpoints are due, anew for each pack."""
        self._rhythm, self._checkpoint_cost = rhythm, 0.0
        self._profile = Profile() if profile else None
        self._section = no_section if self._profile is None else self._profile.section
        self._ready: _Ready | None = None
        self._chunks: tuple[Encoded, tuple[Chunk, ...]] | None = None
        self._prefixes = PrefixStates()
        self._pin = lru_cache(pin)
        self._advice = lru_cache(measure_pack)
        # How many trials of a kind memory may suffice for, where it did not for more.
        self._fits: dict[tuple[Hashable, ...], int] = {}
        self._told = False

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """How many trials are best trained together: one on a CPU, by measurement on a GPU.

        Fewer than last time where memory did not suffice.
        """
        place = device()
        if place.type != "cuda":
            return 1
        config = load_config(source)
        size = LayerSize("", int(config.hidden_size), intermediate_size(config))  # of all models of its widths
        advised = self._advice(size, DTYPES[choose_dtype(configuration.train)], place).trials
        return min(advised, self._fits.get(memory_key(configuration), advised))

    @whole_fp32()
    def train_pack(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]:
        """Trains jobs together, writing metrics.jsonl as they go and each adapter at its end; goes on from checkpoints.

        `stop` is also asked between the batches by which frozen layers are computed once.

        Raises:
            LoraloomError: what would befall every trial: an architecture that loom does not know (`engine: trainer`
                does), no weights, a target that is not there, a count that differs; jobs that can't share a pack.
        """
        if len({pack_key(job.configuration) for job in jobs}) > 1:
            raise LoraloomError("trials of a pack share backbone, head, longest text, and where LoRA and biases are")
        joined = device().type == "cuda"
        if self._profile is not None:
            self._profile.clear()
        try:
            if joined:
                gemm_peak(choose_dtype(jobs[0].configuration.train))  # while there is memory for measuring it
            trials = [self._begin(job, note) for job in jobs]
            groups = [self._group(own) for own in ([trials] if joined else [[trial] for trial in trials])]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            take_fewer(self._fits, jobs)
            return tuple(_without_memory(job) for job in jobs)
        try:
            self._take_turns(groups, listener, heeding(stop))
        except HaltError:
            for group in groups:
                self._halt(group)
        finally:
            self._prefixes.close()
        return tuple(trial.outcome() for trial in trials)

    def _begin(self, job: Job, note: Callable[[str], None] = silent) -> Trial:
        found = read_anatomy(job.source, job.configuration)
        if isinstance(found, str):
            raise LoraloomError(f"engine: loom can't train {job.source.model!r}: {found}; use engine: trainer")
        dtype = choose_dtype(job.configuration.train)
        if dtype == "fp16" and device().type == "cpu" and self._ready is None:
            note("train.fp16: it is for a GPU; a processor is many times slower in it than in fp32")
        before = self._ready
        with quietly():  # no other thread draws between the seed and LoRA's weights
            model = add_lora(self._base(job, found, dtype), job)
        assert self._ready is not None
        if not self._told and (said := kernels.to_mend(self._ready.why_plain)) is not None:
            self._told = True
            note(f"engine: {said}")
        ready, ops = self._ready, self._ready.frozen.ops
        readied = 0.0 if ready is before else ops.ready_seconds
        return Trial(job, model, dtype, note, window=ops.sorted_batches, taken=ready.taken, kernels_seconds=readied)

    def _base(self, job: Job, found: Anatomy, dtype: str) -> nn.Module:
        """The job's classifier without the frozen matrices, which are laid out once for all jobs that have the same."""
        configuration = job.configuration
        key = job.source, configuration.backbone, configuration.head, job.rows.data.labels, dtype
        lowest = lowest_layer(configuration.lora, found)
        ready = self._ready
        if ready is not None and ready.key == key and ready.lowest <= lowest:
            return redrawn_base(ready.emptied, ready.loaded, job)
        self._ready = None  # its memory is free before the next is laid out
        base = build_base(job)
        wanted = DTYPES[dtype], device(), found, cast(Any, base).config
        ops = choose_ops(*wanted)
        if self._profile is not None:
            self._profile.watch(ops)
        before = sum(parameter.numel() for parameter in base.parameters())
        prefix = str(base.base_model_prefix)
        frozen = freeze(encoder_of(base), prefix, found, ops, DTYPES[dtype], device(), lowest=lowest)
        for parameter in base.parameters():
            parameter.data = parameter.data.clone()  # what is left are vectors, which would keep the checkpoint mapped
        keep_freed_memory()  # not before: what loading needed goes back to the system
        taken = before - sum(parameter.numel() for parameter in base.parameters())
        emptied = copy.deepcopy(base)
        self._ready = _Ready(key, lowest, frozen, emptied, loaded_head(base), taken, why_plain(*wanted))
        return base

    def _group(self, trials: list[Trial]) -> _Group:
        """Trials as one pack, each where its checkpoint left it."""
        assert self._ready is not None
        pack = self._pack(trials, self._ready.frozen)
        for number, trial in enumerate(trials):
            if (state := trial.checkpoints.load()) is not None:
                pack.restore(number, state.tensors, trial.restore(state))
        return _Group(list(trials), pack)

    def _take_turns(self, groups: Sequence[_Group], listener: Listener, heed: Callable[[], None]) -> None:
        """Steps each group in its turn until all trials have ended."""
        rhythm, going = self._rhythm(), list(groups)
        rhythm.cost = self._checkpoint_cost
        while going:
            for group in list(going):
                heed()
                try:
                    self._turn(group, listener, heed)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    take_fewer(self._fits, [trial.job for trial in group.trials])
                    for trial in group.trials:
                        if not trial.done:
                            trial.fail(NO_MEMORY)
                    self._end(group)
                if group.pack is None:
                    going.remove(group)
                elif rhythm.due():
                    rhythm.keep(partial(_save_all, going))
                    self._checkpoint_cost = rhythm.cost

    def _turn(self, group: _Group, listener: Listener, heed: Callable[[], None]) -> None:
        """What the last step asked for, and the next step: a checkpoint's state is that between two turns.

        Once a trial has been evaluated, the turn is gone through: what would be saved of it then is of neither. One
        that is saved already, as after a resume, has no need of that.
        """
        for number, trial in enumerate(group.trials):
            if trial.asks_evaluation:
                self._evaluate(group, number, listener, heed)
                heed = heed if trial.step == trial.saved_at else heeding(never)
        self._end(group)
        if group.pack is not None:
            self._step(group.pack, group.trials, heed)

    def _halt(self, group: _Group) -> None:
        """Has the trials that have not ended be gone on with another time."""
        group.save()
        for trial in group.trials:
            if trial.state != "failed":
                trial.state = "stopped"

    def _pack(self, trials: Sequence[Trial], frozen: FrozenEncoder) -> Pack:
        classes = len(trials[0].job.rows.data.labels)
        members = [
            Member(
                train=trial.job.configuration.train,
                lora=trial.job.configuration.lora,
                trained={name: value.to(frozen.device) for name, value in trained_parameters(trial.model).items()},
                class_weights=class_weights(trial.job.configuration.train, trial.labels, classes),
            )
            for trial in trials
        ]
        for trial in trials:
            lowest = lowest_layer(trial.job.configuration.lora, frozen.anatomy)
            trial.flops_per_token = frozen.flops_per_token(lowest, prefix_kept=False)
        return Pack(members, frozen, plan_layout(members, frozen), self._section)

    def _step(self, pack: Pack, trials: Sequence[Trial], heed: Callable[[], None]) -> None:
        files = [self._states(trial, trial.job.rows.train, pack, heed) for trial in trials]
        kept = [file for file in files if file is not None]
        start = time.monotonic()
        with nullcontext() if self._profile is None else self._profile.step():
            self._passes(pack, trials, kept if len(kept) == len(files) else [])
        share = (time.monotonic() - start) / len(trials)
        for trial in trials:
            trial.step_seconds += share
            trial.stepped()

    def _passes(self, pack: Pack, trials: Sequence[Trial], files: Sequence[PrefixFile]) -> None:
        """The passes of a step, from the states in `files` where they are kept, and what they come to."""
        steps = [trial.batches() for trial in trials]
        normalisers = [float(sum(len(batch.rows) for batch in batches)) for batches in steps]
        passes: list[tuple[Seen, list[Batch]]] = []
        for turn in range(max(len(batches) for batches in steps)):
            # A trial with fewer batches than its neighbours sees none in the last passes of a step.
            now = [batches[turn] if turn < len(batches) else EMPTY for batches in steps]
            prefix = self._prefix(pack, files, trials, now)
            passes.append((pack.run([trial.job.rows.train for trial in trials], now, normalisers, prefix), now))
        pack.step([trial.rate for trial in trials])
        for seen, now in passes:  # read after the step was asked for, so that a device is not waited for within it
            for trial, sums, batch, normaliser in zip(trials, seen.read(), now, normalisers, strict=True):
                trial.saw(*sums, batch, normaliser)

    def _evaluate(self, group: _Group, number: int, listener: Listener, heed: Callable[[], None]) -> None:
        assert group.pack is not None
        start, trial, pack = time.monotonic(), group.trials[number], group.pack
        prefixes, rows = trial.prefix_seconds, trial.job.rows
        states = self._states(trial, rows.validation, pack, heed)
        own_logits = pack.evaluator(number)

        def logits_of(part: Chunk) -> Tensor:
            heed()
            width = part.tokens.ids.shape[1]
            prefix = None if states is None else read([states], [part.rows], width, pack.encoder.frozen.device)
            return own_logits(part.tokens, prefix)

        logits = gather(self._split(rows.validation, pack), (len(rows.validation), len(rows.data.labels)), logits_of)
        trial.evaluation_seconds += time.monotonic() - start - (trial.prefix_seconds - prefixes)
        trial.evaluated(logits, listener)

    def _prefix(
        self, pack: Pack, files: Sequence[PrefixFile], trials: Sequence[Trial], batches: Sequence[Batch]
    ) -> Tensor | None:
        """The hidden states that enter the lowest trained layer, where they are kept."""
        rows = [batch.rows for batch in batches]
        if not files or any(len(own) == 0 for own in rows):
            return None
        lengths = [trial.lengths[own] for trial, own in zip(trials, rows, strict=True)]
        batch = max(len(own) for own in rows)
        width = max(int(own.sum()) + batch - len(own) for own in lengths)  # filler texts have a token each
        with self._section("reading kept states"):
            return read(files, rows, width, pack.encoder.frozen.device)

    def _states(self, trial: Trial, encoded: Encoded, pack: Pack, heed: Callable[[], None]) -> PrefixFile | None:
        if not self._prefixes.keeps(pack.encoder):
            return None
        if id(encoded) not in trial.states:
            start, source, computed = time.monotonic(), trial.job.source, self._prefixes.computed
            file = self._prefixes.of(
                encoded,
                pack.encoder,
                lambda: f"{source.model} {self._pin(source)}",
                trial.job.deadline,
                heed,
                trial.checkpoints.note,
            )
            trial.states[id(encoded)] = file
            trial.prefix_seconds += time.monotonic() - start
            computed = self._prefixes.computed - computed
            learns = encoded is trial.job.rows.train  # steps are what counts: of held-out rows alone they save nothing
            if trial.prefix_rows is not None or (learns and file is not None):
                trial.prefix_rows = (trial.prefix_rows or 0) + computed
            if learns and file is not None:
                trial.flops_per_token = pack.encoder.frozen.flops_per_token(pack.encoder.lowest, prefix_kept=True)
        return trial.states[id(encoded)]

    def _split(self, encoded: Encoded, pack: Pack) -> tuple[Chunk, ...]:
        """A split's batches, worked out once."""
        if self._chunks is None or self._chunks[0] is not encoded:
            frozen = pack.encoder.frozen
            self._chunks = encoded, tuple(chunks(encoded, frozen.anatomy.embedding, frozen.device))
        return self._chunks[1]

    def _end(self, group: _Group) -> None:
        """Takes trials that have ended out of their group; those that have not failed leave their adapters.

        Those that go on are alone in the group before their pack is built: where memory fails it, it fails them only.
        """
        pack, ended = group.pack, [number for number, trial in enumerate(group.trials) if trial.over]
        if pack is None or not ended:
            return
        for number in ended:
            if group.trials[number].state != "failed":
                self._save(group.trials[number], pack, number)
        group.trials, group.pack = [trial for trial in group.trials if not trial.over], None
        group.pack = pack.without(ended)

    def _save(self, trial: Trial, pack: Pack, number: int) -> None:
        """Writes a trial's parameters back into PEFT's model, and saves it as PEFT does."""
        if self._profile is not None:
            self._profile.write(trial.job.folder)
        targets = {canonical(name): value for name, value in trial.model.named_parameters() if value.requires_grad}
        try:
            for name, value in pack.trained(number).items():
                targets[name].data.copy_(value)
            save_adapter(trial.model, trial.job.folder)
        except TrialFailedError as error:
            trial.fail_by(error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            trial.fail(NO_MEMORY)
        trial.keep_predicted()


def _without_memory(job: Job) -> Outcome:
    dtype = choose_dtype(job.configuration.train)
    return Outcome(LoomEngine.name, "failed", dtype, count_without_weights(job), reason=NO_MEMORY)
