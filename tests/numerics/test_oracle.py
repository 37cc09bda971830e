"""Whole training runs of both engines, row by row in the same order: the same losses, rates, evaluations and files.

The product of all options is too large to run: a covering array holds each pair of two options' values at least once,
and test_gradients.py has each triple of those that reach the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from loraloom.engine import Job, Outcome
from loraloom.engine import resumable_trainer as reference
from loraloom.engine.loom import LoomEngine, kernels
from loraloom.engine.loom.fused import FusedOps
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.order import Order
from loraloom.engine.trainer import TrainerEngine
from loraloom.study.record import Evaluation, read_metrics
from tests.numerics.architectures import CONFIGS, make_job
from tests.numerics.both import key_bias, targets
from tests.numerics.conftest import Folders
from tests.numerics.covering import all_parts, covering, parts_of
from tests.numerics.tolerances import TOLERANCES, Tolerance

SCHEDULES = ("constant", "linear", "cosine", "reduce_lr_on_plateau", "cyclic")
ROBERTAS = ("roberta", "xlm-roberta")
"""Left out where nothing differs that BERT and MPNet, whose head is theirs, have not."""
OPTIMIZERS = ("adam", "adamw", "sgd", "muon")
OPTIONS: dict[str, tuple[Any, ...]] = {
    "architecture": tuple(CONFIGS),
    "bias": ("none", "all", "lora_only"),
    "targets": ("q,v", "q,k,v,o", "all-linear"),
    "head": ("native", "linear"),
    "pooling": ("native", "mean"),
    "optim": OPTIMIZERS,
    "lr_scheduler_type": SCHEDULES,
    "warmup_steps": (0, 3),
    "gradient_accumulation_steps": (1, 3),
    "max_grad_norm": (0.0, 0.1, 1.0),
    "weight_decay": (0.0, 0.1),
    "label_smoothing_factor": (0.0, 0.1),
    "class_weight": ("none", "balanced"),
    "per_device_train_batch_size": (3, 4),
    "ops": (PlainOps, FusedOps) if kernels.load_fp32() is None else (PlainOps,),
}
RUNS = covering(OPTIONS)
RATES = {"adam": 0.003, "adamw": 0.003, "sgd": 0.1, "muon": 0.003}


class SameOrder(torch.utils.data.Sampler[int]):
    """Rows of each epoch as loom has them."""

    def __init__(self, job: Job, window: int) -> None:
        train = job.configuration.train
        self._epoch = -1
        self._rows = len(job.rows.train)
        self._order = Order(
            np.diff(job.rows.train.offsets),
            batch=train.per_device_train_batch_size,
            accumulated=train.gradient_accumulation_steps,
            seed=train.seed,
            window=window,
        )

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        self._epoch += 1
        steps = self._order.steps_per_epoch
        for step in range(self._epoch * steps, (self._epoch + 1) * steps):
            for batch in self._order.step(step):
                yield from batch.tolist()


@dataclass(frozen=True)
class Ran:
    """What a run left."""

    outcome: Outcome
    evaluations: tuple[Evaluation, ...]
    files: dict[str, Tensor]

    @property
    def trace(self) -> list[tuple[int, float, float]]:
        return [point for evaluation in self.evaluations for point in evaluation.trace]


def both(
    folder: Path,
    out: Path,
    recipe: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    loom: LoomEngine | None = None,
    ops: type[PlainOps] = PlainOps,
) -> tuple[Ran, Ran]:
    """A recipe by the reference and by loom with `ops`."""
    monkeypatch.setattr("loraloom.engine.loom.engine.choose_ops", lambda *_: ops())
    ran = []
    for engine in (TrainerEngine(), LoomEngine() if loom is None else loom):
        job = make_job(folder, out / engine.name, recipe)
        sampler = SameOrder(job, ops.sorted_batches)
        monkeypatch.setattr(reference.ResumableTrainer, "_get_train_sampler", lambda *_, sampler=sampler, **__: sampler)
        (outcome,) = engine.train_pack([job], lambda *_: True)
        files = load_file(job.folder / "adapter_model.safetensors")
        ran.append(Ran(outcome, read_metrics(job.folder), files))
    return ran[0], ran[1]


def recipe_of(architecture: str, chosen: str, head: str, pooling: str, bias: str, **train: Any) -> dict[str, Any]:
    return {
        "lora": {"r": 3, "bias": bias, "target_modules": targets(chosen, architecture)},
        "head": {"kind": head, "pooling": pooling},
        "train": {
            "bf16": False,
            "num_train_epochs": 2,
            "learning_rate": RATES[train["optim"]],
            "per_device_train_batch_size": 4,
            **train,
        },
    }


def assert_same_run(expected: Ran, found: Ran, allowed: Tolerance) -> None:
    assert found.outcome.state == expected.outcome.state == "complete"
    assert found.outcome.counts == expected.outcome.counts
    assert [(step, rate) for step, _, rate in found.trace] == [(step, rate) for step, _, rate in expected.trace]
    assert [loss for _, loss, _ in found.trace] == pytest.approx(
        [loss for _, loss, _ in expected.trace], abs=allowed.losses
    )
    assert [seen.step for seen in found.evaluations] == [seen.step for seen in expected.evaluations]
    for mine, theirs in zip(found.evaluations, expected.evaluations, strict=True):
        assert mine.epoch == pytest.approx(theirs.epoch, abs=1e-9)
        assert mine.train_loss == pytest.approx(theirs.train_loss, abs=allowed.losses)
        assert mine.validation_loss == pytest.approx(theirs.validation_loss, abs=allowed.losses)
        assert mine.train_accuracy == pytest.approx(theirs.train_accuracy, abs=allowed.accuracies)
        assert mine.validation_accuracy == pytest.approx(theirs.validation_accuracy, abs=allowed.accuracies)
    assert found.files.keys() == expected.files.keys()
    for name, value in expected.files.items():
        if not key_bias(name):
            distance = float((found.files[name] - value).abs().max())
            assert distance <= allowed.weights, f"{name}: off by {distance:.3g} where {allowed.weights:.3g} is allowed"


@pytest.mark.parametrize(
    "row", RUNS, ids=lambda row: "-".join(str(getattr(value, "__name__", value)) for value in row.values())
)
def test_a_run_is_that_of_the_reference(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]
) -> None:
    options = dict(row)
    architecture, chosen, ops = options.pop("architecture"), options.pop("targets"), options.pop("ops")
    recipe = recipe_of(
        architecture, chosen, options.pop("head"), options.pop("pooling"), options.pop("bias"), **options
    )
    ran = both(folder_of(architecture), tmp_path, recipe, monkeypatch, ops=ops)
    assert_same_run(*ran, TOLERANCES.run(row["optim"]))


def test_the_runs_hold_every_pair_of_options() -> None:
    assert set().union(*map(parts_of, RUNS)) == all_parts(OPTIONS)
    assert len(RUNS) < 60


@pytest.mark.parametrize(
    ("architecture", "head"), [*((name, "native") for name in CONFIGS if name not in ROBERTAS), ("mpnet", "linear")]
)
def test_a_second_trial_over_the_same_frozen_weights_is_that_of_the_reference(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, head: str
) -> None:
    """Its head and its A are drawn as if it were the first, and nothing of the first trial's biases is left."""
    monkeypatch.setattr("loraloom.engine.loom.engine.choose_ops", lambda *_: PlainOps())
    folder, engine = folder_of(architecture), LoomEngine()
    first = recipe_of(architecture, "q,k,v,o", head, "native", "all", optim="sgd", seed=1)
    engine.train_pack([make_job(folder, tmp_path / "first", first)], lambda *_: True)
    recipe = recipe_of(architecture, "q,v", head, "native", "lora_only", optim="sgd", seed=2)
    assert_same_run(*both(folder, tmp_path, recipe, monkeypatch, loom=engine), TOLERANCES.run("sgd"))


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name not in ROBERTAS])
def test_muon_is_that_of_the_reference_closely_where_it_orthogonalises_in_fp32(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    """In bf16 a rounding of the gradient becomes one of 2^-8 of the step, which would hide small errors."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    recipe = recipe_of(architecture, "q,v", "native", "native", "all", optim="muon", weight_decay=0.1)
    assert_same_run(*both(folder_of(architecture), tmp_path, recipe, monkeypatch), TOLERANCES.muon_fp32)


@pytest.mark.parametrize(
    ("schedule", "warmup"),
    [*((schedule, 5) for schedule in SCHEDULES), ("reduce_lr_on_plateau", 0), ("cyclic", 0)],
)
def test_every_schedule_moves_the_rate_as_the_reference_does(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, warmup: int
) -> None:
    """Over more evaluations than two; the plateau's rate follows from the validation losses.

    `RUNS` has each schedule without a warm-up, and with one.
    """
    recipe = recipe_of(
        "distilbert", "q,v", "native", "native", "none",
        optim="adam", lr_scheduler_type=schedule, warmup_steps=warmup, num_train_epochs=5,
    )  # fmt: skip
    recipe["train"]["learning_rate"] = 0.01  # enough for the validation loss to rise again
    expected, found = both(folder_of("distilbert"), tmp_path, recipe, monkeypatch)
    rates = {rate for _, _, rate in expected.trace}
    assert len(rates) > 1
    assert_same_run(expected, found, TOLERANCES.run("adam"))


@pytest.mark.parametrize(
    "fields",
    [
        {"lora": {"init_lora_weights": "gaussian", "use_rslora": True}},
        {"lora": {"layers_to_transform": [1], "bias": "lora_only"}},
        {"train": {"num_train_epochs": 0.6}},
        {"train": {"num_train_epochs": 1.5, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 2}},
        {"train": {"per_device_train_batch_size": 64}},
        {"train": {"per_device_train_batch_size": 1, "num_train_epochs": 1}},
    ],
)
def test_a_run_with_a_rarer_option_is_that_of_the_reference(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, dict[str, Any]]
) -> None:
    recipe = recipe_of("bert", "q,v", "native", "native", "none", optim="sgd")
    recipe = {section: values | fields.get(section, {}) for section, values in recipe.items()}
    tolerance = TOLERANCES.sgd_steep if "use_rslora" in fields.get("lora", {}) else TOLERANCES.sgd
    assert_same_run(*both(folder_of("bert"), tmp_path, recipe, monkeypatch), tolerance)
