"""Classifiers with weights: tiny random encoders, saved as safetensors and loaded as a run loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    AutoConfig,
    BertConfig,
    BertModel,
    BigBirdConfig,
    BigBirdModel,
    DistilBertConfig,
    EuroBertConfig,
    EuroBertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from loraloom.backbone import sources
from loraloom.backbone.adapting import adapt, trainable_parameters
from loraloom.backbone.classifier import (
    LinearHeadClassifier,
    build_pretrained,
    encoder_of,
    head_modules,
    linear_head_dropout,
    loaded_head,
    redraw_head,
    switch_dropout_off,
)
from loraloom.errors import BackboneError
from loraloom.recipe import Configuration, Lora

Kind = Literal["native", "linear"]
Pooling = Literal["native", "mean"]
LABELS = ("a", "b", "c")
_SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    RobertaModel(RobertaConfig(**_SIZES, pad_token_id=1)).save_pretrained(folder / "roberta")
    BertModel(BertConfig(**_SIZES)).save_pretrained(folder / "bert")
    BertModel(BertConfig(**_SIZES), add_pooling_layer=False).save_pretrained(folder / "bert_without_pooler")
    AlbertModel(AlbertConfig(**_SIZES, embedding_size=16)).save_pretrained(folder / "albert")
    sparse: dict[str, Any] = {"block_size": 2, "num_random_blocks": 1}
    BigBirdModel(BigBirdConfig(**_SIZES, **sparse)).save_pretrained(folder / "big_bird")
    special: dict[str, Any] = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    EuroBertModel(EuroBertConfig(**_SIZES, **special)).save_pretrained(folder / "eurobert")
    return {path.name: path for path in folder.iterdir()}


def _build(folder: Path, kind: Kind = "native", pooling: Pooling = "native", dropout: str = "keep") -> nn.Module:
    configuration = Configuration.model_validate(
        {
            "backbone": {"model": str(folder), "dropout": dropout},
            "head": {"kind": kind, "pooling": pooling},
        }
    )
    torch.manual_seed(1)
    return build_pretrained(sources.find(str(folder)), configuration, LABELS).eval()


def _batch(pad: int = 1, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids and mask (2, 7 + extra): a text of seven tokens and one of four, padded at the end."""
    ids = torch.randint(5, 60, (2, 7 + extra), generator=torch.Generator().manual_seed(2))
    mask = torch.zeros_like(ids)
    mask[0, :7] = mask[1, :4] = 1
    return ids.masked_fill(mask == 0, pad), mask


@torch.no_grad()
def _logits(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits


@torch.no_grad()
def _mean(encoder: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens (B, D), by a loop and without the encoder's hooks."""
    hidden = encoder.forward(input_ids=ids, attention_mask=mask).last_hidden_state
    return torch.stack([row[keep.bool()].mean(0) for row, keep in zip(hidden, mask, strict=True)])


@pytest.mark.parametrize("name", ["albert", "bert", "big_bird", "eurobert", "roberta"])
@pytest.mark.parametrize("kind", ["native", "linear"])
@pytest.mark.parametrize("pooling", ["native", "mean"])
def test_every_head_and_pooling_gives_finite_logits(
    models: dict[str, Path], name: str, kind: Kind, pooling: Pooling
) -> None:
    logits = _logits(_build(models[name], kind, pooling), *_batch())
    assert logits.shape == (2, len(LABELS))
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", ["albert", "bert", "big_bird", "eurobert", "roberta"])
@pytest.mark.parametrize("kind", ["native", "linear"])
def test_no_head_is_deaf_to_its_pooling(models: dict[str, Path], name: str, kind: Kind) -> None:
    native, mean = (_logits(_build(models[name], kind, pooling), *_batch()) for pooling in ("native", "mean"))
    own = name == "eurobert" and kind == "linear"  # its own choice is the mean of the tokens' logits
    assert torch.allclose(native, mean) == own


@pytest.mark.parametrize("name", ["albert", "bert", "big_bird", "eurobert", "roberta"])
def test_a_linear_head_reads_the_mean_of_the_real_tokens(models: dict[str, Path], name: str) -> None:
    model: Any = _build(models[name], "linear", "mean")
    ids, mask = _batch()
    expected = model.classifier(_mean(model.encoder, ids, mask))
    torch.testing.assert_close(_logits(model, ids, mask), expected)


def test_the_native_head_of_bert_pools_the_mean_of_the_real_tokens(models: dict[str, Path]) -> None:
    model: Any = _build(models["bert"], "native", "mean")
    ids, mask = _batch()
    pooled = model.bert.pooler(_mean(model.bert, ids, mask).unsqueeze(1))
    torch.testing.assert_close(_logits(model, ids, mask), model.classifier(pooled))


def test_the_native_head_of_albert_pools_the_mean_of_the_real_tokens(models: dict[str, Path]) -> None:
    model: Any = _build(models["albert"], "native", "mean")
    ids, mask = _batch()
    pooled = torch.tanh(model.albert.pooler(_mean(model.albert, ids, mask)))
    torch.testing.assert_close(_logits(model, ids, mask), model.classifier(pooled))


def test_the_native_head_of_eurobert_reads_the_mean_of_the_real_tokens(models: dict[str, Path]) -> None:
    model: Any = _build(models["eurobert"], "native", "mean")
    ids, mask = _batch()
    expected = model.classifier(model.activation(model.dense(_mean(model.model, ids, mask))))
    torch.testing.assert_close(_logits(model, ids, mask), expected)


def test_the_native_head_of_roberta_reads_the_mean_of_the_real_tokens(models: dict[str, Path]) -> None:
    model: Any = _build(models["roberta"], "native", "mean")
    ids, mask = _batch()
    expected = model.classifier(_mean(model.roberta, ids, mask).unsqueeze(1))
    torch.testing.assert_close(_logits(model, ids, mask), expected)


def test_a_linear_head_reads_the_first_token(models: dict[str, Path]) -> None:
    model: Any = _build(models["roberta"], "linear", "native")
    ids, mask = _batch()
    with torch.no_grad():
        first = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    torch.testing.assert_close(_logits(model, ids, mask), model.classifier(first))


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize(
    ("name", "pad"), [*((name, 0) for name in ("albert", "bert", "big_bird")), ("eurobert", 1), ("roberta", 1)]
)
def test_more_padding_does_not_change_the_logits(
    models: dict[str, Path], name: str, pad: int, pooling: Pooling
) -> None:
    model = _build(models[name], "native", pooling)
    ids, mask = _batch(pad)
    more = nn.functional.pad(ids, (0, 9), value=pad), nn.functional.pad(mask, (0, 9))
    torch.testing.assert_close(_logits(model, *more), _logits(model, ids, mask))


@pytest.mark.parametrize(
    ("config", "dropout"),
    [
        (DistilBertConfig(dropout=0.1, seq_classif_dropout=0.35), 0.35),
        (AlbertConfig(classifier_dropout_prob=0.25), 0.25),
        (BertConfig(hidden_dropout_prob=0.15), 0.15),
        (BertConfig(hidden_dropout_prob=0.15, classifier_dropout=0.0), 0.0),
    ],
)
def test_a_linear_head_has_the_dropout_of_the_architectures_own(config: Any, dropout: float) -> None:
    assert linear_head_dropout(config) == dropout


def test_without_dropout_no_layer_is_left_out_either() -> None:
    config: Any = AutoConfig.for_model("flaubert", dropout=0.1, attention_dropout=0.1, layerdrop=0.2)
    switch_dropout_off(config)
    assert (config.dropout, config.attention_dropout, config.layerdrop) == (0, 0, 0)


def test_big_bird_attends_alike_whatever_came_before(models: dict[str, Path]) -> None:
    model = _build(models["big_bird"], "linear")
    long = torch.randint(5, 60, (1, 30), generator=torch.Generator().manual_seed(3))
    first = _logits(model, long, torch.ones_like(long))
    _logits(model, long[:, :6], torch.ones_like(long[:, :6]))
    assert torch.equal(_logits(model, long, torch.ones_like(long)), first)


def test_the_positions_of_roberta_begin_after_the_padding_index(models: dict[str, Path]) -> None:
    encoder = encoder_of(_build(models["roberta"]))
    ids, mask = _batch()
    positions = ((torch.arange(7) + 2) * mask).masked_fill(mask == 0, 1)
    with torch.no_grad():
        own = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        given = encoder(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
    torch.testing.assert_close(own, given)


def test_weights_are_those_of_the_checkpoint(models: dict[str, Path]) -> None:
    saved = BertModel.from_pretrained(models["bert"]).state_dict()
    loaded = encoder_of(_build(models["bert"])).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())


def test_a_checkpoint_without_a_pooler_is_refused_with_a_hint_at_the_linear_head(
    models: dict[str, Path],
) -> None:
    with pytest.raises(BackboneError, match=r"pooler.*2 missing.*head\.kind: linear does without it"):
        _build(models["bert_without_pooler"], "native")


def test_a_linear_head_does_without_a_pooler(models: dict[str, Path]) -> None:
    logits = _logits(_build(models["bert_without_pooler"], "linear"), *_batch())
    assert bool(torch.isfinite(logits).all())


def test_damaged_weights_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((models["bert"] / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((models["bert"] / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(BackboneError, match=r"the weights of .* can't be loaded"):
        _build(tmp_path)


def test_dropout_off_makes_two_passes_in_train_mode_equal(models: dict[str, Path]) -> None:
    model = _build(models["bert"], dropout="off").train()
    assert torch.equal(_logits(model, *_batch()), _logits(model, *_batch()))


def test_dropout_is_kept_by_default(models: dict[str, Path]) -> None:
    model = _build(models["bert"]).train()
    assert not torch.equal(_logits(model, *_batch()), _logits(model, *_batch()))


def test_the_head_is_drawn_from_the_global_generator(models: dict[str, Path]) -> None:
    one: Any = _build(models["bert"], "linear")
    two: Any = _build(models["bert"], "linear")
    assert torch.equal(one.classifier.weight, two.classifier.weight)


@pytest.mark.parametrize("kind", ["native", "linear"])
def test_an_adapter_begins_as_no_change(models: dict[str, Path], kind: Kind) -> None:
    model = _build(models["roberta"], kind)
    before = _logits(model, *_batch())
    adapted = adapt(model, Lora(r=2)).eval()
    torch.testing.assert_close(_logits(adapted, *_batch()), before)


@pytest.mark.parametrize("kind", ["native", "linear"])
def test_only_the_adapter_its_biases_and_the_head_are_trained(models: dict[str, Path], kind: Kind) -> None:
    model = _build(models["bert"], kind)
    head = sum(p.numel() for name in head_modules(model) for p in model.get_submodule(name).parameters())
    lora, biases = 4 * 2 * (16 + 16), 4 * 16  # two targets in two layers, rank 2
    assert trainable_parameters(adapt(model, Lora(r=2))) == head + lora + biases


@pytest.fixture
def of_two_classes(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = RobertaConfig(**(_SIZES | {"num_labels": 2}), pad_token_id=1)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


def test_the_part_of_a_head_that_is_of_another_number_of_classes_is_drawn_anew(of_two_classes: Path) -> None:
    model = _build(of_two_classes)
    assert loaded_head(model) == {"classifier.dense.weight", "classifier.dense.bias"}
    weight = model.get_parameter("classifier.out_proj.weight")
    assert weight.shape == (3, 16)
    assert 0 < weight.std() < 0.04
    before = weight.clone()
    torch.manual_seed(2)
    redraw_head(model, loaded_head(model))
    assert not torch.equal(model.get_parameter("classifier.out_proj.weight"), before)


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (("C", "a", "b"), [1, 2, 0]),
        (("a", "b", "c"), [0, 1, 2]),
        (("x", "a", "b"), [0, 1, 2]),
        (("a", "A", "b"), [0, 1, 2]),
    ],
)
def test_a_head_of_the_same_classes_in_another_order_is_put_in_the_order_of_the_labels(
    tmp_path: Path, names: tuple[str, ...], places: list[int]
) -> None:
    config = RobertaConfig(**_SIZES, pad_token_id=1, id2label=dict(enumerate(names)))
    saved = RobertaForSequenceClassification(config)
    torch.nn.init.normal_(saved.classifier.out_proj.bias)
    saved.save_pretrained(tmp_path)
    model, layer = _build(tmp_path), saved.classifier.out_proj
    assert torch.equal(model.get_parameter("classifier.out_proj.weight"), layer.weight[places])
    assert torch.equal(model.get_parameter("classifier.out_proj.bias"), layer.bias[places])
    assert torch.equal(model.get_parameter("classifier.dense.weight"), saved.classifier.dense.weight)
    assert len(loaded_head(model)) == 4


def test_an_encoder_that_is_not_of_its_configuration_is_refused_with_names(of_two_classes: Path) -> None:
    path = of_two_classes / "config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 32', '"intermediate_size": 48'))
    with pytest.raises(BackboneError, match=r"no weights for roberta\.encoder\.layer\.0\..*\(6 missing\)"):
        _build(of_two_classes)


def test_a_linear_head_is_in_fp32_whatever_torchs_default_type_is_where_it_is_built() -> None:
    """As the encoder is, whose type is asked for; an adapter may be loaded anywhere."""
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    torch.set_default_dtype(torch.float64)
    try:
        head = LinearHeadClassifier(BertModel(config), dropout=0.0).new_head()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in head.parameters()} == {torch.float32}
