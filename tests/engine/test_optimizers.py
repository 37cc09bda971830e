"""A recipe's optimizer is torch's, with decay where transformers decays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from loraloom.engine.optimizers import MuonBesideAdamW, StackedMuon, build_optimizer
from loraloom.recipe import Train


def trained(optimizer_of: str, steps: int = 3, **fields: object) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = build_optimizer(
        Train.model_validate({"optim": optimizer_of, **fields}), model.named_parameters(), ["weight"]
    )
    for _ in range(steps):
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_adam_decays_by_l2_and_adamw_apart_from_the_gradient() -> None:
    decayed = trained("adam", weight_decay=0.1).weight, trained("adamw", weight_decay=0.1).weight
    plain = trained("adam").weight, trained("adamw").weight
    assert torch.equal(plain[0], plain[1])
    assert not torch.equal(decayed[0], decayed[1])


def _of_torch(name: str, weight: nn.Parameter, bias: nn.Parameter) -> list[torch.optim.Optimizer]:
    matrix, vector = {"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}
    match name:
        case "adam":
            return [torch.optim.Adam([matrix, vector], lr=0.02)]
        case "adamw":
            return [torch.optim.AdamW([matrix, vector], lr=0.02)]
        case "sgd":
            return [torch.optim.SGD([matrix, vector], lr=0.02)]
        case _:
            muon = torch.optim.Muon([matrix], lr=0.02, adjust_lr_fn="match_rms_adamw")
            return [muon, torch.optim.AdamW([vector], lr=0.02)]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_each_steps_as_torchs_does_at_the_recipe_s_rate_and_leaves_what_is_frozen(name: str) -> None:
    ours = trained(name, steps=3, learning_rate=0.02, weight_decay=0.1)
    torch.manual_seed(0)
    theirs = nn.Linear(4, 3)
    optimizers = _of_torch(name, *theirs.parameters())
    for _ in range(3):
        theirs(torch.ones(2, 4)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    theirs.bias.requires_grad_(False)
    built = build_optimizer(Train.model_validate({"optim": name}), theirs.named_parameters(), ["weight"])
    assert [p is theirs.weight for group in built.param_groups for p in group["params"]] == [True]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_biases_are_not_decayed(name: str) -> None:
    optimizer = build_optimizer(
        Train.model_validate({"optim": name, "weight_decay": 0.1}), nn.Linear(4, 3).named_parameters(), ["weight"]
    )
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {2: 0.1, 1: 0.0}


def test_muon_takes_matrices_and_leaves_the_rest_to_adamw() -> None:
    optimizer = build_optimizer(Train.model_validate({"optim": "muon"}), nn.Linear(4, 3).named_parameters(), [])
    assert isinstance(optimizer, MuonBesideAdamW)
    kinds = {type(part).__name__: [p.ndim for g in part.param_groups for p in g["params"]] for part in optimizer.parts}
    assert kinds == {"StackedMuon": [2], "AdamW": [1]}


def test_muon_over_matrices_of_many_shapes_steps_as_torchs_does_over_one_after_another() -> None:
    shapes = ((4, 24), (24, 4), (4, 24), (6, 6), (1, 24), (24, 1), (8, 48), (3, 5))
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
    without_gradient = nn.Parameter(torch.ones(4, 24))
    stacked = StackedMuon(
        [{"params": [*ours[:4], without_gradient], "weight_decay": 0.1}, {"params": ours[4:], "weight_decay": 0.0}],
        lr=0.02,
    )
    of_torch: torch.optim.Optimizer = torch.optim.Muon(
        [{"params": theirs[:4], "weight_decay": 0.1}, {"params": theirs[4:], "weight_decay": 0.0}],
        lr=0.02,
        adjust_lr_fn="match_rms_adamw",
    )
    for _ in range(4):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape, generator=generator)
            other.grad = own.grad.clone()
        stacked.step()
        of_torch.step()
    for own, other in zip(ours, theirs, strict=True):
        rounding = 4 * 0.02 * 0.2 * max(own.shape) ** 0.5 * 2**-8  # the iteration is in bf16
        torch.testing.assert_close(own, other, rtol=0, atol=rounding)
        assert torch.equal(stacked.state[own]["momentum_buffer"], of_torch.state[other]["momentum_buffer"])
    assert torch.equal(without_gradient, torch.ones(4, 24))


def test_muon_over_stacked_matrices_can_not_be_asked_for_another_size_of_its_updates() -> None:
    make: Any = StackedMuon
    with pytest.raises(TypeError, match="adjust_lr_fn"):
        make([nn.Parameter(torch.zeros(4, 8))], adjust_lr_fn="original")


def test_a_matrix_whose_gradient_is_not_a_number_spoils_no_other() -> None:
    spoilt, sound = nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.zeros(4, 8))
    spoilt.grad, sound.grad = torch.full((4, 8), torch.nan), torch.ones(4, 8)
    StackedMuon([spoilt, sound]).step()
    assert spoilt.isnan().all()
    assert sound.isfinite().all()


def test_muon_follows_the_rate_that_a_schedule_sets() -> None:
    model = nn.Linear(4, 3)
    optimizer = build_optimizer(Train.model_validate({"optim": "muon"}), model.named_parameters(), [])
    before = copy.deepcopy(model.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_muon_goes_on_from_its_saved_state_as_if_it_had_not_stopped() -> None:
    model = nn.Linear(4, 3)
    train = Train.model_validate({"optim": "muon"})

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()

    optimizer = build_optimizer(train, model.named_parameters(), [])
    step(model, optimizer)
    twin = copy.deepcopy(model)
    resumed = build_optimizer(train, twin.named_parameters(), [])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(model, optimizer)
    step(twin, resumed)
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)
