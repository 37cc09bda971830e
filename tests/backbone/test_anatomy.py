"""What is read of each architecture's configuration, and the reason that is given where loom can't follow it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from transformers import AutoModelForSequenceClassification as Classifier
from transformers import (
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
)

from loraloom.backbone.anatomy import Anatomy, anatomy
from loraloom.recipe import Head
from tests.numerics.architectures import CONFIGS

NATIVE = Head()


def read(config: Any, **head: str) -> Anatomy:
    found = anatomy(config, Head.model_validate(head))
    assert not isinstance(found, str)
    return found


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_name_is_that_of_a_module_of_transformers_model(architecture: str, pooling: str) -> None:
    config = CONFIGS[architecture]()
    model = cast(Any, Classifier).from_config(config)
    found = read(config, pooling=pooling)
    prefix = model.base_model_prefix
    modules = {name for name, _ in model.named_modules()}
    block = found.block
    within = (*block.qkv, block.out, block.up, block.down, block.mlp_norm, block.attention_norm)
    embedding = found.embedding
    tables = [embedding.word, embedding.norm, embedding.position, embedding.token_type, embedding.project]
    outside = [*tables, found.final_norm, found.relative_bias]
    names = {f"{prefix}.{found.layers}.1.{name}" for name in within}
    names |= {f"{prefix}.{name}" for name in outside if name is not None}
    names |= {str(name) for step, name in found.head if step in ("linear", "norm")}
    assert names <= modules
    assert found.layer_count == 2
    assert (found.hidden, found.heads) == (32, 2)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (DebertaV2Config(), "deberta-v2 is not among the architectures that it knows (bert, roberta"),
        (BertConfig(hidden_act="relu"), "the activation 'relu' is not gelu"),
        (ElectraConfig(hidden_act="gelu_new"), "the activation 'gelu_new' is not gelu"),
        (DistilBertConfig(activation="relu"), "the activation 'relu' is not gelu"),
        (cast(Any, DistilBertConfig)(activation="relu", hidden_act="gelu"), "the activation 'relu' is not gelu"),
        (ModernBertConfig(hidden_activation="silu"), "the activation 'silu' is not gelu"),
        (ModernBertConfig(classifier_activation="relu"), "the head's activation 'relu' is not gelu"),
        (ModernBertConfig(local_attention=1), "windows of attention without a neighbour (local_attention 1) are not"),
        (BertConfig(is_decoder=True), "the model is a decoder"),
    ],
)
def test_what_loom_cant_follow_is_said(config: Any, reason: str) -> None:
    found = anatomy(config, NATIVE)
    assert isinstance(found, str)
    assert reason in found


def test_an_activation_that_the_architecture_does_not_read_is_no_reason() -> None:
    assert read(cast(Any, DistilBertConfig)(hidden_act="relu")).hidden == 768


def test_positions_that_are_not_embedded_are_refused() -> None:
    """transformers has dropped them; old checkpoints still name them."""
    config: Any = BertConfig()
    config.position_embedding_type = "relative_key"
    assert anatomy(config, NATIVE) == "positions of type 'relative_key' are not computed"


def test_scaled_rotary_positions_are_refused() -> None:
    config: Any = ModernBertConfig()
    for parameters in config.rope_parameters.values():
        parameters["rope_type"] = "linear"
    assert anatomy(config, NATIVE) == "its rotary positions are scaled, which is not computed"


def test_each_layer_of_modernbert_has_its_window_and_its_base() -> None:
    config = cast(Any, ModernBertConfig)(num_hidden_layers=4, global_attn_every_n_layers=3, local_attention=128)
    found = read(config)
    assert found.windows == (0, 64, 64, 0)
    assert found.rope_thetas == (160_000.0, 10_000.0, 10_000.0, 160_000.0)


@pytest.mark.parametrize(("own", "expected"), [(None, 0.25), (0.5, 0.5)])
def test_a_heads_dropout_is_the_classifiers_own_or_the_encoders(own: float | None, expected: float) -> None:
    for head in ({}, {"kind": "linear"}):
        found = read(BertConfig(hidden_dropout_prob=0.25, classifier_dropout=own), **head)
        assert ("dropout", expected) in found.head


def test_positions_begin_behind_the_padding_where_the_architecture_has_it_so() -> None:
    roberta = read(RobertaConfig(pad_token_id=5)).embedding
    assert roberta.pad == 5
    mpnet = read(MPNetConfig(pad_token_id=0)).embedding  # transformers fixes it at 1
    assert mpnet.pad == 1
    bert = read(BertConfig(pad_token_id=7)).embedding
    assert bert.pad is None


def test_modernbert_may_pool_by_mean_of_itself() -> None:
    assert read(ModernBertConfig(classifier_pooling="mean")).mean_pooling
    assert not read(ModernBertConfig(classifier_pooling="cls")).mean_pooling
