"""What is known of a search before its trials: what is listed, and how many configurations there are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from loraloom.recipe import Recipe, read_recipe
from loraloom.search import listing as listings
from loraloom.search.clock import Clock
from loraloom.search.listing import Listing
from loraloom.search.pace import Pace
from loraloom.search.space import default_space, with_length
from loraloom.search.tried import Tried
from tests.search.in_memory import InMemoryLedger


def _listing(recipe: Recipe, pace: Pace, rows: tuple[int | None, int | None] = (None, None)) -> Listing:
    tried = Tried(cast(Any, InMemoryLedger()), recipe.search.seeds)
    return Listing(recipe, tried, lambda _: None, pace, rows)


def test_random_tries_20_configurations_by_default() -> None:
    recipe = read_recipe({"lora": {"r": {"min": 1, "max": 99}}, "search": {"sampler": "random", "seeds": 2}})
    assert _listing(recipe, Pace()).configurations == 20


@pytest.mark.parametrize(
    ("search", "seconds", "ranks", "most", "listed"),
    [
        ({"sampler": "random"}, None, 30, 20, 0),
        ({"sampler": "random", "n_trials": 25}, None, 30, 25, 0),
        ({"sampler": "random"}, 600, 30, 30, 0),
        ({"sampler": "random"}, 600, 31, None, 0),
        ({"sampler": "grid"}, None, 30, 30, 30),
        ({"sampler": "grid"}, 600, 31, 31, 0),
    ],
)
def test_lists_have_an_end_where_they_are_few_and_grids_always(
    monkeypatch: pytest.MonkeyPatch,
    search: dict[str, Any],
    seconds: float | None,
    ranks: int,
    most: int | None,
    listed: int,
) -> None:
    monkeypatch.setattr(listings, "MOST_COUNTED", 30)
    recipe = read_recipe({"lora": {"r": list(range(1, ranks + 1))}, "search": search})
    listing = _listing(recipe, Pace(clock=Clock(seconds, lambda: 0.0)), (440, 49))
    assert (listing.configurations, len(listing.every)) == (most, listed)


def test_of_lengths_that_are_left_out_no_preset_goes_with_them() -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    pace, rows = Pace(), (6_000, 500)
    listing = _listing(with_length(recipe, 400, 512), pace, rows)
    before = len(listing.leading)
    pace.longest = 128
    listing.foresee(0.0)
    assert {one.data.max_length for one in listing.leading} == {128}
    assert len(listing.leading) == len(_listing(recipe, Pace(), rows).leading) == before - 1


@pytest.mark.parametrize(("held_out", "n_trials", "most"), [(49, None, 2), (50, None, None), (49, 9, 9)])
def test_by_few_held_out_rows_nothing_but_what_leads_is_tried(
    held_out: int, n_trials: int | None, most: int | None
) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto", "n_trials": n_trials}}), deadline=True)
    listing = _listing(recipe, Pace(clock=Clock(600, lambda: 0.0)), (440, held_out))
    assert listing.configurations == most
    assert listing.leads_alone == (most == 2)
    assert {one.head.pooling for one in listing.leading} == {"mean"}  # the training rows are few too
    assert _listing(recipe, Pace(), (440, held_out)).leads_alone is False


@pytest.mark.parametrize(
    ("ranks", "n_trials", "most", "leads_alone", "holds_more"),
    [
        ([2, 8], None, 2, False, False),
        ([2, 4, 8], None, 2, True, True),
        ([2, 4, 8], 2, 2, False, True),
        ([2, 4, 8], 3, 3, False, False),
        ([2, 4, 8], 9, 3, False, False),
    ],
)
def test_of_a_list_that_is_tried_whole_nothing_is_left_to_try(
    ranks: list[int], n_trials: int | None, most: int, leads_alone: bool, holds_more: bool
) -> None:
    recipe = read_recipe({"lora": {"r": ranks}, "search": {"sampler": "auto", "n_trials": n_trials}})
    listing = _listing(recipe, Pace(clock=Clock(600, lambda: 0.0)), (144, 19))
    assert (listing.configurations, listing.leads_alone, listing.holds_more) == (most, leads_alone, holds_more)
    assert {one.lora.r for one in listing.leading} == {8, 2 if ranks == [2, 8] else 4}


def test_where_the_time_ends_a_search_no_number_does() -> None:
    recipe = read_recipe({"lora": {"r": {"min": 1, "max": 9}}, "search": {"sampler": "random"}})
    assert not _listing(recipe, Pace(clock=Clock(600, lambda: 0.0))).holds_more
    assert _listing(recipe, Pace()).holds_more


def test_by_few_held_out_rows_others_are_tried_where_no_preset_fits() -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    tried = Tried(cast(Any, InMemoryLedger()), recipe.search.seeds)
    listing = Listing(recipe, tried, lambda _: "over the cap", Pace(clock=Clock(600, lambda: 0.0)), (440, 49))
    assert (listing.keys, listing.leads_alone, listing.draws, listing.configurations) == ((), False, True, None)


def test_of_lengths_that_are_left_out_no_configuration_is_counted() -> None:
    fields = {"lora": {"r": [2, 4]}, "data": {"max_length": [256, 128]}}
    pace = Pace(clock=Clock(600, lambda: 0.0))
    listing = _listing(read_recipe({**fields, "search": {"sampler": "auto", "epochs": "clock"}}), pace)
    assert listing.configurations == 4
    pace.longest = 128
    listing.foresee(0.0)
    assert listing.configurations == 2
