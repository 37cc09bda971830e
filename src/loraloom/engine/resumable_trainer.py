"""HF Trainer with a recipe's optimizer and schedule, that goes on from a checkpoint of ours.

HF Trainer finds the epoch and the batches to skip (their indices alone, no row is read) from its own
trainer_state.json, and asks for everything else by four methods, which read our state here. Its own files of optimizer,
schedule and generators are pickles, and it trains on silently where one is missing (`_load_optimizer_and_scheduler`,
`_load_rng_state` of transformers 5.24), so none of its saving or loading is used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, cast

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer
from transformers.trainer import TRAINER_STATE_NAME

from loraloom.engine.checkpoint import State
from loraloom.engine.course import Course
from loraloom.engine.generators import Generators
from loraloom.engine.optimizers import build_optimizer, read_state, write_state
from loraloom.errors import LoraloomError

_VALUE = "value"


class ResumableTrainer(Trainer):
    """HF Trainer with the optimizer and schedule of a job's course, that goes on from a checkpoint of ours."""

    def __init__(self, course: Course, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._course, self._train, self._schedule = course, course.job.configuration.train, course.schedule
        self.resumed: State | None = None
        self.generators: Generators | None = None
        """With which the first step after a resume begins."""
        self.remove_callback(PrinterCallback)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            trained = cast(torch.nn.Module, self.model)
            decayed = self.get_decay_parameter_names(trained)
            self.optimizer = build_optimizer(self._train, trained.named_parameters(), decayed)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if num_training_steps != self._schedule.total:
            raise LoraloomError(f"Trainer takes {num_training_steps} steps where {self._schedule.total} were planned")
        self.lr_scheduler = LambdaLR(cast(torch.optim.Optimizer, optimizer or self.optimizer), self._schedule.factor)
        return self.lr_scheduler

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        start = time.monotonic()
        try:
            return super().evaluate(*arguments, **named)
        finally:
            self._course.evaluation_seconds += time.monotonic() - start

    def state_between_steps(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Parameters and optimizer state as `key:name`, and the schedule's place."""
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._trained():
            tensors[f"{_VALUE}:{name}"] = parameter.detach()
            for key, value in read_state(self._torch_optimizer(), parameter).items():
                tensors[f"{key}:{name}"] = value
        scheduler = cast(LambdaLR, self.lr_scheduler).state_dict()
        del scheduler["lr_lambdas"]
        rates = [group["lr"] for group in self._torch_optimizer().param_groups]
        return tensors, {"scheduler": scheduler, "rates": rates}

    def progress_file(self) -> dict[str, str]:
        """trainer_state.json as HF Trainer reads it, without its logs."""
        progress = replace(self.state, log_history=[])
        return {TRAINER_STATE_NAME: json.dumps(asdict(progress))}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        assert self.resumed is not None
        for name, parameter in self._trained():
            parameter.data.copy_(self.resumed.tensors[f"{_VALUE}:{name}"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.resumed is None:
            return
        state: dict[str, dict[str, torch.Tensor]] = {}
        for label, value in self.resumed.tensors.items():
            key, name = label.split(":", 1)
            state.setdefault(name, {})[key] = value
        for name, parameter in self._trained():
            kept = {key: value for key, value in state[name].items() if key != _VALUE}
            if kept:
                write_state(self._torch_optimizer(), parameter, kept)
        scheduler = cast(LambdaLR, self.lr_scheduler)
        nothing = [None] * len(scheduler.lr_lambdas)  # rates are a function of steps and of the plateau
        scheduler.load_state_dict({**self.resumed.values["scheduler"], "lr_lambdas": nothing})
        for group, rate in zip(self._torch_optimizer().param_groups, self.resumed.values["rates"], strict=True):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint: str | None) -> None:
        assert self.generators is not None
        self.generators.restore()

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        # A resume from the last step, or from one whose evaluation ends the trial, has nothing left to train.
        if not self.control.should_training_stop:
            cast(Any, super())._run_epoch(*arguments, **named)

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        model = cast(torch.nn.Module, self.model)
        return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)

    def _torch_optimizer(self) -> torch.optim.Optimizer:
        """Without accelerate's wrapping."""
        optimizer = cast(Any, self.optimizer)
        return cast(torch.optim.Optimizer, getattr(optimizer, "optimizer", optimizer))
