"""One batch through PEFT's model by autograd, and through loom's forward and backward: the same loss and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from loraloom.backbone.classifier import encoder_of
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.pack import Batch
from loraloom.engine.loom.setting import lowest_layer
from loraloom.engine.loom.tokens import lay_out
from loraloom.recipe import Lora, Train
from tests.numerics.architectures import CONFIGS, QKVO, save_model
from tests.numerics.both import (
    DEVICE,
    Base,
    add_lora,
    assert_near,
    build,
    gradients_of,
    pack_of,
    padded,
    reference_gradients,
    rows_for,
    targets,
)
from tests.numerics.conftest import Bases
from tests.numerics.covering import covering
from tests.numerics.tolerances import TOLERANCES

NORMALISER = 5.0
ARCHITECTURES = list(CONFIGS)
OPTIONS = {
    "architecture": ARCHITECTURES,
    "bias": ["none", "all", "lora_only"],
    "chosen": ["q,v", "q,k,v,o", "all-linear"],
    "head": ["native", "linear"],
    "pooling": ["native", "mean"],
}


def compare(
    base: Base, lora: Lora, *, dtype: torch.dtype, train: Train | None = None, lengths: tuple[int, ...] = ()
) -> None:
    """A batch through both."""
    train = Train() if train is None else train
    weights = torch.tensor([0.5, 1.0, 2.0]) if train.class_weight == "balanced" else None
    encoded, batch = rows_for(base.architecture, lengths) if lengths else rows_for(base.architecture)
    model = add_lora(base, lora, dtype=dtype)
    loss, expected = reference_gradients(
        base, model, encoded, batch, NORMALISER, class_weights=weights, smoothing=train.label_smoothing_factor
    )
    pack = pack_of(base, [model], [lora], [train], [weights])
    ((loss_sum, _),) = pack.run([encoded], [batch], [NORMALISER]).read()
    assert max(0, pack.encoder.lowest) == lowest_layer(lora, base.anatomy)
    wide = dtype == torch.float64
    assert loss_sum == pytest.approx(loss, rel=TOLERANCES.loss_fp64 if wide else TOLERANCES.loss)
    assert_near(
        gradients_of(pack),
        expected,
        tolerance=TOLERANCES.gradient_fp64 if wide else TOLERANCES.gradient,
        floor=TOLERANCES.gradient_floor_fp64 if wide else TOLERANCES.gradient_floor,
    )


@pytest.mark.parametrize("row", covering(OPTIONS, 3), ids=lambda row: "-".join(row.values()))
def test_loss_and_gradients_are_those_of_autograd_through_peft(base_of: Bases, row: dict[str, str]) -> None:
    """Of any three options together."""
    architecture, bias, chosen, head, pooling = row.values()
    base = base_of(architecture, head, pooling)
    lora = Lora.model_validate({"r": 3, "bias": bias, "target_modules": targets(chosen, architecture)})
    compare(base, lora, dtype=torch.float32)


@pytest.mark.parametrize(
    ("bias", "chosen", "head", "pooling"),
    [
        ("none", "q,v", "native", "native"),
        ("all", "all-linear", "linear", "mean"),
        ("lora_only", "q,k,v,o", "native", "mean"),
    ],
)
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "modernbert"])
def test_in_fp64_they_agree_closely(
    base_of: Bases, architecture: str, bias: str, chosen: str, head: str, pooling: str
) -> None:
    """But for ModernBERT: transformers turns its queries and keys in fp32, whatever the model's type."""
    lora = Lora.model_validate({"r": 3, "bias": bias, "target_modules": targets(chosen, architecture)})
    compare(base_of(architecture, head, pooling), lora, dtype=torch.float64)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(("chosen", "bias"), [("q,v", "none"), ("all-linear", "lora_only")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_where_one_layer_alone_is_adapted(
    base_of: Bases, architecture: str, chosen: str, bias: str, layer: int
) -> None:
    fields = {"bias": bias, "target_modules": targets(chosen, architecture), "layers_to_transform": [layer]}
    compare(base_of(architecture), Lora.model_validate(fields), dtype=torch.float32)


@pytest.mark.parametrize("module", [0, 2, 3])
@pytest.mark.parametrize("bias", ["none", "lora_only"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_where_one_module_alone_is_adapted(base_of: Bases, architecture: str, bias: str, module: int) -> None:
    """The way back ends within the layer, at a place of its own for each module."""
    names = QKVO[architecture]
    fields = {"bias": bias, "target_modules": [names[module % len(names)]], "layers_to_transform": [0]}
    compare(base_of(architecture, pooling="mean"), Lora.model_validate(fields), dtype=torch.float32)


@pytest.mark.parametrize("module", ["up", "down"])
@pytest.mark.parametrize("bias", ["none", "lora_only"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_where_the_mlp_alone_is_adapted(base_of: Bases, architecture: str, bias: str, module: str) -> None:
    base = base_of(architecture)
    name = getattr(base.anatomy.block, module)
    compare(base, Lora.model_validate({"bias": bias, "target_modules": [name]}), dtype=torch.float32)


@pytest.mark.parametrize("fields", [{"use_rslora": True, "r": 5}, {"lora_alpha": 7.5}, {"r": 40}])
def test_the_scale_is_pefts(base_of: Bases, fields: dict[str, Any]) -> None:
    compare(base_of("bert"), Lora.model_validate(fields), dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("head", ["native", "linear"])
def test_gradients_of_smoothed_and_weighted_losses(base_of: Bases, head: str, weights: str, smoothing: float) -> None:
    train = Train.model_validate({"label_smoothing_factor": smoothing, "class_weight": weights})
    compare(base_of("roberta", head), Lora(), dtype=torch.float64, train=train)


@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1), (37, 1), (5, 5, 5, 5)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_of_texts_of_one_token_of_the_longest_and_of_equal_lengths(
    base_of: Bases, architecture: str, lengths: tuple[int, ...]
) -> None:
    lora = Lora.model_validate({"bias": "all", "target_modules": "all-linear"})
    compare(base_of(architecture), lora, dtype=torch.float32, lengths=lengths)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_of_several_passes_add_up(base_of: Bases, architecture: str) -> None:
    base = base_of(architecture)
    lora = Lora.model_validate({"target_modules": targets("q,v", architecture)})
    encoded, batch = rows_for(architecture)
    model = add_lora(base, lora)
    _, expected = reference_gradients(base, model, encoded, batch, NORMALISER)
    pack = pack_of(base, [model], [lora])
    for part in (slice(0, 2), slice(2, 3), slice(3, None)):
        pack.run([encoded], [Batch(batch.rows[part], batch.labels[part])], [NORMALISER])
    assert_near(gradients_of(pack), expected, tolerance=TOLERANCES.gradient, floor=TOLERANCES.gradient_floor)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_trials_of_different_rank_each_have_the_gradients_that_peft_gives_them(
    base_of: Bases, architecture: str
) -> None:
    base = base_of(architecture)
    fields = {"bias": "all", "target_modules": "all-linear"}
    loras = [Lora.model_validate(fields | {"r": r, "lora_alpha": 8 * r % 11 + 1}) for r in (1, 4, 2)]
    models = [add_lora(base, lora, seed=seed) for seed, lora in enumerate(loras)]
    encoded, batch = rows_for(architecture)
    batches = [Batch(rows, batch.labels[rows]) for rows in (batch.rows[:4], batch.rows[1:2], batch.rows[::-1].copy())]
    pack = pack_of(base, models, loras)
    losses = pack.run([encoded] * 3, batches, [1.0, 3.0, 7.0]).read()
    for number, (model, own, normaliser) in enumerate(zip(models, batches, [1.0, 3.0, 7.0], strict=True)):
        loss, expected = reference_gradients(base, model, encoded, own, normaliser)
        assert losses[number][0] == pytest.approx(loss, rel=TOLERANCES.loss)
        assert_near(
            gradients_of(pack, number), expected, tolerance=TOLERANCES.gradient, floor=TOLERANCES.gradient_floor
        )


@pytest.mark.parametrize(("head", "pooling"), [("native", "native"), ("linear", "mean")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_evaluation_gives_the_logits_of_peft(base_of: Bases, architecture: str, head: str, pooling: str) -> None:
    base = base_of(architecture, head, pooling, "keep")  # evaluation drops nothing
    lora = Lora.model_validate({"target_modules": targets("q,v", architecture), "lora_dropout": 0.5})
    encoded, batch = rows_for(architecture)
    model = add_lora(base, lora).eval()
    pack = pack_of(base, [model, model], [lora, lora])
    found = pack.evaluator(1)(lay_out([encoded], [batch.rows], base.anatomy.embedding, DEVICE), None).cpu()
    ids, mask = padded(architecture, encoded, batch.rows)
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCES.logits * float(expected.abs().max()))


UNUSUAL: list[tuple[str, dict[str, Any]]] = [
    (
        "modernbert",
        {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True, "norm_eps": 1e-3},
    ),
    ("modernbert", {"classifier_pooling": "mean"}),
    ("modernbert", {"global_attn_every_n_layers": 1}),
    ("electra", {"embedding_size": 32}),
    ("bert", {"layer_norm_eps": 1e-3}),
    ("roberta", {"pad_token_id": 4, "type_vocab_size": 2}),
    ("bert", {"num_hidden_layers": 1}),
    ("bert", {"num_hidden_layers": 4, "num_attention_heads": 4}),
]


@pytest.mark.parametrize(("architecture", "fields"), UNUSUAL, ids=str)
def test_gradients_of_unusual_configurations(tmp_path: Path, architecture: str, fields: dict[str, Any]) -> None:
    usual = CONFIGS[architecture]()
    folder = save_model(architecture, tmp_path / "model", type(usual)(**{**usual.to_dict(), **fields}))
    lora = Lora.model_validate({"bias": "all", "target_modules": "all-linear"})
    compare(build(folder, architecture), lora, dtype=torch.float32)


DROPOUTS: dict[str, dict[str, float]] = {
    **{
        name: {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.35}
        for name in ("bert", "roberta", "xlm-roberta", "electra", "mpnet")
    },
    "distilbert": {"dropout": 0.1, "attention_dropout": 0.2, "seq_classif_dropout": 0.35},
    "modernbert": {
        "embedding_dropout": 0.1, "attention_dropout": 0.2, "mlp_dropout": 0.3, "classifier_dropout": 0.4
    },
}  # fmt: skip


def scaled(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As torch.nn.functional.dropout is called."""
    return x * (1 - p) if training else x


@pytest.mark.parametrize(("head", "pooling"), [("native", "native"), ("linear", "mean")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_dropout_is_where_transformers_and_peft_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, head: str, pooling: str
) -> None:
    """Both engines draw other masks: here each dropout scales its input by its own 1 - p instead."""
    usual = CONFIGS[architecture]()
    folder = save_model(architecture, tmp_path / "model", type(usual)(**{**usual.to_dict(), **DROPOUTS[architecture]}))
    base = build(folder, architecture, head=head, pooling=pooling, dropout="keep")
    cast(Any, encoder_of(base.model)).set_attn_implementation("eager")  # SDPA drops within itself
    monkeypatch.setattr(functional, "dropout", scaled)
    monkeypatch.setattr(Drop, "kept", lambda drop, shape, index: torch.ones(shape, dtype=torch.bool, device=DEVICE))
    monkeypatch.setattr(Drop, "scale", property(lambda drop: 1 - drop.p))
    fields = {"bias": "all", "target_modules": targets("all-linear", architecture), "lora_dropout": 0.45}
    compare(base, Lora.model_validate(fields), dtype=torch.float32)
