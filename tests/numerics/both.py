"""The same classifier in both engines: PEFT's model, and a pack of loom over its frozen weights."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from loraloom.backbone import sources
from loraloom.backbone.adapting import adapt
from loraloom.backbone.anatomy import Anatomy
from loraloom.backbone.classifier import build_pretrained, encoder_of
from loraloom.data import Encoded
from loraloom.engine.loom.frozen import freeze
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.pack import Batch, Member, Pack
from loraloom.engine.loom.setting import canonical, lowest_layer, plan_layout, read_anatomy, trained_parameters
from loraloom.recipe import Configuration, Lora, Train
from tests.numerics.architectures import QKVO, QV, encoded_rows, pad_of

LABELS = "abc"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where loom computes; the reference's gradients are computed on the CPU."""
TARGETS: dict[str, Any] = {"q,v": QV, "q,k,v,o": QKVO}


def key_bias(name: str) -> bool:
    """Whether a parameter is the bias of an attention's keys.

    It adds the same to all scores of a query, which softmax does not see: its gradient is zero, and what is computed
    for it is rounding, which an optimizer that divides by a gradient's size makes steps of.
    """
    parts = name.split(".")
    return parts[-1] == "bias" and any(part in ("key", "k_lin", "k") for part in parts)


def targets(name: str, architecture: str) -> Any:
    """The modules of `q,v`, `q,k,v,o` or `all-linear`."""
    return list(TARGETS[name][architecture]) if name in TARGETS else name


@dataclass(frozen=True)
class Base:
    """A classifier without LoRA."""

    architecture: str
    model: nn.Module
    anatomy: Anatomy


def build(
    folder: Path, architecture: str, *, head: str = "native", pooling: str = "native", dropout: str = "off"
) -> Base:
    """The classifier of the model in `folder`, its head drawn from a fixed seed."""
    configuration = Configuration.model_validate(
        {"backbone": {"model": str(folder), "dropout": dropout}, "head": {"kind": head, "pooling": pooling}}
    )
    source = sources.find(str(folder))
    found = read_anatomy(source, configuration)
    assert not isinstance(found, str)
    torch.manual_seed(1)
    return Base(architecture, build_pretrained(source, configuration, LABELS), found)


def add_lora(base: Base, lora: Lora, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> PeftModel:
    """LoRA as PEFT adds it, with every trained parameter moved off its first value: B is not zero."""
    torch.manual_seed(seed)  # PEFT draws A from the global generator
    model = adapt(deepcopy(base.model), lora)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.to(dtype)


def pack_of(
    base: Base,
    models: Sequence[PeftModel],
    loras: Sequence[Lora],
    trains: Sequence[Train] = (),
    class_weights: Sequence[Tensor | None] = (),
    ops: PlainOps | None = None,
    dtype: torch.dtype | None = None,
) -> Pack:
    """The trials of `models` as one pack."""
    dtype = next(models[0].parameters()).dtype if dtype is None else dtype
    trained = [trained_parameters(model) for model in models]
    members = [
        Member(train, lora, own, weights)
        for train, lora, own, weights in zip(
            trains or [Train() for _ in models], loras, trained, class_weights or [None for _ in models], strict=True
        )
    ]
    model = deepcopy(cast(Any, models[0]).get_base_model())  # it is emptied
    frozen = freeze(
        encoder_of(model),
        model.base_model_prefix,
        base.anatomy,
        PlainOps() if ops is None else ops,
        dtype,
        DEVICE if ops is None else torch.device("cpu"),
        lowest=lowest_layer(loras[0], base.anatomy),
    )
    return Pack(members, frozen, plan_layout(members, frozen))


def rows_for(architecture: str, lengths: Sequence[int] = (1, 20, 7, 3, 12, 2)) -> tuple[Encoded, Batch]:
    """Random rows as one batch; the longest has the padding's id in its midst, as a real token."""
    encoded = encoded_rows(list(lengths), seed=7)
    longest = int(np.argmax(lengths))
    if lengths[longest] > 4:
        encoded.input_ids[encoded.offsets[longest] + 3] = pad_of(architecture)
    labels = np.arange(len(lengths)) * 7 % len(LABELS)
    return encoded, Batch(np.arange(len(lengths)), labels)


def padded(architecture: str, encoded: Encoded, rows: Any) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, T) of rows, as DataCollatorWithPadding makes them."""
    chosen = [torch.tensor(encoded[int(row)]["input_ids"]) for row in rows]
    longest = max(len(ids) for ids in chosen)
    ids = torch.stack([functional.pad(own, (0, longest - len(own)), value=pad_of(architecture)) for own in chosen])
    mask = torch.stack([(torch.arange(longest) < len(own)).long() for own in chosen])
    return ids, mask


def reference_gradients(
    base: Base,
    model: PeftModel,
    encoded: Encoded,
    batch: Batch,
    normaliser: float,
    *,
    class_weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> tuple[float, dict[str, Tensor]]:
    """The summed loss of a batch, and the gradients of that over `normaliser`, by autograd through PEFT's model."""
    model.train()
    model.zero_grad()
    ids, mask = padded(base.architecture, encoded, batch.rows)
    logits = model(input_ids=ids, attention_mask=mask).logits
    labels = torch.from_numpy(batch.labels)
    losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    if class_weights is not None:
        losses = losses * class_weights.to(logits.dtype)[labels]
    loss = losses.sum()
    cast(Any, loss / normaliser).backward()
    gradients = {
        canonical(name): torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    return float(loss.detach()), gradients


def gradients_of(pack: Pack, number: int = 0) -> dict[str, Tensor]:
    """What passes left, by name."""
    parameters = pack.parameters
    names = parameters.layout.shapes
    return {name: parameters.of_trial(parameters.gradients, number, name).cpu().clone() for name in names}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], *, tolerance: float, floor: float) -> None:
    """Each tensor within `tolerance` of its largest value, plus `floor` of the largest of all."""
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        allowed = tolerance * float(value.abs().max()) + floor * largest
        distance = float((found[name] - value).abs().max())
        assert distance <= allowed, f"{name}: off by {distance:.3g} where {allowed:.3g} is allowed"


def rounded(base: Base, dtype: torch.dtype) -> Base:
    """With weights that a type of 16 bits can hold: what differs then is the rounding on the way."""
    with torch.no_grad():
        for parameter in base.model.parameters():
            parameter.copy_(parameter.to(dtype))
    return base
