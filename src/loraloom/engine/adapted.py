"""The classifier that a job trains, as PEFT has it: built, counted, and saved with every trained parameter.

Shared by all engines, so that each begins with the same draws and leaves the same files.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from torch import nn
from transformers import set_seed

from loraloom.backbone.adapting import adapt, trainable_parameters
from loraloom.backbone.classifier import build_empty, build_pretrained, redraw_head
from loraloom.backbone.sources import load_config
from loraloom.engine.job import Job
from loraloom.errors import LoraloomError, TrialFailedError
from loraloom.study.record import WEIGHTS, Counts


def build_base(job: Job) -> nn.Module:
    """The classifier with its weights, its head drawn from the job's seed.

    Raises:
        BackboneError: the weights can't be had.
    """
    set_seed(job.configuration.train.seed)
    return build_pretrained(job.source, job.configuration, job.rows.data.labels)


def redrawn_base(emptied: nn.Module, loaded: frozenset[str], job: Job) -> nn.Module:
    """A copy of a classifier whose frozen weights are elsewhere, its head drawn as `build_base` draws it.

    `loaded` names what the checkpoint held of the head (`loaded_head`).
    """
    base = copy.deepcopy(emptied)
    set_seed(job.configuration.train.seed)
    redraw_head(base, loaded)
    return base


def add_lora(base: nn.Module, job: Job) -> PeftModel:
    """LoRA in the layers that the job names, drawn after the head.

    Raises:
        LoraloomError: PEFT trains another number of parameters than the budget counted.
    """
    model = adapt(base, job.configuration.lora, job.source.revision)
    if trainable_parameters(model) != job.expected_parameters:
        raise LoraloomError(
            f"trial {job.number}: PEFT trains {trainable_parameters(model):,} parameters where the budget counted "
            f"{job.expected_parameters:,}; please report this configuration"
        )
    return model


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Saves the adapter, head included, in PEFT's format.

    Raises:
        TrialFailedError: a weight is not finite.
        LoraloomError: the file does not hold every trained parameter.
    """
    for config in cast(dict[str, LoraConfig], model.peft_config).values():
        if isinstance(config.target_modules, set):  # which would be saved in another order by each process
            config.target_modules = sorted(config.target_modules)
    vars(model)["create_or_update_model_card"] = lambda _: None  # an empty one, which takes longer than all the rest
    model.save_pretrained(str(folder), save_embedding_layers=False)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        saved = set(file.keys())
        for name in saved:
            if not bool(torch.isfinite(file.get_tensor(name)).all()):
                raise TrialFailedError(f"{name} is not finite after training; lower train.learning_rate")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lost = {name_when_saved(name) for name in trained} - saved
    if lost:
        raise LoraloomError(f"{folder}: PEFT did not save {min(lost)}, which was trained ({len(lost)} are missing)")


def name_when_saved(name: str) -> str:
    """A parameter's name in PEFT's file: without the adapter's name, and heads in their modules' places."""
    return name.replace(".modules_to_save.default", "").replace(".default", "")


def count_without_weights(job: Job) -> Counts:
    """What `count_parts` says of the job's model, which is built on the meta device."""
    configuration = job.configuration
    empty = build_empty(load_config(job.source), configuration.head, job.rows.data.labels)
    return count_parts(adapt(empty, configuration.lora))


def count_parts(model: PeftModel) -> Counts:
    """Trainable parameters by part."""
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    trainable = trainable_parameters(model)
    lora = sum(size for name, size in trained.items() if ".lora_" in name)
    head = sum(size for name, size in trained.items() if ".modules_to_save." in name)
    total = sum(p.numel() for p in model.parameters())
    return Counts(trainable=trainable, lora=lora, bias=trainable - lora - head, head=head, frozen=total - trainable)
