"""The words of a recipe: one frozen model per section, each field with its default, its rule and what it does.

Names are those of PEFT's `LoraConfig` and transformers' `TrainingArguments`. A `Configuration` is one point: what
a single trial is trained with. A `Recipe` (see `axes.py`) is a space of such points with a budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _one_or_many(value: Any) -> Any:
    """A lone value stands for a list of one; lists become tuples, so that a model stays frozen."""
    if isinstance(value, list):
        return tuple(value)
    return value if value is None or isinstance(value, tuple) else (value,)


def _word_or_many(value: Any) -> Any:
    return value if isinstance(value, str) and value in LIST_WORDS else _one_or_many(value)


def _trackers(value: Any) -> Any:
    """`none` is TrainingArguments' word for no tracker; one that is named twice is told once."""
    many = _one_or_many(value)
    if many is None or many in (("none",), ()):
        return ()
    return tuple(dict.fromkeys(many)) if all(isinstance(name, str) for name in many) else many


SEEDS = 2**32
"""Seeds are below it: numpy takes no larger ones."""
MORE_SEEDS = 3
"""Seeds that finalists are given where there is time, though fewer were asked for."""
LEAST_LENGTH = 4
"""Tokens of the shortest `data.max_length`, special ones included."""
MOST_SEEDS = 1000
"""Who gives more took their number for the seed, which is `train.seed`."""
MOST_EPOCHS = 100_000
MOST_SECONDS = 315_360_000
"""Ten years: timers and calendars end somewhere, and no search is meant to come there."""
Name = Annotated[str, Field(min_length=1)]
_Many = Annotated[tuple[Name, ...], Field(min_length=1)]
_Layer = Annotated[int, Field(ge=0)]
_ManyLayers = Annotated[tuple[_Layer, ...], Field(min_length=1)]
Names = Annotated[_Many, BeforeValidator(_one_or_many, json_schema_input_type=_Many | Name)]
Layers = Annotated[
    Literal["top-half"] | _ManyLayers,
    BeforeValidator(_word_or_many, json_schema_input_type=Literal["top-half"] | _ManyLayers | _Layer),
]
Metric = Literal["accuracy", "macro_f1"]
SchedulerType = Literal["constant", "linear", "cosine", "reduce_lr_on_plateau", "cyclic"]
Tracker = Literal["tensorboard", "mlflow", "wandb", "trackio"]
Trackers = Annotated[
    tuple[Tracker, ...],
    BeforeValidator(_trackers, json_schema_input_type=tuple[Tracker, ...] | Tracker | Literal["none"]),
]
Targets = Annotated[
    Literal["all-linear"] | _Many,
    BeforeValidator(_word_or_many, json_schema_input_type=Literal["all-linear"] | _Many | Name),
]


class Section(BaseModel):
    """A part of a recipe: frozen, no unknown field, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    """Where the rows come from, and how they are split and cut."""

    dataset: Name | None = Field(
        None, description="A data set on the hub (owner/name, or owner/name:configuration), or 'demo' (BBC News)."
    )
    train_file: Name | None = Field(
        None,
        description="CSV, TSV, JSONL or Parquet (also .gz, .bz2, .xz, .zst), or a folder of folders of .txt.",
    )
    validation_file: Name | None = Field(None, description="As train_file; chooses between trials.")
    test_file: Name | None = Field(None, description="As train_file; read once, for the winner.")
    text_column: Names | None = Field(None, description="The column of the text; several are joined by a space.")
    label_column: Name | None = Field(None, description="The column of the label.")
    validation_share: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        description="Share held out for validation, and again for test, where none is given.",
    )
    max_length: int = Field(
        128,
        ge=LEAST_LENGTH,
        description="Tokens kept of a text, special ones included; where it is not written, a timed default search "
        "tries more for long texts.",
    )
    max_train_samples: int | None = Field(
        None, ge=2, description="Train on a stratified part of as many rows; by default on all."
    )
    max_eval_samples: int | None = Field(
        None, ge=2, description="Validate on a stratified part of as many rows; by default on all."
    )


class Backbone(Section):
    """The frozen encoder."""

    model: Name = Field("roberta-base", description="A model on the hub, a folder, or 'demo' (a 6-layer encoder).")
    revision: Name | None = Field(None, description="Commit of the model on the hub; pinned in the run.")
    dropout: Literal["keep", "off"] = Field("keep", description="Dropout of the pretrained model in training.")


class Lora(Section):
    """PEFT's LoraConfig: W' = W + (lora_alpha / r) · B A."""

    r: int = Field(4, ge=1, le=1_000_000, description="Rank.")
    lora_alpha: int | float = Field(16, gt=0, le=1_000_000, description="The update is scaled by lora_alpha / r.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before A.")
    bias: Literal["none", "all", "lora_only"] = Field(
        "lora_only",
        description="Biases that are trained: none, all of the model, or those of adapted layers.",
    )
    target_modules: Targets | None = Field(
        None,
        description="Names of the layers to adapt, of the encoder's blocks alone, or all-linear: all of these; by "
        "default PEFT's choice for the model, or, where it has none, query and value (in ModernBERT one projection "
        "with the key).",
    )
    layers_to_transform: Layers | None = Field(
        None, description="Numbers of the layers to adapt, from 0, or top-half: the upper half of the model's."
    )
    use_rslora: bool = Field(False, description="Scale by lora_alpha / sqrt(r).")
    init_lora_weights: Literal[True, "gaussian"] = Field(
        True, description="true: A Kaiming-uniform, B zero; gaussian: A normal with deviation 1/r, B zero."
    )

    def layers(self, count: int) -> tuple[int, ...]:
        """Numbers of the layers that are adapted, of a model that has `count`."""
        if self.layers_to_transform == "top-half":
            return tuple(range(count // 2, count))
        return tuple(range(count)) if self.layers_to_transform is None else self.layers_to_transform


class Head(Section):
    """What turns the encoder's output into logits; it is trained whole and counts against the cap."""

    kind: Literal["native", "linear"] = Field(
        "native", description="The architecture's own classification head, or one linear layer."
    )
    pooling: Literal["native", "mean"] = Field(
        "native", description="What the head reads: the architecture's own choice, or the mean of all tokens."
    )


class Train(Section):
    """transformers' TrainingArguments."""

    optim: Literal["adam", "adamw", "sgd", "muon"] = Field("adam", description="The optimizer.")
    learning_rate: float = Field(1e-3, gt=0, le=1000, description="The highest rate of the schedule.")
    per_device_train_batch_size: int = Field(16, ge=1, le=1_000_000, description="Rows in a batch.")
    gradient_accumulation_steps: int = Field(1, ge=1, le=1_000_000, description="Batches in an optimizer step.")
    num_train_epochs: int | float = Field(1, gt=0, le=MOST_EPOCHS, description="Passes over the training rows.")
    weight_decay: float = Field(0.0, ge=0, description="L2 for adam and sgd, decoupled for adamw and muon.")
    lr_scheduler_type: SchedulerType = Field("constant", description="How the rate moves.")
    warmup_steps: int = Field(0, ge=0, le=1_000_000_000, description="Steps in which the rate rises from 0.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0 is off.")
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1, description="Share of a label that is spread over all.")
    class_weight: Literal["none", "balanced"] = Field(
        "none", description="balanced: a row's loss, smoothed or not, times rows / (classes × rows of its class)."
    )
    eval_strategy: Literal["auto", "end"] = Field(
        "auto",
        description="When a trial is evaluated; auto: at each epoch's end, and between where epochs are few, or at "
        "equal distances where they are not whole; end: after the last step alone, as a search has it on "
        "rungs that are a part of the rows (reduce_lr_on_plateau sees what it needs). Transformers' no, steps and "
        "epoch are not taken.",
    )
    bf16: Literal["auto", True, False] = Field(
        "auto",
        description="Compute in bfloat16, what is trained staying in fp32; auto measures whether it is faster here.",
    )
    fp16: Literal["auto", True, False] = Field(
        "auto",
        description="Compute in half precision, with gradients scaled; auto: where bf16 is auto, on a GPU that is "
        "faster in it than in bf16, such as a T4 or a P100.",
    )
    seed: int = Field(42, ge=0, lt=SEEDS, description="Seed of weights, order and dropout; the first splits data.")

    @property
    def number_type(self) -> Literal["fp32", "bf16", "fp16"] | None:
        """What is computed in, as it is said; None where that is left to measurement."""
        if self.fp16 is True:
            return "fp16"
        return None if self.bf16 == "auto" else "bf16" if self.bf16 else "fp32"

    @property
    def evaluations(self) -> int:
        """How often a trial is evaluated."""
        if self.eval_strategy == "end" and self.lr_scheduler_type != "reduce_lr_on_plateau":
            return 1
        least = 8 if self.lr_scheduler_type in ("reduce_lr_on_plateau", "cyclic") else 2  # to see the rate move
        epochs = max(1, math.ceil(self.num_train_epochs))
        return epochs * math.ceil(least / epochs)


class Search(Section):
    """How configurations are proposed and compared."""

    sampler: Literal["grid", "random", "tpe", "auto"] = Field(
        "grid",
        description="How configurations are proposed; auto: known good ones first, then others by what was "
        "learnt (tpe). With a deadline it is the default of a recipe without lists (but for one of models) that has "
        "nothing under lora, head and train.",
    )
    n_trials: int | None = Field(
        None,
        ge=1,
        description="Configurations to try; by default the whole grid; for the other samplers 20, or as many as a "
        "deadline allows for.",
    )
    pruner: Literal["auto", "none", "halving", "hyperband"] = Field(
        "auto",
        description="How poor configurations end early; auto: halving where a clock does not allow for all, or gives "
        "the passes (epochs: clock), else none.",
    )
    resource: Literal["rows", "epochs"] = Field(
        "rows", description="What halving and hyperband give more of to better ones: training rows, or epochs."
    )
    epochs: Literal["auto", "recipe", "clock"] = Field(
        "auto",
        description="recipe: train.num_train_epochs; clock: as many as let a finalist use its share of the time; auto: "
        "clock where the sampler is auto under a deadline, num_train_epochs is not written, the pruner is not none and "
        "the resource is rows, else recipe.",
    )
    seeds: int = Field(
        1,
        ge=1,
        json_schema_extra={"maximum": MOST_SEEDS},  # `reading.py` holds to it
        description="Trials of a configuration or finalist, with train.seed, train.seed + 1, …; under a deadline "
        "finalists have up to 3 where there is time, though fewer are asked for.",
    )
    metric: Metric = Field("accuracy", description="What is maximised on validation.")

    @property
    def names_a_pruner(self) -> bool:
        """Whether it says how poor configurations end early; what `auto` means is for the clock to say."""
        return self.pruner not in ("auto", "none")


class Budget(Section):
    """Hard limits."""

    max_trainable_parameters: int | None = Field(1_000_000, ge=1, description="Trainable parameters, head included.")
    max_seconds: float | None = Field(
        None, gt=0, le=MOST_SECONDS, description="Seconds from the start of the command to its end."
    )
    max_memory_gb: float | None = Field(None, gt=0, description="Estimated peak memory of a trial, in 10^9 bytes.")


class Configuration(Section):
    """One point of the search: all that one trial is trained with."""

    data: Data = Field(default_factory=Data)
    backbone: Backbone = Field(default_factory=Backbone)
    lora: Lora = Field(default_factory=Lora)
    head: Head = Field(default_factory=Head)
    train: Train = Field(default_factory=Train)

    def with_fields(self, **sections: Mapping[str, Any]) -> Self:
        """With other values in these sections, taken as they are: `with_fields(train={"seed": 3})`."""
        changed = {name: getattr(self, name).model_copy(update=values) for name, values in sections.items()}
        return self.model_copy(update=changed)

    def base(self, field: str) -> Any:
        """The value of `field` (dotted); of a recipe, where it does not vary."""
        section, name = field.split(".")
        return getattr(getattr(self, section), name)


SECTIONS = cast(dict[str, type[Section]], {name: info.annotation for name, info in Configuration.model_fields.items()})
"""The sections of a configuration: those whose fields may be axes."""
NOT_AXES = {f"data.{name}" for name in Data.model_fields if name != "max_length"} | {"backbone.revision", "train.seed"}
LIST_FIELDS = {"data.text_column", "lora.target_modules", "lora.layers_to_transform"}
"""Fields of which one value may be a list."""
TEXT_FIELDS = {f"data.{name}" for name in ("dataset", "train_file", "validation_file", "test_file")} | {
    *("data.text_column", "data.label_column", "backbone.model", "backbone.revision")
}
"""Fields that hold text, also where it could be a number: a column may be called 1, and a commit 12e4567."""
LIST_WORDS = "all-linear", "top-half"
"""What such a field may hold instead of a list."""


def holds_values(name: str, listed: list[Any]) -> bool:
    """Whether a list, as written for the field `name` (dotted), holds values of it; else it is one value."""
    return name not in LIST_FIELDS or any(
        item is None or isinstance(item, list) or item in LIST_WORDS for item in listed
    )
