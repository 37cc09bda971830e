"""Searches drawn at random: options that no test was written for stand together in them, on any architecture.

What rules forbid together is not drawn, so that each is a search that must end well.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import write_csv
from tests.faults.searches import Search
from tests.numerics.architectures import CONFIGS, QKVO, QV, VOCABULARY, save_model

_FIELDS: dict[str, dict[str, list[Any]]] = {
    "data": {
        "max_length": [8, 16, 24],
        "validation_share": [0.1, 0.3],
        "max_train_samples": [30],
        "max_eval_samples": [12],
    },
    "backbone": {"dropout": ["keep", "off"]},
    "head": {"kind": ["native", "linear"], "pooling": ["native", "mean"]},
    "lora": {
        "r": [1, 2, 3, 8],
        "lora_alpha": [1, 2.5, 16],
        "lora_dropout": [0, 0.1, 0.5],
        "bias": ["none", "all", "lora_only"],
        "layers_to_transform": ["top-half", [0], [0, 1]],
        "use_rslora": [False, True],
        "init_lora_weights": [True, "gaussian"],
    },
    "train": {
        "optim": ["adam", "adamw", "sgd", "muon"],
        "learning_rate": [0.001, 0.02],
        "per_device_train_batch_size": [4, 8, 16],
        "gradient_accumulation_steps": [1, 2, 3],
        "num_train_epochs": [0.5, 1, 1.5, 3],
        "weight_decay": [0, 0.1],
        "lr_scheduler_type": ["constant", "linear", "cosine", "reduce_lr_on_plateau", "cyclic"],
        "warmup_steps": [0, 3, 10],
        "max_grad_norm": [0, 0.1, 1],
        "label_smoothing_factor": [0, 0.1],
        "class_weight": ["none", "balanced"],
        "eval_strategy": ["auto", "end"],
    },
}
_NO_AXES = {"validation_share", "max_train_samples", "max_eval_samples"}
_RANGES: dict[str, dict[str, Any]] = {
    "r": {"min": 1, "max": 6},
    "learning_rate": {"min": 0.0005, "max": 0.05, "log": True},
    "lora_dropout": {"min": 0.0, "max": 0.4},
}
_LEFT_OUT, _ONE = 0.5, 0.8
"""A field is left out, or has one value, or several: by where a number from 0 to 1 lies."""


def draw_search(folder: Path, seed: int) -> Search:
    """A recipe on disk with its rows and its model, a function of `seed`."""
    generator = random.Random(seed)  # noqa: S311
    folder.mkdir(parents=True, exist_ok=True)
    architecture = generator.choice(list(CONFIGS))
    rows = write_csv(folder / "rows.csv", _rows(generator))
    recipe = _recipe(generator, architecture)
    recipe["data"]["train_file"] = str(rows)
    recipe["backbone"]["model"] = str(save_model(architecture, folder / "model"))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return Search(f"drawn-{seed}", path, rows)


def _recipe(generator: random.Random, architecture: str) -> dict[str, Any]:
    sampler = generator.choice(["grid", "random", "tpe", "auto"])
    pruner = generator.choice(["auto", "none", "halving", "hyperband"])
    by_epochs = pruner != "auto" and generator.random() < 1 / 3
    recipe: dict[str, Any] = {"engine": generator.choice(["auto", "loom", "trainer"])}
    for part, fields in _FIELDS.items():
        recipe[part] = {}
        for name, values in fields.items():
            how = generator.random()
            if how < _LEFT_OUT and name != "max_length":  # whose default is longer than these models read
                continue
            if name == "eval_strategy" and by_epochs and pruner != "none":
                continue
            if how < _ONE or name in _NO_AXES:
                recipe[part][name] = generator.choice(values)
            elif name in _RANGES and sampler != "grid":
                recipe[part][name] = _RANGES[name]
            else:
                recipe[part][name] = generator.sample(values, generator.randint(2, min(3, len(values))))
    if generator.random() < _LEFT_OUT:
        recipe["lora"]["target_modules"] = generator.choice([[*QV[architecture]], [*QKVO[architecture]], "all-linear"])
    recipe["train"] |= {"bf16": False, "seed": generator.randrange(100)}
    recipe["search"] = {
        "sampler": sampler,
        "pruner": pruner,
        "resource": "epochs" if by_epochs else "rows",
        "n_trials": generator.randint(1, 5),
        "seeds": generator.choice([1, 1, 2]),
        "metric": generator.choice(["accuracy", "macro_f1"]),
    }
    return recipe


def _rows(generator: random.Random) -> list[tuple[str, str]]:
    """Up to some hundred rows of up to six classes, skewed or not, each with a word or two of its class."""
    count, classes = generator.choice([60, 150, 520]), generator.choice([2, 3, 6])
    skew, longest = generator.choice([0, 1]), generator.choice([3, 20])
    words = [f"w{number}" for number in range(5, VOCABULARY)]
    shares = [(number + 1) ** -skew for number in range(classes)]
    rows: dict[str, str] = {}
    while len(rows) < count:
        (label,) = generator.choices(range(classes), shares)
        own = words[3 * label : 3 * label + 3]
        chosen = generator.choices(own, k=2) + generator.choices(words[18:], k=math.ceil(longest * generator.random()))
        rows.setdefault(" ".join(chosen), f"class {label}")
    return list(rows.items())
