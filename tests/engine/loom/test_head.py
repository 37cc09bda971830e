"""The head's loss: each trial's cross entropy is torch's, and its own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from loraloom.engine.loom.head import Head, Target, cross_entropy
from loraloom.engine.loom.noise import Noise
from loraloom.engine.loom.parameters import Parameters, lay_out

LABELS = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
WEIGHTS = torch.tensor([[0.5, 1.0, 2.0], [1.0, 1.0, 1.0]]).double()
SMOOTHING = torch.tensor([[0.2], [0.3]]).double()


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def target(weights: torch.Tensor | None, real: torch.Tensor | None = None) -> Target:
    return Target(
        LABELS, torch.ones(2, 4).double() if real is None else real, torch.ones(2).double(), weights, SMOOTHING
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])
def test_each_trials_losses_are_torchs_times_the_weights_of_their_classes(weights: torch.Tensor | None) -> None:
    logits = drawn(2, 4, 3)
    found = cross_entropy(logits, target(weights))
    for trial in range(2):
        expected = functional.cross_entropy(
            logits[trial], LABELS[trial], label_smoothing=float(SMOOTHING[trial]), reduction="none"
        )
        own = 1.0 if weights is None else weights[trial, LABELS[trial]]
        torch.testing.assert_close(found[trial], expected * own)


def head() -> tuple[Head, Parameters]:
    shapes = {"out.weight": (3, 5), "out.bias": (3,)}
    layout = lay_out(list(shapes), {name: [shape] * 2 for name, shape in shapes.items()}, frozenset())
    values = [{name: drawn(*shape, seed=seed) for name, shape in shapes.items()} for seed in (1, 2)]
    parameters = Parameters(layout, values, torch.float64, torch.device("cpu"))
    steps = (("dropout", 0.4), ("linear", "out"))
    return Head(steps, parameters, {}, 1e-5), parameters  # type: ignore[arg-type]


def test_filler_has_no_loss_and_no_gradient() -> None:
    tested, parameters = head()
    real = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]).double()
    pooled = drawn(2, 4, 5)
    scored = tested.score(pooled, target(None, real), Noise((1, 2), (0, 0)))
    assert scored.examples[1, 1:].eq(0).all()
    assert scored.gradient[1, 1:].eq(0).all()
    before = parameters.gradients.clone()
    parameters.gradients.zero_()
    pooled[1, 1:] += 1
    tested.score(pooled, target(None, real), Noise((1, 2), (0, 0)))
    assert torch.equal(parameters.gradients, before)


def test_a_trials_gradient_is_over_its_own_normaliser() -> None:
    tested, parameters = head()
    pooled, noise = drawn(2, 4, 5), Noise((1, 2), (0, 0))
    tested.score(pooled, target(None), noise)
    before = parameters.gradients.clone()
    parameters.gradients.zero_()
    halved = Target(LABELS, torch.ones(2, 4).double(), torch.tensor([1.0, 2.0]).double(), None, SMOOTHING)
    tested.score(pooled, halved, noise)
    torch.testing.assert_close(parameters.gradients, before * torch.tensor([[1.0], [0.5]]).double())


def test_evaluation_drops_nothing() -> None:
    tested, parameters = head()
    pooled = drawn(2, 4, 5)
    weight, bias = (parameters.view(parameters.values, f"out.{kind}") for kind in ("weight", "bias"))
    torch.testing.assert_close(tested.logits(pooled), pooled @ weight.mT + bias.unsqueeze(1))
