"""What trials took, alone, together or elsewhere, and how quick the machine is by that; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loraloom.execute import planning
from loraloom.execute.warm_up import WarmedUp
from loraloom.machine import CoreSeconds, read_machine
from loraloom.recipe import read_recipe
from loraloom.search import clock as clocks
from loraloom.search.pace import Kept
from loraloom.study.run import PLAN
from loraloom.study.sealed import read_sealed
from tests.execute.planned import ROW_SECONDS, Planned


def test_what_trials_took_together_is_not_what_one_takes_alone(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    pace, configuration = found.planner.pace, found.recipe.configuration({})
    for _ in range(8):
        found.trained({}, ROW_SECONDS / 5, alone=False)
    assert pace.costs.train_row_seconds(configuration) > 0.9 * ROW_SECONDS
    for _ in range(2):
        found.trained({}, ROW_SECONDS)
    assert pace.clock.slowdown < 1.1


def test_a_machine_is_slower_where_rows_of_one_kind_are_and_not_where_those_of_another_are_dearer(
    tmp_path: Path,
) -> None:
    found = Planned(read_recipe({"train": {"per_device_train_batch_size": [16, 8]}}), tmp_path)
    clock, before = found.planner.pace.clock, found.planner.pace.clock.seconds_left
    found.trained({"train.per_device_train_batch_size": 16}, ROW_SECONDS)
    found.trained({"train.per_device_train_batch_size": 8}, 4 * ROW_SECONDS)
    assert clock.slowdown == 1
    assert clock.seconds_left == before
    found.trained({"train.per_device_train_batch_size": 16}, 2 * ROW_SECONDS)
    assert clock.slowdown == 1.5  # the median of three


def test_a_kind_that_was_first_timed_on_a_slower_machine_does_not_say_that_it_is_as_quick_as_ever(
    tmp_path: Path,
) -> None:
    found = Planned(read_recipe({"train": {"per_device_train_batch_size": [16, 8]}}), tmp_path)
    clock = found.planner.pace.clock
    found.trained({"train.per_device_train_batch_size": 16}, ROW_SECONDS)
    for _ in range(4):
        found.trained({"train.per_device_train_batch_size": 16}, 3 * ROW_SECONDS)
    for _ in range(2):
        found.trained({"train.per_device_train_batch_size": 8}, 4 * ROW_SECONDS)
        assert clock.slowdown == pytest.approx(3)
    for _ in range(4):
        found.trained({"train.per_device_train_batch_size": 8}, 4 / 3 * ROW_SECONDS)
    assert clock.slowdown == pytest.approx(1)


def test_a_machine_is_not_compared_with_the_one_of_an_earlier_command(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    for _ in range(2):
        found.trained({}, 4 * ROW_SECONDS)
    assert found.planner.pace.clock.slowdown < 1.1


def test_a_command_that_goes_on_looks_again_at_how_slow_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps time for the page and its pictures by how long it loaded, as beside a program that was starting."""
    found = Planned(read_recipe({}), tmp_path)
    clock = found.planner.pace.clock
    clock.core_seconds, clock.loading_seconds = CoreSeconds(3, 27), 30.0
    monkeypatch.setattr(clocks, "crowding", lambda: 1.0)
    found.planner.prepare(cast(Any, SimpleNamespace(where=found.where)), found.notes.append)
    assert clock.loading_seconds == 3


def test_what_another_machine_measured_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = Planned(read_recipe({}), tmp_path), []

    def measure(*_: Any) -> WarmedUp:
        asked.append(1)
        return WarmedUp((found._first,), 1.0)

    monkeypatch.setattr(planning, "warm_up", measure)
    found.again()
    assert not asked
    monkeypatch.setattr(planning, "_machine", lambda: "another, 64 cores")
    found.again()
    found.again()
    assert len(asked) == 1
    found.where = "2 worker processes, 2 threads each"
    found.again()
    found.again()
    assert len(asked) == 2


def test_where_it_is_measured_again_time_is_kept_for_the_first_loading_and_is_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that was loaded is in memory; the test of another command loads it anew."""
    found, loads = Planned(read_recipe({}), tmp_path), [5.0, 0.1]
    monkeypatch.setattr(planning, "warm_up", lambda *_: WarmedUp((found._first,), loads.pop(0)))
    monkeypatch.setattr(planning, "quietest", lambda measure, _: [measure(), measure()][1])
    monkeypatch.setattr(planning, "_machine", lambda: "another, 64 cores")
    assert found.again().reserve.loading_seconds == 5.0
    assert not loads
    assert found.again().reserve.loading_seconds == 5.0
    loads += [0.5, 0.1]
    monkeypatch.setattr(planning, "_machine", lambda: "a third, 2 cores")
    assert found.again().reserve.loading_seconds == 0.5


def test_what_another_process_measures_is_of_where_trials_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, measuring = Planned(read_recipe({}), tmp_path), list[str]()

    def measure(_: Any, executor: Any, *__: Any) -> WarmedUp:
        measuring.append(executor.where)
        return WarmedUp((found._first,), 1.0)

    monkeypatch.setattr(planning, "warm_up", measure)
    monkeypatch.setattr(planning, "_machine", lambda: "another, 64 cores")
    found.apart = SimpleNamespace(where="1 worker processes, 4 threads each")
    found.again()
    assert measuring == ["1 worker processes, 4 threads each"]
    assert read_sealed(tmp_path / PLAN)["machine"] == f"another, 64 cores, {found.where}"


def test_a_machine_with_other_gpus_is_another_to_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who don't name theirs in `where`, as this process does."""
    named = set()
    for gpus in ((), ("Tesla T4",), ("NVIDIA A100",)):
        monkeypatch.setattr(planning, "read_machine", lambda gpus=gpus: replace(read_machine(), gpus=gpus))
        named.add(planning._machine.__wrapped__())
    assert len(named) == 3


def test_a_trial_that_goes_on_ends_in_time_where_what_it_lacks_does(tmp_path: Path) -> None:
    found = Planned(read_recipe({"train": {"per_device_train_batch_size": 10}}), tmp_path)
    configuration = found.recipe.configuration({"data.max_train_samples": 5_000})  # 500 steps
    whole = found.planner.pace.seconds(configuration, 5_000)
    found.at = 600 - found.planner.pace.clock.reserve - 0.5 * whole - 5
    assert [found.planner.would_end(configuration, step) for step in (0, 100, 400)] == [False, False, True]


def test_all_rows_that_a_recipe_asks_for_are_validated_on_all_when_a_trial_goes_on_or_joins_others(
    tmp_path: Path,
) -> None:
    """On a part of the rows as many would be validated on 4,000, once."""
    found = Planned(read_recipe({"data": {"max_train_samples": 20_000}}), tmp_path)
    configuration, pace = found.recipe.configuration({}), found.planner.pace
    whole = pace.seconds(configuration, None)
    with pace.together():
        pace.promise(configuration)
        assert pace.promised == whole
    found.at = 600 - pace.clock.reserve - whole
    assert not found.planner.would_end(configuration, 0)
    found.at -= 2
    assert found.planner.would_end(configuration, 0)


def test_trials_are_trained_together_as_far_as_the_sum_of_their_times_fits(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    configuration, pace = found.recipe.configuration({"data.max_train_samples": 5_000}), found.planner.pace
    each = pace.seconds(configuration, 5_000)
    assert 0 < each < 200
    found.at = 600 - pace.clock.reserve - 2.5 * each - 5
    with pace.together():
        assert pace.allows(configuration, 5_000, keep=Kept(1.4 * each, {}))
        pace.promise(configuration)
        assert not pace.allows(configuration, 5_000, keep=Kept(1.4 * each, {}))  # what is kept for finals stays so
        assert pace.allows(configuration, 5_000)
        pace.promise(configuration)
        assert not pace.allows(configuration, 5_000)
        assert not found.planner.would_end(configuration, 0)
    assert pace.allows(configuration, 5_000, keep=Kept(1.4 * each, {}))
