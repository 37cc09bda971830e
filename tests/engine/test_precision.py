"""The type of a trial: as the recipe says, or by the measured rates of a layer."""

from __future__ import annotations

import pytest

from loraloom.engine import precision
from loraloom.engine.gemm_rates import GemmRates
from loraloom.recipe import Train


@pytest.mark.parametrize(("faster", "dtype"), [(1.1, "bf16"), (0.9, "fp32")])
def test_bf16_is_taken_where_a_layer_is_faster_by_what_is_worthwhile(
    monkeypatch: pytest.MonkeyPatch, faster: float, dtype: str
) -> None:
    ratio = faster * precision.WORTHWHILE
    monkeypatch.setattr(precision, "measure", lambda: GemmRates(1, ratio, fp32_best=9, bf16_best=9))
    assert precision.choose_dtype(Train()) == dtype
    assert f"{ratio:.1f} ×" in precision.explain_dtype(Train())[1]


T4, P100, A100 = (5, 4, 22), (8, 0, 16), (15, 160, 160)
"""FLOP/s of a kind in fp32, bf16 and fp16: by their makers' figures, about."""


@pytest.mark.parametrize(
    ("rates", "train", "dtype"),
    [
        (T4, {}, "fp16"),
        (P100, {}, "fp16"),
        (A100, {}, "bf16"),  # whose numbers do not end at 65,504
        ((15, 150, 160), {}, "bf16"),  # as it may be measured
        (T4, {"fp16": False}, "fp32"),
        (A100, {"fp16": False}, "bf16"),
        (T4, {"bf16": False}, "fp32"),  # what is said of bf16 is said of the type
        (A100, {"fp16": True}, "fp16"),
        (P100, {"bf16": True}, "bf16"),
    ],
)
def test_fp16_is_taken_where_bf16_is_slow_or_the_recipe_says_so(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[float, float, float], train: dict[str, bool], dtype: str
) -> None:
    fp32, bf16, fp16 = rates
    monkeypatch.setattr(precision, "measure", lambda: GemmRates(fp32, bf16, 1, 1, fp16=fp16))
    assert precision.choose_dtype(Train.model_validate(train)) == dtype


def test_the_trainer_has_no_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "measure", lambda: GemmRates(5, 4, 1, 1, fp16=22))
    for fp16 in ("auto", True):
        assert precision.choose_dtype(precision.without_fp16(Train(fp16=fp16))) == "fp32"


@pytest.mark.parametrize("bf16", [True, False])
def test_what_the_recipe_says_is_taken_without_measuring(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    monkeypatch.setattr(precision, "measure", lambda: pytest.fail("measured"))
    dtype, reason = precision.explain_dtype(Train(bf16=bf16))
    assert dtype == ("bf16" if bf16 else "fp32")
    assert f"train.bf16 is {str(bf16).lower()}" in reason
