"""Which trial comes next: a function of the recipe and the ledger."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from loraloom.recipe import Configuration, Recipe, read_recipe
from loraloom.search import history
from loraloom.search.clock import Clock
from loraloom.search.costs import text_key
from loraloom.search.pace import Pace
from loraloom.search.plan import Plan
from loraloom.search.points import distribution, ledger_params
from loraloom.search.presets import MANY_SEEN, preset_points
from loraloom.search.proposals import MOST_LATE, Proposal, Proposals, make_sampler
from loraloom.search.pruning import make_pruner
from loraloom.search.space import default_space
from loraloom.study.ledger import Ledger

Fits = Callable[[Configuration], str | None]
SAMPLERS = ("random", "tpe")
ALL_SAMPLERS = (*SAMPLERS, "auto")


def _all_fit(_: Configuration) -> str | None:
    return None


def _up_to(rank: int) -> Fits:
    return lambda configuration: None if configuration.lora.r <= rank else "over the cap"


def _grid(**search: Any) -> Recipe:
    return read_recipe({"lora": {"r": [2, 4, 8], "lora_alpha": [8, 16]}, "search": search})


def _sampled(sampler: str, n_trials: int = 14) -> Recipe:
    return read_recipe(
        {
            "lora": {
                "r": {"min": 1, "max": 64, "log": True},
                "target_modules": ["all-linear", ["query", "value"]],
            },
            "train": {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}},
            "search": {"sampler": sampler, "n_trials": n_trials},
        }
    )


def _ledger(folder: Path, recipe: Recipe) -> Ledger:
    return Ledger(folder / "study.db", make_pruner(recipe))


def _open(folder: Path, recipe: Recipe, fits: Fits = _all_fit) -> tuple[Proposals, Ledger]:
    ledger = _ledger(folder, recipe)
    return Proposals(recipe, ledger, fits, Pace(), rows=(None, None)), ledger


def _score(proposal: Proposal) -> float:
    return 1 / (1 + abs(proposal.configuration.lora.r - 10))


def _search(proposals: Proposals, ledger: Ledger, limit: int = 1000) -> Iterator[Proposal]:
    """Up to `limit` proposals, each told of as complete when the next is asked for."""
    for _ in range(limit):
        proposal = proposals.next()
        if proposal is None:
            return
        yield proposal
        ledger.tell(proposal.number, "complete", _score(proposal))


def _points(found: Iterator[Proposal]) -> list[tuple[int, float]]:
    return [(p.configuration.lora.r, p.configuration.lora.lora_alpha) for p in found]


ALL = [(2, 8), (2, 16), (4, 8), (4, 16), (8, 8), (8, 16)]

# Grid


def test_a_grid_is_visited_once_and_in_order(tmp_path: Path) -> None:
    assert _points(_search(*_open(tmp_path, _grid()))) == ALL


def test_a_grid_leaves_out_what_does_not_fit(tmp_path: Path) -> None:
    proposals, ledger = _open(tmp_path, _grid(), _up_to(4))
    assert _points(_search(proposals, ledger)) == ALL[:4]
    assert proposals.listing.configurations == 4


def test_a_grid_ends_after_n_trials(tmp_path: Path) -> None:
    assert _points(_search(*_open(tmp_path, _grid(n_trials=2)))) == ALL[:2]


def test_a_grid_of_which_nothing_fits_proposes_nothing(tmp_path: Path) -> None:
    proposals, _ = _open(tmp_path, _grid(), _up_to(1))
    assert proposals.next() is None


def test_a_recipe_without_axes_is_tried_once(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": 3}})
    assert _points(_search(*_open(tmp_path, recipe))) == [(3, 16)]


@pytest.mark.parametrize("done", range(7))
def test_a_grid_goes_on_after_its_ledger_is_opened_again(tmp_path: Path, done: int) -> None:
    before = _points(_search(*_open(tmp_path, _grid()), limit=done))
    after = _points(_search(*_open(tmp_path, _grid())))
    assert before + after == ALL


@pytest.mark.parametrize("state", ["failed", "pruned"])
def test_a_point_that_failed_is_not_tried_again(tmp_path: Path, state: Any) -> None:
    proposals, ledger = _open(tmp_path, _grid(seeds=2))
    first = proposals.next()
    assert first is not None
    ledger.tell(first.number, state, None, "loss is not finite")
    assert _points(_search(proposals, ledger, limit=1)) == ALL[1:2]


def test_lists_and_truth_values_come_back_from_the_ledger_as_they_were(tmp_path: Path) -> None:
    recipe = read_recipe(
        {
            "lora": {"layers_to_transform": [[10, 11], None], "use_rslora": [True, False]},
            "train": {"bf16": ["auto", False]},
        }
    )
    proposals, ledger = _open(tmp_path, recipe)
    assert [p.point for p in _search(proposals, ledger)] == list(recipe.grid())


# Seeds


def test_seeds_repeat_a_configuration_with_the_next_seed(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}, "train": {"seed": 7}, "search": {"seeds": 3}})
    found = [(p.configuration.lora.r, p.configuration.train.seed) for p in _search(*_open(tmp_path, recipe))]
    assert found == [(r, seed) for r in (2, 4) for seed in (7, 8, 9)]


def test_n_trials_counts_configurations_and_not_seeds(tmp_path: Path) -> None:
    proposals, ledger = _open(tmp_path, _grid(seeds=2, n_trials=2))
    assert proposals.listing.configurations == 2
    assert _points(_search(proposals, ledger)) == [ALL[0], ALL[0], ALL[1], ALL[1]]


@pytest.mark.parametrize("done", range(5))
def test_seeds_go_on_after_the_ledger_is_opened_again(tmp_path: Path, done: int) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}, "search": {"seeds": 2}})
    found = [
        (p.configuration.lora.r, p.configuration.train.seed)
        for limit in (done, 1000)
        for p in _search(*_open(tmp_path, recipe), limit=limit)
    ]
    assert found == [(2, 42), (2, 43), (4, 42), (4, 43)]


def test_seeds_are_trained_at_once_where_no_new_configuration_is_left(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}, "search": {"seeds": 3}})
    proposals, _ = _open(tmp_path, recipe)
    found = [(p.configuration.lora.r, p.configuration.train.seed) for p in iter(proposals.next, None)]
    assert found == [(2, 42), (4, 42), (2, 43), (2, 44), (4, 43), (4, 44)]


def test_a_seed_of_which_a_damaged_ledger_lost_the_trial_is_trained_and_no_other_twice(tmp_path: Path) -> None:
    recipe = read_recipe({"search": {"seeds": 3}})
    proposals, ledger = _open(tmp_path, recipe)
    for _ in range(3):
        assert proposals.next() is not None
    ledger.reject(1, "its entry was lost with a damaged ledger")
    ledger.tell(0, "complete", 0.9)
    ledger.tell(2, "complete", 0.9)
    assert [p.configuration.train.seed for p in _search(*_open(tmp_path, recipe))] == [43]


@pytest.mark.parametrize("state", ["failed", "pruned"])
def test_a_configuration_gets_no_more_seeds_once_one_of_them_came_to_nothing(tmp_path: Path, state: Any) -> None:
    proposals, ledger = _open(tmp_path, read_recipe({"search": {"seeds": 3}}))
    for _ in range(2):
        assert proposals.next() is not None
    ledger.tell(0, state, None, "loss is not finite")
    assert proposals.next() is None


# Random and TPE


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_a_search_that_was_broken_off_proposes_what_it_would_have(tmp_path: Path, sampler: str) -> None:
    """And proposals are a function of the recipe: these are of two searches."""
    _compare_with_a_search_broken_off(tmp_path, _sampled(sampler))


def _compare_with_a_search_broken_off(tmp_path: Path, recipe: Recipe, fits: Fits = _all_fit) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = [p.point for p in _search(*_open(tmp_path / "whole", recipe, fits))]
    broken = [
        p.point for limit in (4, 8, 1000) for p in _search(*_open(tmp_path / "broken", recipe, fits), limit=limit)
    ]
    assert broken == whole


@pytest.mark.parametrize("pruner", ["none", "hyperband"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_are_those_of_optuna_with_a_walk_over_all_trials(tmp_path: Path, sampler: str, pruner: str) -> None:
    recipe = read_recipe(
        {
            "lora": {"r": {"min": 1, "max": 16}, "target_modules": ["all-linear", ["query", "value"]]},
            "train": {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}},
            "search": {"sampler": sampler, "n_trials": 12, "seeds": 2, "pruner": pruner},
        }
    )
    proposals, ledger = _open(tmp_path, recipe, _up_to(12))
    oracle = optuna.create_study(direction="maximize", pruner=make_pruner(recipe))
    for number, (theirs, point, trial) in enumerate(_whole_searches(recipe, oracle, 12)):
        proposal = proposals.next()
        assert (proposal and proposal.number, proposal and proposal.point) == (theirs, point)
        if proposal is None or trial is None:
            return
        state: Any = "failed" if number % 7 == 3 else "complete"
        value = _score(proposal) if state == "complete" else None
        ledger.tell(proposal.number, state, value)
        oracle.tell(trial, value, optuna.trial.TrialState[state.upper().replace("FAILED", "FAIL")])


def _whole_searches(
    recipe: Recipe, study: optuna.Study, most: int
) -> Iterator[tuple[int | None, dict[str, Any] | None, optuna.Trial | None]]:
    """Number and point of each trial, by Optuna's own ask and a walk over all trials for each: the slow truth.

    What was drawn in vain is a failed trial of Optuna's, of which its samplers learn nothing.
    """
    axes = {name: distribution(axis) for name, axis in recipe.axes.items()}
    targets = {"all-linear": "all-linear", '["query", "value"]': ("query", "value")}

    def ask(params: dict[str, Any] | None, drawn: int) -> optuna.Trial:
        study.sampler = make_sampler(recipe, len(tried), drawn)
        if params is not None:
            study.enqueue_trial(params)
        return study.ask(axes)

    while True:
        tried: dict[str, list[optuna.trial.FrozenTrial]] = {}
        for one in study.trials:
            if "in vain" not in one.user_attrs:
                tried.setdefault(str(sorted(one.params.items())), []).append(one)
        lacking = [
            ones
            for ones in tried.values()
            if len(ones) < recipe.search.seeds and all(one.state == optuna.trial.TrialState.COMPLETE for one in ones)
        ]
        if not lacking and len(tried) >= (recipe.search.n_trials or 0):
            yield None, None, None
            return
        for drawn in itertools.count():
            trial = ask(lacking[0][0].params if lacking else None, drawn)
            if lacking or (str(sorted(trial.params.items())) not in tried and trial.params["lora.r"] <= most):
                break
            trial.set_user_attr("in vain", True)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        point = {**trial.params, "lora.target_modules": targets[trial.params["lora.target_modules"]]}
        yield sum(map(len, tried.values())), point, trial


def test_tpe_that_is_shown_a_part_proposes_the_same_after_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LIMIT": 16, "BEST": 3, "NEWEST": 4}.items():
        monkeypatch.setattr(history, name, value)
    _compare_with_a_search_broken_off(tmp_path, _sampled("tpe", n_trials=24))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_makes_other_proposals(tmp_path: Path, sampler: str) -> None:
    points = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        recipe = _sampled(sampler).with_fields(train={"seed": seed})
        proposal = _open(tmp_path / str(seed), recipe)[0].next()
        assert proposal is not None
        points.append(proposal.point)
    assert points[0] != points[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_neighbouring_seeds_share_no_points(tmp_path: Path, sampler: str) -> None:
    points: list[set[str]] = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        recipe = _sampled(sampler, 10).with_fields(train={"seed": seed})
        points.append({str(p.point) for p in _search(*_open(tmp_path / str(seed), recipe))})
    assert not points[0] & points[1]


def _with_workers(proposals: Proposals, ledger: Ledger, workers: int) -> list[tuple[dict[str, Any], int]]:
    """Points and seeds, where `workers` trials are under way at once."""
    found: list[tuple[dict[str, Any], int]] = []
    under_way: list[Proposal] = []
    while True:
        while len(under_way) < workers and (proposal := proposals.next()):
            under_way.append(proposal)
            found.append((proposal.point, proposal.configuration.train.seed))
        if not under_way:
            return found
        ended = under_way.pop(0)
        ledger.tell(ended.number, "complete", _score(ended))


@pytest.mark.parametrize("workers", [2, 3])
def test_random_tries_the_same_configurations_whatever_is_trained_at_once(tmp_path: Path, workers: int) -> None:
    recipe = read_recipe(
        {
            "lora": {"r": {"min": 1, "max": 16}, "lora_alpha": [8, 16, 32]},
            "search": {"sampler": "random", "n_trials": 12, "seeds": 2},
        }
    )
    runs = []
    for slots in (1, workers):
        (tmp_path / str(slots)).mkdir()
        proposals, ledger = _open(tmp_path / str(slots), recipe, _up_to(12))
        runs.append(_with_workers(proposals, ledger, slots))
    assert runs[0] != runs[1]  # in another order
    assert sorted(map(str, runs[0])) == sorted(map(str, runs[1]))


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_a_search_with_seeds_that_was_broken_off_proposes_what_it_would_have(tmp_path: Path, sampler: str) -> None:
    recipe = _sampled(sampler, 7).with_fields(search={"seeds": 2})
    _compare_with_a_search_broken_off(tmp_path, recipe, _up_to(24))


def test_tpe_learns_from_the_ledger(tmp_path: Path) -> None:
    points: dict[int, list[dict[str, Any]]] = {1: [], -1: []}
    for sign, seen in points.items():
        (tmp_path / str(sign)).mkdir()
        proposals, ledger = _open(tmp_path / str(sign), _sampled("tpe"))
        while (proposal := proposals.next()) is not None:
            seen.append(proposal.point)
            ledger.tell(proposal.number, "complete", sign * proposal.configuration.lora.r)
    assert points[1][:10] == points[-1][:10]  # Optuna draws ten at random before it learns
    assert points[1][10:] != points[-1][10:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_over_the_cap_is_never_trained(tmp_path: Path, sampler: str) -> None:
    proposals, ledger = _open(tmp_path, _sampled(sampler, 8), _up_to(8))
    ranks = [p.configuration.lora.r for p in _search(proposals, ledger)]
    assert len(ranks) == 8
    assert max(ranks) <= 8
    assert all(entry.params["lora.r"] <= 8 for entry in ledger.entries())  # nor is it in the ledger


def test_what_was_drawn_in_vain_is_not_kept(tmp_path: Path) -> None:
    """Of a space of which little fits it is many times what is trained."""

    def configurations() -> int:
        gc.collect()
        return sum(type(one) is Configuration for one in gc.get_objects())

    asked: list[Configuration] = []

    def fits(configuration: Configuration) -> str | None:
        asked.append(configuration)
        return _up_to(1)(configuration)

    proposals, ledger = _open(tmp_path, _sampled("random", 8), fits)
    before = configurations()
    trained = list(_search(proposals, ledger))
    drawn = len(asked)
    asked.clear()
    assert drawn > 2 * len(trained)
    assert configurations() - before <= 2 * len(trained)


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_no_point_is_trained_twice(tmp_path: Path, sampler: str) -> None:
    recipe = read_recipe({"lora": {"r": {"min": 1, "max": 5}}, "search": {"sampler": sampler, "n_trials": 5}})
    ranks = [p.configuration.lora.r for p in _search(*_open(tmp_path, recipe))]
    assert sorted(ranks) == [1, 2, 3, 4, 5]


def test_a_spent_space_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["loraloom.search.proposals"], "MOST_DRAWN", 12)
    recipe = read_recipe({"lora": {"r": [2, 4]}, "search": {"sampler": "random", "n_trials": 5}})
    ranks = [p.configuration.lora.r for p in _search(*_open(tmp_path, recipe))]
    assert sorted(ranks) == [2, 4]


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_what_lists_span_within_the_cap_is_the_most_that_is_tried(tmp_path: Path, sampler: str) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"sampler": sampler}})
    proposals, ledger = _open(tmp_path, recipe, _up_to(4))
    assert proposals.listing.configurations == 2
    assert sorted(p.configuration.lora.r for p in _search(proposals, ledger)) == [2, 4]


def test_tpe_goes_on_at_random_where_it_proposes_but_what_was_tried(tmp_path: Path) -> None:
    recipe = read_recipe(
        {"lora": {"r": list(range(1, 7)), "lora_alpha": [8, 16]}, "search": {"sampler": "tpe", "n_trials": 12}}
    )
    assert len(list(_search(*_open(tmp_path, recipe)))) == 12


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_points_of_a_range_lie_within_it(tmp_path: Path, sampler: str) -> None:
    for proposal in _search(*_open(tmp_path, _sampled(sampler, 6))):
        assert 1 <= proposal.point["lora.r"] <= 64
        assert isinstance(proposal.point["lora.r"], int)
        assert 1e-4 <= proposal.point["train.learning_rate"] <= 1e-2


# Conditional axes


def _conditional(sampler: str, n_trials: int | None = None, **warmup: Any) -> Recipe:
    axis = warmup or {"min": 1, "max": 100}
    return read_recipe(
        {
            "train": {
                "warmup_steps": {**axis, "when": {"train.lr_scheduler_type": ["linear", "cosine"]}, "otherwise": 0},
                "lr_scheduler_type": ["constant", "linear", "cosine"],
            },
            "lora": {"r": {"values": [8, 16], "when": {"lora.target_modules": ["query"]}}, "target_modules": TARGETS},
            "search": {"sampler": sampler, "n_trials": n_trials},
        }
    )


TARGETS = ["all-linear", ["query"], ["query", "value"]]


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_an_inactive_axis_is_not_suggested(tmp_path: Path, sampler: str) -> None:
    proposals, ledger = _open(tmp_path, _conditional(sampler, 13))
    found = list(_search(proposals, ledger))
    assert {len(p.point) for p in found} == {2, 3, 4}
    for proposal, entry in zip(found, ledger.entries(), strict=True):
        train, lora = proposal.configuration.train, proposal.configuration.lora
        assert ("train.warmup_steps" in proposal.point) == (train.lr_scheduler_type != "constant")
        assert ("lora.r" in proposal.point) == (lora.target_modules == ("query",))
        assert entry.params.keys() == proposal.point.keys()
        assert (train.warmup_steps == 0) == ("train.warmup_steps" not in proposal.point)


def test_a_grid_of_conditional_axes_is_visited_once(tmp_path: Path) -> None:
    proposals, ledger = _open(tmp_path, _conditional("grid", values=[0, 100]))
    found = [p.configuration.model_dump_json() for p in _search(proposals, ledger)]
    assert proposals.listing.configurations == len(found) == len(set(found)) == 5 * 4


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_conditional_axes_are_proposed_again_as_they_would_have_been(tmp_path: Path, sampler: str) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    recipe = _conditional(sampler, 13)
    whole = [p.point for p in _search(*_open(tmp_path / "whole", recipe))]
    broken = [p.point for limit in (3, 9, 1000) for p in _search(*_open(tmp_path / "broken", recipe), limit=limit)]
    assert broken == whole


@pytest.mark.parametrize("sampler", ["grid", *ALL_SAMPLERS])
def test_a_trial_with_inactive_axes_comes_back_as_it_was(tmp_path: Path, sampler: str) -> None:
    recipe = _conditional(sampler, 5, values=[0, 100])
    proposals, _ = _open(tmp_path, recipe)
    broken = [proposals.next() for _ in range(5)]
    again, _ = _open(tmp_path, recipe)
    assert list(again.interrupted()) == broken


def test_a_small_conditional_space_is_spent_without_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["loraloom.search.proposals"], "MOST_DRAWN", 50)
    axis = {"values": [2, 4], "when": {"train.optim": "adam"}, "otherwise": 16}
    search = {"sampler": "tpe", "n_trials": 9}
    recipe = read_recipe({"lora": {"r": axis}, "train": {"optim": ["adam", "muon"]}, "search": search})
    found = [p.configuration for p in _search(*_open(tmp_path, recipe))]
    assert sorted((c.train.optim, c.lora.r) for c in found) == [("adam", 2), ("adam", 4), ("muon", 16)]


# Auto


def test_auto_tries_the_presets_first_and_in_order(tmp_path: Path) -> None:
    recipe = _sampled("auto", 12)
    presets = preset_points(recipe, _all_fit)
    found = [p.point for p in _search(*_open(tmp_path, recipe))]
    assert len(found) == 12 > len(presets) > 1
    assert found[: len(presets)] == presets


def test_auto_leaves_out_the_presets_over_the_cap(tmp_path: Path) -> None:
    recipe = _sampled("auto", 12)
    proposals, ledger = _open(tmp_path, recipe, _up_to(4))
    assert [p.point["lora.r"] for p in _search(proposals, ledger, limit=2)] == [4, 4]
    assert all(entry.state == "complete" for entry in ledger.entries())


def test_auto_ends_after_n_trials_where_there_are_more_presets(tmp_path: Path) -> None:
    recipe = _sampled("auto", 2)
    assert [p.point for p in _search(*_open(tmp_path, recipe))] == preset_points(recipe, _all_fit)[:2]


def test_auto_learns_from_the_presets(tmp_path: Path) -> None:
    points: dict[int, list[dict[str, Any]]] = {1: [], -1: []}
    for sign, seen in points.items():
        (tmp_path / str(sign)).mkdir()
        proposals, ledger = _open(tmp_path / str(sign), _sampled("auto"))
        while (proposal := proposals.next()) is not None:
            seen.append(proposal.point)
            ledger.tell(proposal.number, "complete", sign * proposal.configuration.lora.r)
    assert points[1][:10] == points[-1][:10]  # the presets count among the ten before Optuna learns
    assert points[1][10:] != points[-1][10:]


# Broken off


@pytest.mark.parametrize("sampler", ["grid", *ALL_SAMPLERS])
def test_a_trial_that_was_broken_off_comes_back_as_it_was(tmp_path: Path, sampler: str) -> None:
    recipe = _grid(seeds=2) if sampler == "grid" else _sampled(sampler)
    proposals, ledger = _open(tmp_path, recipe)
    assert len(list(_search(proposals, ledger, limit=1))) == 1
    broken = proposals.next()
    again, _ = _open(tmp_path, recipe)
    assert list(again.interrupted()) == [broken]


def test_nothing_comes_back_where_all_trials_ended(tmp_path: Path) -> None:
    proposals, ledger = _open(tmp_path, _grid(n_trials=2))
    assert len(list(_search(proposals, ledger))) == 2
    assert list(proposals.interrupted()) == []


def test_a_trial_under_way_is_not_proposed_again(tmp_path: Path) -> None:
    proposals, _ = _open(tmp_path, _grid())
    found = [proposals.next() for _ in range(7)]
    assert _points(iter([p for p in found if p is not None])) == ALL
    assert found[-1] is None


@pytest.mark.parametrize("written", [False, True])
def test_a_kill_while_a_trial_is_begun_makes_no_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    proposals, _ = _open(tmp_path, _grid())
    create = RDBStorage.create_new_trial

    def killed(storage: RDBStorage, study: int, trial: optuna.trial.FrozenTrial) -> None:
        if written:
            create(storage, study, trial)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "create_new_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            proposals.next()
    proposals, ledger = _open(tmp_path, _grid())
    again = list(proposals.interrupted())
    assert len(again) == written
    assert _points(iter(again)) + _points(_search(proposals, ledger)) == ALL


def test_a_space_of_which_little_fits_is_searched_and_one_where_nothing_new_does_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe({"lora": {"r": {"min": 1, "max": 512}}, "search": {"sampler": "random", "n_trials": 9}})
    proposals, ledger = _open(tmp_path, recipe, _up_to(5))
    assert sorted(p.configuration.lora.r for p in _search(proposals, ledger)) == [1, 2, 3, 4, 5]
    assert proposals.spent
    assert ledger.count == 5
    drawn: list[int] = []
    monkeypatch.setattr(ledger, "draw", lambda *_, **__: drawn.append(1))
    assert proposals.next() is None
    assert not drawn  # they would be the same points


def test_of_a_large_grid_whose_time_is_used_not_every_point_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks, alphas = list(range(1, 61)), list(range(1, 61))
    recipe = read_recipe({"lora": {"r": ranks, "lora_alpha": alphas}, "budget": {"max_seconds": 60}})
    pace = Pace(clock=Clock(60, lambda: 0.0))
    looked: list[Configuration] = []
    proposals = Proposals(recipe, _ledger(tmp_path, recipe), _all_fit, pace, rows=(None, None))
    pace.plan = Plan((100, None), 1)

    def refuse(_: Pace, configuration: Configuration, *__: Any) -> bool:
        looked.append(configuration)
        return False

    monkeypatch.setattr(Pace, "allows", refuse)
    assert proposals.next() is None
    assert 0 < len(looked) < 1_000


def test_texts_of_which_the_test_would_take_the_time_are_not_proposed(tmp_path: Path) -> None:
    lengths = {"max_length": [512, 128]}
    recipe = read_recipe({"data": lengths, "lora": {"r": [2, 4]}, "search": {"sampler": "random", "n_trials": 2}})
    ledger, pace = _ledger(tmp_path, recipe), Pace()
    proposals = Proposals(recipe, ledger, _all_fit, pace, rows=(None, None))
    assert proposals.next() is not None  # broken off, of 512 or 128 tokens
    pace.longest = 64
    assert list(proposals.interrupted()) == []
    assert [entry.state for entry in ledger.entries()] == ["rejected"]
    pace.longest = 128
    assert [p.configuration.data.max_length for p in _search(proposals, ledger)] == [128, 128]


def test_what_is_foreseen_changes_the_presets_that_come_first_and_no_grid(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}))
    proposals, _ = _open(tmp_path, recipe)
    proposals.listing.foresee(10 * MANY_SEEN)
    assert [one.train.learning_rate for one in proposals.listing.leading] == [5e-4, 5e-4]
    first = proposals.next()
    assert first is not None
    assert first.configuration == proposals.listing.leading[0]
    of_a_grid = [_first_of(tmp_path / str(seen), seen) for seen in (0, 10 * MANY_SEEN)]
    assert of_a_grid[0] == of_a_grid[1] is not None


def _first_of(folder: Path, seen: float) -> dict[str, Any] | None:
    """The first point of a grid's search that was told what a final will see."""
    folder.mkdir()
    proposals, _ = _open(folder, _grid())
    proposals.listing.foresee(seen)
    first = proposals.next()
    return None if first is None else first.point


def test_of_points_that_would_end_too_late_few_are_drawn_and_the_space_is_not_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand would be drawn in vain, and people told that nothing is left to try."""
    recipe = _sampled("random")
    ledger, drawn = _ledger(tmp_path, recipe), list[dict[str, Any]]()
    pace = Pace(clock=Clock(60, lambda: 0.0))
    proposals = Proposals(recipe, ledger, _all_fit, pace, rows=(None, None))

    def draw(*arguments: Any, **options: Any) -> dict[str, Any]:
        drawn.append(Ledger.draw(ledger, *arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(ledger, "draw", draw)
    monkeypatch.setattr(Pace, "allows", lambda *_: False)
    monkeypatch.setattr(Pace, "allows_some", lambda *_: True)
    assert proposals.next() is None
    assert len(drawn) == MOST_LATE
    assert not proposals.spent


def test_a_trial_that_was_broken_off_and_is_over_the_cap_here_is_rejected(tmp_path: Path) -> None:
    proposals, _ = _open(tmp_path, _grid())
    assert proposals.next() is not None
    proposals, ledger = _open(tmp_path, _grid(), _up_to(1))
    assert proposals.broken_off == 0
    assert list(proposals.interrupted()) == []
    assert [entry.state for entry in ledger.entries()] == ["rejected"]


def test_a_configuration_that_was_broken_off_on_other_rows_or_by_another_seed_goes_on_and_a_twin_does_not(
    tmp_path: Path,
) -> None:
    recipe = _grid()
    axes = {name: distribution(axis) for name, axis in recipe.axes.items()}
    params = ledger_params(recipe.axes, {"lora.r": 2, "lora.lora_alpha": 8})
    _, ledger = _open(tmp_path, recipe)
    ledger.reject(ledger.ask(axes, params).number, "its entry was lost with a damaged ledger")
    ledger.tell(ledger.ask(axes, params, rows=100).number, "complete", 0.9)
    for seed_index in (0, 1, 1):
        ledger.ask(axes, params, seed_index=seed_index)
    proposals, ledger = _open(tmp_path, recipe)
    assert [proposal.number for proposal in proposals.interrupted()] == [2, 3]
    assert ledger.entry(4).state == "rejected"


def test_a_final_that_failed_is_none_that_others_are_compared_with(tmp_path: Path) -> None:
    """So that those after it have the passes that the time left allows for."""
    recipe, pace = _grid(), Pace(clock=Clock(600, lambda: 0.0))
    ledger = _ledger(tmp_path, recipe)
    proposals = Proposals(recipe, ledger, _all_fit, pace, rows=(None, None))
    pace.plan = Plan((100, None), 1)
    axes = {name: distribution(axis) for name, axis in recipe.axes.items()}
    final = ledger.ask(axes, ledger_params(recipe.axes, {"lora.r": 2, "lora.lora_alpha": 8}))
    assert proposals.tried == 1
    assert pace.final_begun
    ledger.tell(final.number, "failed", None, "the loss became nan")
    assert proposals.tried == 1
    assert not pace.final_begun


def test_a_trial_that_was_broken_off_and_is_left_out_here_is_not_said_to_go_on(tmp_path: Path) -> None:
    """It waits for a machine that can train it."""
    recipe, pace = _grid(), Pace(clock=Clock(600, lambda: 0.0))
    proposals = Proposals(recipe, _ledger(tmp_path, recipe), _all_fit, pace, rows=(None, None))
    first = proposals.next()
    assert first is not None
    assert proposals.broken_off == 1
    pace.left_out = {text_key(first.configuration): "memory did not suffice"}
    assert proposals.broken_off == 0
    assert list(proposals.interrupted()) == [first]


@pytest.mark.parametrize(
    ("plan", "trials", "lacks_some"),
    [
        (Plan(seeds=2), 2, True),  # of one configuration of three
        (Plan(seeds=2), 5, True),
        (Plan(seeds=2), 6, False),
        (Plan((100, None), 1, 2), 3, False),  # further seeds are for the finalist
        (Plan((100, None), 1, 2), 2, True),
    ],
)
def test_it_is_told_whether_all_was_tried_however_many_trials_that_took(
    tmp_path: Path, plan: Plan, trials: int, *, lacks_some: bool
) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"seeds": 2}})
    proposals, ledger = _open(tmp_path, recipe)
    proposals._pace.plan = plan
    assert len(list(_search(proposals, ledger, trials))) == trials
    assert proposals.lacks_some is lacks_some


def test_a_seed_of_a_configuration_that_failed_is_not_lacking(tmp_path: Path) -> None:
    recipe = read_recipe({"search": {"seeds": 3}})
    proposals, ledger = _open(tmp_path, recipe)
    first = proposals.next()
    assert first is not None
    ledger.tell(first.number, "failed", None, "the loss became nan")
    assert not proposals.lacks_some
