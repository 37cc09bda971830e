"""Which layers a recipe names, and what is said where the model has not got them."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertConfig, ViTConfig

from loraloom.backbone import sources
from loraloom.backbone.adapting import Shapes, describe
from loraloom.backbone.targets import resolve
from loraloom.budget import Linear
from loraloom.errors import BackboneError
from loraloom.recipe import Configuration, Head, Lora


def _targets(model: str = "distilbert-base-uncased", **lora: Any) -> tuple[str, ...]:
    configuration = Configuration.model_validate({"backbone": {"model": model}, "lora": lora})
    return Shapes(("a", "b")).adaptation(sources.find(model), configuration).targets


def test_an_unknown_target_lists_those_that_the_model_has() -> None:
    with pytest.raises(BackboneError) as caught:
        _targets(target_modules=["query"])
    assert str(caught.value) == (
        "lora.target_modules: the model has no 'query'; it has q_lin, k_lin, v_lin, out_lin, lin1, lin2, or all-linear"
    )


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        ("roberta-base", ["query", "key", "value", "attention.output.dense"]),
        ("microsoft/mpnet-base", [f"attention.attn.{letter}" for letter in "qkvo"]),
    ],
)
def test_layers_of_a_common_name_or_a_letter_for_one_are_known_by_their_place(model: str, kinds: list[str]) -> None:
    listed = ", ".join([*kinds, "intermediate.dense", "output.dense"])
    with pytest.raises(BackboneError, match=f"the model has no 'x'; it has {listed}, or all-linear"):
        _targets(model, target_modules=["x"])


def test_a_target_that_the_chosen_layers_have_not_is_refused() -> None:
    """As where only some layers have experts."""
    linears = Linear("layer.0.router", "router", 0, 8, 8, True), Linear("layer.1.query", "query", 1, 8, 8, True)
    with pytest.raises(BackboneError, match=r"^lora: no layer is left to adapt; widen"):
        resolve(Lora(target_modules=("router",), layers_to_transform=(1,)), linears, "nomic_bert")


def test_a_part_of_a_name_is_no_target() -> None:
    with pytest.raises(BackboneError, match="the model has no 'lin'"):
        _targets(target_modules=["lin"])


def test_a_layer_out_of_range_names_the_range() -> None:
    with pytest.raises(BackboneError, match="6 is not a layer of the model; it has 0 to 5"):
        _targets(layers_to_transform=[5, 6])


def test_only_the_named_layers_are_adapted() -> None:
    names = _targets(target_modules=["q_lin"], layers_to_transform=[1, 5])
    assert names == ("transformer.layer.1.attention.q_lin", "transformer.layer.5.attention.q_lin")


def test_the_upper_half_is_of_the_model_s_own_layers() -> None:
    names = _targets(target_modules=["q_lin"], layers_to_transform="top-half")
    assert names == tuple(f"transformer.layer.{layer}.attention.q_lin" for layer in (3, 4, 5))


@pytest.mark.parametrize(
    ("model", "ends"),
    [
        ("roberta-base", {"query", "value"}),
        ("distilbert-base-uncased", {"q_lin", "v_lin"}),
        ("microsoft/mpnet-base", {"q", "v"}),
        ("answerdotai/ModernBERT-base", {"Wqkv"}),
    ],
)
def test_queries_and_values_are_adapted_by_default(model: str, ends: set[str]) -> None:
    assert {name.split(".")[-1] for name in _targets(model)} == ends


@pytest.mark.parametrize(
    ("architecture", "names", "chosen"),
    [
        ("camembert", ("query", "key", "value"), ("query", "value")),
        ("esm", ("query", "key", "value"), ("query", "value")),
        ("eurobert", ("q_proj", "k_proj", "v_proj"), ("q_proj", "v_proj")),
    ],
)
def test_queries_and_values_are_found_where_peft_knows_no_default(
    architecture: str, names: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    linears = tuple(Linear(f"layer.0.attention.{name}", name, 0, 8, 8, True) for name in names)
    assert resolve(Lora(), linears, architecture) == tuple(f"layer.0.attention.{name}" for name in chosen)
    with pytest.raises(BackboneError, match=f"there is no default for a {architecture} model; name some of {names[1]}"):
        resolve(Lora(), linears[1:2], architecture)


@pytest.mark.parametrize("lora", [Lora(), Lora(target_modules="all-linear", layers_to_transform=(1,))])
def test_a_model_without_linear_layers_is_refused_as_that(lora: Lora) -> None:
    with pytest.raises(BackboneError, match=r"no layer of this model \(ibert\)"):
        resolve(lora, (), "ibert")


def test_all_linear_leaves_embeddings_poolers_and_heads_alone() -> None:
    names = _targets("google/electra-small-discriminator", target_modules="all-linear")
    assert len(names) == 12 * 6
    assert all(name.startswith("encoder.layer.") for name in names)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (ViTConfig(), "backbone.model: 'a' is a vit model, which takes no texts"),
        (
            BertConfig(hidden_size=30, num_attention_heads=4),
            "no bert model can be built of its config.json: The hidden",
        ),
        (BertConfig(hidden_act="unheard-of"), "no bert model can be built of its config.json: "),
        (BertConfig(vocab_size=5, pad_token_id=9), "no bert model can be built of its config.json: Padding_idx must"),
    ],
    ids=["images", "sizes", "activation", "padding"],
)
def test_a_model_that_has_no_shape_for_texts_is_refused(config: Any, why: str) -> None:
    with pytest.raises(BackboneError, match=why):
        describe("a", config, Head(kind="linear"), ("x", "y"))
