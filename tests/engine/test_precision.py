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


@pytest.mark.parametrize("bf16", [True, False])
def test_what_the_recipe_says_is_taken_without_measuring(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    monkeypatch.setattr(precision, "measure", lambda: pytest.fail("measured"))
    dtype, reason = precision.explain_dtype(Train(bf16=bf16))
    assert dtype == ("bf16" if bf16 else "fp32")
    assert f"train.bf16 is {str(bf16).lower()}" in reason
