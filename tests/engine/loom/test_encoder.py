"""What an encoder has beside its layers: relative positions, and a way that begins at a known hidden state."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import MPNetConfig
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from loraloom.backbone.anatomy import Embedding
from loraloom.engine.loom.encoder import _mean_backward
from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.relative import RelativePositions, relative_positions
from loraloom.engine.loom.tokens import lay_out
from loraloom.recipe import Lora
from tests.numerics.architectures import CONFIGS, encoded_rows, save_model
from tests.numerics.both import add_lora, build, gradients_of, pack_of, rows_for, targets


@pytest.mark.parametrize("size", [1, 64, 512])
def test_relative_positions_are_mpnets_own(size: int) -> None:
    encoder = cast(Any, MPNetEncoder)(MPNetConfig(num_attention_heads=3, hidden_size=12, num_hidden_layers=1))
    with torch.no_grad():
        expected = encoder.compute_position_bias(torch.zeros(1, size, 12))[0]
    assert torch.equal(relative_positions(encoder.relative_attention_bias.weight.detach(), size), expected)


def test_relative_positions_are_built_again_for_longer_texts_only() -> None:
    kept = RelativePositions(torch.randn(32, 3))
    assert kept.up_to(64).shape == (3, 64, 64)
    longest = kept.up_to(65)
    assert longest.shape == (3, 128, 128)
    assert kept.up_to(3) is longest


def test_a_pass_keeps_its_relative_positions_where_another_threads_pass_comes_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS["mpnet"]()
    config.max_position_embeddings = 80
    base = build(save_model("mpnet", tmp_path / "model", config), "mpnet")
    lora = Lora.model_validate({"target_modules": targets("q,v", "mpnet")})
    encoder = pack_of(base, [add_lora(base, lora)], [lora], ops=PlainOps()).encoder
    encoded, _ = rows_for("mpnet", (70, 3))
    long, short = (lay_out([encoded], [np.array([row])], base.anatomy.embedding) for row in (0, 1))
    expected = encoder.states(long, first=False)
    linear = PlainOps.linear

    def meanwhile(ops: PlainOps, *arguments: Any) -> torch.Tensor:
        """Within the long pass's first layer a short one goes through, to which nothing is kept yet."""
        monkeypatch.setattr(PlainOps, "linear", linear)
        assert encoder.frozen.relative is not None
        encoder.frozen.relative._kept = None
        encoder.states(short, first=False)
        return linear(ops, *arguments)

    monkeypatch.setattr(PlainOps, "linear", meanwhile)
    assert torch.equal(encoder.states(long, first=False), expected)


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_way_that_begins_at_the_lowest_adapted_layer_leaves_the_same_gradients(
    tmp_path: Path, architecture: str, pooling: str
) -> None:
    base = build(save_model(architecture, tmp_path / "model"), architecture, pooling=pooling)
    lora = Lora.model_validate({"layers_to_transform": [1], "target_modules": targets("q,v", architecture)})
    model = add_lora(base, lora)
    encoded, batch = rows_for(architecture)
    whole, begun = pack_of(base, [model], [lora]), pack_of(base, [model], [lora])
    assert begun.encoder.lowest == 1
    tokens = lay_out([encoded], [batch.rows], base.anatomy.embedding)
    prefix = begun.encoder.prefix(tokens, 1)
    (expected,) = whole.run([encoded], [batch], [3.0]).read()
    (found,) = begun.run([encoded], [batch], [3.0], prefix).read()
    assert found == expected
    ours, theirs = gradients_of(begun), gradients_of(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(begun.evaluator(0)(tokens, prefix), whole.evaluator(0)(tokens, None))


def test_nothing_is_kept_of_layers_below_the_lowest_adapted_one(tmp_path: Path) -> None:
    base = build(save_model("bert", tmp_path / "model"), "bert")
    lora = Lora.model_validate({"layers_to_transform": [1], "target_modules": ["query"]})
    pack = pack_of(base, [add_lora(base, lora)], [lora])
    encoded, batch = rows_for("bert")
    tokens = lay_out([encoded], [batch.rows], base.anatomy.embedding)
    _, way = pack.encoder.forward(tokens, Noise((0,), (0,)))
    assert len(way.kept) == 1
    _, way = pack.encoder.forward(tokens, None)
    assert way.kept == []
    _, kept = pack.encoder.layers[1].forward(pack.encoder.prefix(tokens, 1), way.at, first=False, keep=False)
    assert kept is None


@pytest.mark.parametrize(
    ("modules", "inputs"),
    [
        (["query", "value"], 32),
        (["attention.output.dense"], 32),
        (["intermediate.dense"], 32),
        ("all-linear", 3 * 32 + 48),
    ],
    ids=str,
)
def test_a_layer_keeps_what_its_way_back_reads_and_of_what_enters_products_that_of_adapted_ones(
    tmp_path: Path, modules: Any, inputs: int
) -> None:
    base = build(save_model("bert", tmp_path / "model"), "bert", pooling="mean")
    lora = Lora.model_validate({"target_modules": modules, "r": 1})
    pack = pack_of(base, [add_lora(base, lora)], [lora], ops=PlainOps())
    encoded, batch = rows_for("bert")
    tokens = lay_out([encoded], [batch.rows], base.anatomy.embedding)
    _, way = pack.encoder.forward(tokens, Noise((0,), (0,)))
    kept = way.kept[-1]
    low = [saved for saved in (kept.low_qkv, kept.low_out, kept.low_up, kept.low_down) if saved.u is not None]
    tensors = [kept.x, kept.qkv, kept.context, kept.r1, kept.a, kept.r2, *(t for own in low for t in (own.x, own.u))]
    values = {tensor.data_ptr(): tensor.numel() for tensor in tensors if tensor is not None}
    ranks = sum(saved.u.shape[-1] for saved in low if saved.u is not None)
    assert sum(values.values()) == tokens.ids.numel() * ((3 + 2) * 32 + 48 + inputs + ranks)


def test_the_gradient_of_a_mean_is_shared_among_all_tokens_of_a_text_in_bf16_too() -> None:
    """Which has no number between 256 and 258."""
    tokens = lay_out([encoded_rows([257, 257], seed=0)], [np.array([0, 1])], Embedding("word", "norm"))
    shared = _mean_backward(torch.ones(1, 2, 8, dtype=torch.bfloat16), tokens)
    assert torch.equal(shared, torch.full((1, 2 * 257, 8), 1 / 257, dtype=torch.bfloat16))
