"""A frozen product with LoRA and biases beside it: y = x (W + s B A)^T + bias, each trial's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.ops import FrozenLinear, PlainOps
from loraloom.engine.loom.parameters import Parameters, lay_out
from loraloom.engine.loom.projection import Part, Projection

OPS = PlainOps()
PARTS = (Part("q", 0, 4), Part("k", 4, 8), Part("v", 8, 12))
SCALES = torch.tensor([0.5, 2.0]).double().view(2, 1, 1)
WEIGHT, FROZEN_BIAS, X = (
    torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for seed, shape in enumerate([(12, 6), (12,), (2, 7, 6)])
)


def parameters(names: tuple[str, ...], ranks: tuple[int, int] = (2, 3)) -> Parameters:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        return {"lora_A": (rank, 6), "lora_B": (4, rank), "bias": (4,)}[name.split(".")[1]]

    trials = [
        {name: torch.randn(shape(name, rank), generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
         for name in names}
        for rank in ranks
    ]  # fmt: skip
    layout = lay_out(names, {name: [tuple(own[name].shape) for own in trials] for name in names}, frozenset())
    return Parameters(layout, trials, torch.float64, torch.device("cpu"))


def projection(held: Parameters) -> Projection:
    made = Projection(FrozenLinear(WEIGHT), PARTS, FROZEN_BIAS, held, SCALES)
    made.refresh()
    return made


def expected(held: Parameters, trial: int, x: Tensor) -> Tensor:
    """By PEFT's formula, module by module."""
    outputs = []
    for part in PARTS:
        own = {name: held.of_trial(held.values, trial, name) for name in held.layout.shapes}
        weight, bias = WEIGHT[part.start : part.stop], FROZEN_BIAS[part.start : part.stop]
        if f"{part.name}.lora_A" in own:
            weight = weight + SCALES[trial] * own[f"{part.name}.lora_B"] @ own[f"{part.name}.lora_A"]
        outputs.append(x @ weight.T + own.get(f"{part.name}.bias", bias))
    return torch.cat(outputs, dim=-1)


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("q.bias", "k.bias", "v.bias"),
        ("q.lora_A", "v.lora_A", "q.lora_B", "v.lora_B"),
        ("k.lora_A", "k.lora_B", "k.bias"),
        ("q.lora_A", "k.lora_A", "v.lora_A", "q.lora_B", "k.lora_B", "v.lora_B", "v.bias"),
    ],
    ids=lambda names: "+".join(names) or "frozen",
)
def test_the_output_is_that_of_the_adapted_weight(names: tuple[str, ...]) -> None:
    held = parameters(names) if names else parameters(("other.bias",))
    made = projection(held)
    product, _ = made.product(X, OPS, [None] * len(made.adapted))
    y = OPS.linear(X, product)
    assert made.trained == bool(names)
    for trial in range(2):
        torch.testing.assert_close(y[trial], expected(held, trial, X[trial]))


def test_a_new_step_is_seen_after_a_refresh() -> None:
    held = parameters(("q.lora_A", "q.lora_B", "q.bias"))
    made = projection(held)
    held.values.mul_(-2)
    made.refresh()
    product, _ = made.product(X, OPS, [None])
    torch.testing.assert_close(OPS.linear(X, product)[1], expected(held, 1, X[1]))


def test_dropout_before_a_draws_a_mask_for_each_module() -> None:
    held = parameters(("q.lora_A", "v.lora_A", "q.lora_B", "v.lora_B"), (2, 2))
    made, noise = projection(held), Noise((1, 2), (0, 0))
    drops = (noise.drop(1, 0.5), noise.drop(2, 0.5))
    product, saved = made.product(X, OPS, drops)
    assert product.low is not None
    assert saved.drops == drops
    for place, (drop, name) in enumerate(zip(drops, ("q.lora_A", "v.lora_A"), strict=True)):
        assert drop is not None
        own = drop.apply(X) @ held.view(held.values, name).mT
        torch.testing.assert_close(product.low.left[..., 2 * place : 2 * place + 2], own)


def test_gradients_are_added_to_those_that_are_there() -> None:
    held = parameters(("q.lora_A", "q.lora_B", "q.bias"))
    made = projection(held)
    _, saved = made.product(X, OPS, [None])
    dy = torch.ones(2, 7, 12, dtype=torch.float64)
    made.collect(dy, saved, OPS, need_input=False)
    once = held.gradients.clone()
    made.collect(dy, saved, OPS, need_input=False)
    torch.testing.assert_close(held.gradients, 2 * once)


def test_no_product_for_the_input_is_given_where_none_is_needed() -> None:
    held = parameters(("q.lora_A", "q.lora_B"))
    made = projection(held)
    _, saved = made.product(X, OPS, [None])
    assert made.collect(torch.ones(2, 7, 12).double(), saved, OPS, need_input=False) == (None, None)
