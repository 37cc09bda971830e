"""What the planner takes note of as trials end, and what it keeps for a run that goes on; nothing is trained."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from loraloom.data import Split
from loraloom.engine import Job, Outcome
from loraloom.errors import BudgetError, StoppedError
from loraloom.execute import planning
from loraloom.execute.planning import Planner
from loraloom.execute.reserve import PART_TESTING, REHEARSAL_SECONDS, REHEARSAL_TEXTS, TEST_CAUTION, Rehearsal
from loraloom.execute.warm_up import WarmedUp
from loraloom.machine import CoreSeconds, read_machine
from loraloom.recipe import Configuration, Recipe, read_recipe
from loraloom.search import clock as clocks
from loraloom.search.clock import JUDGED_ROW_SECONDS, PAGE_CAUTION, Clock
from loraloom.search.costs import Measured, cost_key, measured
from loraloom.search.pace import Kept, Pace
from loraloom.search.plan import CLOCKED_SHARE, Plan, make_plan
from loraloom.search.space import default_space, with_length
from loraloom.search.task import Task
from loraloom.study.record import Timings
from loraloom.study.run import PLAN
from loraloom.study.sealed import read_sealed, write_sealed
from tests.execute.engines import COUNTS, SOURCE, result_of, rows

ROW_SECONDS = 0.01


@dataclass(slots=True)
class _Planned:
    """A planner of a run of 20,000 rows, whose first point was timed before; the clock is the test's."""

    recipe: Recipe
    run: Path
    at: float = 0.0
    seconds: float = 600.0
    start_up: float = 0.0
    """Seconds of a command that pass before it plans."""
    where: str = "in this process, 4 threads"
    timed: tuple[Measured, ...] = ()
    """What was timed before, in place of the first point."""
    test_rows: int = 100
    most_rows: tuple[int, int] = (20_000, 20_000)
    ranks: tuple[int, ...] = (16, 16)
    """Of what leads."""
    layers: tuple[Any, Any] = ("top-half", "top-half")
    """The same; the second comes first once that is told."""
    listing: Any = None
    has_results: bool = True
    """Whether a trial was finished."""
    apart: Any = None
    """Who measures in the place of who trains."""
    notes: list[str] = field(default_factory=list)
    planner: Planner = field(init=False)
    foresaw: list[float] = field(default_factory=list)
    """Examples that proposals were told a final will see, command by command."""
    every_layer_first: list[bool] = field(default_factory=list)
    """Whether they were told to begin with every layer adapted."""

    def __post_init__(self) -> None:
        self.run.mkdir(exist_ok=True)
        write_sealed(self.run / PLAN, {"measured": [asdict(one) for one in self.timed or (self._first,)]})
        self.planner = self.again()

    @property
    def _first(self) -> Measured:
        training, evaluation = 1_000 * ROW_SECONDS, 100 * ROW_SECONDS / 3
        timings = Timings(seconds=training + evaluation, train_seconds=training, examples_per_second=1 / ROW_SECONDS)
        return measured(
            self.recipe.configuration({}),
            timings,
            timings.seconds + 0.5,
            train_rows=1_000,
            eval_rows=100,
            passes=1,
            evaluated=1,
        )

    def again(self) -> Planner:
        """The planner of a command that goes on with the run."""
        labels = np.arange(20_000) % 2
        split = Split(("",) * len(labels), labels)
        data = SimpleNamespace(
            train=split, validation=split, test=split.take(range(self.test_rows)), labels=("no", "yes")
        )
        place: Any = SimpleNamespace(
            recipe=self.recipe,
            data=data,
            most_rows=self.most_rows,
            demands=SimpleNamespace(fitting=dict),
        )
        leading = tuple(
            self.recipe.configuration({}).with_fields(lora={"r": rank, "layers_to_transform": layers})
            for rank, layers in zip(self.ranks, self.layers, strict=True)
        )
        self.listing = SimpleNamespace(
            configurations=None,
            leading=leading,
            every=(),
            leads_alone=False,
            foresee=self._foresee,
        )
        proposals: Any = SimpleNamespace(listing=self.listing, has_results=self.has_results)
        clock = Clock(None if self.seconds == math.inf else self.seconds, lambda: self.at)
        planner = Planner(self.run, place, Pace(clock=clock), proposals)
        self.at += self.start_up
        planner.prepare(cast(Any, SimpleNamespace(where=self.where)), self.notes.append, self.apart)
        planner.write()
        return planner

    def _foresee(self, seen: float, *, every_layer_first: bool) -> None:
        self.foresaw.append(seen)
        self.every_layer_first.append(every_layer_first)
        self.listing.leading = self.listing.leading[:: -1 if every_layer_first else 1]

    def trained(self, point: dict[str, Any], row_seconds: float, *, alone: bool = True) -> None:
        """Has the planner take note of a trial of one epoch."""
        of = rows()
        job = Job(0, self.recipe.configuration(point), SOURCE, of, self.run, 1, None)
        seconds = len(of.train) * row_seconds
        timings = Timings(seconds=seconds, train_seconds=seconds, examples_per_second=1 / row_seconds)
        outcome = Outcome("nothing", "complete", "fp32", COUNTS, None, result_of(job, 1), timings)
        self.planner.note(job, outcome, 1.0, seconds if alone else None)


def test_a_plan_is_kept_with_the_one_that_was_made_first_whatever_has_become_of_the_file(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    first = read_sealed(tmp_path / PLAN)["first"]
    for planner in (found.planner, found.again()):
        (tmp_path / PLAN).write_text("{")
        found.planner = planner
        for _ in range(4):
            found.trained({}, 4 * ROW_SECONDS)
        assert read_sealed(tmp_path / PLAN)["first"] == first


def test_what_trials_took_together_is_not_what_one_takes_alone(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
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
    found = _Planned(read_recipe({"train": {"per_device_train_batch_size": [16, 8]}}), tmp_path)
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
    found = _Planned(read_recipe({"train": {"per_device_train_batch_size": [16, 8]}}), tmp_path)
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
    found = _Planned(read_recipe({}), tmp_path)
    for _ in range(2):
        found.trained({}, 4 * ROW_SECONDS)
    assert found.planner.pace.clock.slowdown < 1.1


def test_a_command_that_goes_on_looks_again_at_how_slow_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps time for the page and its pictures by how long it loaded, as beside a program that was starting."""
    found = _Planned(read_recipe({}), tmp_path)
    clock = found.planner.pace.clock
    clock.core_seconds, clock.loading_seconds = CoreSeconds(3, 27), 30.0
    monkeypatch.setattr(clocks, "crowding", lambda: 1.0)
    found.planner.prepare(cast(Any, SimpleNamespace(where=found.where)), found.notes.append)
    assert clock.loading_seconds == 3


def test_what_another_machine_measured_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = _Planned(read_recipe({}), tmp_path), []

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
    found, loads = _Planned(read_recipe({}), tmp_path), [5.0, 0.1]
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
    found, measuring = _Planned(read_recipe({}), tmp_path), list[str]()

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
    found = _Planned(read_recipe({"train": {"per_device_train_batch_size": 10}}), tmp_path)
    configuration = found.recipe.configuration({"data.max_train_samples": 5_000})  # 500 steps
    whole = found.planner.pace.seconds(configuration, 5_000)
    found.at = 600 - found.planner.pace.clock.reserve - 0.5 * whole - 5
    assert [found.planner.would_end(configuration, step) for step in (0, 100, 400)] == [False, False, True]


def test_all_rows_that_a_recipe_asks_for_are_validated_on_all_when_a_trial_goes_on_or_joins_others(
    tmp_path: Path,
) -> None:
    """On a part of the rows as many would be validated on 4,000, once."""
    found = _Planned(read_recipe({"data": {"max_train_samples": 20_000}}), tmp_path)
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
    found = _Planned(read_recipe({}), tmp_path)
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


def test_once_the_test_was_rehearsed_the_first_loading_is_no_measure_of_the_last(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    planner, clock = found.planner, found.planner.pace.clock
    planner.reserve.loading_seconds = 30.0
    planner.reserve.keep()
    assert clock.reserve > 30 * TEST_CAUTION
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 0.0), job, ["a text"], 1)
    assert clock.reserve == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001) + clock.report_seconds)


def test_a_test_that_was_rehearsed_on_a_machine_that_had_become_slower_is_not_slower_once_more(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    planner, clock = found.planner, found.planner.pace.clock
    for row in (ROW_SECONDS, *[2 * ROW_SECONDS] * 4):
        found.trained({}, row)
    assert clock.slowdown == pytest.approx(2)
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 0.0), job, ["a text"], 1)
    assert clock.test_seconds == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001))
    for _ in range(4):
        found.trained({}, 6 * ROW_SECONDS)
    assert clock.test_seconds == pytest.approx(TEST_CAUTION * 3 * (1.0 + 100 * 0.001))


def test_a_page_that_was_rehearsed_on_a_machine_that_had_become_slower_is_not_slower_once_more(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    reserve, clock = found.planner.reserve, found.planner.pace.clock
    clock.slowdown = 2.0
    reserve.rehearse_page(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 10.0), 1)
    judged = 2 * 100 * JUDGED_ROW_SECONDS
    assert clock.page_seconds == pytest.approx(PAGE_CAUTION * 10 + judged)


def test_a_test_is_tried_on_many_texts_where_few_are_held_out(tmp_path: Path) -> None:
    found, tried = _Planned(read_recipe({}), tmp_path), list[str]()

    def test(_: Path, texts: Sequence[str]) -> tuple[float, float]:
        tried.extend(texts)
        return 1.0, 0.001

    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    found.planner.reserve.rehearse(Rehearsal(test, lambda _: 0.0), job, ["a", "b", "c"], 1)
    assert len(tried) == REHEARSAL_TEXTS
    assert set(tried) == {"a", "b", "c"}


def test_the_test_is_tried_for_each_length_since_that_of_one_says_nothing_of_another(tmp_path: Path) -> None:
    recipe = read_recipe({"data": {"max_length": [128, 512]}})
    found, tried = _Planned(recipe, tmp_path), list[int]()

    def test(folder: Path, _: Sequence[str]) -> tuple[float, float]:
        tried.append(int(folder.name))
        return 1.0, 0.1

    for length in (128, 128, 512):
        configuration = recipe.configuration({"data.max_length": length})
        job = Job(0, configuration, SOURCE, rows(), tmp_path / str(length), 1, None)
        found.planner.reserve.rehearse(Rehearsal(test, lambda _: 0.0), job, ["a text"], 1)
    assert tried == [128, 512]


def test_a_test_that_memory_does_not_suffice_for_is_estimated_and_what_else_fails_is_raised(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    reserve, clock = found.planner.reserve, found.planner.pace.clock
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)

    def fails(error: Exception) -> Rehearsal:
        def test(*_: object) -> tuple[float, float]:
            raise error

        return Rehearsal(test, lambda _: 0.0)

    estimated = clock.test_seconds
    reserve.rehearse(fails(MemoryError()), job, ["a text"], 1)
    assert clock.test_seconds == estimated
    with pytest.raises(ValueError, match="broken"):
        reserve.rehearse(fails(ValueError("broken")), job, ["a text"], 1)


def test_the_end_is_not_tried_where_little_time_is_left_or_none_is_limited(tmp_path: Path) -> None:
    found, tried = _Planned(read_recipe({}), tmp_path), list[float]()
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)

    def test(*_: object) -> tuple[float, float]:
        tried.append(found.at)
        return 1.0, 0.001

    rehearsal = Rehearsal(test, lambda _: 0.0)
    clock = found.planner.pace.clock
    assert clock.training_seconds_left is not None
    enough = clock.training_seconds_left - REHEARSAL_SECONDS
    for found.at in (enough + 0.1, enough - 0.1):
        found.planner.reserve.rehearse(rehearsal, job, ["a text"], 1)
    assert tried == [enough - 0.1]
    found.seconds = math.inf
    found.again().reserve.rehearse(rehearsal, job, ["a text"], 1)
    assert tried == [enough - 0.1]


def test_time_to_mix_the_winner_s_seeds_is_kept_where_rows_are_few(tmp_path: Path) -> None:
    for most, few in ((999, True), (1_000, False)):
        found = _Planned(read_recipe({}), tmp_path, most_rows=(most, 60))
        planner, clock = found.planner, found.planner.pace.clock
        job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
        planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 0.0), job, ["a text"], 1)
        assert clock.test_seconds == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001))
        assert clock.mixing_seconds == pytest.approx(TEST_CAUTION * (1.0 + 2 * 60 * 0.001))
        after = clock.test_seconds + clock.report_seconds + few * clock.mixing_seconds
        assert clock.reserve == pytest.approx(after)


@pytest.mark.parametrize(("before_it", "due"), [(0, [0, 1, 2, 4, 8, 16]), (6, [6, 12])])
def test_a_page_is_rehearsed_again_whenever_the_trials_doubled_and_has_its_time_kept(
    tmp_path: Path, before_it: int, due: list[int]
) -> None:
    """A first time before the plan is made, with the trials that a resumed run has."""
    found = _Planned(read_recipe({}), tmp_path)
    planner, clock = found.planner, found.planner.pace.clock
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    before, at = clock.report_seconds, list[int]()
    for finished in range(before_it, 17):

        def page(run: Path, finished: int = finished) -> float:
            at.append(finished)
            return float(finished)

        rehearsal = Rehearsal(lambda *_: (1.0, 0.001), page)
        if finished == before_it:
            planner.reserve.rehearse_page(rehearsal, finished)
        else:
            planner.reserve.rehearse(rehearsal, job, ["a text"], finished)
    assert at == due
    assert clock.page_seconds == pytest.approx(PAGE_CAUTION * due[-1] + 100 * JUDGED_ROW_SECONDS)
    assert clock.reserve == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001) + clock.report_seconds)
    assert clock.report_seconds > before + 20
    clock.slowdown = 2.0
    assert clock.page_seconds == pytest.approx(2 * (PAGE_CAUTION * due[-1] + 100 * JUDGED_ROW_SECONDS))


def test_a_page_that_can_t_be_made_ends_no_search(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)

    def broken(run: Path) -> float:
        raise ValueError(run)

    before = found.planner.pace.clock.report_seconds
    found.planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), broken), job, ["a text"], 1)
    assert found.planner.pace.clock.report_seconds == before


def test_a_stop_while_the_page_is_tried_is_heard_at_once(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)

    def stopped(run: Path) -> float:
        raise StoppedError(run, "stopped by SIGTERM")

    with pytest.raises(StoppedError):
        found.planner.reserve.rehearse_page(Rehearsal(lambda *_: (1.0, 0.001), stopped), 1)


@pytest.mark.parametrize(
    ("train", "search", "seconds", "told"),
    [
        ({"warmup_steps": 3_000}, {"epochs": "clock"}, 600.0, True),
        ({"warmup_steps": 3_000}, {"epochs": "clock"}, 60_000.0, False),
        ({"warmup_steps": [10, 3_000]}, {"epochs": "clock"}, 600.0, True),
        ({"warmup_steps": {"min": 10, "max": 3_000}}, {"epochs": "clock"}, 600.0, False),
        ({"warmup_steps": 10}, {"epochs": "clock"}, 600.0, False),
        ({"warmup_steps": 600}, {}, 60.0, True),  # of 1,250, as a part of the rows is trained on
        ({"warmup_steps": 600}, {}, 6_000.0, False),
        ({"warmup_steps": 2_000}, {}, 60.0, False),  # told before: all rows would be too few
    ],
)
def test_a_warm_up_that_the_time_allows_no_training_to_come_to_the_end_of_is_told(
    tmp_path: Path, train: dict[str, Any], search: dict[str, Any], seconds: float, *, told: bool
) -> None:
    recipe = read_recipe({"train": train, "search": {"sampler": "random", **search}})
    planned = _Planned(recipe, tmp_path / "run", seconds=seconds, most_rows=(20_000, 100))
    found = [note for note in planned.notes if note.startswith("train.warmup_steps: the rate never comes to")]
    assert len(found) == told
    steps = max(recipe.values("train.warmup_steps"))
    assert all(f"rising for {steps:,} steps where the time allows a training" in note for note in found)
    again = planned.again()
    assert again.pace.plan == planned.planner.pace.plan


def test_a_plan_that_is_done_gets_more_rows_where_there_is_time_for_them(tmp_path: Path) -> None:
    found = _Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=100)
    pace = found.planner.pace
    assert pace.task is not None
    before = pace.task.rows(pace.plan.top)
    assert before < 20_000
    found.at, pace.final_begun = 60, True
    assert not found.planner.extend()
    assert pace.task.rows(pace.plan.top) == before
    for _ in range(8):
        found.trained({}, ROW_SECONDS / 100)
    assert found.planner.extend()
    assert pace.plan.top is None
    assert found.again().pace.plan.rungs == pace.plan.rungs
    assert not found.planner.extend()


def test_a_plan_that_got_more_rows_is_for_the_time_that_was_left_then(tmp_path: Path) -> None:
    """The trials before it have used the other."""
    found = _Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=100)
    pace = found.planner.pace
    found.at, pace.final_begun = 60, True
    for _ in range(8):
        found.trained({}, ROW_SECONDS / 10)
    assert found.planner.extend()
    extended, pace.final_begun = pace.plan, False
    found.trained({}, ROW_SECONDS / 10)
    assert pace.plan == extended


@pytest.mark.parametrize("epochs", ["recipe", "clock"])
def test_where_the_trial_that_was_to_have_all_the_time_fails_others_have_what_is_left(
    tmp_path: Path, epochs: str
) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"epochs": epochs, "sampler": "random"}})
    found = _Planned(recipe, tmp_path, seconds=25, has_results=False)
    pace, configuration = found.planner.pace, recipe.configuration({})
    assert (len(pace.plan.rungs), pace.plan.finalists) == (1, 1)
    found.at = 3
    assert not pace.allows(configuration, pace.plan.top)
    assert found.planner.extend()
    assert pace.allows(configuration, pace.plan.top)
    assert found.again().pace.plan.rungs == pace.plan.rungs
    assert not found.planner.extend()
    found.at = 24
    assert not found.planner.extend()


@pytest.mark.parametrize(("seconds", "more"), [(100.0, 1.0), (120.0, 1.0), (200.0, 1.5)])
def test_a_run_that_goes_on_has_other_rows_only_where_there_is_time_for_many_more(
    tmp_path: Path, seconds: float, more: float
) -> None:
    """A resume of as many seconds measures nothing anew, and so has some more for training."""
    found = _Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=100, start_up=10)
    kept, found.at, found.start_up, found.seconds = found.planner.pace.plan, 0.0, 6, seconds
    plan = found.again().pace.plan
    assert kept.top is not None
    assert plan.top is not None
    assert plan.rungs[: len(kept.rungs)] == kept.rungs
    assert (plan.top == kept.top) == (more == 1)
    assert plan.top >= more * kept.top


@pytest.mark.parametrize(("seconds", "longest"), [(60, 128), (600, None)])
def test_a_length_of_which_the_test_alone_takes_the_time_is_left_out(
    seconds: float, longest: int | None, tmp_path: Path
) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    recipe = with_length(recipe, 400, 512)
    model = recipe.backbone.model
    timed = (Measured(model, 128, 16, 0.004, 0.0013, 0.5), Measured(model, 512, 16, 0.02, 0.006, 0.5))
    found = _Planned(recipe, tmp_path, seconds=seconds, timed=timed, test_rows=7_500)
    pace = found.planner.pace
    assert pace.task is not None
    lengths = {kind.data.max_length for kind in pace.task.kinds}
    assert lengths == ({128} if longest else {128, 512})
    assert any("are cut at 128 tokens" in note for note in found.notes) == bool(longest)
    whole = recipe.configuration({"data.max_length": 512})
    assert (pace.why_not(whole) is not None) == bool(longest)
    found.seconds = 6_000.0
    task = found.again().pace.task
    assert task is not None
    assert {kind.data.max_length for kind in task.kinds} == lengths  # what a run began with stays


@pytest.mark.parametrize(("seconds", "longest"), [(60, 128), (150, 256), (600, None)])
def test_of_several_lengths_the_longest_stays_whose_test_leaves_time(
    seconds: float, longest: int | None, tmp_path: Path
) -> None:
    recipe = read_recipe({"search": {"sampler": "auto"}, "data": {"max_length": [128, 256, 512]}})
    recipe = default_space(recipe, deadline=True)
    seconds_of_rows = {128: 0.0013, 256: 0.003, 512: 0.012}
    timed = tuple(
        Measured(recipe.backbone.model, tokens, 16, 3 * each, each, 0.5) for tokens, each in seconds_of_rows.items()
    )
    found = _Planned(recipe, tmp_path, seconds=seconds, timed=timed, test_rows=7_500)
    task = found.planner.pace.task
    assert task is not None
    assert max(kind.data.max_length for kind in task.kinds) == (longest or 512)
    assert any("texts are cut at" in note for note in found.notes) == (longest is not None)


def test_where_not_one_trial_fits_what_would_do_in_all_is_said_and_does(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    kept = r"\d+ s of \d+ are kept for the test and the report"
    said = rf"takes about \d+ s, \d s are left for it: {kept}; give it (\d+) s \(budget\.max_seconds\)$"
    with pytest.raises(BudgetError, match=said) as no:
        _Planned(recipe, tmp_path, seconds=5)
    would_do = float(str(no.value).split()[-3])
    assert 10 < would_do < 30
    assert _Planned(recipe, tmp_path, seconds=would_do).planner.pace.plan.top is not None


def test_where_a_test_on_all_rows_takes_most_of_the_time_a_part_of_them_is_tested(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    tested, said = [], []
    for seconds in (30, 60, 120, 600):
        found = _Planned(recipe, tmp_path / f"{seconds}", seconds=seconds, test_rows=20_000)
        clock = found.planner.pace.clock
        tested.append(clock.test_rows)
        said.append(any(f"on {clock.test_rows:,} of 20,000 test rows" in note for note in found.notes))
        assert clock.seconds_left is not None
        assert clock.reserve < 0.75 * clock.seconds_left  # the report beside the test
    assert tested == sorted(tested)
    assert (tested[0] > 200, tested[-1]) == (True, 20_000)
    assert said == [rows < 20_000 for rows in tested]


def test_the_part_that_is_tested_takes_a_quarter_of_what_is_left_beside_the_report_with_its_loading(
    tmp_path: Path,
) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    found = _Planned(recipe, tmp_path, seconds=60, test_rows=20_000)
    clock = found.planner.pace.clock
    assert 200 < clock.test_rows < 20_000
    assert clock.seconds_left is not None
    every = replace(clock, test_rows=20_000, now=lambda: found.at)  # by whose report the part is chosen
    to_share = clock.seconds_left - every.report_seconds
    assert clock.test_seconds == pytest.approx(PART_TESTING * to_share, rel=0.01)


def test_where_the_test_of_few_rows_alone_takes_longer_than_is_left_that_is_said(tmp_path: Path) -> None:
    alone = r"the test of 200 rows and the report alone take about (\d+) s, and (\d+) s are left in all; give it"
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    timed = (Measured(recipe.backbone.model, 128, 16, 0.5, 0.1, 0.5),)
    with pytest.raises(BudgetError, match=alone) as no:
        _Planned(recipe, tmp_path, seconds=30, timed=timed, test_rows=20_000)
    found = re.search(alone, str(no.value))
    assert found is not None
    assert int(found[1]) > int(found[2])


def test_a_run_that_goes_on_has_the_passes_that_its_finals_were_fitted_with(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path)
    planned = found.planner.pace.plan.epochs
    found.at = 120  # the search before the finals took less than its share
    found.planner.pace.fit()
    assert found.planner.pace.plan.epochs != planned
    found.planner.write_what_changed()
    assert found.again().pace.plan == found.planner.pace.plan


def test_once_a_final_has_its_passes_finalists_and_seeds_are_counted_by_them(tmp_path: Path) -> None:
    recipe = default_space(
        read_recipe({"lora": {"r": [1, 2, 4]}, "search": {"sampler": "auto", "seeds": 2}}), deadline=True
    )
    found = _Planned(recipe, tmp_path)
    pace = found.planner.pace
    planned = pace.plan
    assert (planned.finalists, planned.seeds) == (1, 1)
    assert planned.epochs is not None
    few = dict.fromkeys(planned.epochs, 0.25)
    pace.plan = replace(planned, finalists=2, seeds=2, epochs=few)  # of a command that had other time
    found.trained({}, ROW_SECONDS)
    assert pace.plan == planned
    pace.plan, pace.final_begun = replace(planned, epochs=few), True
    found.trained({}, ROW_SECONDS)
    assert pace.plan.epochs == few
    assert (pace.plan.finalists, pace.plan.seeds) == (1, 2)


@pytest.mark.parametrize(("seconds", "finalists"), [(2_800.0, 2), (4_000.0, 3)])
def test_finals_that_fill_what_a_short_search_has_left_are_as_many_as_they_were_fitted_for(
    tmp_path: Path, seconds: float, finalists: int
) -> None:
    """The finals' share of all the time would do for fewer with so many passes."""
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, seconds=seconds)
    pace, found.at = found.planner.pace, 100
    pace.fit()
    fitted, pace.final_begun = pace.plan, True
    found.trained({}, ROW_SECONDS)
    assert pace.plan == fitted
    assert fitted.finalists == finalists
    found.at = 0
    assert found.again().pace.plan == fitted  # nor are they fewer where a run goes on, with as much time once more
    found.seconds = 600
    assert found.again().pace.plan.finalists == finalists


@pytest.mark.parametrize("seconds", [600.0, 3_000.0])
def test_what_is_known_to_be_good_is_fitted_to_the_passes_that_the_first_command_had_time_for(
    tmp_path: Path, seconds: float
) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, seconds=seconds)
    epochs = found.planner.pace.plan.planned(recipe.configuration({}), None).train.num_train_epochs
    assert found.foresaw == [20_000 * epochs]
    found.seconds = 10 * seconds
    found.again()
    assert found.foresaw == [20_000 * epochs] * 2


def _measuring(monkeypatch: pytest.MonkeyPatch, row_seconds: float | None) -> list[Configuration]:
    """Has the planner measure that rows of one more configuration take so long (None: it fails); which it measured."""
    asked = []

    def measure(place: Any, executor: Any, configuration: Configuration, *_: Any) -> Measured | None:
        asked.append(configuration)
        cost: dict[str, Any] = {"eval_row_seconds": 0.003, "beside_seconds": 0.5}
        if row_seconds is None:
            return None
        return Measured(**cost_key(configuration)._asdict(), train_row_seconds=row_seconds, **cost)

    monkeypatch.setattr(planning, "measure_one", measure)
    return asked


@pytest.mark.parametrize(
    ("seconds", "row", "expected"),
    [
        (600.0, 2 * ROW_SECONDS, True),
        (600.0, 200 * ROW_SECONDS, False),
        (600.0, None, False),
        (30.0, ROW_SECONDS, False),
    ],
)
def test_every_layer_is_first_where_a_final_sees_many_examples_of_a_class_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, row: float | None, *, expected: bool
) -> None:
    asked = _measuring(monkeypatch, row)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, seconds=seconds, layers=("top-half", None))
    assert [one.lora.layers_to_transform for one in asked] == [None] * (seconds > 30)
    assert any("with every layer adapted, has all the time" in note for note in found.notes) is expected
    assert (len(found.planner.pace.costs.row_seconds) == 2) is expected  # else it is compared as what it is most like
    found.seconds = 630 - seconds
    found.again()
    assert found.every_layer_first == [expected] * 2
    assert len(asked) == (seconds > 30)


def test_every_layer_that_comes_first_is_measured_on_another_machine_too_and_is_what_its_speed_is_told_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _measuring(monkeypatch, 2 * ROW_SECONDS)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, layers=("top-half", None))
    monkeypatch.setattr(planning, "warm_up", lambda *_: WarmedUp((found._first,), 1.0))
    monkeypatch.setattr(planning, "_machine", lambda: "another, 64 cores")
    found.planner = found.again()
    (first, _), pace = found.listing.leading, found.planner.pace
    assert [one.lora.layers_to_transform for one in asked] == [None] * 2
    assert pace.costs.train_row_seconds(first) == 2 * ROW_SECONDS
    found.trained({"lora.layers_to_transform": None}, 6 * ROW_SECONDS)
    assert pace.clock.slowdown == pytest.approx(3)
    found.again()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("ranks", "layers"), [((8, 4), ("top-half", None)), ((16, 16), (None, None)), ((16, 16), ("top-half", "top-half"))]
)
def test_every_layer_is_no_choice_where_it_has_a_smaller_rank_or_all_or_none_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: tuple[int, int], layers: tuple[Any, Any]
) -> None:
    asked = _measuring(monkeypatch, ROW_SECONDS)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    assert _Planned(recipe, tmp_path, ranks=ranks, layers=layers).every_layer_first == [False]
    assert not asked


@pytest.mark.parametrize(("ranks", "expected"), [((8, 4), True), ((8, 8), False)])
def test_the_upper_half_that_has_all_the_time_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: tuple[int, int], *, expected: bool
) -> None:
    _measuring(monkeypatch, None)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, seconds=300.0, ranks=ranks, layers=("top-half", None))
    told = "one configuration, with the upper half of the layers adapted, has all the time"
    assert any(told in note for note in found.notes) is expected


def test_a_run_that_began_when_no_such_order_was_kept_goes_on_in_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measuring(monkeypatch, ROW_SECONDS)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, layers=("top-half", None))
    kept = read_sealed(tmp_path / PLAN)
    write_sealed(tmp_path / PLAN, {name: value for name, value in kept.items() if name != "every_layer_first"})
    found.again()
    assert found.every_layer_first == [True, False]


def test_without_a_deadline_what_is_foreseen_are_the_recipes_own_epochs(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}, "train": {"num_train_epochs": 3}}))
    found = _Planned(recipe, tmp_path, seconds=math.inf)
    assert (found.foresaw, found.every_layer_first) == ([60_000], [False])


def test_what_came_before_the_plan_is_no_time_for_training(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, seconds=1_000.0, start_up=500.0)
    planned = found.planner.pace.plan
    found.trained({}, ROW_SECONDS)
    assert found.planner.pace.plan == planned


def test_time_that_trials_took_as_was_planned_changes_nothing_of_the_plan(tmp_path: Path) -> None:
    """A final's share is of all the time that was planned for, and not of what is left."""
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path)
    for _ in range(4):  # whose costs are all that counts
        found.trained({}, ROW_SECONDS)
    planned = found.planner.pace.plan
    assert len(planned.rungs) > 1
    for found.at in (50.0, 100.0, 150.0):
        found.trained({}, ROW_SECONDS)
        assert found.planner.pace.plan == planned


def test_where_rows_are_dearer_than_was_measured_a_final_on_the_kept_rows_still_fits_its_share(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = _Planned(recipe, tmp_path, seconds=200.0)
    pace, training = found.planner.pace, found.planner.pace.clock.training_seconds_left
    assert pace.plan.top is not None  # not all rows fit
    assert training is not None
    top = pace.plan.top
    for _ in range(3):
        found.trained({}, 1.5 * ROW_SECONDS)
    assert pace.plan.top == top
    assert pace.seconds(recipe.configuration({}), top) <= 1.05 * CLOCKED_SHARE * training


@pytest.mark.parametrize("epochs", ["recipe", "clock"])
@pytest.mark.parametrize(("quicker", "begun", "more"), [(20.0, False, True), (20.0, True, False), (0.6, False, False)])
def test_where_rows_are_cheaper_than_was_measured_finals_have_more_of_them_if_none_was_begun(
    tmp_path: Path, epochs: str, quicker: float, *, begun: bool, more: bool
) -> None:
    """More passes over a part would not make up for it; what was compared on lower rungs stays."""
    axes = {"lora": {"r": {"min": 1, "max": 16}}, "search": {"epochs": epochs, "sampler": "random"}}
    found = _Planned(read_recipe(axes), tmp_path, seconds=150)
    pace = found.planner.pace
    kept, pace.final_begun = pace.plan, begun
    assert len(kept.rungs) > 2
    assert kept.top is not None
    for _ in range(4):
        found.trained({}, ROW_SECONDS / quicker)
    assert (pace.plan.top is None) == more
    if not more:
        assert pace.plan.rungs == kept.rungs
        return
    assert pace.task is not None
    assert pace.plan.rungs == (*kept.rungs[:-1], None)
    anew = make_plan(pace.task, pace.costs, pace.clock.training_seconds_left, pace.slots)
    assert (pace.plan.finalists, pace.plan.seeds, pace.plan.epochs) == (anew.finalists, anew.seeds, anew.epochs)
    assert found.again().pace.plan.rungs == pace.plan.rungs


def test_where_rows_are_so_cheap_that_all_can_be_trained_in_full_all_are_finalists(tmp_path: Path) -> None:
    found = _Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=150)
    found.listing.configurations = 3
    pace = found.planner.pace
    pace.task = replace(cast(Task, pace.task), configurations=3)
    kept = pace.plan
    assert kept.top is not None
    for _ in range(4):
        found.trained({}, ROW_SECONDS / 100)
    assert pace.plan == Plan((*kept.rungs[:-1], None), 3, 1)


def test_a_trial_s_last_step_leaves_time_to_validate_and_for_what_is_beside(tmp_path: Path) -> None:
    found = _Planned(read_recipe({}), tmp_path)
    end = found.planner.pace.clock.training_end
    deadline = found.planner.job_deadline(300, found.recipe.configuration({}))
    assert end is not None
    assert deadline == pytest.approx(end - TEST_CAUTION * (300 * ROW_SECONDS / 3 + 0.5))
