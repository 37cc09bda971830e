"""The compiled kernels in bf16 against plain torch in fp32: a step's loss and gradients, with the same masks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from loraloom.backbone.quiet import quietly
from loraloom.engine.loom import kernels
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.ops import PlainOps
from loraloom.recipe import Lora
from tests.numerics.architectures import CONFIGS, save_model
from tests.numerics.both import add_lora, build, gradients_of, key_bias, pack_of, rounded, rows_for, targets
from tests.numerics.tolerances import TOLERANCES

REASON = kernels.load()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.05}
NAMES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 64, "hidden_dim": 128, "initializer_range": 0.05},
    "electra": {**WIDTHS, "embedding_size": 32},
}

DROPOUT = {"modernbert": dict.fromkeys(("embedding_dropout", "attention_dropout", "mlp_dropout"), 0.1)}
"""ModernBERT's own are 0; the others' are 0.1."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Models of widths that the kernels take: multiples of 64, heads of 32."""

    @cache
    def folder(architecture: str) -> Path:
        small = CONFIGS[architecture]()
        config = type(small)(**{**small.to_dict(), **DROPOUT.get(architecture, {}), **NAMES.get(architecture, WIDTHS)})
        with quietly():
            return save_model(architecture, tmp_path_factory.mktemp(architecture) / "model", config)

    return folder


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("lora_dropout", [0.0, 0.2])
@pytest.mark.parametrize("bias", ["none", "all"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_step_by_the_kernels_is_that_of_plain_torch_but_for_rounding(
    folders: Any, architecture: str, bias: str, lora_dropout: float, pooling: str
) -> None:
    # DistilBERT's own head has a ReLU: a value that rounding turns negative takes its whole gradient with it.
    head = "linear" if architecture == "distilbert" else "native"
    built = build(folders(architecture), architecture, head=head, pooling=pooling, dropout="keep")
    base = rounded(built, torch.bfloat16)
    fields = {"r": 4, "bias": bias, "lora_dropout": lora_dropout, "target_modules": targets("all-linear", architecture)}
    lora = Lora.model_validate(fields)
    model = add_lora(base, lora)
    encoded, batch = rows_for(architecture, [1, 20, 7, 33, 12, 2, 38, 16])

    def step(ops: PlainOps, dtype: torch.dtype) -> tuple[float, dict[str, Tensor]]:
        pack = pack_of(base, [model], [lora], ops=ops, dtype=dtype)
        ((loss_sum, _),) = pack.run([encoded], [batch], [8.0]).read()
        return loss_sum, gradients_of(pack)

    loss, expected = step(PlainOps(), torch.float32)
    _, plain = step(PlainOps(), torch.bfloat16)
    found_loss, found = step(CompiledOps(), torch.bfloat16)
    assert found_loss == pytest.approx(loss, rel=TOLERANCES.loss_bf16)
    largest = max(float(value.norm()) for value in expected.values())
    errors, usual = {}, {}
    for name, value in expected.items():
        size = largest if key_bias(name) else float(value.norm())
        errors[name], usual[name] = (float((own[name] - value).norm()) / size for own in (found, plain))
        assert errors[name] <= TOLERANCES.gradient_bf16, f"{name}: off by {errors[name]:.3g} of its norm"
    mean = sum(errors.values()) / len(errors)
    usual_mean = sum(usual.values()) / len(usual)
    assert mean <= TOLERANCES.gradient_bf16_mean
    assert mean <= TOLERANCES.beside_plain_bf16 * usual_mean
