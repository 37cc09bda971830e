"""The number type that a run goes on in, where both engines have trained for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.synthetic import synthetic_record
from loraloom.engine import precision
from loraloom.engine.gemm_rates import GemmRates
from loraloom.execute.kept_type import another_type_here, kept_type
from loraloom.recipe import read_recipe
from loraloom.study.durable import write_manifest
from loraloom.study.record import write_record

AUTO = {"data": {"dataset": "demo"}, "lora": {"r": [2, 4]}}


def _run(path: Path, recipe: dict[str, Any], *ended: tuple[str, str]) -> Any:
    """A run whose trials each ended with such an engine, in such a type."""
    run = SimpleNamespace(path=path, recipe=read_recipe(recipe))
    for number, (engine, dtype) in enumerate(ended):
        folder = path / "trials" / f"{number:04d}"
        folder.mkdir(parents=True)
        record = synthetic_record(run.recipe, number, {"lora.r": 2}, None, seconds=1.0, state="failed", reason="lost")
        write_record(folder, record.model_copy(update={"engine": engine, "dtype": dtype}))
        write_manifest(folder)
    return run


@pytest.mark.parametrize(
    ("ended", "kept"),
    [
        ([("trainer", "fp32"), ("loom", "fp16")], "fp16"),
        ([("loom", "fp16"), ("trainer", "bf16")], "fp16"),
        ([("none", "fp32"), ("trainer", "bf16")], "bf16"),
        ([("none", "fp32")], None),
    ],
)
def test_what_was_measured_is_what_loom_trained_in_since_the_trainer_has_no_fp16(
    tmp_path: Path, ended: list[tuple[str, str]], kept: str | None
) -> None:
    assert kept_type(_run(tmp_path, AUTO, *ended)) == kept


def test_a_checkpoint_of_loom_says_it_where_only_the_trainer_has_ended_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "loraloom.engine.checkpoint.type_begun_in", lambda folder: "fp16" if folder.name == "0001" else None
    )
    run = _run(tmp_path, AUTO, ("trainer", "fp32"))
    (tmp_path / "trials" / "0001").mkdir()
    assert kept_type(run) == "fp16"


@pytest.mark.parametrize(
    ("recipe", "engine", "said"),
    [
        (AUTO, "loom", "the run's trials stay in fp32; this machine would take fp16: "),
        (AUTO, "trainer", None),  # which has no fp16
        (AUTO | {"train": {"fp16": False}}, "loom", None),
    ],
)
def test_fp16_is_no_other_type_where_it_could_not_be_taken(
    recipe: dict[str, Any], engine: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_t4 = GemmRates(fp32=4e12, bf16=2e12, fp32_best=5e12, bf16_best=3e12, fp16=3e13)
    monkeypatch.setattr(precision, "measure", lambda: as_a_t4)
    found = another_type_here("fp32", read_recipe(recipe), engine)
    assert found is None if said is None else str(found).startswith(said)
