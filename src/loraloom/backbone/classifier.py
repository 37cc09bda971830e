"""A classifier: a pretrained encoder with a head, built with weights or, for counting, without.

`native` heads are transformers' own `AutoModelForSequenceClassification`. A `linear` head is one linear layer on what
the encoder gives. Pooling `mean` puts the mean of all tokens where an architecture reads its first token, by a hook on
the encoder's output, so that each architecture's own head serves unchanged. Rejected: a forward of our own for each
architecture, which would have to follow transformers' changes.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from loraloom.backbone.pretrained import load_pretrained, refuse_random
from loraloom.backbone.sources import Source, load_config
from loraloom.errors import BackboneError, first_line
from loraloom.recipe import Configuration, Head

_LOADED = "_is_hf_initialized"
"""What transformers marks loaded parameters with; its draws leave those that have it."""


class LinearHeadClassifier(nn.Module):
    """An encoder and one linear layer on its first token, or on the mean of its tokens."""

    base_model_prefix = "encoder"

    def __init__(self, encoder: nn.Module, *, dropout: float) -> None:
        super().__init__()
        self.config = cast(Any, encoder).config
        self.name_or_path = self.config.name_or_path
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.classifier = self.new_head()

    def new_head(self) -> nn.Linear:
        """A head, drawn as transformers draws its own."""
        head = nn.Linear(self.config.hidden_size, self.config.num_labels, dtype=torch.float32)  # as the encoder is
        nn.init.normal_(head.weight, std=getattr(self.config, "initializer_range", 0.02))
        nn.init.zeros_(head.bias)
        return head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SequenceClassifierOutput:
        """Logits (B, C) of token ids (B, T)."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        pooled = output.last_hidden_state[:, 0]  # (B, D)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled)))


def build_empty(config: Any, head: Head, labels: Sequence[str]) -> nn.Module:
    """The classifier of `config` (a transformers configuration) on the meta device: shapes without weights.

    Raises:
        BackboneError: it has no such head, or no model can be built of it.
    """
    config = _with_pooling(_labelled(config, labels), head)
    with torch.device("meta"):
        try:
            auto, arguments = _auto(config, head)
            model = auto.from_config(config, **arguments)
        except (ImportError, ValueError, TypeError, AttributeError, KeyError, AssertionError) as error:
            raise BackboneError(
                f"backbone.model: no {config.model_type} model can be built of its config.json: {first_line(error)}"
            ) from error
        return _with_head(model, head)


def build_pretrained(source: Source, configuration: Configuration, labels: Sequence[str]) -> nn.Module:
    """The classifier with the pretrained weights in fp32, its head drawn from torch's global generator.

    Raises:
        BackboneError: the weights can't be had, or the checkpoint lacks a part of the encoder (a random layer would
            be frozen, and missing from the saved adapter).
    """
    head = configuration.head
    config = load_config(source)
    own = [str(name) for _, name in sorted(config.id2label.items())]
    config = _with_pooling(_labelled(config, labels), head)
    if configuration.backbone.dropout == "off":
        switch_dropout_off(config)
    auto, arguments = _auto(config, head)
    model, lacking = load_pretrained(auto, source, config, arguments)
    missing = sorted(set(lacking) - set(_head_parameters(model) if head.kind == "native" else ()))
    only_pooler = all("pooler" in name for name in missing)
    refuse_random(source, missing, "; head.kind: linear does without it" if only_pooler else "")
    if head.kind == "native":
        _put_in_order(model, own, labels)
    return _with_head(model, head)


def _put_in_order(model: nn.Module, own: Sequence[str], labels: Sequence[str]) -> None:
    """Puts what the checkpoint holds of the head's last layer in the order of `labels`, where its `own` are the same.

    transformers loads it for any classes of their number: in another order it would begin by answering another class.
    """
    places = {name.casefold(): place for place, name in enumerate(own)}
    wanted = [label.casefold() for label in labels]
    if places.keys() != set(wanted) or not len(places) == len(own) == len(wanted):
        return
    heads = (cast(nn.Module, getattr(model, name)) for name in head_modules(model))
    *_, last = (module for head in heads for module in head.modules() if isinstance(module, nn.Linear))
    for parameter in last.parameters():
        if getattr(parameter, _LOADED, False):
            parameter.data = parameter.data[[places[label] for label in wanted]]


def loaded_head(model: nn.Module) -> frozenset[str]:
    """Names of the head's parameters that the checkpoint held; to be asked before a copy, in which nothing tells."""
    parameters = dict(model.named_parameters())
    return frozenset(name for name in _head_parameters(model) if getattr(parameters[name], _LOADED, False))


def redraw_head(model: nn.Module, loaded: frozenset[str]) -> None:
    """Draws the head's parameters again, from torch's global generator, as building the classifier drew them.

    Those named in `loaded` are left as they are, and draw nothing.
    """
    if isinstance(model, LinearHeadClassifier):
        model.classifier = model.new_head()
        return
    for name in loaded:
        setattr(model.get_parameter(name), _LOADED, True)
    # transformers initialises a module after its children, and the classifier itself at the end.
    for name in head_modules(model):
        cast(nn.Module, getattr(model, name)).apply(cast(Any, model)._init_weights)
    cast(Any, model)._init_weights(model)


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder inside a classifier."""
    return cast(nn.Module, getattr(model, cast(str, model.base_model_prefix)))


def head_modules(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules that form the head: all beside the encoder that hold parameters."""
    return tuple(
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    )


def switch_dropout_off(config: Any) -> None:
    """Sets every dropout of a transformers configuration to 0, and Flaubert's `layerdrop`, which leaves out layers."""
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)


def linear_head_dropout(config: Any) -> float:
    """The dropout before a linear head: the classifier's own, whatever an architecture calls it, else the encoder's."""
    names = ("classifier_dropout", "seq_classif_dropout", "classifier_dropout_prob", "hidden_dropout_prob", "dropout")
    values = (getattr(config, name, None) for name in names)
    return next((float(value) for value in values if value is not None), 0.0)


def _head_parameters(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.split(".")[0] in head_modules(model)}


def _labelled(config: Any, labels: Sequence[str]) -> Any:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    return config


def _with_pooling(config: Any, head: Head) -> Any:
    """The configuration with the head's pooling, where it has a field for it; some models read it as they are built."""
    if head == Head(kind="native", pooling="mean") and hasattr(config, "classifier_pooling"):
        config.classifier_pooling = "mean"
    return config


def _auto(config: Any, head: Head) -> tuple[Any, dict[str, Any]]:
    """What of transformers makes the model, or what `head` is put on, and its arguments beside the configuration."""
    if head.kind == "linear":
        return AutoModel, pooler_argument(config)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise BackboneError(
            f"head.kind: native is not available for a {config.model_type} model; use head.kind: linear"
        )
    return AutoModelForSequenceClassification, {}


def pooler_argument(config: Any) -> dict[str, Any]:
    """`add_pooling_layer=False` where the encoder has such a layer, for heads that do not read it."""
    encoder = cast(Any, AutoModel._model_mapping[type(config)])
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(encoder).parameters else {}


def _with_head(model: nn.Module, head: Head) -> nn.Module:
    """The model with its linear head, and with mean pooling where `head` or the architecture asks for it.

    An architecture whose own head can pool by the mean does so itself.
    """
    config = cast(Any, model).config
    mean = head.pooling == "mean"
    if head.kind == "linear":
        model = LinearHeadClassifier(model, dropout=linear_head_dropout(config))
        # EuroBERT's "late" is the mean of the tokens' logits, which is that of a linear layer of their mean.
        mean = mean or getattr(config, "classifier_pooling", "cls") in ("mean", "late")
    elif hasattr(config, "classifier_pooling"):
        return model
    if mean:
        encoder_of(model).register_forward_hook(_mean_first, with_kwargs=True)
    return model


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean (B, D) of hidden states (B, T, D) over the tokens that `mask` (B, T) has as real."""
    weight = mask.to(hidden.dtype).unsqueeze(-1)  # (B, T, 1)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)


def _mean_first(encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Puts the mean over real tokens in the first token's place, and pools it anew where the encoder has a pooler."""
    hidden: Tensor = output.last_hidden_state  # (B, T, D)
    mask = kwargs.get("attention_mask")
    if mask is None:
        warnings.warn("mean pooling without an attention mask takes every token as real", stacklevel=2)
        mask = torch.ones(hidden.shape[:2], device=hidden.device)
    mean = mean_of_tokens(hidden, mask)
    output.last_hidden_state = torch.cat([mean[:, None], hidden[:, 1:]], dim=1)
    pooler = getattr(encoder, "pooler", None)
    if isinstance(pooler, nn.Linear):  # ALBERT's or BigBird's, whose activation stands beside it; of the first token
        activation = getattr(encoder, "pooler_activation", None) or cast(Any, encoder).activation
        output.pooler_output = activation(pooler(output.last_hidden_state[:, 0]))
    elif pooler is not None:
        output.pooler_output = pooler(output.last_hidden_state)
    return output
