"""A step of a pack: each trial is clipped, decayed and moved by itself. Whole trainings are in tests/numerics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from loraloom.engine.loom.pack import Member, Pack
from loraloom.recipe import Lora, Train
from tests.numerics.architectures import save_model
from tests.numerics.both import Base, add_lora, build, gradients_of, pack_of, rows_for


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return build(save_model("bert", tmp_path_factory.mktemp("bert") / "model"), "bert")


def pack(base: Base, *trains: dict[str, Any]) -> Pack:
    lora = Lora.model_validate({"bias": "all"})
    models = [add_lora(base, lora, seed=number) for number in range(len(trains))]
    made = [Train.model_validate({"optim": "sgd", "max_grad_norm": 0, **train}) for train in trains]
    return pack_of(base, models, [lora] * len(trains), made)


def values(found: Pack, number: int) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in found.trained(number).items()}


def accumulate(found: Pack) -> None:
    encoded, batch = rows_for("bert")
    found.run([encoded] * len(found.members), [batch] * len(found.members), [1.0] * len(found.members))


def test_sgd_moves_each_trial_by_its_own_rate(base: Base) -> None:
    found = pack(base, {}, {})
    accumulate(found)
    before, gradients = [values(found, k) for k in (0, 1)], [gradients_of(found, k) for k in (0, 1)]
    found.step([0.5, 0.25])
    for number, rate in enumerate((0.5, 0.25)):
        for name, value in values(found, number).items():
            torch.testing.assert_close(value, before[number][name] - rate * gradients[number][name])


def test_a_gradient_is_clipped_to_its_own_trials_norm(base: Base) -> None:
    found = pack(base, {"max_grad_norm": 0.25}, {}, {"max_grad_norm": 1e6})
    accumulate(found)
    before, gradients = [values(found, k) for k in range(3)], [gradients_of(found, k) for k in range(3)]
    found.step([1.0, 1.0, 1.0])
    norms = [sum(float(g.square().sum()) for g in own.values()) ** 0.5 for own in gradients]
    for number, factor in enumerate((0.25 / norms[0], 1.0, 1.0)):
        for name, value in values(found, number).items():
            expected = before[number][name] - factor * gradients[number][name]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


def test_a_pass_launches_as_many_products_for_four_trials_as_for_one(base: Base) -> None:
    launched = []
    for trials in (1, 4):
        found = pack(base, *[{}] * trials)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
            accumulate(found)
        # By what name a product goes depends on the processor and on the shape: addmm, mm, oneDNN's.
        launched.append(sum(one.count for one in seen.key_averages() if re.search(r"mm_?$|linear", one.key)))
    assert launched[0] == launched[1] > 0


def test_gradients_are_cleared_by_a_step(base: Base) -> None:
    found = pack(base, {})
    accumulate(found)
    assert bool(found.parameters.gradients.abs().sum() > 0)
    found.step([0.1])
    assert bool(found.parameters.gradients.eq(0).all())


@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_weight_decay_pulls_at_matrices_and_not_at_biases(base: Base, optim: str) -> None:
    found = pack(base, {"optim": optim, "weight_decay": 0.5})
    before = values(found, 0)
    found.step([0.1])  # without gradients
    for name, value in values(found, 0).items():
        factor = 1.0 if name.endswith("bias") else 1 - 0.1 * 0.5
        torch.testing.assert_close(value, factor * before[name])


def test_losses_of_a_pass_are_sums_over_the_trials_own_rows(base: Base) -> None:
    found = pack(base, {}, {"label_smoothing_factor": 0.5})
    encoded, batch = rows_for("bert")
    losses = found.run([encoded] * 2, [batch, batch], [1.0, 1000.0]).read()
    assert all(0 <= correct <= len(batch.rows) for _, correct in losses)
    ((alone, _),) = pack(base, {}).run([encoded], [batch], [1.0]).read()
    assert losses[0][0] == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 4.0), (True, 8.0)])
def test_a_members_scale_is_alpha_over_the_rank_or_its_root(rslora: bool, scale: float) -> None:
    lora = Lora.model_validate({"r": 4, "lora_alpha": 16, "use_rslora": rslora})
    assert Member(Train(), lora, {}, None).scale == scale


def test_a_state_is_cut_out_of_one_row_for_each_of_its_parts(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not of one for each parameter, which took seconds of each checkpoint of a large adapter."""
    found = pack(base, {"optim": "adam"})
    accumulate(found)
    found.step([0.5])
    made, zeros = [], torch.zeros_like

    def counted(*given: Any, **named: Any) -> torch.Tensor:
        made.append(given[0].shape)
        return zeros(*given, **named)

    monkeypatch.setattr(torch, "zeros_like", counted)
    state, _ = found.state(0)
    assert len(made) <= 4 < len(state)  # two parts of two pieces


def test_what_is_trained_can_be_written_back_by_name(base: Base, tmp_path: Path) -> None:
    found = pack(base, {})
    trained = found.trained(0)
    assert any(name.endswith(".lora_A") for name in trained)
    assert {"classifier.weight", "classifier.bias"} <= trained.keys()
    assert "bert.embeddings.LayerNorm.bias" in trained
