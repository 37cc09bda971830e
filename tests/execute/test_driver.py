"""What the driver does with packs that come to nothing."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

import loraloom
from loraloom import pipeline
from loraloom.engine import Engine, Job, Listener, Outcome, device, precision
from loraloom.engine.checkpoint import Rhythm
from loraloom.engine.gemm_rates import GemmRates
from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.engine import NO_MEMORY
from loraloom.engine.loom.pack import Pack
from loraloom.engine.loom.trial import Trial
from loraloom.errors import LoraloomError, RunError, StoppedError
from loraloom.execute import driver, in_process, planning
from loraloom.execute.demands import Demands
from loraloom.execute.executor import Finished, endless
from loraloom.execute.in_process import Chosen, InProcess
from loraloom.execute.messages import stopped
from loraloom.execute.stopping import Stop
from loraloom.execute.warm_up import WarmedUp
from loraloom.execute.workplace import Workplace
from loraloom.recipe import read_recipe
from loraloom.search.costs import Measured
from loraloom.study.commands import COMMANDS, read_commands
from loraloom.study.record import CHECKPOINT
from loraloom.study.run import Run
from loraloom.study.sealed import read_sealed, write_sealed
from tests.ears import Ear
from tests.use.hub_server import Repository, hub_server, speak_to

CRASH = RuntimeError("a product went wrong\nand more lines")


class _Crashing:
    """Another engine, which raises `error` as often as it is told to when a trial of rank 2 is in its pack."""

    name = "loom"

    def __init__(self, engine: Engine, times: int, together: int, error: Exception) -> None:
        self._engine, self._times, self._together, self._error = engine, times, together, error
        self.packs: list[list[int]] = []

    def pack_size(self, *_: Any) -> int:
        return self._together

    def train_pack(self, jobs: Sequence[Job], listener: Listener, *rest: Any) -> tuple[Outcome, ...]:
        self.packs.append([job.number for job in jobs])
        if self._times and any(job.configuration.lora.r == 2 for job in jobs):
            self._times -= 1
            raise self._error
        return self._engine.train_pack(jobs, listener, *rest)


def _search(
    recipe: dict[str, Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    together: int,
    overrides: Sequence[str] = ("lora.r=1,2,4",),
    error: Exception = CRASH,
) -> _Crashing:
    made: list[_Crashing] = []
    choose = in_process.choose_engine

    def crashing(*arguments: Any, **named: Any) -> Chosen:
        chosen = choose(*arguments, **named)
        made.append(_Crashing(chosen.engine, times, together, error))
        return Chosen(made[0], chosen.reason)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "choose_engine", crashing)
        loraloom.search(recipe, out, overrides=overrides, report=False)
    return made[0]


@pytest.mark.parametrize("together", [1, 3])
def test_a_trial_that_crashes_once_is_begun_again_alone_and_ends_as_it_would_have(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    engine = _search(tiny_recipe, tmp_path / "run", monkeypatch, 1, together)
    assert engine.packs.count([1]) == 2 - (together == 3)
    loraloom.search(tiny_recipe, tmp_path / "whole", overrides=["lora.r=1,2,4"], report=False)
    for number in range(3):
        name = f"trials/{number:04d}/adapter_model.safetensors"
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_of_a_pack_that_came_to_nothing_no_trial_is_begun_again_that_would_not_end_in_time(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for one, where none has ended: there is a winner then."""
    monkeypatch.setattr(planning.Planner, "would_end", lambda *_: False)
    engine = _search(tiny_recipe, tmp_path / "run", monkeypatch, 1, 3)
    assert engine.packs == [[0, 1, 2], [0]]
    monkeypatch.undo()
    loraloom.resume(tmp_path / "run")
    assert [record.state for record in Run(tmp_path / "run").records()] == 3 * ["complete"]


@pytest.mark.parametrize("together", [1, 3])
def test_a_trial_that_crashes_twice_is_recorded_with_its_reason_and_its_neighbours_are_not_touched(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    _search(tiny_recipe, tmp_path / "run", monkeypatch, 1000, together)
    records = {record.number: record for record in Run(tmp_path / "run").records()}
    assert [records[number].state for number in range(3)] == ["complete", "failed", "complete"]
    assert records[1].reason == "RuntimeError: a product went wrong"
    assert records[1].counts.trainable > 0
    assert "and more lines" in (tmp_path / "run" / "trials" / "0001" / "traceback.txt").read_text()


def test_a_trial_by_itself_that_runs_out_of_memory_is_recorded_at_once(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saw = Trial.saw

    def without_room(trial: Trial, *seen: Any) -> None:
        if trial.job.configuration.lora.r == 2:
            raise MemoryError("no room for 3 GB")
        saw(trial, *seen)

    monkeypatch.setattr(Trial, "saw", without_room)
    engine = _search(tiny_recipe, tmp_path / "run", monkeypatch, 0, 1)
    assert engine.packs == [[0], [1], [2]]
    reasons = {record.number: record.reason for record in Run(tmp_path / "run").records() if record.state == "failed"}
    assert reasons == {1: NO_MEMORY}


@pytest.mark.parametrize("overrides", [["search.seeds=4"], ["search.seeds=2", "lora.r=1,2"]])
def test_seeds_are_trained_together(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    assert _search(tiny_recipe, tmp_path / "run", monkeypatch, 0, 4, overrides).packs == [[0, 1, 2, 3]]


@pytest.mark.parametrize(("ranks", "finished"), [("2,1", 0), ("1,2", 3)])
def test_where_trials_only_fail_no_more_are_begun_and_a_resume_goes_on_with_the_others(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: str, finished: int
) -> None:
    """No queue begins it again: it exits 2, whether a winner was found before or not."""
    monkeypatch.setattr(driver, "MOST_FAILURES", 2)
    with pytest.raises(
        StoppedError, match=r"no more were begun: RuntimeError: a product.* Go on with: loraloom resume"
    ) as stopped:
        _search(tiny_recipe, tmp_path / "run", monkeypatch, 1000, 1, [f"lora.r={ranks}", "lora.lora_alpha=1,2,4"])
    assert stopped.value.exit_code == 2
    states = [record.state for record in Run(tmp_path / "run").records()]
    assert states == finished * ["complete"] + 2 * ["failed"]
    assert (tmp_path / "run" / "best").exists() == bool(finished)
    loraloom.resume(tmp_path / "run")
    assert [record.state for record in Run(tmp_path / "run").records()][len(states) :] == (6 - len(states)) * [
        "complete"
    ]


def test_failures_between_trials_that_end_well_do_not_add_up(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "MOST_FAILURES", 2)
    _search(tiny_recipe, tmp_path / "run", monkeypatch, 1000, 1, ["data.max_length=16,14", "lora.r=2,1"])
    states = [record.state for record in Run(tmp_path / "run").records()]
    assert states == 2 * ["failed", "complete"]


def test_where_all_trials_failed_there_is_nothing_to_go_on_with(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "MOST_FAILURES", 2)
    with pytest.raises(LoraloomError, match="no trial was finished: RuntimeError") as failed:
        _search(tiny_recipe, tmp_path / "run", monkeypatch, 1000, 1, ["lora.r=2", "lora.lora_alpha=1,2"])
    assert failed.value.exit_code == 2


def test_a_pack_is_given_up_only_after_its_trials_should_have_ended(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, wait = list[tuple[float, float]](), InProcess.wait

    def noted(self: InProcess, listener: Listener, stop: Any, until: Callable[[], float] = endless) -> Finished:
        if until() < math.inf and self._started is not None:
            ends.extend((job.deadline, until()) for job in self._started if job.deadline is not None)
        return wait(self, listener, stop, until)

    monkeypatch.setattr(InProcess, "wait", noted)
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["budget.max_seconds=60", "search.pruner=none"])
    assert ends
    assert all(deadline + 1 < until for deadline, until in ends)


@pytest.mark.parametrize("end", [0.0, math.inf])
def test_how_many_are_trained_together_is_asked_until_what_trains_is_given_up(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: float
) -> None:
    asked = []

    def pack_size(*about: Any) -> int:
        *_, is_over = about
        asked.append(is_over())
        return 1

    monkeypatch.setattr(InProcess, "pack_size", pack_size)
    monkeypatch.setattr(driver.Driver, "_latest_end", lambda _: end)
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["train.num_train_epochs=1"], report=False)
    assert asked == [end == 0]


@pytest.mark.parametrize(("budget", "exit_code"), [([], 75), (["budget.max_seconds=60"], 2)])
def test_a_gpu_that_is_lost_is_said_and_nothing_is_left_where_that_was_in_the_warm_up(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: list[str], exit_code: int
) -> None:
    monkeypatch.setattr(device, "device_is_lost", lambda: True)
    with pytest.raises(LoraloomError, match="the GPU answers this process no more: RuntimeError: a product") as lost:
        _search(tiny_recipe, tmp_path / "run", monkeypatch, 1, 1, ["lora.r=2", *budget])
    assert lost.value.exit_code == exit_code
    assert (tmp_path / "run").exists() == (exit_code == 75)


@pytest.mark.parametrize(
    ("budget", "then"),
    [([], "then: loraloom resume .*run$"), (["budget.max_seconds=60"], "and give the command again$")],
)
def test_a_full_disk_is_said_and_nothing_is_left_where_that_was_in_the_warm_up(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: list[str], then: str
) -> None:
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(RunError, match=f"no space is left on the disk; free some, {then}"):
        _search(tiny_recipe, tmp_path / "run", monkeypatch, 1, 1, ["lora.r=2", *budget], full)
    assert (tmp_path / "run").exists() == (not budget)


@pytest.mark.parametrize(
    ("axis", "room", "packs"),
    [
        ("lora.r=1,2,4", 1, [[0], [1], [2]]),
        ("lora.r=1,2,4", 2, [[0, 1], [2]]),
        ("train.per_device_train_batch_size=4,64", 2, [[0], [1]]),
    ],
)
def test_no_more_trials_are_trained_together_than_the_limit_on_memory_lets(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axis: str, room: int, packs: Any
) -> None:
    """With room for so many of those that take least."""
    recipe = read_recipe(tiny_recipe, [axis])
    demands = Demands(recipe, ("a", "b"))
    least = min(demands.memory_gb(recipe.configuration(point)) for point in recipe.grid())
    limit = f"budget.max_memory_gb={room * (least + 1e-4)}"
    engine = _search(tiny_recipe, tmp_path / "run", monkeypatch, times=0, together=3, overrides=[axis, limit])
    assert engine.packs == packs


class _KilledError(BaseException):
    """Ends a process, as far as a test can end with its own."""


class _Killing:
    """Another engine, which saves after every step; `ends` are what its packs end with at their next evaluation."""

    name = "loom"

    def __init__(self, *ends: BaseException | None) -> None:
        self._engine = LoomEngine(rhythm=partial(Rhythm, 0.0, 1e9))
        self._ends = list(ends)
        self.packs = 0

    def pack_size(self, *_: Any) -> int:
        return 1

    def train_pack(self, jobs: Sequence[Job], listener: Listener, *rest: Any) -> tuple[Outcome, ...]:
        self.packs += 1

        def listen(job: Job, evaluation: Any) -> bool:
            if self._ends and (end := self._ends.pop(0)) is not None:
                raise end
            return listener(job, evaluation)

        return self._engine.train_pack(jobs, listen, *rest)


def test_a_trial_that_ended_two_processes_and_comes_on_in_a_worker_stays_with_workers(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, apart = _Killing(*[_KilledError()] * 9), _Killing(RuntimeError("it died"))
    monkeypatch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(here, "it is the test's"))
    with pytest.raises(_KilledError):
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=["train.num_train_epochs=1"], report=False)
    shutil.rmtree(tmp_path / "run" / "trials" / "0000" / CHECKPOINT)
    with pytest.raises(_KilledError):
        loraloom.resume(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "trials" / "0000" / CHECKPOINT)
    monkeypatch.setattr(pipeline, "make_executor", lambda at, *_, **__: InProcess(apart if at.workers else here))
    loraloom.resume(tmp_path / "run")
    assert (here.packs, apart.packs) == (2, 2)
    assert [command.took_up for command in read_commands(tmp_path / "run")[:2]] == [{}, {0: 0}]


def test_what_may_have_ended_a_process_that_measured_is_measured_in_a_worker(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a model that memory does not suffice for would have each resume killed."""
    here, run, watcher = _Killing(_KilledError()), tmp_path / "run", Ear()
    changes = ["budget.max_seconds=60", "train.num_train_epochs=1", "search.pruner=none"]
    monkeypatch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(here, "it is the test's"))
    with pytest.raises(_KilledError):
        loraloom.search(tiny_recipe, run, overrides=changes, report=False)
    commands = read_sealed(run / COMMANDS)
    commands["commands"][-1]["ended"] = None  # as a kill leaves it
    write_sealed(run / COMMANDS, commands)
    apart = _Killing(*[RuntimeError("it died")] * 2)
    monkeypatch.setattr(pipeline, "make_executor", lambda at, *_, **__: InProcess(apart if at.workers else here))
    with pytest.raises(LoraloomError, match=r"the warm-up failed: .*: RuntimeError: it died$"):
        loraloom.resume(run)
    pipeline.resume(run, watcher=watcher)
    own = "measuring what a row costs here, in a process of its own, since the last command ended before that was done"
    assert own in watcher.notes
    assert (here.packs, apart.packs) == (2, 4)


def test_a_lost_pack_goes_on_from_its_last_checkpoint(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, steps, step = _Killing(RuntimeError("it died")), list[int](), Pack.step

    def counted(pack: Pack, rates: Sequence[float]) -> None:
        steps.append(engine.packs)
        step(pack, rates)

    monkeypatch.setattr(Pack, "step", counted)
    monkeypatch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(engine, "it is the test's"))
    for name in ("run", "whole"):
        loraloom.search(tiny_recipe, tmp_path / name, report=False)
        assert [record.state for record in Run(tmp_path / name).records()] == ["complete"]
    lost, again, whole = (steps.count(pack) for pack in (1, 2, 3))
    assert 0 < lost < whole
    assert lost + again == whole


def test_what_a_trial_took_that_goes_on_from_a_checkpoint_is_not_what_one_takes_here(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of it may have been trained on another machine."""
    engine, timed = _Killing(_KilledError()), dict[int, float | None]()

    def note(_: planning.Planner, job: Job, __: Outcome, ___: float, seconds: float | None) -> None:
        timed[job.number] = seconds

    monkeypatch.setattr(planning.Planner, "note", note)
    monkeypatch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(engine, "it is the test's"))
    with pytest.raises(_KilledError):
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=1,2"], report=False)
    loraloom.resume(tmp_path / "run")
    assert [number for number, seconds in timed.items() if seconds is not None] == [1]


def test_a_trial_of_a_hub_model_goes_on_from_its_checkpoint_at_its_commit_though_the_branch_has_moved(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _Killing(_KilledError())
    monkeypatch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(engine, "it is the test's"))
    folder = Path(tiny_recipe["backbone"]["model"])
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path / "home")
        repository = hub.repositories["someone/tiny"] = Repository()
        begun_at = repository.commit({path.name: path.read_bytes() for path in folder.iterdir()})
        recipe = tiny_recipe | {"backbone": {"model": "someone/tiny", "dropout": "off"}}
        with pytest.raises(_KilledError):
            loraloom.search(recipe, tmp_path / "run", overrides=["train.num_train_epochs=1"], report=False)
        repository.commit({"README.md": b"another commit"})
        pipeline.resume(tmp_path / "run", watcher=(watcher := Ear()))
    (record,) = Run(tmp_path / "run").records()
    assert record.backbone_revision == begun_at
    assert [note for note in watcher.notes if "begins anew" in note] == []
    assert next(iter(read_commands(tmp_path / "run")[1].took_up.values())) > 0


@pytest.mark.parametrize(("dtype", "fp16"), [("fp32", 0.0), ("fp16", 9.0)])
@pytest.mark.parametrize("by", ["a checkpoint", "a record"])
def test_a_run_goes_on_in_its_number_type_though_the_machine_would_be_measured_otherwise_now(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, dtype: str, fp16: float
) -> None:
    engine = _Killing(*([None, None] if by == "a record" else []), _KilledError())
    monkeypatch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(engine, "it is the test's"))
    monkeypatch.setattr(precision, "measure", lambda: GemmRates(2.0, 2.0, fp32_best=3.0, bf16_best=3.0, fp16=fp16))
    with pytest.raises(_KilledError):
        loraloom.search(
            tiny_recipe,
            tmp_path / "run",
            overrides=["train.bf16=auto", "train.num_train_epochs=1", "lora.r=1,2"],
            report=False,
        )
    if by == "a record":
        shutil.rmtree(tmp_path / "run" / "trials" / "0001" / CHECKPOINT)
    monkeypatch.setattr(precision, "measure", lambda: GemmRates(fp32=2.0, bf16=6.0, fp32_best=3.0, bf16_best=7.0))
    loraloom.resume(tmp_path / "run")
    records = Run(tmp_path / "run").records()
    assert [(record.dtype, record.configuration.train.bf16) for record in records] == [(dtype, "auto")] * 2
    assert {record.configuration.train.fp16 for record in records} == {"auto"}
    took_up = read_commands(tmp_path / "run")[1].took_up
    assert took_up == ({1: 0} if by == "a record" else {0: 3})


def test_a_run_that_this_machine_would_take_another_type_for_says_so_when_it_goes_on(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(ratio: float) -> None:
        rates = GemmRates(fp32=2.0, bf16=2.0 * ratio, fp32_best=3.0, bf16_best=3.0 * ratio)
        monkeypatch.setattr(precision, "measure", lambda: rates)

    measured(1.0)
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["train.bf16=auto"], report=False)
    said = []
    for ratio in (1.0, 3.0):
        measured(ratio)
        pipeline.resume(tmp_path / "run", watcher=(watcher := Ear()))
        said.append([note for note in watcher.notes if "this machine" in note])
    products = "a base-size layer's products are 3.0 × as fast as in fp32"
    assert said == [[], [f"the run's trials stay in fp32; this machine would take bf16: {products}"]]


def test_that_the_points_of_a_large_grid_are_listed_is_said(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "MOST_POINTS", 1)
    changes = ["train.num_train_epochs=1", "search.n_trials=1"]
    said = []
    for ranks in ("1,2", "1"):
        recipe = read_recipe(tiny_recipe, [*changes, f"lora.r={ranks}"])
        pipeline.search(recipe, tmp_path / ranks, watcher=(watcher := Ear()), report=False)
        said.append([note for note in watcher.notes if "grid" in note])
    assert said == [["listing the grid's points, over 1"], []]


class _Hanging(InProcess):
    """Trains one pack; the next hangs from when the run is asked to `stop`, until it is given up."""

    def __init__(self, engine: Engine, stop: Stop) -> None:
        super().__init__(engine)
        self._stop, self._trained = stop, 0
        self.left: list[float] = []
        """Of the grace, when a pack was given up."""

    def wait(self, listener: Listener, stop: Callable[[], bool], until: Callable[[], float] = endless) -> Finished:
        jobs, self._trained = self._started, self._trained + 1
        if self._trained == 1 or jobs is None:
            return super().wait(listener, stop, until)
        assert until() == math.inf
        self._stop.ask(StoppedError(jobs[0].folder.parent.parent, "asked"))
        self.left.append(time.monotonic() + self._stop.seconds_left - until())
        return Finished(jobs, stopped(jobs))


def test_a_worker_that_hangs_leaves_a_stops_grace_the_test_and_the_report(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[_Hanging] = []

    def hanging(_: Any, engine: Engine, *__: Any, **___: Any) -> _Hanging:
        made.append(_Hanging(engine, stop))
        return made[0]

    monkeypatch.setattr(pipeline, "make_executor", hanging)
    stop = Stop(600)
    recipe = read_recipe(tiny_recipe, ["lora.r=1,2", "train.num_train_epochs=1"])
    with pytest.raises(StoppedError, match="asked"):
        pipeline.search(recipe, tmp_path / "run", stop=stop, report=False)
    (left,) = made[0].left
    assert 0 < left < 60
    best = Run(tmp_path / "run").best()
    assert best is not None
    assert (best.number, best.tested_rows > 0) == (0, True)


class _Dying(InProcess):
    """A worker that dies when the run is asked to `stop`."""

    def __init__(self, engine: Engine, stop: Stop) -> None:
        super().__init__(engine)
        self._stop = stop

    def wait(self, listener: Listener, stop: Callable[[], bool], until: Callable[[], float] = endless) -> Finished:
        assert self._started is not None
        self._stop.ask(StoppedError(self._started[0].folder.parent.parent, "asked"))
        return Finished(self._started, lost="it was killed")


def test_a_trial_whose_worker_dies_after_a_stop_is_not_said_to_be_begun_again(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, watcher = Stop(), Ear()
    monkeypatch.setattr(pipeline, "make_executor", lambda _, engine, *__, **___: _Dying(engine, stop))
    with pytest.raises(StoppedError, match="asked"):
        pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", stop=stop, watcher=watcher, report=False)
    assert [note for note in watcher.notes if note.startswith("trial 0")] == ["trial 0 is left as it is: it was killed"]


def test_a_plan_that_was_done_early_goes_on_with_more_rows(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the machine was slow for a moment, in which it was measured."""

    def slow_moment(place: Workplace, *_: Any) -> WarmedUp:
        (model, length), first = next(iter(place.demands.fitting().items()))
        batch, rows = first.train.per_device_train_batch_size, len(place.data.train)
        return WarmedUp((Measured(model, length, batch, 120 / 2 / rows, 0.0, 0.0),), 0.0)

    monkeypatch.setattr(planning, "warm_up", slow_moment)
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=1,2,4", "budget.max_seconds=60"], report=False)
    run = Run(tmp_path / "run")
    seen, best = [record.train_rows or 0 for record in run.records()], run.best()
    assert seen[0] == min(seen) < max(seen) == seen[-1]
    assert best is not None
    assert best.train_rows == max(seen)
