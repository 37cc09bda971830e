"""A recipe from an estimator's parameters: each has the name of the field that it sets, and None leaves that field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from loraloom.errors import LoraloomError, RecipeError
from loraloom.recipe import Recipe, read_recipe, sections_of
from loraloom.recipe.reading import plain

FIELDS = {
    "model": "backbone.model",
    "revision": "backbone.revision",
    "dropout": "backbone.dropout",
    "r": "lora.r",
    "lora_alpha": "lora.lora_alpha",
    "lora_dropout": "lora.lora_dropout",
    "bias": "lora.bias",
    "target_modules": "lora.target_modules",
    "layers_to_transform": "lora.layers_to_transform",
    "use_rslora": "lora.use_rslora",
    "init_lora_weights": "lora.init_lora_weights",
    "head": "head.kind",
    "pooling": "head.pooling",
    "optim": "train.optim",
    "learning_rate": "train.learning_rate",
    "per_device_train_batch_size": "train.per_device_train_batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation_steps",
    "num_train_epochs": "train.num_train_epochs",
    "weight_decay": "train.weight_decay",
    "lr_scheduler_type": "train.lr_scheduler_type",
    "warmup_steps": "train.warmup_steps",
    "max_grad_norm": "train.max_grad_norm",
    "label_smoothing_factor": "train.label_smoothing_factor",
    "class_weight": "train.class_weight",
    "bf16": "train.bf16",
    "fp16": "train.fp16",
    "max_length": "data.max_length",
    "validation_share": "data.validation_share",
    "sampler": "search.sampler",
    "n_trials": "search.n_trials",
    "pruner": "search.pruner",
    "seeds": "search.seeds",
    "metric": "search.metric",
    "max_trainable_parameters": "budget.max_trainable_parameters",
    "max_seconds": "budget.max_seconds",
    "max_memory_gb": "budget.max_memory_gb",
    "engine": "engine",
}
"""Parameters and the fields of a recipe that they set. Other fields are set by the parameter `recipe`."""


def recipe_of(parameters: Mapping[str, Any]) -> Recipe:
    """The recipe that an estimator's parameters mean.

    Raises:
        RecipeError: a parameter breaks a rule of its field, or the recipe is written with another cap.
    """
    written = _written(parameters["recipe"])
    cap = plain(parameters["max_trainable_parameters"])
    own = _section(written, "budget").get("max_trainable_parameters", cap)
    if own != cap:
        raise RecipeError(
            f"max_trainable_parameters: {cap!r} is the estimator's cap, and {own!r} the recipe's; make them alike"
        )
    over = {field: value for name, field in FIELDS.items() if (value := parameters[name]) is not None}
    for field, value in over.items():
        _set(written, field, plain(value))
    if (state := parameters["random_state"]) is not None:
        _set(written, "train.seed", _seed(state))
    _section(written, "budget")["max_trainable_parameters"] = cap
    return read_recipe(written, over=over)


@contextmanager
def named_by_parameters(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Has what is refused name parameters, and not fields that nobody wrote: a `recipe`'s own stay as they are.

    It is the same error, with all that was noted of it.
    """
    by_recipe, fields = parameters["recipe"] is not None, {**FIELDS, "random_state": "train.seed"}
    names = {field: name for name, field in fields.items() if not by_recipe or parameters[name] is not None}
    of_fields = re.compile(rf"(?:\brecipe: )?(?<![\w./])({'|'.join(map(re.escape, names))})(?!\w|\.\w)")

    def told(sentence: str) -> str:
        return of_fields.sub(lambda found: names[found[1]], sentence)

    try:
        yield
    except LoraloomError as error:
        error.args = (told(str(error)),)
        if isinstance(error, RecipeError):
            error.problems = (*map(told, error.problems),)
        raise


def _written(recipe: Any) -> dict[str, Any]:
    """The recipe's sections as they are written, which may be in a file."""
    if recipe is None:
        return {}
    if isinstance(recipe, Mapping):
        return {str(key): plain(value) for key, value in recipe.items()}
    if not isinstance(recipe, str | Path):
        raise RecipeError(f"recipe: {recipe!r} is neither a mapping of sections nor a YAML file")
    return only_written(read_recipe(recipe))


def only_written(recipe: Recipe) -> dict[str, Any]:
    """A recipe that was read, as a mapping of what it writes: what it leaves to defaults is left to them here too."""
    everything = sections_of(recipe)
    kept: dict[str, Any] = {}
    for name in recipe.model_fields_set - {"axes", "provenance"}:
        section = getattr(recipe, name)
        fields = getattr(section, "model_fields_set", None)
        kept[name] = everything[name] if fields is None else {leaf: everything[name][leaf] for leaf in fields}
    for name in recipe.axes:
        section, leaf = name.split(".")
        kept.setdefault(section, {})[leaf] = everything[section][leaf]
    return kept


def _section(written: dict[str, Any], name: str) -> dict[str, Any]:
    section = written.setdefault(name, {})
    if section is None:
        section = written[name] = {}
    if not isinstance(section, dict):
        raise RecipeError(f"recipe: {name} is {section!r}, which is no section; write a mapping of its fields")
    return section


def _set(written: dict[str, Any], field: str, value: Any) -> None:
    section, _, leaf = field.rpartition(".")
    if section:
        _section(written, section)[leaf] = value
    else:
        written[leaf] = value


def _seed(state: Any) -> int:
    """A number as it is; of a generator, its next draw."""
    if isinstance(state, int | np.integer) and not isinstance(state, bool):
        return int(state)
    return int(check_random_state(state).randint(2**31))
