"""The contract of engines, on a tiny encoder: every field of a recipe is run, saved, and loaded again."""

from __future__ import annotations

import gc
import json
import time
import weakref
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

import loraloom
from loraloom import metrics, pipeline
from loraloom.backbone.quiet import quietly
from loraloom.engine import Job, adapted, trainer
from loraloom.errors import BackboneError
from loraloom.recipe import read_recipe
from loraloom.study.evidence import VALIDATION, read_predicted, read_rows
from loraloom.study.record import Evaluation, TrialRecord, read_metrics
from loraloom.study.run import Run
from tests.conftest import make_recipe
from tests.engine.broken_off import ENGINES, at, contents, hear, job_of
from tests.numerics.architectures import save_model


@pytest.fixture(params=["trainer", "loom"])
def tiny_recipe(request: pytest.FixtureRequest, tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """The tiny recipe, by each engine."""
    return tiny_recipe | {"engine": request.param}


by_loom = pytest.mark.parametrize("tiny_recipe", ["loom"], indirect=True)
"""That the reference's run is the same, and its files, is said by tests/numerics/test_oracle.py."""


def run(recipe: dict[str, Any], out: Path, *overrides: str) -> tuple[TrialRecord, tuple[Evaluation, ...]]:
    winner = pipeline.search(read_recipe(recipe, overrides), out, report=False)
    return winner, read_metrics(out / "best")


@dataclass(frozen=True)
class Ran:
    """A run of the tiny recipe on 20 validation rows."""

    engine: str
    path: Path
    winner: TrialRecord
    lines: tuple[Evaluation, ...]


@pytest.fixture(scope="module", params=["trainer", "loom"])
def ran(
    request: pytest.FixtureRequest, tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    recipe = make_recipe(tiny_model, rows_file) | {"engine": request.param}
    out = tmp_path_factory.mktemp("ran") / "run"
    return Ran(request.param, out, *run(recipe, out, "data.max_eval_samples=20"))


@by_loom
def test_a_tiny_encoder_learns_what_can_be_learnt(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    winner, lines = run(
        tiny_recipe,
        tmp_path / "run",
        "train.num_train_epochs=12",
        "train.learning_rate=0.01",
        "train.per_device_train_batch_size=4",
        "head.kind=linear",
        "head.pooling=mean",
    )
    assert winner.test.accuracy > 0.9
    assert lines[-1].train_loss < lines[0].train_loss


def test_the_adapters_configuration_is_the_same_file_in_every_process(ran: Ran) -> None:
    kept = json.loads((ran.path / "best" / "adapter_config.json").read_text())
    assert kept["target_modules"] == sorted(kept["target_modules"])
    assert kept["modules_to_save"] == ["classifier", "score"]  # PEFT adds both, one of which is there


def searched(recipe: dict[str, Any], out: Path, *overrides: str) -> list[tuple[TrialRecord, tuple[Evaluation, ...]]]:
    """All trials of a search, with their evaluations."""
    run(recipe, out, *overrides)
    return [(one, read_metrics(Run(out).trial_folder(one.number))) for one in Run(out).records()]


@by_loom
def test_every_optimizer_lowers_the_loss(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    epochs = "train.num_train_epochs=5"
    trials = [
        *searched(tiny_recipe, tmp_path / "run", "train.optim=adam,adamw,muon", epochs),
        *searched(tiny_recipe, tmp_path / "sgd", "train.optim=sgd", "train.learning_rate=0.5", epochs),
    ]
    assert [trial.configuration.train.optim for trial, _ in trials] == ["adam", "adamw", "muon", "sgd"]
    for trial, lines in trials:
        assert lines[-1].train_loss < lines[0].train_loss, trial.configuration.train.optim


@by_loom
def test_the_rate_in_the_metrics_moves_as_the_schedule_says(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    kinds = ["linear", "cosine", "cyclic", "reduce_lr_on_plateau"]
    changes = f"train.lr_scheduler_type={','.join(kinds)}", "train.num_train_epochs=4"
    trials = searched(tiny_recipe, tmp_path / "run", *changes)
    assert [trial.configuration.train.lr_scheduler_type for trial, _ in trials] == kinds
    for kind, (_, lines) in zip(kinds, trials, strict=True):
        rates = [rate for line in lines for _, _, rate in line.trace]
        match kind:
            case "linear" | "cosine":
                assert rates == sorted(rates, reverse=True)
                assert rates[-1] < 0.2 * rates[0]
            case "cyclic":
                ups = sum(b > a for a, b in pairwise(rates))
                assert 0.3 < ups / len(rates) < 0.7
            case _:
                losses = [line.validation_loss for line in lines]
                assert rates[-1] == pytest.approx(0.02 * 0.5 ** sum(_not_lower(losses[:-1]))), losses


def _not_lower(losses: list[float]) -> list[bool]:
    lowest, seen = float("inf"), []
    for loss in losses:
        seen.append(not loss < lowest * (1 - 1e-4))
        lowest = min(lowest, loss) if not seen[-1] else lowest
    return seen


@by_loom
def test_warmup_starts_from_zero(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    _, lines = run(tiny_recipe, tmp_path / "run", "train.warmup_steps=5")
    assert [rate for _, _, rate in lines[0].trace][:3] == pytest.approx([0.0, 0.004, 0.008])


FIELDS = [
    ["lora.bias=none", "lora.use_rslora=true"],
    ["lora.bias=all", "lora.target_modules=all-linear"],
    ["lora.bias=lora_only", "lora.layers_to_transform=1", "lora.lora_dropout=0.1"],
    ["lora.init_lora_weights=gaussian", "backbone.dropout=keep"],
    ["train.gradient_accumulation_steps=3", "train.max_grad_norm=0"],
    ["train.label_smoothing_factor=0.1", "train.class_weight=balanced"],
    ["train.bf16=true"],
]


@pytest.mark.parametrize(
    ("tiny_recipe", "fields"),
    [*(("trainer", fields) for fields in FIELDS), ("loom", ["train.bf16=true"])],
    indirect=["tiny_recipe"],
)
def test_a_native_adapter_gives_the_same_labels_and_logits_in_plain_peft(
    tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path, fields: list[str]
) -> None:
    """By loom in fp32: tests/numerics/test_saved.py."""
    run(tiny_recipe, tmp_path / "run", *fields)
    classifier = loraloom.load(tmp_path / "run" / "best")
    texts = ["the cat with bread", "a hammer", "soup soup", ""]
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3, dtype=torch.float32)
    with quietly():
        model = PeftModel.from_pretrained(base, str(tmp_path / "run" / "best")).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [{"input_ids": ids} for ids in tokenizer(texts, truncation=True, max_length=16)["input_ids"]]
    with torch.inference_mode():
        theirs = model(**DataCollatorWithPadding(tokenizer)(rows)).logits.numpy()
    ours = classifier.logits(texts)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).all()
    # fp32 products in another order; bf16 keeps 8 bits of a logit of about 1, after two layers
    assert np.allclose(ours, theirs, atol=0.05 if classifier.record.dtype == "bf16" else 2e-6)


@by_loom
@pytest.mark.parametrize("kind", ["native", "linear"])
@pytest.mark.parametrize("pooling", ["native", "mean"])
def test_every_head_and_pooling_is_loaded_as_it_was_tested(
    tiny_recipe: dict[str, Any], tmp_path: Path, kind: str, pooling: str
) -> None:
    run(tiny_recipe, tmp_path / "run", f"head.kind={kind}", f"head.pooling={pooling}")
    lines = (tmp_path / "run" / "best" / "test_predictions.jsonl").read_text().splitlines()
    saved = [json.loads(line) for line in lines]
    again = loraloom.load(tmp_path / "run" / "best").predict_proba([row["text"] for row in saved])
    assert np.allclose(again, [row["probabilities"] for row in saved], atol=1e-6)


def test_a_complete_trial_leaves_the_validation_predictions_that_its_record_is_of(ran: Ran) -> None:
    predicted, result = read_predicted(ran.path / "trials" / "0000", classes=3), ran.winner.result
    assert predicted is not None
    assert result is not None
    scores = metrics.score(predicted.labels, predicted.probabilities.astype(np.float64))
    assert (scores.examples, scores.accuracy) == (20, result.validation.accuracy)
    assert scores.log_loss == pytest.approx(result.validation.loss, abs=1e-6)
    rows = read_rows(ran.path, classes=3)
    assert len(rows) > 20
    assert [rows[number].label for number in predicted.rows] == predicted.labels.tolist()
    again = loraloom.load(ran.path / "best").predict_proba([rows[number].text for number in predicted.rows])
    assert np.allclose(again, predicted.probabilities, atol=1e-6)


def test_a_pruned_trial_leaves_no_predictions(tmp_path: Path, tiny_recipe: dict[str, Any]) -> None:
    job = job_of(save_model("bert", tmp_path / "model"), tmp_path / "job")
    (outcome,) = ENGINES[tiny_recipe["engine"]]().train_pack([job], lambda job, evaluation: False)
    assert outcome.state == "pruned"
    assert not (job.folder / VALIDATION).exists()


def test_where_a_program_has_fp32_multiplied_in_fewer_bits_a_trial_is_the_same(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    engine, model = ENGINES[tiny_recipe["engine"]](), save_model("bert", tmp_path / "model")
    here, there = (job_of(model, tmp_path / name) for name in ("here", "there"))
    products: Any = cast(Any, torch.backends.mkldnn).matmul
    seen = []

    def hear_and_see(job: Job, evaluation: Evaluation) -> bool:
        seen.append(products.fp32_precision)
        return hear(job, evaluation)

    engine.train_pack([here], hear)
    torch.set_float32_matmul_precision("medium")
    try:
        engine.train_pack([there], hear_and_see)
        assert (torch.get_float32_matmul_precision(), products.fp32_precision) == ("medium", "bf16")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(seen) == {"ieee"}  # processors that lack bf16 compute the same anyhow
    assert contents(there.folder) == contents(here.folder)


@by_loom
def test_a_profile_says_where_the_time_of_a_step_goes(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", report=False, profile=True)
    profile = json.loads((tmp_path / "run" / "best" / "profile.json").read_text())
    shares = {section["section"]: section["share"] for section in profile["sections"]}
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    assert {"linear", "attention_backward", "head", "optimizer"} <= shares.keys()


def test_speed_is_told_with_each_evaluation(ran: Ran) -> None:
    timings = ran.winner.timings
    assert timings is not None
    assert 0 < timings.train_seconds < timings.seconds
    assert timings.examples_per_second * timings.train_seconds == pytest.approx(2 * 90)  # two passes over 90 rows
    if ran.engine == "loom":
        assert all(line.tokens_per_second for line in ran.lines)


def test_a_trial_whose_loss_is_not_finite_fails_with_its_reason_and_the_search_goes_on(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    winner, _ = run(
        tiny_recipe,
        tmp_path / "run",
        "train.learning_rate=1000,1e-8",
        "train.optim=sgd",
        "train.max_grad_norm=0",
        "lora.lora_alpha=1000000",
    )
    board = (tmp_path / "run" / "leaderboard.csv").read_text()
    assert winner.point == {"train.learning_rate": 1e-8}
    assert "failed" in board
    assert "lower train.learning_rate" in board


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        BackboneError("backbone.model: the weights of 'x' can't be loaded: DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_does_not_suffice_for_a_model_fails_its_trial_with_what_to_do(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    name = tiny_recipe["engine"]
    engine, job = ENGINES[name](), job_of(save_model("bert", tmp_path / "model"), tmp_path / "job")

    def without_memory(job: Job) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"loraloom.engine.{'loom.engine' if name == 'loom' else 'trainer'}.build_base", without_memory)
        (failed,) = engine.train_pack([job], hear)
    assert failed.state == "failed"
    assert str(failed.reason).startswith("memory did not suffice; lower the batch size or max_length")
    assert ("use engine: trainer" in str(failed.reason)) is (name == "loom")
    (trained,) = engine.train_pack([job], hear)
    assert (trained.state, failed.counts) == ("complete", trained.counts)


def test_a_pack_that_was_stopped_comes_back_so_and_goes_on_to_the_same_adapters(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    engine, model = ENGINES[tiny_recipe["engine"]](), save_model("bert", tmp_path / "model")
    whole, stopped = ([job_of(model, tmp_path / name / str(n), None, n) for n in (0, 1)] for name in ("one", "two"))
    engine.train_pack(whole, hear)
    outcomes = engine.train_pack(stopped, hear, at(3))
    assert {outcome.state for outcome in outcomes} == {"stopped"}
    assert [outcome.result for outcome in outcomes] == [None, None]
    assert {outcome.state for outcome in engine.train_pack(stopped, hear)} == {"complete"}
    assert [contents(job.folder) for job in stopped] == [contents(job.folder) for job in whole]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_deadline_ends_training_and_the_result_is_marked_whatever_a_pruner_says(
    tiny_recipe: dict[str, Any], tmp_path: Path, goes_on: bool
) -> None:
    engine, model = ENGINES[tiny_recipe["engine"]](), save_model("bert", tmp_path / "model")
    job = replace(job_of(model, tmp_path / "job"), deadline=time.monotonic())
    (outcome,) = engine.train_pack([job], lambda *_: goes_on)
    assert outcome.state == "complete"
    assert outcome.result is not None
    assert outcome.marks == ("stopped by the clock after 17 % of 2 passes",)


@pytest.mark.parametrize(
    ("kind", "warmup", "said"),
    [
        ("linear", 0, ", its learning rate at 83 % and not yet at 0"),
        ("cosine", 0, ", its learning rate at 93.3 % and not yet at 0"),
        ("linear", 3, ", in its warm-up"),
        ("cyclic", 0, ""),
    ],
)
def test_what_a_deadline_ends_says_how_far_the_rate_came(tmp_path: Path, kind: str, warmup: int, said: str) -> None:
    engine, model = ENGINES["loom"](), save_model("bert", tmp_path / "model")
    job = job_of(model, tmp_path / "job", {"train": {"lr_scheduler_type": kind, "warmup_steps": warmup}})
    (outcome,) = engine.train_pack([replace(job, deadline=time.monotonic())], hear)
    assert outcome.marks == (f"stopped by the clock after 17 % of 2 passes{said}",)


@pytest.mark.parametrize(("ahead", "batch", "steps"), [(3600, 3, [1, 2, 3]), (0, 21, [1])])
def test_a_deadline_to_come_or_in_the_last_step_marks_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path, ahead: int, batch: int, steps: list[int]
) -> None:
    engine, model = ENGINES[tiny_recipe["engine"]](), save_model("bert", tmp_path / "model")
    fields = {"train": {"per_device_train_batch_size": batch, "num_train_epochs": 1}}
    job = replace(job_of(model, tmp_path / "job", fields), deadline=time.monotonic() + ahead)
    (outcome,) = engine.train_pack([job], hear)
    assert (outcome.state, outcome.marks) == ("complete", ())
    assert [step for line in read_metrics(job.folder) for step, _, _ in line.trace] == steps


@pytest.mark.parametrize("bf16", [False, True])
def test_the_reference_engine_holds_no_model_when_a_trial_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool
) -> None:
    job = job_of(save_model("bert", tmp_path / "model"), tmp_path / "trial", {"train": {"bf16": bf16}})
    held: list[weakref.ref[PeftModel]] = []

    def add_lora(base: nn.Module, job: Job) -> PeftModel:
        model = adapted.add_lora(base, job)
        held.append(weakref.ref(model))
        return model

    monkeypatch.setattr(trainer, "add_lora", add_lora)
    gc.disable()
    try:
        (outcome,) = trainer.TrainerEngine().train_pack([job], hear)
        assert (outcome.state, held[0]()) == ("complete", None)
    finally:
        gc.enable()
