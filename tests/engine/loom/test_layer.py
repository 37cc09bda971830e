"""A layer computed for first tokens alone is the same layer; for its backward see tests/numerics/test_backward.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.tokens import lay_out
from loraloom.recipe import Lora
from tests.numerics.architectures import CONFIGS, save_model
from tests.numerics.both import add_lora, build, pack_of, rows_for, targets


@pytest.mark.parametrize("architecture", CONFIGS)
def test_first_tokens_alone_come_out_as_they_do_among_all(tmp_path: Path, architecture: str) -> None:
    base = build(save_model(architecture, tmp_path / "model"), architecture)
    lora = Lora.model_validate({"bias": "all", "target_modules": targets("all-linear", architecture)})
    models = [add_lora(base, lora, seed=seed, dtype=torch.float64) for seed in (0, 1)]
    pack = pack_of(base, models, [lora] * 2)
    encoded, batch = rows_for(architecture)
    tokens = lay_out([encoded] * 2, [batch.rows, batch.rows[:2]], base.anatomy.embedding)
    x = pack.encoder.prefix(tokens, 1)
    at = pack.encoder._pass(tokens, None)
    layer = pack.encoder.layers[1]
    whole, _ = layer.forward(x, at, first=False)
    alone, _ = layer.forward(x, at, first=True)
    expected = whole.reshape(-1, whole.shape[-1])[tokens.first].view_as(alone)
    torch.testing.assert_close(alone, expected, rtol=1e-10, atol=1e-12)


def test_attentions_masks_are_the_same_for_first_tokens_alone(tmp_path: Path) -> None:
    """An element's number is counted by rows of all tokens, whichever are asked for."""
    base = build(save_model("bert", tmp_path / "model"), "bert", dropout="keep")
    lora = Lora()
    pack = pack_of(base, [add_lora(base, lora, dtype=torch.float64)], [lora])
    encoded, batch = rows_for("bert")
    tokens = lay_out([encoded], [batch.rows], base.anatomy.embedding)
    weights = pack.encoder.layers[0].weights
    qkv = torch.randn(1, tokens.ids.shape[1], 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drop = Noise((1,), (2,)).drop(0, 0.5)
    whole = pack.encoder.ops.attention(qkv, tokens, replace(weights.attention, drop=drop))
    alone = pack.encoder.ops.attention(qkv, tokens, replace(weights.attention, drop=drop, first=True))
    torch.testing.assert_close(alone, whole[:, tokens.first])
