"""The engine around its layers: what trials share, how they begin, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from loraloom.backbone import sources
from loraloom.backbone.quiet import quietly
from loraloom.engine import Job
from loraloom.engine.adapted import add_lora, build_base
from loraloom.engine.gemm_rates import LayerSize
from loraloom.engine.job import take_fewer
from loraloom.engine.loom import LoomEngine, allocator, kernels
from loraloom.engine.loom.allocator import keep_freed_memory
from loraloom.engine.loom.engine import _Group
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.pack import Pack
from loraloom.engine.loom.packing import PackAdvice, measure_pack
from loraloom.engine.loom.setting import lowest_layer, read_anatomy, why_not
from loraloom.errors import LoraloomError, RecipeError
from loraloom.execute.in_process import AutoEngine, choose_engine
from loraloom.recipe import Configuration, read_recipe
from loraloom.study.record import WEIGHTS, Evaluation, read_metrics
from tests.engine.broken_off import contents
from tests.numerics.architectures import CONFIGS, QV, encoded_rows, make_job, save_model


def hear(job: Job, evaluation: Evaluation) -> bool:
    del job, evaluation
    return True


def keep_head(folder: Path, left_out: str) -> None:
    """Makes the model in `folder` a classifier of three labels, head and all but for the module `left_out`."""
    with quietly():
        model = cast(Any, AutoModelForSequenceClassification).from_pretrained(folder, num_labels=3)
        held = {name: value for name, value in model.state_dict().items() if name.split(".")[0] != left_out}
        model.save_pretrained(folder, state_dict=held)


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        *product(
            [name for name in CONFIGS if name != "xlm-roberta"], ["native", "native, held", "native, held in part"]
        ),
        ("xlm-roberta", "native"),  # its head is RoBERTa's
        ("bert", "linear"),  # which is ours, and the same for all
        ("modernbert", "linear"),
    ],
)
def test_trials_begin_with_the_draws_of_the_reference_and_the_second_without_loading_again(
    architecture: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, _, held = head.partition(", ")
    recipe: dict[str, Any] = {"lora": {"target_modules": list(QV[architecture])}, "head": {"kind": kind}}
    folder = save_model(architecture, tmp_path / "model")
    if held:
        keep_head(folder, left_out="classifier" if held == "held in part" else "")
    jobs = [make_job(folder, tmp_path / str(seed), recipe | {"train": {"seed": seed}}) for seed in (1, 7)]
    expected = [dict(add_lora(build_base(job), job).named_parameters()) for job in jobs]
    engine = LoomEngine()
    found = [dict(engine._begin(jobs[0]).model.named_parameters())]
    monkeypatch.setattr("loraloom.engine.loom.engine.build_base", lambda job: pytest.fail("loaded again"))
    found.append(dict(engine._begin(jobs[1]).model.named_parameters()))
    trained = [name for name, parameter in expected[0].items() if parameter.requires_grad]
    assert any("modules_to_save" in name for name in trained)
    for own, reference in zip(found, expected, strict=True):
        assert [name for name in trained if not torch.equal(own[name], reference[name])] == []


def test_a_trial_that_trains_all_biases_leaves_the_frozen_ones_as_they_were(tmp_path: Path) -> None:
    folder = save_model("bert", tmp_path / "model")
    train = {"per_device_train_batch_size": 8, "learning_rate": 0.05, "bf16": False}
    recipe: dict[str, Any] = {"lora": {"bias": "all"}, "train": train}
    engine = LoomEngine()
    engine.train_pack([make_job(folder, tmp_path / "first", recipe)], hear)
    engine.train_pack([make_job(folder, tmp_path / "again", recipe)], hear)
    files = [tmp_path / name / "adapter_model.safetensors" for name in ("first", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("peak", [1e18, 1.0, None])
def test_no_share_is_told_of_a_peak_that_is_not_known_or_that_training_is_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak: float | None
) -> None:
    monkeypatch.setattr("loraloom.engine.loom.trial.gemm_peak", lambda _: peak)
    job = make_job(save_model("bert", tmp_path / "model"), tmp_path / "job", {})
    timings = LoomEngine().train_pack([job], hear)[0].timings
    assert timings is not None
    shares = [timings.peak_share, *(line.peak_share for line in read_metrics(job.folder))]
    assert len(shares) > 1
    assert all(share is not None and 0 < share < 1 for share in shares) == (peak == 1e18)
    assert all(share is None for share in shares) == (peak != 1e18)


def test_what_it_took_to_have_kernels_is_told_with_the_trial_that_waited_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.engine.loom.setting.time", SimpleNamespace(monotonic=iter([100.0, 112.0]).__next__))
    folder, engine = save_model("bert", tmp_path / "model"), LoomEngine()
    jobs = [make_job(folder, tmp_path / name, {}) for name in ("first", "second")]
    told = [engine.train_pack([job], hear)[0].timings for job in jobs]
    assert [timings and timings.kernels_seconds for timings in told] == [12, 0]


@pytest.mark.parametrize("other", ["model", "head", "dropout", "type", "rows"])
def test_what_an_engine_keeps_of_a_trial_is_not_taken_for_that_of_another(tmp_path: Path, other: str) -> None:
    folder = save_model("bert", tmp_path / "model")
    recipe: dict[str, Any] = {"train": {"bf16": other == "type", "per_device_train_batch_size": 8}}
    before = make_job(folder, tmp_path / "before", recipe, dropout="keep" if other == "dropout" else "off")
    match other:
        case "model":
            wider = CONFIGS["bert"]()
            wider.intermediate_size = 64
            before = make_job(save_model("bert", tmp_path / "other", wider), tmp_path / "before", recipe)
        case "head":
            before = make_job(folder, tmp_path / "before", recipe | {"head": {"kind": "linear"}})
        case "rows":
            before = replace(before, rows=replace(before.rows, validation=encoded_rows([3] * 12, seed=9)))
    own, alone = (make_job(folder, tmp_path / name, {"train": recipe["train"] | {"bf16": False}}) for name in "ab")
    engine = LoomEngine()
    for job in (before, own):
        engine.train_pack([job], hear)
    LoomEngine().train_pack([alone], hear)
    assert contents(own.folder) == contents(alone.folder)


def test_gradients_reach_down_to_the_lowest_layer_that_a_recipe_trains(tmp_path: Path) -> None:
    source = sources.find(str(save_model("bert", tmp_path / "model")))

    def lowest(**lora: Any) -> int:
        configuration = Configuration.model_validate({"lora": lora})
        found = read_anatomy(source, configuration)
        assert not isinstance(found, str)
        return lowest_layer(configuration.lora, found)

    assert lowest() == 0
    assert lowest(layers_to_transform=[1]) == 1
    assert lowest(layers_to_transform=[1], bias="all") == 0


def test_an_architecture_that_is_not_known_is_named_with_the_way_out(tmp_path: Path) -> None:
    from transformers import DebertaV2Config, DebertaV2Model

    config = DebertaV2Config(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    DebertaV2Model(config).save_pretrained(tmp_path / "deberta")
    known = save_model("bert", tmp_path / "bert")
    unknown = str(tmp_path / "deberta")
    reason = why_not(sources.find(unknown), Configuration.model_validate({}))
    assert reason is not None
    assert "deberta-v2 is not among" in reason
    with pytest.raises(RecipeError, match=r"deberta.*use engine: trainer"):
        choose_engine(read_recipe({"backbone": {"model": unknown}, "engine": "loom"}))
    chosen = choose_engine(read_recipe({"backbone": {"model": unknown}}))
    assert chosen.engine.name == "trainer"
    assert "deberta-v2 is not among" in chosen.reason
    both = choose_engine(read_recipe({"backbone": {"model": [unknown, str(known)]}, "search": {"sampler": "grid"}}))
    assert isinstance(both.engine, AutoEngine)
    assert choose_engine(read_recipe({"backbone": {"model": str(known)}})).engine.name == "loom"


def test_trials_that_train_other_places_are_no_pack(tmp_path: Path) -> None:
    folder = save_model("bert", tmp_path / "model")
    jobs = [make_job(folder, tmp_path / bias, {"lora": {"bias": bias}}) for bias in ("none", "all")]
    with pytest.raises(LoraloomError, match="trials of a pack share"):
        LoomEngine().train_pack(jobs, hear)


def without_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def joined(engine: LoomEngine, folder: Path, out: Path, **trains: dict[str, Any]) -> _Group:
    """Trials side by side, as a GPU has them, each with fields of `train`."""
    common = {"bf16": False, "per_device_train_batch_size": 8}
    recipes = {name: {"lora": {"r": 2}, "train": common | train} for name, train in trains.items()}
    return engine._group([engine._begin(make_job(folder, out / name, recipe)) for name, recipe in recipes.items()])


@pytest.mark.usefixtures("plain_torch")
def test_a_pack_without_memory_is_not_built_again_and_later_packs_of_its_batch_size_are_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, engine = save_model("bert", tmp_path / "model"), LoomEngine()
    large: dict[str, Any] = {"per_device_train_batch_size": 16}
    group = joined(engine, folder, tmp_path, one={}, two={}, three={}, four={})
    alone = joined(engine, folder, tmp_path, large=large)
    trials = [*group.trials, *alone.trials]
    monkeypatch.setattr(Pack, "run", without_memory)
    monkeypatch.setattr(Pack, "__init__", lambda *_: pytest.fail("built again"))
    engine._take_turns([group, alone], hear, lambda: None)
    assert {trial.outcome().state for trial in trials} == {"failed"}
    assert all("or use engine: trainer" in str(trial.reason) for trial in trials)
    engine._advice = lambda *_: PackAdvice(8, 2.0, "as measured")  # type: ignore[assignment]
    monkeypatch.setattr("loraloom.engine.loom.engine.device", lambda: torch.device("cuda"))
    sizes = [engine.pack_size(trial.job.source, trial.job.configuration) for trial in (trials[0], trials[-1])]
    assert sizes == [2, 8]
    take_fewer(engine._fits, [trials[0].job] * 8)  # of a pack that others had made larger
    assert engine.pack_size(trials[0].job.source, trials[0].job.configuration) == 2


@pytest.mark.usefixtures("plain_torch")
def test_a_trial_that_has_ended_is_complete_where_memory_fails_the_pack_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, engine = save_model("bert", tmp_path / "model"), LoomEngine()
    group = joined(engine, folder, tmp_path, longer={"num_train_epochs": 2}, shorter={"num_train_epochs": 1})
    longer, shorter = group.trials
    monkeypatch.setattr(Pack, "without", without_memory)
    engine._take_turns([group], hear, lambda: None)
    engine._halt(group)
    assert (shorter.outcome().state, longer.outcome().state) == ("complete", "failed")
    assert (shorter.job.folder / WEIGHTS).exists()
    assert not (longer.job.folder / WEIGHTS).exists()


@pytest.mark.usefixtures("plain_torch")
def test_a_trial_that_was_evaluated_is_complete_where_memory_fails_the_last_evaluation_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, engine, evaluate = save_model("bert", tmp_path / "model"), LoomEngine(), LoomEngine._evaluate
    once: dict[str, Any] = {"eval_strategy": "end", "num_train_epochs": 1}
    group = joined(engine, folder, tmp_path, first=once, second=once, longer=once | {"num_train_epochs": 2})
    trials = tuple(group.trials)

    def second_fails(engine: LoomEngine, group: _Group, number: int, *others: Any) -> None:
        if number == 1:
            without_memory()
        evaluate(engine, group, number, *others)

    monkeypatch.setattr(LoomEngine, "_evaluate", second_fails)
    monkeypatch.setattr(Pack, "__init__", lambda *_: pytest.fail("built again"))
    engine._take_turns([group], hear, lambda: None)
    assert [trial.outcome().state for trial in trials] == ["complete", "failed", "failed"]
    assert [(trial.job.folder / WEIGHTS).exists() for trial in trials] == [True, False, False]
    assert len(read_metrics(trials[0].job.folder)) == 1


def test_packs_are_measured_and_on_a_cpu_trials_are_not_joined() -> None:
    advice = measure_pack(LayerSize("", 64, 128), torch.float32, torch.device("cpu"))
    assert advice.gain > 0
    assert advice.trials == 1
    assert f"{advice.gain:.1f} × as fast" in advice.reason


@pytest.mark.parametrize("said", ["abc", "nan", "inf", "-1"])
def test_a_disk_budget_that_is_no_number_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("LORALOOM_PREFIX_GB", said)
    with pytest.raises(LoraloomError, match="LORALOOM_PREFIX_GB"):
        LoomEngine()
    monkeypatch.setenv("LORALOOM_PREFIX_GB", "")
    LoomEngine()


def test_kernels_are_left_out_for_a_reason_of_the_machine_alone() -> None:
    assert "can't be used" not in (kernels.load() or "")  # as where they don't compile


@pytest.mark.parametrize(("wish", "said"), [("", 1), ("off", 0)])
def test_what_a_machine_without_a_compiler_loses_is_said_once_unless_kernels_are_declined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, said: int
) -> None:
    monkeypatch.setenv("LORALOOM_KERNELS", wish)
    monkeypatch.setattr(kernels, "_compiler", lambda: None)
    monkeypatch.setattr(kernels, "load_fp32", kernels.load_fp32.__wrapped__)
    engine, notes = LoomEngine(), list[str]()
    recipe = {"train": {"bf16": False, "num_train_epochs": 1}}
    for number, architecture in enumerate(("bert", "roberta")):
        folder = save_model(architecture, tmp_path / architecture)
        job = make_job(folder, tmp_path / str(number), recipe, number=number)
        engine.train_pack([job], hear, note=notes.append)
    assert len(notes) == said
    assert all("plain torch" in note and "No C++ compiler was found" in note for note in notes)


def test_a_compiler_that_was_passed_over_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "load_fp32", lambda: None)
    monkeypatch.setattr("loraloom.engine.loom.setting.FusedOps", PlainOps)
    monkeypatch.setattr(kernels, "passed_over", lambda: "CXX=clang-99 is no compiler")
    engine, notes = LoomEngine(), list[str]()
    recipe = {"train": {"bf16": False, "num_train_epochs": 1}}
    folder = save_model("bert", tmp_path / "bert")
    for number in range(2):
        engine.train_pack([make_job(folder, tmp_path / str(number), recipe, number=number)], hear, note=notes.append)
    assert notes == ["engine: CXX=clang-99 is no compiler"]


@pytest.mark.parametrize("said", ["0", "none", "avx2"])
def test_a_wish_for_kernels_that_there_are_not_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("LORALOOM_KERNELS", said)
    with pytest.raises(LoraloomError, match="LORALOOM_KERNELS"):
        kernels.load.__wrapped__()


def test_a_library_is_kept_for_one_kind_of_processor_of_arm_too(tmp_path: Path) -> None:
    """A folder that machines share, as a home is, holds those of each."""
    told = "processor\t: 0\nFeatures\t: fp asimd{}\nCPU implementer\t: 0x41\nCPU part\t: {}\n"
    found = []
    for number, own in enumerate([("", "0xd08"), (" sve", "0xd08"), ("", "0xd0c")]):
        (file := tmp_path / str(number)).write_text(told.format(*own))
        found.append(kernels._processor(file))
    assert len({"", *found}) == 4


@pytest.mark.parametrize("most", [2**30, 2**25, 0])
def test_blocks_are_kept_up_to_what_the_library_allows_and_the_heap_whatever_that_is(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    asked: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> int:
        if parameter == allocator._MMAP_THRESHOLD and value > most:
            return 0
        asked[parameter] = value
        return 1

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory.__wrapped__() == (most > 0)
    assert asked.pop(allocator._TRIM_THRESHOLD) == 2**31 - 1
    assert list(asked.values()) == [most] * (most > 0)
