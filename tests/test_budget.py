"""The arithmetic of a budget against known numbers, against PEFT's own count, and its remedies applied."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.backbone import sources
from loraloom.backbone.adapting import Shapes
from loraloom.budget import (
    ACHIEVED_SHARE,
    OPTIMIZER_STATES,
    PROCESS_BYTES,
    STEP_FLOPS,
    Adaptation,
    Bias,
    Linear,
    ModelShape,
    count,
    estimate_memory_gb,
    estimate_seconds,
    largest_rank,
    per_rank,
    remedies,
)
from loraloom.recipe import Configuration, Head, Recipe, read_recipe
from tests.numerics.covering import covering
from tests.pages import text_of

MILLION = 1_000_000
MODELS = {
    "roberta-base": (12, "query"),
    "distilbert-base-uncased": (6, "q_lin"),
    "microsoft/mpnet-base": (12, "attn.q"),
    "google/electra-small-discriminator": (12, "output.dense"),
    "answerdotai/ModernBERT-base": (22, "Wo"),
}
BIASES: tuple[Bias, ...] = ("none", "lora_only", "all")


@functools.cache
def _shapes() -> Shapes:
    return Shapes(("World", "Sports", "Business", "Sci/Tech"))


def _adaptation(configuration: Configuration) -> Adaptation:
    return _shapes().adaptation(sources.find(configuration.backbone.model), configuration)


def _roberta(r: int, bias: str = "none", targets: Any = ("query", "value"), head: str = "native") -> Adaptation:
    lora = {"r": r, "bias": bias, "target_modules": targets}
    return _adaptation(Configuration.model_validate({"lora": lora, "head": {"kind": head}}))


# Known numbers


@pytest.mark.parametrize(
    ("adaptation", "parameters"),
    [
        ({"r": 8}, 888_580),
        ({"r": 11}, 999_172),
        ({"r": 8, "targets": ("query",)}, 741_124),
        ({"r": 4, "targets": ("query", "key", "value"), "bias": "all"}, 916_996),
        ({"r": 4, "bias": "lora_only"}, 759_556),
        ({"r": 1, "targets": "all-linear"}, 593_668 + 165_888),
        ({"r": 4, "targets": "all-linear", "head": "linear"}, 3_076 + 4 * 165_888),
    ],
)
def test_roberta_base_has_the_counts_of_the_contest(adaptation: dict[str, Any], parameters: int) -> None:
    assert count(_roberta(**adaptation)).trainable == parameters


@pytest.mark.parametrize(("head", "parameters"), [("native", 593_668), ("linear", 3_076)])
def test_roberta_base_has_the_known_heads(head: str, parameters: int) -> None:
    assert count(_roberta(4, head=head)).head == parameters


def test_one_projection_of_roberta_base_costs_18432_a_rank() -> None:
    assert per_rank(_roberta(4, targets=("query",))) == 18_432


@pytest.mark.parametrize(("head", "rank"), [("native", 11), ("linear", 27)])
def test_the_largest_rank_under_a_million_is_known(head: str, rank: int) -> None:
    assert largest_rank(_roberta(4, head=head), MILLION) == rank


def test_a_cap_below_the_head_alone_leaves_no_rank() -> None:
    assert largest_rank(_roberta(4), 593_667) == 0


def test_a_cap_of_the_head_alone_leaves_no_rank() -> None:
    assert largest_rank(_roberta(4), 593_668) == 0


def test_the_parts_add_up_to_the_whole() -> None:
    counted = count(_roberta(4, bias="all", targets="all-linear"))
    assert sum(part.parameters for part in counted.parts) == counted.trainable


@pytest.mark.parametrize(("layers", "said"), [([11], "1 layer × 8 × 768  (r"), (None, "12 layers × 8 × 768  (r")])
def test_a_part_says_of_how_many_layers_it_is(layers: list[int] | None, said: str) -> None:
    lora = {"r": 8, "layers_to_transform": layers}
    part, *_ = count(_adaptation(Configuration.model_validate({"lora": lora}))).parts
    assert part.formula.startswith(said)


# Against PEFT

_TARGETS = "default", "one", "all-linear"
_OPTIONS = {
    "model": tuple(MODELS),
    "targets": _TARGETS,
    "bias": BIASES,
    "head": ("native", "linear"),
    "layers": ("all",),
}
_CHOICES = [
    *(tuple(row.values()) for row in covering(_OPTIONS, 3)),
    *itertools.product(MODELS, ("default",), ("lora_only",), ("native", "linear"), ("first and last",)),
    *itertools.product(MODELS, ("all-linear",), ("all",), ("linear",), ("last",)),
]


@pytest.mark.parametrize(("model", "targets", "bias", "head", "layers"), _CHOICES)
def test_the_count_is_pefts_own(model: str, targets: str, bias: Bias, head: str, layers: str) -> None:
    depth, one = MODELS[model]
    lora = {
        "r": 3,
        "bias": bias,
        "target_modules": {"default": None, "one": one}.get(targets, targets),
        "layers_to_transform": {"first and last": [0, depth - 1], "last": [depth - 1]}.get(layers),
    }
    configuration = Configuration.model_validate({"backbone": {"model": model}, "lora": lora, "head": {"kind": head}})
    counted = count(_adaptation(configuration)).trainable
    assert counted == _shapes().peft_count(sources.find(model), configuration)


# The largest rank


@st.composite
def _adaptations(draw: st.DrawFn) -> Adaptation:
    widths = st.integers(1, 50)
    linears = tuple(
        Linear(f"layer.{i}.{kind}", kind, i, draw(widths), draw(widths), draw(st.booleans()))
        for i in range(draw(st.integers(1, 3)))
        for kind in ("query", "value")
    )
    biases = sum(linear.d_out for linear in linears if linear.bias) + draw(widths)
    shape = ModelShape(linears, 8, 3, 2, 1000, biases, draw(st.integers(1, 500)))
    names = tuple(linear.name for linear in linears)
    targets = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    return Adaptation(shape, tuple(targets), draw(st.integers(1, 9)), draw(st.sampled_from(BIASES)))


@settings(deadline=None)
@given(adaptation=_adaptations(), cap=st.integers(1, 5000))
def test_the_largest_rank_fits_and_the_next_does_not(adaptation: Adaptation, cap: int) -> None:
    rank = largest_rank(adaptation, cap)
    assert rank == 0 or count(replace(adaptation, r=rank)).trainable <= cap
    assert count(replace(adaptation, r=rank + 1)).trainable > cap


@settings(deadline=None)
@given(adaptation=_adaptations())
def test_a_cap_of_exactly_the_count_leaves_the_rank(adaptation: Adaptation) -> None:
    cap = count(adaptation).trainable
    assert (largest_rank(adaptation, cap), largest_rank(adaptation, cap - 1)) == (adaptation.r, adaptation.r - 1)


@settings(deadline=None)
@given(adaptation=_adaptations())
def test_one_more_rank_adds_what_per_rank_says(adaptation: Adaptation) -> None:
    more = count(replace(adaptation, r=adaptation.r + 1)).trainable
    assert more - count(adaptation).trainable == per_rank(adaptation)


# Remedies


@st.composite
def _over(draw: st.DrawFn) -> tuple[Recipe, int]:
    """A recipe and a cap that is under its count."""
    model = draw(st.sampled_from(sorted(MODELS)))
    depth, one = MODELS[model]
    layers = draw(st.sampled_from([None, [depth - 1], [0, 2, depth - 1]]))
    recipe = read_recipe(
        {
            "backbone": {"model": model},
            "lora": {
                "r": draw(st.integers(1, 64)),
                "bias": draw(st.sampled_from(BIASES)),
                "target_modules": draw(st.sampled_from([None, one, "all-linear"])),
                "layers_to_transform": layers,
            },
            "head": {"kind": draw(st.sampled_from(["native", "linear"]))},
        }
    )
    return recipe, draw(st.integers(1, count(_adaptation(recipe)).trainable - 1))


def _linear_head(recipe: Recipe) -> ModelShape | None:
    if recipe.head.kind == "linear":
        return None
    return _shapes().shape(sources.find(recipe.backbone.model), Head(kind="linear"))


def _set(recipe: Recipe, change: str) -> Recipe:
    return read_recipe(recipe.model_dump(), change.split(" and "))


@settings(max_examples=60, deadline=None)
@given(over=_over())
def test_every_remedy_fits_when_applied(over: tuple[Recipe, int]) -> None:
    recipe, cap = over
    for remedy in remedies(_adaptation(recipe), cap, _linear_head(recipe)):
        after = count(_adaptation(_set(recipe, remedy.change))).trainable
        assert (after, after <= cap) == (remedy.parameters, True), remedy
        assert not set(remedy.options) & set("[]{}"), "zsh takes them for a pattern"


@settings(max_examples=60, deadline=None)
@given(over=_over())
def test_a_rank_that_is_a_remedy_is_the_largest(over: tuple[Recipe, int]) -> None:
    recipe, cap = over
    for remedy in remedies(_adaptation(recipe), cap, _linear_head(recipe)):
        changed = _adaptation(_set(recipe, remedy.change))
        if "lora.r=" in remedy.change and changed.r < recipe.lora.r:
            assert count(replace(changed, r=changed.r + 1)).trainable > cap, remedy


@settings(max_examples=60, deadline=None)
@given(over=_over())
def test_a_change_is_offered_where_it_comes_to_just_the_cap(over: tuple[Recipe, int]) -> None:
    recipe, cap = over
    adaptation, linear = _adaptation(recipe), _linear_head(recipe)
    for remedy in remedies(adaptation, cap, linear):
        assert len(remedy.changes) > 1 or remedy in remedies(adaptation, remedy.parameters, linear)


def test_of_as_many_kinds_those_that_train_the_most_are_offered() -> None:
    widths = {"key": 18, "query": 10, "value": 24}
    linears = tuple(Linear(f"layer.0.{kind}", kind, 0, 8, width, bias=False) for kind, width in widths.items())
    shape = replace(ONE_LAYER, linears=linears)
    found = remedies(Adaptation(shape, tuple(linear.name for linear in linears), 1, "none"), 80, None)
    assert [(remedy.change, remedy.parameters) for remedy in found] == [("lora.target_modules=key,value", 10 + 26 + 32)]


@pytest.mark.parametrize("rank", [16, 27])
def test_the_linear_head_is_offered_where_it_alone_fits(rank: int) -> None:
    adaptation = _roberta(rank)
    found = remedies(adaptation, MILLION, _roberta(rank, head="linear").shape)
    changes = [remedy.change for remedy in found if remedy.change.startswith(("head", "lora.r"))]
    assert changes == ["lora.r=11", "head.kind=linear"]  # and not with a rank that it makes no room for


def test_the_linear_head_is_offered_with_the_larger_rank_that_it_makes_room_for() -> None:
    over: dict[str, Any] = {"r": 8, "bias": "lora_only", "targets": "all-linear"}
    adaptation, linear = _roberta(**over), _roberta(**over, head="linear")
    found = {remedy.change: remedy.parameters for remedy in remedies(adaptation, MILLION, linear.shape)}
    assert (found["lora.r=1"], found["head.kind=linear and lora.r=5"]) == (842_500, 915_460)


def test_a_head_that_makes_room_for_no_larger_rank_is_not_offered() -> None:
    over: dict[str, Any] = {"r": 8, "targets": "all-linear"}
    linear = _roberta(**over, head="linear").shape
    changes = [remedy.change for remedy in remedies(_roberta(**over), MILLION, replace(linear, head=593_668 - 1))]
    assert not [change for change in changes if "head" in change]


@pytest.mark.parametrize(("bias", "offered"), [("all", "lora_only"), ("lora_only", "none")])
def test_as_many_biases_are_left_as_fit(bias: str, offered: str) -> None:
    cap = count(_roberta(8, bias=offered)).trainable
    changes = [remedy.change for remedy in remedies(_roberta(8, bias=bias), cap, None)]
    assert [change for change in changes if "bias" in change] == [f"lora.bias={offered}"]


def test_as_many_layers_are_left_as_fit() -> None:
    cap = count(_roberta(8)).trainable - 1
    changes = [remedy.change for remedy in remedies(_roberta(8), cap, None)]
    assert f"lora.layers_to_transform={','.join(map(str, range(1, 12)))}" in changes


def test_a_pair_is_offered_where_no_single_change_fits() -> None:
    adaptation = _roberta(64)
    found = remedies(adaptation, 100_000, _roberta(64, head="linear").shape)
    assert [remedy.change for remedy in found] == ["head.kind=linear and lora.r=2"]


@pytest.mark.parametrize(
    ("cap", "changes"),
    [
        (
            10_000,
            [
                "lora.bias=none and lora.r=1",
                "lora.target_modules=query and lora.r=1",
                "lora.layers_to_transform=2,3,4,5 and lora.r=1",
            ],
        ),
        (5_000, ["lora.layers_to_transform=5 and lora.r=2"]),
        (1_500, []),
    ],
)
def test_a_smaller_rank_is_offered_with_another_change_where_neither_fits_alone(cap: int, changes: list[str]) -> None:
    lora = {"r": 8, "bias": "lora_only"}
    recipe = read_recipe({"backbone": {"model": "demo"}, "lora": lora, "head": {"kind": "linear"}})
    adaptation = Shapes(("a", "b")).adaptation(sources.find("demo"), recipe.configuration({}))
    assert [remedy.change for remedy in remedies(adaptation, cap, None)] == changes


@settings(max_examples=60, deadline=None)
@given(over=_over(), kind=st.integers(0, 99), bias=st.sampled_from(BIASES))
def test_where_nothing_is_offered_the_least_rank_with_one_change_is_too_much(
    over: tuple[Recipe, int], kind: int, bias: Bias
) -> None:
    recipe, cap = over
    if remedies(_adaptation(recipe), cap, _linear_head(recipe)):
        return
    kinds = sorted({linear.kind for linear in _adaptation(recipe).adapted})
    some = ["head.kind=linear", f"lora.target_modules={kinds[kind % len(kinds)]}"]
    some += [f"lora.bias={bias}"] * (BIASES.index(bias) < BIASES.index(recipe.lora.bias))
    for change in some:
        assert count(_adaptation(_set(recipe, f"lora.r=1 and {change}"))).trainable > cap, change


def test_fewer_targets_are_counted_as_they_would_be_applied() -> None:
    adaptation = _roberta(64, targets=tuple(f"layer.11.attention.self.{name}" for name in ("query", "value")))
    assert not [remedy for remedy in remedies(adaptation, 700_000, None) if "target_modules" in remedy.change]


def test_a_remedy_of_two_changes_can_be_pasted() -> None:
    (remedy,) = remedies(_roberta(64), 100_000, _roberta(64, head="linear").shape)
    assert remedy.options == "--set head.kind=linear --set lora.r=2"


def test_no_remedy_is_made_up_where_none_fits() -> None:
    assert remedies(_roberta(4), 1_000, _roberta(4, head="linear").shape) == ()


def test_a_larger_batch_needs_more_memory() -> None:
    small, large = (
        estimate_memory_gb(_roberta(4), batch=batch, tokens=64, states=2, halves=False) for batch in (8, 64)
    )
    assert small < large


ONE_LAYER = ModelShape(
    (Linear("layer.0.query", "query", 0, 8, 8, bias=False),),
    hidden=8,
    layers=1,
    attention_heads=2,
    frozen=1000,
    biases=0,
    head=10,
)


@pytest.mark.parametrize(("halves", "more"), [(False, 0), (True, 2 * 64)])
def test_memory_is_weights_what_is_trained_and_activations(halves: bool, more: int) -> None:
    found = estimate_memory_gb(
        Adaptation(ONE_LAYER, ("layer.0.query",), 1, "none"), batch=3, tokens=5, states=2, halves=halves
    )
    trained = (8 + 8 + 10) * (4 + 4 + 2 * 4)
    activations = 3 * 5 * 8 * (34 + 5 * 2 * 5 / 8) * (1 if halves else 2)
    assert 1e9 * found - PROCESS_BYTES == pytest.approx(4 * 1000 + more + trained + activations, abs=1)


def test_seconds_are_the_products_of_all_tokens_by_the_machines_rate() -> None:
    adaptation = Adaptation(replace(ONE_LAYER, layers=3), ("layer.0.query",), 1, "none")  # two of them without linears
    found = estimate_seconds(adaptation, rows=100, tokens=5, epochs=2, flops_per_second=1e6)
    forward = 2 * 64 + 3 * 4 * 5 * 8
    assert found == pytest.approx(100 * 2 * 5 * forward * STEP_FLOPS / (1e6 * ACHIEVED_SHARE))


def test_the_page_on_budgets_has_what_the_estimates_are_made_of() -> None:
    page, names = text_of("docs/budget.md"), {"adam": "Adam", "muon": "Muon", "sgd": "SGD"}
    states = ", ".join(f"{OPTIMIZER_STATES[optim]} for {name}" for optim, name in names.items())
    assert f"**Memory**: {PROCESS_BYTES / 1e9:g} GB for Python and its libraries" in page
    assert f"states of the optimizer ({states})" in page
    assert (ACHIEVED_SHARE, "over two fifths of the rate of matrix products" in page) == (2 / 5, True)
