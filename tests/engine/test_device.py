"""Which GPUs this torch can use."""

from __future__ import annotations

import pytest

from loraloom.engine.device import _built_for


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((8, 6), ["sm_80", "sm_90"], True),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((7, 0), ["sm_50", "sm_70"], True),
        ((9, 0), ["sm_80", "compute_80"], True),
        ((12, 0), ["sm_90", "sm_120a"], True),
        ((8, 0), ["compute_90"], False),
        ((6, 1), [], True),
    ],
)
def test_a_gpu_is_one_that_torch_was_built_for(capability: tuple[int, int], built: list[str], runs: bool) -> None:
    assert _built_for(capability, built) is runs
