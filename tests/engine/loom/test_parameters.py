"""One buffer of all trials' parameters: views by name, decayed ones first, and padding that stays zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loraloom.engine.loom.parameters import Layout, Parameters, lay_out

CPU = torch.device("cpu")
NAMES = ("a", "other_a", "b", "bias", "late")
DECAYED = frozenset({"a", "other_a", "b", "late"})


def trial(rank: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": (rank, 5), "other_a": (rank, 5), "b": (4, rank), "bias": (4,), "late": (2, 3)}
    return {name: torch.randn(sizes[name], generator=generator) for name in NAMES}


TRIALS = [trial(2, 0), trial(3, 1), trial(1, 2)]


def planned(trials: list[dict[str, Tensor]]) -> Layout:
    return lay_out(NAMES, {name: [tuple(own[name].shape) for own in trials] for name in NAMES}, DECAYED)


def parameters(dtype: torch.dtype = torch.float32) -> Parameters:
    return Parameters(planned(TRIALS), TRIALS, dtype, CPU)


def test_decayed_parameters_come_first_and_the_rest_keeps_its_order() -> None:
    layout = planned(TRIALS)
    assert list(layout.shapes) == ["a", "other_a", "b", "late", "bias"]
    assert layout.shapes["a"] == (3, 5)
    assert layout.shapes["b"] == (4, 3)
    assert (layout.decayed, layout.size) == (15 + 15 + 12 + 6, 15 + 15 + 12 + 6 + 4)


def test_each_trial_reads_its_own_values_in_its_own_shape() -> None:
    found = parameters()
    for number, own in enumerate(TRIALS):
        for name, value in own.items():
            assert torch.equal(found.of_trial(found.values, number, name), value)


def test_views_share_the_buffer() -> None:
    found = parameters()
    found.of_trial(found.values, 1, "b").zero_()
    assert bool((found.view(found.values, "b")[1] == 0).all())
    found.view(found.gradients, "bias").fill_(2)
    assert float(found.gradients.sum()) == 3 * 4 * 2


def test_a_span_is_neighbouring_matrices_as_one() -> None:
    found = parameters()
    span = found.span(found.values, ["a", "other_a"])
    assert span.shape == (3, 6, 5)
    assert torch.equal(span[:, :3], found.view(found.values, "a"))
    assert torch.equal(span[:, 3:], found.view(found.values, "other_a"))
    assert span.untyped_storage().data_ptr() == found.values.untyped_storage().data_ptr()


@pytest.mark.parametrize("names", [["other_a", "a"], ["a", "b"], ["a", "late"]])
def test_matrices_that_are_no_neighbours_have_no_span(names: list[str]) -> None:
    found = parameters()
    with pytest.raises(ValueError, match="do not lie one after the other"):
        found.span(found.values, names)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_padding_stays_zero_under_every_optimizer(optimizer: type[torch.optim.Optimizer]) -> None:
    """Gradients are zero there, since a padded row of A meets a padded column of B; weight decay keeps a zero."""
    found = parameters()
    padding = torch.ones_like(found.values)
    for number in range(3):
        for name in NAMES:
            found.of_trial(padding, number, name).zero_()
    assert bool(padding.sum() > 0)
    for number in range(3):
        row = torch.nn.Parameter(found.values[number])
        row.grad = found.gradients[number]
        stepping = optimizer([row], lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
        for step in range(5):
            for name in NAMES:
                found.of_trial(found.gradients, number, name).fill_(step - 1.5)
            stepping.step()
    assert bool((found.values[padding.bool()] == 0).all())
    assert bool((found.values[~padding.bool()] != 0).all())


def test_one_trial_alone_is_on_the_same_memory() -> None:
    found = parameters(torch.bfloat16)
    only = found.only(1)
    assert only.trials == 1
    assert torch.equal(only.of_trial(only.values, 0, "b"), TRIALS[1]["b"])
    found.values[1].fill_(7)
    found.refresh()
    assert bool((only.values == 7).all())
    assert bool((only.compute == 7).all())


def test_products_read_a_rounded_copy_that_is_brought_up_to_date() -> None:
    found = parameters(torch.bfloat16)
    assert found.values.dtype == torch.float32
    assert torch.equal(found.compute, found.values.bfloat16())
    found.values.add_(1)
    assert not torch.equal(found.compute, found.values.bfloat16())
    found.refresh()
    assert torch.equal(found.compute, found.values.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_read_the_values_themselves_where_nothing_is_rounded(dtype: torch.dtype) -> None:
    found = parameters(dtype)
    assert found.compute is found.values
    assert found.values.dtype == dtype
