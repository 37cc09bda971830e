"""The loss of a step, whole or in unequal batches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from loraloom.engine.objective import Objective, Running, class_weights
from loraloom.errors import TrialFailedError
from loraloom.recipe import Train


def outputs(logits: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=logits)


def test_a_step_in_unequal_batches_has_the_loss_of_the_whole() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    objective = Objective(Train(), None)
    parts = sum(objective(outputs(logits[a:b]), labels[a:b], 7) for a, b in ((0, 3), (3, 6), (6, 7)))
    assert float(parts) == pytest.approx(float(functional.cross_entropy(logits, labels)))


def test_label_smoothing_is_torchs() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    objective = Objective(Train.model_validate({"label_smoothing_factor": 0.2}), None)
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.2)
    assert float(objective(outputs(logits), labels)) == pytest.approx(float(expected))


def test_class_weights_are_torchs() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    weights = torch.tensor([0.5, 1.0, 2.0])
    expected = functional.cross_entropy(logits, labels, weight=weights, reduction="none")
    assert float(Objective(Train(), weights)(outputs(logits), labels)) == pytest.approx(float(expected.mean()))


def test_a_weighted_row_s_loss_is_least_at_its_smoothed_label_however_rare_another_class_is() -> None:
    train = Train.model_validate({"class_weight": "balanced", "label_smoothing_factor": 0.1})
    objective = Objective(train, class_weights(train, np.array([0] * 300 + [1] * 10), 2))
    logits = torch.tensor([[0.95, 0.05]]).log().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(outputs(logits), torch.tensor([0])), logits)
    torch.testing.assert_close(gradient, torch.zeros(1, 2))


def test_balanced_weights_are_one_on_average_and_heavier_for_rare_classes() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    weights = class_weights(Train.model_validate({"class_weight": "balanced"}), labels, 2)
    assert weights is not None
    assert weights.tolist() == pytest.approx([10 / 16, 10 / 4])
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    assert class_weights(Train(), labels, 2) is None


def test_a_class_without_training_rows_has_a_finite_weight() -> None:
    """Labels of a pack's filler may be of it, and count nothing."""
    weights = class_weights(Train.model_validate({"class_weight": "balanced"}), np.array([1, 1, 2]), 3)
    assert weights is not None
    assert weights.tolist() == pytest.approx([1, 1 / 2, 1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_fails_the_trial(bad: float) -> None:
    with pytest.raises(TrialFailedError, match=r"at step 1; lower train.learning_rate"):
        Objective(Train(), None)(outputs(torch.tensor([[bad, 0.0]])), torch.tensor([1]))


def test_running_figures_are_over_training_batches_alone() -> None:
    objective = Objective(Train(), None)
    objective(outputs(torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.0, 9.0]])), torch.tensor([1, 1, 1]))
    with torch.no_grad():
        objective(outputs(torch.tensor([[0.0, 9.0]])), torch.tensor([0]))
    _, accuracy = objective.take()
    assert accuracy == pytest.approx(2 / 3)


def test_a_step_s_loss_is_over_its_batches_and_the_next_begins_anew() -> None:
    running = Running()
    running.see(3.0, 1, 2, 4.0)
    running.see(5.0, 1, 2, 4.0)
    assert running.end_step() == 2.0
    running.see(1.0, 0, 1, 1.0)
    assert running.end_step() == 1.0
    assert running.take() == (9 / 5, 2 / 5)
    with pytest.raises(TrialFailedError, match="at step 3"):
        running.see(float("nan"), 0, 1, 1.0)
