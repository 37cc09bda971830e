"""What the bf16 kernels are given, on a processor that can't run them: a step by their schemas is plain torch's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from loraloom.engine.loom import kernels
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.ops import PlainOps
from loraloom.recipe import Lora
from tests.engine.loom.kernels_in_python import in_python
from tests.numerics.architectures import CONFIGS
from tests.numerics.both import add_lora, assert_near, gradients_of, pack_of, rows_for, targets
from tests.numerics.conftest import Bases
from tests.numerics.tolerances import TOLERANCES

pytestmark = pytest.mark.skipif(kernels.load() is None, reason="the kernels themselves are tried here")


@pytest.fixture(scope="module", autouse=True)
def _kernels_in_python() -> Iterator[None]:
    with in_python():
        yield


@pytest.mark.parametrize(("pooling", "lora_dropout"), [("native", 0.3), ("mean", 0.0)])
@pytest.mark.parametrize("bias", ["none", "all"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_step_is_that_of_plain_torch(
    base_of: Bases, architecture: str, bias: str, lora_dropout: float, pooling: str
) -> None:
    base = base_of(architecture, "native", pooling, "keep")
    fields = {"r": 4, "bias": bias, "lora_dropout": lora_dropout, "target_modules": targets("all-linear", architecture)}
    lora = Lora.model_validate(fields)
    model = add_lora(base, lora, dtype=torch.float64)
    encoded, batch = rows_for(architecture)
    losses, gradients = [], []
    for ops in (PlainOps(), CompiledOps()):
        pack = pack_of(base, [model], [lora], ops=ops)
        ((loss, _),) = pack.run([encoded], [batch], [6.0]).read()
        losses.append(loss)
        gradients.append(gradients_of(pack))
    assert losses[1] == pytest.approx(losses[0], rel=TOLERANCES.loss_fp64)
    assert_near(gradients[1], gradients[0], tolerance=TOLERANCES.gradient_fp64, floor=TOLERANCES.gradient_floor_fp64)
