"""When a poor trial ends early, told through a ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.recipe import Recipe, read_recipe
from loraloom.search.pace import Pace
from loraloom.search.proposals import Proposals
from loraloom.search.pruning import make_pruner
from loraloom.study.ledger import Ledger

EVALUATIONS = 9


def _recipe(pruner: str) -> Recipe:
    return read_recipe(
        {"lora": {"r": list(range(1, 13))}, "search": {"pruner": pruner, "resource": "epochs"}},
    )


def _evaluations(folder: Path, pruner: str, qualities: list[float]) -> list[int]:
    """How many evaluations each trial was let do, the trials one after another."""
    recipe = _recipe(pruner)
    ledger = Ledger(folder / "study.db", make_pruner(recipe))
    proposals = Proposals(recipe, ledger, lambda _: None, Pace(), rows=(None, None))
    done = []
    for quality in qualities:
        proposal = proposals.next()
        assert proposal is not None
        step, goes_on = 0, True
        while goes_on and step < EVALUATIONS:
            step += 1
            goes_on = ledger.report(proposal.number, {step: quality})
        ledger.tell(proposal.number, "complete" if goes_on else "pruned", quality)
        done.append(step)
    return done


def test_without_a_pruner_every_trial_ends_as_planned(tmp_path: Path) -> None:
    assert _evaluations(tmp_path, "none", [0.9, 0.1, 0.2]) == [EVALUATIONS] * 3


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_pruner_ends_poor_trials_early(tmp_path: Path, pruner: str) -> None:
    done = _evaluations(tmp_path, pruner, [0.9, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert min(done[3:]) < EVALUATIONS


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_pruner_lets_the_best_so_far_go_on(tmp_path: Path, pruner: str) -> None:
    assert _evaluations(tmp_path, pruner, [0.5, 0.6, 0.7, 0.8, 0.9]) == [EVALUATIONS] * 5


@pytest.mark.parametrize("strategies", [["end", "auto"], ["auto", "end"]])
def test_the_most_of_hyperband_is_as_often_as_any_trial_is_evaluated(strategies: list[str]) -> None:
    train = {"eval_strategy": strategies, "num_train_epochs": [3, 9]}
    pruner = make_pruner(read_recipe({"train": train, "search": {"pruner": "hyperband", "resource": "epochs"}}))
    assert vars(pruner)["_max_resource"] == 9
