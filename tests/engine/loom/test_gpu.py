"""A GPU's way through the engine, on one that is pretended: a step's tensors lie there, and nothing waits in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.random_adapters import save_random_adapter
from loraloom.engine import Job, Outcome
from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.pack import Pack
from loraloom.study.record import Dtype
from loraloom.use.backbones import Backbones
from tests.engine.broken_off import at, contents, hear, untimed
from tests.engine.loom.pretended_gpu import pretended_gpu
from tests.numerics.architectures import encoded_rows, make_job, save_model

TRIALS: tuple[dict[str, Any], ...] = (
    {"lora": {"r": 2}, "train": {"optim": "adamw", "per_device_train_batch_size": 8}},
    {
        "lora": {"r": 4},
        "train": {"optim": "muon", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    },
    {"lora": {"r": 1}, "train": {"optim": "sgd", "class_weight": "balanced", "label_smoothing_factor": 0.1}},
)
EVERYTHING: dict[str, Any] = {"lora": {"bias": "all", "target_modules": "all-linear", "lora_dropout": 0.1}}
TOP: dict[str, Any] = {"lora": {"layers_to_transform": [1]}, "head": {"kind": "linear", "pooling": "mean"}}


def jobs_of(model: Path, out: Path, common: dict[str, Any], dtype: Dtype = "fp32") -> list[Job]:
    """Trials of a pack: with dropout, or with states of frozen layers that are kept."""
    dropout = "off" if "layers_to_transform" in common["lora"] else "keep"
    jobs = []
    for number, own in enumerate(TRIALS):
        types = {"bf16": dtype == "bf16", "fp16": dtype == "fp16"}
        lora, train = common["lora"] | own["lora"], types | {"num_train_epochs": 1} | own["train"]
        recipe = common | {"lora": lora, "train": train}
        jobs.append(make_job(model, out / str(number), recipe, number=number, dropout=dropout))
    return jobs


def losses(outcomes: tuple[Outcome, ...]) -> list[float]:
    assert [outcome.reason for outcome in outcomes] == [None] * len(outcomes)
    return [outcome.result.validation.loss for outcome in outcomes if outcome.result is not None]


@pytest.mark.usefixtures("plain_torch")
@pytest.mark.parametrize(
    ("architecture", "common"), [("electra", TOP), ("mpnet", EVERYTHING), ("modernbert", EVERYTHING)]
)
def test_trials_that_a_gpu_joins_are_trained_as_each_is_on_a_processor_and_no_step_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, common: dict[str, Any]
) -> None:
    model, waits, together = save_model(architecture, tmp_path / "model"), list[str](), set[int]()
    with pretended_gpu() as gpu, monkeypatch.context() as patch:
        for name in ("run", "step"):
            method = getattr(Pack, name)

            def watched(pack: Pack, *arguments: Any, method: Any = method) -> Any:
                before = len(gpu.waits)
                found = method(pack, *arguments)
                waits.extend(gpu.waits[before:])
                together.add(len(pack.members))
                return found

            patch.setattr(Pack, name, watched)
        joined = LoomEngine().train_pack(jobs_of(model, tmp_path / "gpu", common), hear)
    alone = LoomEngine().train_pack(jobs_of(model, tmp_path / "cpu", common), hear)
    assert losses(joined) == pytest.approx(losses(alone), rel=1e-3)
    assert together == {3, 2}  # the one with the largest batches ends first
    assert waits == []


@pytest.mark.parametrize(("dtype", "off"), [("bf16", 3e-2), ("fp16", 4e-3)])
def test_in_16_bits_no_types_meet_that_torch_would_refuse(
    model: Path, tmp_path: Path, dtype: Dtype, off: float
) -> None:
    with pretended_gpu():
        joined = LoomEngine().train_pack(jobs_of(model, tmp_path / "gpu", EVERYTHING, dtype), hear)
    alone = LoomEngine().train_pack(jobs_of(model, tmp_path / "cpu", EVERYTHING, dtype), hear)
    assert losses(joined) == pytest.approx(losses(alone), rel=off)
    assert {outcome.dtype for outcome in (*joined, *alone)} == {dtype}


def test_what_overflows_in_fp16_fails_and_says_what_computes_it(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path / "job", {"train": {"fp16": True, "learning_rate": 1000, "optim": "sgd"}})
    told: list[str] = []
    (outcome,) = LoomEngine().train_pack([job], hear, note=told.append)
    assert told == ["train.fp16: it is for a GPU; a processor is many times slower in it than in fp32"]
    assert outcome.state == "failed"
    assert str(outcome.reason).endswith("lower train.learning_rate, or write train.fp16: false")


def test_a_pack_that_was_broken_off_on_a_gpu_goes_on_there_to_the_same_end(model: Path, tmp_path: Path) -> None:
    with pretended_gpu():
        whole_jobs, jobs = (jobs_of(model, tmp_path / name, EVERYTHING) for name in ("whole", "broken off"))
        whole = LoomEngine().train_pack(whole_jobs, hear)
        stopped = LoomEngine().train_pack(jobs, hear, at(3))
        ended = LoomEngine().train_pack(jobs, hear)
    assert {outcome.state for outcome in stopped} == {"stopped"}
    assert list(map(untimed, ended)) == list(map(untimed, whole))
    assert [contents(job.folder) for job in jobs] == [contents(job.folder) for job in whole_jobs]


def test_how_many_trials_are_joined_is_measured_on_the_gpu(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path / "job", {"train": {"bf16": False}})
    with pretended_gpu():
        assert LoomEngine().pack_size(job.source, job.configuration) in (1, 8)


def test_adapters_are_used_on_a_gpu_alone_and_mixed(model: Path, tmp_path: Path) -> None:
    recipes: tuple[dict[str, Any], ...] = (
        {"lora": {"r": 2, "bias": "lora_only"}},
        {"lora": {"r": 3, "bias": "all"}, "head": {"pooling": "mean"}},
        {"lora": {"r": 1}, "head": {"kind": "linear"}},
    )
    folders = [
        save_random_adapter(tmp_path / str(number), model, recipe, labels="abc", seed=number, dtype="fp32")
        for number, recipe in enumerate(recipes)
    ]
    rows = [encoded_rows([3, 9, 1, 12], seed=number) for number in range(3)]

    def logits() -> list[Any]:
        backbones = Backbones()
        classifiers = [backbones.add(folder) for folder in folders]
        alone = [backbones.logits([own], [encoded])[0] for own, encoded in zip(classifiers, rows, strict=True)]
        return [*alone, *backbones.logits(classifiers, rows)]

    with pretended_gpu():
        there = logits()
    for found, expected in zip(there, logits(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * float(np.abs(expected).max()))


def test_what_a_gpu_would_refuse_is_refused_and_what_it_would_be_waited_for_is_noted() -> None:
    with pretended_gpu() as gpu:
        there, here = torch.zeros(3, device="cuda"), torch.ones(3)
        for mix in (lambda: there + here, lambda: torch.stack([there, here]), lambda: here[there.long()], there.numpy):
            with pytest.raises((RuntimeError, TypeError)):
                mix()
        assert (there + torch.tensor(1.0)).device.type == "cuda"
        assert not gpu.waits
        assert here.pin_memory().to("cuda", non_blocking=True).device.type == "cuda"
        assert not gpu.waits
        _ = bool(there[0] > 0), there[there > 0], there.cpu(), here.to("cuda")
    assert gpu.waits == ["__bool__", "__getitem__", "cpu", "to"]
