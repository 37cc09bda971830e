"""PEFT over a classifier: injection, the count that PEFT itself gives, and the shape that the budget explains it by."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn

from loraloom.backbone import targets
from loraloom.backbone.classifier import build_empty, encoder_of, head_modules
from loraloom.backbone.quiet import quietly
from loraloom.backbone.sources import Source, shape_config
from loraloom.budget import Adaptation, ModelShape
from loraloom.errors import BackboneError
from loraloom.recipe import Configuration, Head, Lora


def adapt(model: nn.Module, lora: Lora, revision: str | None = None) -> PeftModel:
    """Injects LoRA into the layers that `lora` names; the head is trained whole and saved with the adapter.

    Raises:
        BackboneError: a target that the model has not got.
    """
    names = targets.resolve(lora, targets.adaptable(model), cast(Any, model).config.model_type)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.r,
        lora_alpha=cast(int, lora.lora_alpha),
        lora_dropout=lora.lora_dropout,
        bias=lora.bias,
        target_modules=[f"{model.base_model_prefix}.{name}" for name in names],
        modules_to_save=list(head_modules(model)),
        use_rslora=lora.use_rslora,
        init_lora_weights=lora.init_lora_weights,
        revision=revision,
    )
    with quietly():
        adapted = cast(PeftModel, get_peft_model(cast(Any, model), config))
    config.modules_to_save = list(dict.fromkeys(config.modules_to_save or ()))  # PEFT adds names that it has already
    return adapted


def trainable_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


class Shapes:
    """Shapes of the models that a recipe names, each described once; no weights are loaded.

    `sources.shape_config` gives the transformers configuration: from our table of well-known models where it holds the
    model (so that counting needs no network), else from the model's own folder or the hub.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._shapes: dict[tuple[str, str | None, Head], ModelShape] = {}
        self._architectures: dict[str, str] = {}

    def adaptation(self, source: Source, configuration: Configuration) -> Adaptation:
        """What the budget counts for `configuration`.

        Raises:
            BackboneError: the model, a target or a layer is not to be had.
        """
        shape = self.shape(source, configuration.head)
        names = targets.resolve(configuration.lora, shape.linears, self._architectures[source.model])
        layers = targets.left_layers(configuration.lora, shape.linears)
        return Adaptation(shape, names, configuration.lora.r, configuration.lora.bias, layers)

    def shape(self, source: Source, head: Head) -> ModelShape:
        key = source.model, source.revision, head
        if key not in self._shapes:
            config = shape_config(source)
            self._architectures[source.model] = config.model_type
            self._shapes[key] = describe(source.model, config, head, self._labels)
        return self._shapes[key]

    def peft_count(self, source: Source, configuration: Configuration) -> int:
        """What PEFT trains: it injects into the model on the meta device, and its parameters are counted."""
        return trainable_parameters(
            adapt(build_empty(shape_config(source), configuration.head, self._labels), configuration.lora)
        )


def describe(name: str, config: Any, head: Head, labels: Sequence[str]) -> ModelShape:
    """The shape of the classifier of a transformers configuration.

    Raises:
        BackboneError: none can be built of it, or its encoder takes no texts.
    """
    model = build_empty(config, head, labels)
    takes = inspect.signature(encoder_of(model).forward).parameters
    if not {"input_ids", "attention_mask"} <= takes.keys():
        raise BackboneError(f"backbone.model: {name!r} is a {config.model_type} model, which takes no texts")
    heads = set(head_modules(model))
    outside = {n: p.numel() for n, p in model.named_parameters() if n.split(".")[0] not in heads}
    return ModelShape(
        linears=targets.adaptable(model),
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        attention_heads=config.num_attention_heads,
        frozen=sum(outside.values()),
        biases=sum(size for n, size in outside.items() if n.split(".")[-1] == "bias"),
        head=sum(p.numel() for n, p in model.named_parameters() if n.split(".")[0] in heads),
    )
