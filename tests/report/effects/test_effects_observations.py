"""What effects are measured on: the first results, before any result chose who got more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom.engine.progress import evaluation_steps
from loraloom.recipe import Recipe
from loraloom.report.effects import observations
from loraloom.report.effects.observations import Observations, as_planned, common_seeds, observe, survivors
from loraloom.report.reading import RunRead, read_run
from loraloom.study.record import Evaluation, TrialRecord
from tests.report.report_runs import make_evaluations, make_recipe, make_record, with_train, write_run, write_trial


def trial(recipe: Recipe, number: int, rank: int, accuracy: float | None, **changes: Any) -> TrialRecord:
    state = changes.pop("state", "complete" if accuracy is not None else "failed")
    record = make_record(recipe, number, {"lora.r": rank}, accuracy, state=state, seed=changes.pop("seed", 42))
    return record.model_copy(update={"train_rows": 900, "epochs": 4.0, **changes})


def seen(run: RunRead) -> Observations:
    found = observe(run, [])
    assert found is not None
    return found


def read(path: Path, recipe: Recipe, records: list[TrialRecord], lines: list[Evaluation] | None = None) -> RunRead:
    return read_run(write_run(path / "r", recipe, records, evaluations=lines))


def ranks(**options: Any) -> Recipe:
    return make_recipe(lora={"r": [2, 4, 8]}, train={"num_train_epochs": 4}, **options)


def test_a_promoted_configuration_counts_with_the_rows_on_which_it_began(tmp_path: Path) -> None:
    recipe = ranks()
    records = [trial(recipe, n, rank, 0.8 + 0.01 * n, train_rows=300) for n, rank in enumerate((2, 4, 8))]
    records.append(trial(recipe, 3, 8, 0.95))
    found = seen(read(tmp_path, recipe, records))
    assert found.rows == (300,)
    assert found.numbers == ((0,), (1,), (2,))
    assert found.table.metric.tolist() == pytest.approx([r.result.validation.accuracy for r in records[:3] if r.result])
    assert found.selected


def test_brackets_that_begin_on_more_rows_are_a_block_of_their_own(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 2, 3, 4, 5, 6]}, train={"num_train_epochs": 4})
    records = [trial(recipe, n, rank, 0.9, train_rows=300 if n < 3 else 900) for n, rank in enumerate(range(1, 7))]
    found = seen(read(tmp_path, recipe, records))
    assert found.rows == (300, 900)
    assert found.table.block.tolist() == [0, 0, 0, 1, 1, 1]
    assert not found.selected


@pytest.mark.parametrize(("on_few", "on_more", "rows"), [(3, 2, (300,)), (3, 3, (300, 900)), (2, 0, (300,))])
def test_beside_another_block_two_say_too_little_and_are_left_out(
    tmp_path: Path, on_few: int, on_more: int, rows: tuple[int, ...]
) -> None:
    recipe = make_recipe(lora={"r": [1, 2, 3, 4, 5, 6]}, train={"num_train_epochs": 4})
    records = [trial(recipe, n, n + 1, 0.9, train_rows=300 if n < on_few else 900) for n in range(on_few + on_more)]
    found = seen(read(tmp_path, recipe, records))
    assert found.rows == rows
    assert found.table.size == on_few + (on_more if len(rows) > 1 else 0)


def test_seeds_that_all_were_given_are_averaged(tmp_path: Path) -> None:
    recipe = ranks()
    records = [
        trial(recipe, 2 * n + s, rank, 0.9 + 0.02 * s, seed=42 + s) for n, rank in enumerate((2, 4, 8)) for s in (0, 1)
    ]
    found = seen(read(tmp_path, recipe, records))
    assert found.table.seeds == (2, 2, 2)
    assert found.table.metric == pytest.approx(0.91, abs=0.002)
    assert found.table.seed_noise == pytest.approx(0.02 / 2**0.5, abs=0.003)
    assert not found.selected


def test_rounding_to_whole_rows_is_as_wide_as_the_rows_and_seeds_make_it(tmp_path: Path) -> None:
    recipe = ranks()
    records = [
        trial(recipe, n, rank, 0.8 + 0.01 * n, seed=seed)
        for n, (rank, seed) in enumerate((rank, seed) for seed in (1, 2) for rank in (2, 4, 8))
    ]
    rows = {record.result.validation.examples for record in records if record.result}.pop()
    assert seen(read(tmp_path, recipe, records)).table.rounding == pytest.approx(1 / (12 * rows**2 * 2))


def test_seeds_that_only_leaders_were_given_do_not_count(tmp_path: Path) -> None:
    recipe = ranks()
    records = [trial(recipe, n, rank, 0.9) for n, rank in enumerate((2, 4, 8))]
    records += [trial(recipe, 3, 2, 0.5, seed=43), trial(recipe, 4, 4, 0.5, seed=43)]
    found = seen(read(tmp_path, recipe, records))
    assert found.table.seeds == (1, 1, 1)
    assert found.table.metric == pytest.approx(0.9, abs=0.003)
    assert found.selected


def test_a_last_configuration_that_a_stop_cut_short_does_not_cost_the_others_their_seeds() -> None:
    assert common_seeds([[(0, 42), (1, 43)], [(2, 42), (3, 43)], [(4, 42)]]) == {42, 43}
    assert common_seeds([[(0, 42), (3, 43)], [(1, 42), (4, 43)], [(2, 42)]]) == {42}


def test_a_configuration_that_failed_does_not_cost_the_others_their_seeds(tmp_path: Path) -> None:
    """It is given no seed after the one that failed."""
    recipe = ranks()
    first = [trial(recipe, 0, 8, None), trial(recipe, 1, 2, 0.9), trial(recipe, 2, 4, 0.9)]
    later = [trial(recipe, 3, 2, 0.9, seed=43), trial(recipe, 4, 4, 0.9, seed=43)]
    found = seen(read(tmp_path, recipe, [*first, *later]))
    assert (found.table.seeds, found.selected, found.failed) == ((2, 2), False, 1)
    assert common_seeds([[(0, 42), (1, 43)], [(2, 42), (3, 43), (4, 44)], [(5, 42), (6, 43), (7, 44)]], {1}) == {
        42, 43, 44
    }  # fmt: skip


def test_trials_that_were_ended_early_count_with_their_first_evaluation(tmp_path: Path) -> None:
    recipe = ranks()
    states = ("complete", "pruned", "complete")
    records = [trial(recipe, n, r, 0.97, state=s) for n, (r, s) in enumerate(zip((2, 4, 8), states, strict=True))]
    lines = list(make_evaluations(quality=0.9))
    found = seen(read(tmp_path, recipe, records, lines))
    assert found.epochs == (1.0,)
    assert found.table.metric == pytest.approx(lines[0].validation_accuracy)
    assert found.selected


def test_the_batch_size_does_not_tell_first_evaluations_apart_by_the_rounding_to_steps(tmp_path: Path) -> None:
    """Of 1,558 rows half an epoch is 49 of 98 steps, 24 of 49 or 12 of 25. Three were cut short by the clock."""
    recipe = make_recipe(lora={"r": [2, 4, 8, 16]}, train={"per_device_train_batch_size": [16, 32, 64]})
    run = write_run(tmp_path / "r", recipe, [])
    (line,) = make_evaluations(1)
    for number, point in enumerate(recipe.grid()):
        record = make_record(recipe, number, point, 0.9, state="pruned")
        batches = {16: 98, 32: 49, 64: 25}[point["train.per_device_train_batch_size"]]
        step = batches // 2 if point["lora.r"] < 16 else batches // 4
        first = line.model_copy(update={"step": step, "epoch": step / batches})
        write_trial(run / "trials" / f"{number:04d}", record, [first])
    found = seen(read_run(run))
    assert (found.table.size, found.epochs) == (12, (0.24, 0.5))
    assert set(found.table.axes) == {"lora.r", "train.per_device_train_batch_size"}


@pytest.mark.parametrize("batches", [98, 49, 25])
def test_an_evaluation_is_at_the_epoch_that_it_was_planned_at(batches: int) -> None:
    (line,) = make_evaluations(1)
    train = make_recipe(lora={}, train={"lr_scheduler_type": "cyclic"}).configuration({}).train
    steps = sorted(evaluation_steps(train, batches))
    lines = [line.model_copy(update={"step": step, "epoch": step / batches}) for step in steps]
    assert [as_planned(train, each) for each in lines] == [(number + 1) / 8 for number in range(8)]


def test_trials_that_were_ended_early_and_left_no_evaluation_are_nothing_to_compare(tmp_path: Path) -> None:
    recipe = ranks()
    records = [trial(recipe, n, rank, 0.97, state="pruned") for n, rank in enumerate((2, 4, 8))]
    assert observe(read(tmp_path, recipe, records, []), []) is None


def test_of_many_trials_that_were_ended_early_some_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ranks()
    records = [
        trial(recipe, 2 * n + s, r, 0.97, state="pruned", seed=42 + s) for n, r in enumerate((2, 4, 8)) for s in (0, 1)
    ]
    monkeypatch.setattr(observations, "MOST_READ", 4)
    found = seen(read(tmp_path, recipe, records))
    assert (found.table.size, found.table.seeds, found.drawn_of) == (2, (2, 2), 6)


def test_many_trials_of_one_configuration_are_nothing_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ranks()
    records = [trial(recipe, seed, 2, 0.97, state="pruned", seed=seed) for seed in range(5)]
    monkeypatch.setattr(observations, "MOST_READ", 4)
    assert observe(read(tmp_path, recipe, records), []) is None


def test_a_trial_that_failed_or_that_the_clock_cut_short_is_left_out_and_counted(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 2, 3, 4, 5]}, train={"num_train_epochs": 4})
    records = [trial(recipe, n, r, 0.9) for n, r in enumerate((1, 2, 3))]
    records += [trial(recipe, 3, 4, None), trial(recipe, 4, 5, 0.9, epochs=2.5)]
    found = seen(read(tmp_path, recipe, records))
    assert (found.table.size, found.failed, found.cut) == (3, 1, 1)


def test_of_what_is_as_dear_the_passes_count_that_most_had_by_a_clock(tmp_path: Path) -> None:
    def clocked(epochs: str, *of_adam: float) -> Observations:
        recipe = make_recipe(
            lora={"r": [1, 2, 4, 8]}, train={"optim": ["adam", "muon"]}, search={"sampler": "auto", "epochs": epochs}
        )
        given = [("adam", each) for each in of_adam] + [("muon", 3.0)] * 4
        records = [
            with_train(make_record(recipe, n, {"lora.r": 2 ** (n % 4), "train.optim": optim}), num_train_epochs=each)
            for n, (optim, each) in enumerate(given)
        ]
        whole = [record.model_copy(update={"train_rows": 900, "epochs": 6.0}) for record in records]
        return seen(read(tmp_path / f"{epochs} {of_adam}", recipe, whole))

    found = clocked("clock", 5.0, 6.0, 6.0, 4.0)
    assert (found.numbers, found.planned_anew) == (((1,), (2,), (4,), (5,), (6,), (7,)), 2)
    assert not found.selected
    assert clocked("clock", 6.0, 6.0, 5.0, 5.0).numbers[:2] == ((0,), (1,))
    assert clocked("recipe", 5.0, 6.0, 6.0, 4.0).planned_anew == 0


def test_what_is_maximised_is_what_is_compared(tmp_path: Path) -> None:
    recipe = ranks(search={"metric": "macro_f1"})
    records = [trial(recipe, n, r, 0.9) for n, r in enumerate((2, 4))]
    assert seen(read(tmp_path, recipe, records)).table.metric == pytest.approx(0.898)


def test_an_inactive_axis_takes_what_was_trained_with(tmp_path: Path) -> None:
    recipe = ranks()
    records = [trial(recipe, 0, 2, 0.9), trial(recipe, 1, 4, 0.9).model_copy(update={"point": {}})]
    assert seen(read(tmp_path, recipe, records)).table.axes["lora.r"] == (2, 4)


def test_when_trials_were_evaluated_is_no_axis(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={"eval_strategy": ["end", "auto"]})
    records = [make_record(recipe, number, point, 0.9) for number, point in enumerate(recipe.grid())]
    found = seen(read(tmp_path, recipe, records))
    assert found.table.size == 4
    assert set(found.table.axes) == {"lora.r"}


def test_survivors_are_those_on_the_most_rows(tmp_path: Path) -> None:
    recipe = ranks()
    records = [trial(recipe, n, r, 0.8, train_rows=300) for n, r in enumerate((2, 4, 8))]
    records += [trial(recipe, 3, 8, 0.95), trial(recipe, 4, 4, 0.94), trial(recipe, 5, 2, 0.97, epochs=2.5)]
    late = survivors(read(tmp_path, recipe, records))
    assert late is not None
    table, rows = late
    assert (rows, table.size) == (900, 2)
    unknown = [record.model_copy(update={"train_rows": None}) for record in records[:3]]
    of_old = survivors(read(tmp_path / "old", recipe, unknown))
    assert of_old is not None
    assert (of_old[0].size, of_old[1]) == (3, 0)


def test_one_result_is_nothing_to_compare(tmp_path: Path) -> None:
    recipe = ranks()
    assert observe(read(tmp_path, recipe, [trial(recipe, 0, 2, 0.9)]), []) is None
    assert survivors(read(tmp_path, recipe, [trial(recipe, 0, 2, None)])) is None
