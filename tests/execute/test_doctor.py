"""What doctor says, and that its JSON keeps its keys."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import BertConfig

from loraloom import machine
from loraloom.backbone.sources import known_config
from loraloom.engine import device, gemm_rates
from loraloom.engine.device import Gpu
from loraloom.engine.gemm_rates import BASE, DEMO, GemmRates
from loraloom.engine.loom import kernels
from loraloom.execute import doctor
from loraloom.execute.doctor import Choice, diagnose, pack_advice
from loraloom.execute.in_process import choose_engine
from loraloom.recipe import Head, read_recipe
from loraloom.terminal.doctor import print_diagnosis

RATES = GemmRates(fp32=2e9, bf16=6e9, fp32_best=3e9, bf16_best=7e9)


@pytest.fixture(autouse=True)
def _known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm_rates, "_measured", lambda hidden, intermediate: RATES)
    monkeypatch.setattr(doctor, "pack_advice", lambda *_, **__: Choice(1, "measured"))
    for load in ("load", "load_fp32"):
        monkeypatch.setattr(kernels, load, lambda: "absent")


def test_the_keys_of_the_json_are_known() -> None:
    """Scripts read these; a change is made here on purpose."""
    values = replace(diagnose(), gpu=Gpu("a", 1, 2, 1)).as_json()
    assert list(values) == [
        "model",
        "cpu",
        "architecture",
        "instructions",
        "physical_cores",
        "logical_cores",
        "cpu_quota_cores",
        "memory_total_gb",
        "memory_available_gb",
        "cache_folder",
        "disk_free_gb",
        "gpu",
        "gemm",
        "dtype",
        "dtype_reason",
        "engine",
        "engine_reason",
        "kernels_in_use",
        "kernels_reason",
        "threads",
        "threads_reason",
        "trials_per_pack",
        "trials_per_pack_reason",
        "notes",
    ]
    assert list(values["gpu"]) == ["name", "count", "memory_gb", "memory_free_gb"]
    assert list(values["gemm"][0]) == [
        "size",
        "hidden",
        "intermediate",
        "fp32_gflop_per_second",
        "fp32_best_gflop_per_second",
        "bf16_gflop_per_second",
        "bf16_best_gflop_per_second",
        "bf16_to_fp32_ratio",
        "fp16_gflop_per_second",
        "fp16_best_gflop_per_second",
    ]
    json.dumps(values, allow_nan=False)


def test_without_a_recipe_it_speaks_of_both_sizes_and_of_engines_in_general() -> None:
    found = diagnose()
    assert found.model is None
    assert [size for size, _ in found.rates] == [BASE, DEMO]
    assert (found.dtype.value, found.engine.value) == ("bf16", "auto")
    assert "modernbert" in found.engine.reason


def test_with_a_recipe_it_speaks_of_its_model_type_and_engine(tiny_recipe: dict[str, Any]) -> None:
    recipe = read_recipe(tiny_recipe)
    found, chosen = diagnose(recipe), choose_engine(recipe)
    assert found.model == tiny_recipe["backbone"]["model"]
    assert [(size.hidden, size.intermediate) for size, _ in found.rates] == [(BASE.hidden, BASE.intermediate), (32, 64)]
    assert found.dtype.value == "fp32"
    assert "train.bf16" in found.dtype.reason
    assert (found.engine.value, found.engine.reason) == (chosen.engine.name, chosen.reason)


@pytest.mark.parametrize("model", ["roberta-base", "distilbert-base-uncased"])
def test_a_base_size_model_is_measured_once(model: str) -> None:
    found = diagnose(read_recipe({"data": {"dataset": "demo"}, "backbone": {"model": model}}))
    assert [size for size, _ in found.rates] == [BASE]


@pytest.mark.parametrize("why_not", [None, "no compiler"])
@pytest.mark.parametrize(("dtype", "load"), [("bf16", "load"), ("fp32", "load_fp32")])
def test_kernels_of_a_type_are_in_use_where_they_load(
    monkeypatch: pytest.MonkeyPatch, dtype: str, load: str, why_not: str | None
) -> None:
    monkeypatch.setattr(kernels, load, lambda: why_not)
    monkeypatch.setattr(device, "device", lambda: torch.device("cpu"))
    config, head = known_config("roberta-base"), Head()
    assert doctor.kernels("loom", dtype, config, head) == Choice(why_not is None, why_not or "compiled, and loaded")


def test_doctor_says_of_kernels_that_a_compiler_was_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "load_fp32", lambda: None)
    monkeypatch.setattr(kernels, "passed_over", lambda: "CXX=clang-99 is no compiler")
    monkeypatch.setattr(device, "device", lambda: torch.device("cpu"))
    said = "compiled, and loaded; CXX=clang-99 is no compiler"
    assert doctor.kernels("loom", "fp32", known_config("roberta-base"), Head()) == Choice(True, said)


@pytest.mark.parametrize("widths", [(48, 6, 96), (48, 3, 100)])
@pytest.mark.parametrize(("dtype", "why_not"), [("fp32", "multiples of 16"), ("bf16", "multiples of 64")])
def test_kernels_that_load_are_not_in_use_where_the_engine_takes_plain_torch(
    monkeypatch: pytest.MonkeyPatch, dtype: str, why_not: str, widths: tuple[int, int, int]
) -> None:
    for load in ("load", "load_fp32"):
        monkeypatch.setattr(kernels, load, lambda: None)
    monkeypatch.setattr(device, "device", lambda: torch.device("cpu"))
    hidden, heads, inner = widths
    narrow = BertConfig(hidden_size=hidden, num_attention_heads=heads, intermediate_size=inner)
    found = doctor.kernels("loom", dtype, narrow, Head())
    assert not found.value
    assert why_not in found.reason


def test_the_trainer_engine_uses_no_kernels(monkeypatch: pytest.MonkeyPatch, tiny_recipe: dict[str, Any]) -> None:
    for load in ("load", "load_fp32"):
        monkeypatch.setattr(kernels, load, lambda: pytest.fail("loaded, or compiled"))
    found = diagnose(read_recipe(tiny_recipe | {"engine": "trainer"}))
    assert (found.engine.value, found.kernels.value) == ("trainer", False)


@pytest.mark.parametrize(("more", "advised"), [(3, True), (0, False), (-1, True)])
def test_threads_that_do_not_match_the_cores_are_noted_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, more: int, advised: bool
) -> None:
    cores = 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores - more)
    facts = replace(machine.read_machine(), physical_cores=cores, logical_cores=cores)
    monkeypatch.setattr(machine, "read_machine", lambda: facts)
    assert any(f"OMP_NUM_THREADS={cores}" in note for note in diagnose().notes) == advised


def test_the_remedy_names_the_variable_that_torch_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two, MKL's is the one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.setattr(machine, "quota_threads", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    facts = replace(machine.read_machine(), physical_cores=4, logical_cores=4)
    monkeypatch.setattr(machine, "read_machine", lambda: facts)
    (note,) = [note for note in diagnose().notes if note.startswith("torch uses 1 of 4 cores")]
    assert note.endswith("(OMP_NUM_THREADS=4 and MKL_NUM_THREADS=1): set MKL_NUM_THREADS=4 to train faster")


@pytest.mark.parametrize(("said", "why"), [("2", ""), ("8", ", of which torch takes 2")])
def test_a_number_of_threads_that_torch_does_not_take_is_not_given_as_the_reason(
    monkeypatch: pytest.MonkeyPatch, said: str, why: str
) -> None:
    """MKL takes no more than there are cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "quota_threads", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert diagnose().threads.reason == f"OMP_NUM_THREADS={said}{why}"


@pytest.mark.parametrize("quota", [2, 3])
def test_threads_that_are_as_many_as_a_quota_gives_are_said_to_be(monkeypatch: pytest.MonkeyPatch, quota: int) -> None:
    monkeypatch.setattr(machine, "quota_threads", lambda: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert (diagnose().threads.reason == "as many as the quota of processor time has cores for") == (quota == 2)


@pytest.mark.parametrize("share", [0.5, 2])
def test_a_busy_machine_is_noted(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 100)
    monkeypatch.setattr(os, "getloadavg", lambda: (share * machine.BUSY_SHARE * 100, 0.0, 0.0))
    assert any("load average" in note for note in diagnose().notes) == (share > 1)


def test_a_machine_that_does_not_tell_its_load_is_diagnosed_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> tuple[float, float, float]:
        raise OSError("load averages are unobtainable")

    monkeypatch.setattr(os, "getloadavg", unknown)
    assert not any("load average" in note for note in diagnose().notes)


def test_cores_that_others_take_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm_rates, "_measured", lambda *_: replace(RATES, one_thread=True))
    assert any("other programs take the cores" in note for note in diagnose().notes)


def test_a_cpu_trains_one_trial_at_a_time_until_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "device", lambda: torch.device("cpu"))
    advice = pack_advice("loom", DEMO, "fp32", by_kernels=False)
    assert advice.value == 1
    assert "joined were measured" in advice.reason
    assert pack_advice("trainer", DEMO, "fp32", by_kernels=False).value == 1


def test_people_see_every_fact_and_choice_with_its_reason() -> None:
    found = diagnose()
    facts = replace(found.machine, cpu="a [fast] one", instructions=(), cpu_quota_cores=1.5)
    text = io.StringIO()
    print_diagnosis(
        Console(file=text, width=400),
        replace(found, machine=facts, model="a/[model]", gpu=Gpu("[B]100", 2, 80, 70.5), notes=("mind [this]",)),
    )
    said = text.getvalue()
    for part in (
        "a [fast] one",
        "none of those that matter",
        "quota gives 1.5",
        "[B]100, 80.0 GB, 70.5 GB free; the first of 2",
        "used for a/[model]",
        "3.0 ×",
        found.dtype.reason,
        found.engine.reason,
        found.kernels.reason,
        found.threads.reason,
        found.trials_per_pack.reason,
        "note: mind [this]",
    ):
        assert part in said


def test_fp16_stands_in_the_table_where_it_was_measured() -> None:
    found, shown = diagnose(), list[str]()
    for rates in (RATES, replace(RATES, fp16=12e9, fp16_best=13e9)):
        text = io.StringIO()
        print_diagnosis(Console(file=text, width=400), replace(found, rates=((BASE, rates), (DEMO, rates))))
        shown.append(" ".join(text.getvalue().split()))
    assert "fp16" not in shown[0]
    assert "under a type: all products of an encoder layer together; best: the fastest one of them" in shown[0]
    assert "bf16 / fp32 fp16 best base, a layer of 768 × 3072 2 3 6 7 3.0 × 12 13" in shown[1]


def test_what_is_not_known_is_not_made_up() -> None:
    text = io.StringIO()
    print_diagnosis(Console(file=text, width=400), replace(diagnose(), disk_free_gb=None, memory_available_gb=None))
    assert "unknown free" in text.getvalue()
    assert "available" not in text.getvalue()
