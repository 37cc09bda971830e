"""Plain torch in fp16, as a GPU has it, against plain torch in fp32: a step's loss and gradients, however small."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from loraloom.engine.loom.ops import PlainOps
from loraloom.recipe import Lora
from tests.numerics.architectures import CONFIGS
from tests.numerics.both import add_lora, build, gradients_of, key_bias, pack_of, rounded, rows_for, targets
from tests.numerics.conftest import Folders
from tests.numerics.tolerances import TOLERANCES


@pytest.mark.parametrize("normalisers", [(8.0, 1e-3), (8e6, 8e12)], ids=["usual", "tiny gradients"])
@pytest.mark.parametrize(("bias", "lora_dropout", "pooling"), [("none", 0.2, "mean"), ("all", 0.0, "native")])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_step_in_fp16_is_that_of_fp32_but_for_rounding(
    folder_of: Folders,
    architecture: str,
    bias: str,
    lora_dropout: float,
    pooling: str,
    normalisers: tuple[float, float],
) -> None:
    built = build(folder_of(architecture), architecture, head="linear", pooling=pooling, dropout="keep")
    base = rounded(built, torch.float16)
    fields: dict[str, Any] = {"r": 4, "bias": bias, "lora_dropout": lora_dropout}
    lora = Lora.model_validate(fields | {"target_modules": targets("all-linear", architecture)})
    models = [add_lora(base, lora, seed=number) for number in range(2)]
    encoded, batch = rows_for(architecture, [1, 9, 7, 12, 2, 5, 11, 6])

    def step(dtype: torch.dtype) -> tuple[list[float], list[dict[str, Tensor]]]:
        pack = pack_of(base, models, [lora] * 2, ops=PlainOps(), dtype=dtype)
        for _ in range(2):  # what a pass leaves is added to that of the one before
            seen = pack.run([encoded] * 2, [batch] * 2, list(normalisers))
        return [loss for loss, _ in seen.read()], [gradients_of(pack, number) for number in range(2)]

    losses, expected = step(torch.float32)
    found_losses, found = step(torch.float16)
    assert found_losses == pytest.approx(losses, rel=TOLERANCES.loss_fp16)
    for own, theirs in zip(found, expected, strict=True):
        largest = max(float(value.norm()) for value in theirs.values())
        for name, value in theirs.items():
            size = largest if key_bias(name) else float(value.norm())
            error = float((own[name] - value).norm()) / size
            assert error <= TOLERANCES.gradient_fp16, f"{name}: off by {error:.3g} of its norm"
