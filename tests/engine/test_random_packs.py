"""Packs of trials that are drawn at random, in any order and broken off anywhere: each ends as it would alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from loraloom.engine import Job, Outcome
from loraloom.engine.loom import LoomEngine
from tests.engine.broken_off import KilledError, Stop, always, at, contents, hear, untimed
from tests.numerics.architectures import make_job, save_model

COMMON = {
    "lora": st.fixed_dictionaries(
        {
            "bias": st.sampled_from(["none", "lora_only", "all"]),
            "lora_dropout": st.sampled_from([0.0, 0.2]),
            "target_modules": st.sampled_from([["query", "value"], "all-linear"]),
            "layers_to_transform": st.sampled_from([None, "top-half", [0]]),
        }
    ),
    "head": st.fixed_dictionaries(
        {"kind": st.sampled_from(["native", "linear"]), "pooling": st.sampled_from(["native", "mean"])}
    ),
}
OWN = {
    "lora": st.fixed_dictionaries(
        {
            "r": st.integers(1, 5),
            "lora_alpha": st.sampled_from([1, 16, 32.5]),
            "use_rslora": st.booleans(),
            "init_lora_weights": st.sampled_from([True, "gaussian"]),
        }
    ),
    "train": st.fixed_dictionaries(
        {
            "bf16": st.just(False),
            "optim": st.sampled_from(["adam", "adamw", "sgd", "muon"]),
            "learning_rate": st.sampled_from([0.02, 0.1, 1000.0]),
            "per_device_train_batch_size": st.sampled_from([3, 5, 16]),
            "gradient_accumulation_steps": st.integers(1, 3),
            "num_train_epochs": st.sampled_from([0.5, 1, 1.5, 2]),
            "weight_decay": st.sampled_from([0.0, 0.1]),
            "lr_scheduler_type": st.sampled_from(["constant", "linear", "cosine", "reduce_lr_on_plateau", "cyclic"]),
            "warmup_steps": st.sampled_from([0, 2]),
            "max_grad_norm": st.sampled_from([0.0, 0.05, 1.0]),
            "label_smoothing_factor": st.sampled_from([0.0, 0.1]),
            "class_weight": st.sampled_from(["none", "balanced"]),
            "seed": st.integers(0, 3),
        }
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("bert", tmp_path_factory.mktemp("bert") / "model")


def _end(outcome: Outcome, job: Job) -> Any:
    return untimed(outcome), None if outcome.state == "failed" else contents(job.folder)


def _broken_off(jobs: Sequence[Job], moments: Sequence[int], draws: Random) -> dict[int, Outcome]:
    """Trains jobs in packs of some of them, stopped or killed at these moments and then no more."""
    engine, waiting, ended = LoomEngine(rhythm=always), {job.number: job for job in jobs}, dict[int, Outcome]()
    left = list(moments)
    while waiting:
        pack = draws.sample(list(waiting.values()), draws.randint(1, len(waiting)))
        stop, kills = at(left.pop() if left else 0), draws.random() < 0.5

        def heed(stop: Stop = stop, kills: bool = kills) -> bool:
            asked = stop()
            if asked and kills:
                raise KilledError
            return asked

        try:
            outcomes = engine.train_pack(pack, hear, heed)
        except KilledError:
            engine, outcomes = LoomEngine(rhythm=always), ()
        for job, outcome in zip(pack, outcomes, strict=False):
            if outcome.state != "stopped":
                ended[job.number] = outcome
                del waiting[job.number]
    return ended


@settings(max_examples=10, phases=(Phase.explicit, Phase.generate))  # to shrink one takes minutes
@given(
    common=st.fixed_dictionaries(COMMON),
    own=st.lists(st.fixed_dictionaries(OWN), min_size=2, max_size=3),
    dropout=st.sampled_from(["keep", "off"]),
    moments=st.lists(st.integers(2, 12), min_size=1, max_size=3),
    draws=st.randoms(use_true_random=False),
)
def test_a_trial_ends_as_it_would_alone_whatever_is_beside_it_and_wherever_it_is_broken_off(
    model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    common: dict[str, Any],
    own: list[dict[str, Any]],
    dropout: str,
    moments: list[int],
    draws: Random,
) -> None:
    out = tmp_path_factory.mktemp("packs")
    recipes = [{**common, "lora": common["lora"] | one["lora"], "train": one["train"]} for one in own]
    alone = [
        make_job(model, out / f"alone-{number}", recipe, number=number, dropout=dropout)
        for number, recipe in enumerate(recipes)
    ]
    ends = [_end(LoomEngine().train_pack([job], hear)[0], job) for job in alone]
    together = [replace(job, folder=out / f"together-{job.number}", rows=alone[0].rows) for job in alone]
    for job in together:
        job.folder.mkdir()
    ended = _broken_off(together, moments, draws)
    assert [_end(ended[job.number], job) for job in together] == ends
