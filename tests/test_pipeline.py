"""A whole run, broken off and gone on with; what is refused leaves nothing behind."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from datasets.arrow_dataset import Dataset

import loraloom
from loraloom import pipeline
from loraloom.data import Finding
from loraloom.errors import BackboneError, BudgetError, DataError, LoraloomError, RunError
from loraloom.recipe import read_recipe
from loraloom.search.next_search import MoreConfigurations, search_command
from loraloom.search.space import default_space
from loraloom.search.watcher import Watcher
from loraloom.study.commands import go_on_command, read_commands
from loraloom.study.record import read_record
from loraloom.study.run import Run
from loraloom.use.similarity import collect
from tests.commands import Commands, wait_for
from tests.conftest import make_rows, write_csv
from tests.numerics.architectures import CONFIGS, save_model

NO_LORALOOM = """import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "loraloom"]:
    sys.modules[name] = None
"""
DIVERGING = ["train.optim=sgd", "train.max_grad_norm=0", "lora.lora_alpha=1000000"]

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_text_of_which_the_tokenizer_makes_no_token_is_refused_before_anything_is_trained(
    tiny_recipe: dict[str, Any], tmp_path: Path, split: str
) -> None:
    model = save_model("bert", tmp_path / "model")  # whose tokenizer adds no token of its own
    rows = make_rows(24, seed=5)
    rows[7] = ("", rows[7][1])
    write_csv(tmp_path / "held.csv", rows)
    recipe = {**tiny_recipe, "backbone": {"model": str(model)}}
    with pytest.raises(DataError, match=f"{split} row 8: the tokenizer of '{model}' makes no token of its text"):
        loraloom.search(recipe, tmp_path / "run", overrides=[f"data.{split}_file={tmp_path / 'held.csv'}"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["w29 w3", "w30 w3"])
def test_a_token_that_the_model_has_not_got_is_refused_before_anything_is_trained(
    tiny_recipe: dict[str, Any], tmp_path: Path, text: str
) -> None:
    config = CONFIGS["bert"]()
    config.vocab_size = 30  # where its tokenizer has 60
    model = save_model("bert", tmp_path / "model", config)
    rows = make_rows(24, seed=5)
    rows[7] = (text, rows[7][1])
    write_csv(tmp_path / "held.csv", rows)
    recipe = {**tiny_recipe, "backbone": {"model": str(model)}}
    has_not = pytest.raises(BackboneError, match=r"validation row 8 has the token 'w30', which .* its embeddings 30")
    with has_not if "w30" in text else nullcontext():
        loraloom.search(recipe, tmp_path / "run", overrides=[f"data.validation_file={tmp_path / 'held.csv'}"])
    assert (tmp_path / "run").exists() is ("w30" not in text)


def test_a_token_to_pad_with_that_the_model_has_not_got_is_refused_before_anything_is_trained(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    model = save_model("bert", tmp_path / "model")
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "[NEW]"}))
    recipe = {**tiny_recipe, "backbone": {"model": str(model)}, "engine": "trainer"}
    with pytest.raises(BackboneError, match=r"no embedding of the token '\[NEW\]', with which its tokenizer pads; "):
        loraloom.search(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_test_rows_are_read_for_the_winner_alone(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    winner = loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=1,2"])
    tested = [r.number for r in Run(tmp_path / "run").records() if r.result is not None and r.result.test is not None]
    assert tested == [winner.number]


def test_texts_that_are_cut_off_are_said(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    class Ear(Watcher):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def found(self, finding: Finding) -> None:
            self.heard.append(finding.kind)

    ear = Ear()
    pipeline.search(read_recipe(tiny_recipe, ["data.max_length=6"]), tmp_path / "run", watcher=ear)
    assert ear.heard.count("truncated") == 1


@pytest.mark.parametrize("sampler", ["random", "tpe", "auto"])
def test_samplers_and_pruners_run(tiny_recipe: dict[str, Any], tmp_path: Path, sampler: str) -> None:
    changes = [f"search.sampler={sampler}", "search.n_trials=4", "search.pruner=halving", "search.resource=epochs"]
    changes.append("search.metric=macro_f1")
    axes = ["train.learning_rate={min: 1e-4, max: 1e-1, log: true}", "lora.r={min: 1, max: 8}"]
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=[*changes, *axes])
    assert len(Run(tmp_path / "run").records()) == 4


def test_auto_without_axes_searches_a_space_and_keeps_it_with_the_run(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    changes = ["search.sampler=auto", "search.n_trials=3", "train.num_train_epochs=1", "lora.target_modules=query"]
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=changes)
    run = Run(tmp_path / "run")
    assert run.recipe.axes == default_space(read_recipe(tiny_recipe, changes)).axes
    assert [record.point["train.optim"] for record in run.records()] == ["adamw", "adamw", "adam"]
    assert "train.warmup_steps" not in run.records()[2].point


@pytest.mark.parametrize(
    ("words", "written", "lengths"), [(20, {}, (128,)), (200, {}, (256, 128)), (200, {"max_length": 64}, (64,))]
)
def test_a_search_by_the_clock_compares_lengths_where_many_texts_are_long_and_keeps_them_with_the_run(
    words: int, written: dict[str, Any], lengths: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _StopError(BaseException):
        pass

    def stop(*_: Any, **__: Any) -> Any:
        raise _StopError

    monkeypatch.setattr(pipeline, "make_executor", stop)
    recipe = {"backbone": {"model": "demo"}, "budget": {"max_seconds": 600}, "data": written}
    texts = [f"{row} {label} " * (words // 2) for row in range(40) for label in ("good", "bad")]
    with pytest.raises(_StopError):
        loraloom.search(recipe, tmp_path / "run", train=(texts, ["good", "bad"] * 40))
    kept = Run(tmp_path / "run").recipe
    assert kept.values("data.max_length") == lengths
    assert kept.provenance["data"]["tokens"]["max_length"] == lengths[0]


def test_a_killed_search_goes_on_with_finished_trials_kept(
    commands: Commands, recipe_file: Path, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    changes = ["--set", "lora.r=1,2,4", "--set", "train.num_train_epochs=20"]
    with commands.start("search", recipe_file, "--out", out, *changes):
        wait_for((out / "trials" / "0001" / "metrics.jsonl").exists)
    before = (out / "trials" / "0000" / "manifest.json").stat().st_mtime_ns
    loraloom.resume(out)
    assert (out / "trials" / "0000" / "adapter_model.safetensors").stat().st_mtime_ns <= before
    assert [record.point["lora.r"] for record in Run(out).records()] == [1, 2, 4]

    loraloom.search(tiny_recipe, tmp_path / "whole", overrides=["lora.r=1,2,4", "train.num_train_epochs=20"])
    for number in range(3):
        name = f"trials/{number:04d}/adapter_model.safetensors"
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_sigterm_exits_75_and_says_how_to_go_on(commands: Commands, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    changes = ["--set", "train.num_train_epochs=1000", "--quiet"]
    with commands.start("search", recipe_file, "--out", out, *changes) as searching:
        wait_for((out / "trials" / "0000" / "metrics.jsonl").exists)
        searching.send(signal.SIGTERM)
        ended = searching.wait(60)
    assert ended.code == 75
    assert f"loraloom resume {out}" in ended.sentence
    assert not ended.traceback


def test_a_run_in_the_home_folder_may_be_named_from_there(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    winner = loraloom.search(tiny_recipe, "~/run")
    assert [path.name for path in tmp_path.iterdir() if path.name in ("home", "~")] == ["home"]
    assert loraloom.resume("~/run") == winner
    assert loraloom.load("~/run/best").record == read_record(tmp_path / "home" / "run" / "best")


def test_resuming_a_finished_run_changes_nothing(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    winner = loraloom.search(tiny_recipe, tmp_path / "run")
    before = (tmp_path / "run" / "best" / "manifest.json").read_bytes()
    assert loraloom.resume(tmp_path / "run") == winner
    assert (tmp_path / "run" / "best" / "manifest.json").read_bytes() == before


def test_a_winner_whose_folder_was_lost_is_trained_and_tested_again_and_its_trial_has_that(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    winner = loraloom.search(tiny_recipe, tmp_path / "run")
    folder = tmp_path / "run" / "trials" / "0000"
    shutil.rmtree(folder)
    again = loraloom.resume(tmp_path / "run")
    assert again.result == winner.result
    assert read_record(folder) == read_record(tmp_path / "run" / "best") == again


def test_a_run_that_goes_on_keeps_timing_its_steps(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """A trial whose folder is damaged is trained again, with the profile that the run was begun with."""
    pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", profile=True)
    profile = tmp_path / "run" / "trials" / "0000" / "profile.json"
    profile.unlink()
    pipeline.resume(tmp_path / "run")
    assert profile.is_file()


def test_a_run_notes_its_commands_and_each_look_at_the_test_rows(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    winner = loraloom.search(tiny_recipe, tmp_path / "run", overrides=["lora.r=1,2"])
    loraloom.resume(tmp_path / "run")
    first, second = read_commands(tmp_path / "run")
    assert (first.ended, first.finished, first.tested) == ("done", 2, (winner.number,))
    assert (second.ended, second.finished, second.tested) == ("done", 2, ())
    assert first.seconds is not None


def test_best_has_a_card_that_a_resume_renews_and_an_edit_of_it_costs_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run")
    path = tmp_path / "run" / "best" / "README.md"
    card = path.read_text(encoding="utf-8")
    assert "| 0 | `animals` |" in card
    assert "library_name: peft" in card
    path.write_text("edited", encoding="utf-8")
    assert loraloom.load(path.parent).labels == ("animals", "food", "tools")
    loraloom.resume(tmp_path / "run")
    assert path.read_text(encoding="utf-8") == card
    assert read_commands(tmp_path / "run")[1].tested == ()


def test_the_cards_way_to_load_the_adapter_by_peft_alone_works(
    commands: Commands, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run")
    best, text = tmp_path / "run" / "best", "the cat near a dog"
    (expected,) = loraloom.load(best).predict([text])
    blocks = (best / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    codes = [block.partition("```")[0].replace("this/folder", str(best)).replace("…", text) for block in blocks]
    by_loraloom, *by_peft = [f"exec({code!r}, {{}})\n" for code in codes]
    code = by_loraloom + NO_LORALOOM + "".join(by_peft)
    done = commands.start(code=code).wait()
    assert done.code == 0, done.err
    assert [line.strip(" []'") for line in done.out.splitlines()] == [expected] * 2


def test_a_run_with_lists_for_values_goes_on(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    targets = {"target_modules": [["query"], ["query", "value"]]}
    winner = loraloom.search({**tiny_recipe, "lora": {"r": 2, **targets}}, tmp_path / "run")
    assert loraloom.resume(tmp_path / "run") == winner


def test_a_run_does_not_go_on_with_other_rows(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", make_rows(90, seed=5))
    tiny_recipe["data"]["train_file"] = str(file)
    loraloom.search(tiny_recipe, tmp_path / "run")
    write_csv(file, make_rows(90, seed=6))
    with pytest.raises(RunError, match="has changed since the run began"):
        loraloom.resume(tmp_path / "run")


def test_a_run_on_a_data_set_of_the_hub_goes_on_with_its_rows_after_new_ones_came(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, asked = ["first"], list[str | None]()

    def downloaded(path: str, configuration: str | None, revision: str | None) -> dict[str, Dataset]:
        asked.append(revision)
        texts, labels = zip(*make_rows(90, seed=5 if revision == "first" else 6), strict=True)
        return {"train": Dataset.from_dict({"text": texts, "label": labels})}

    monkeypatch.setattr("loraloom.data.hub._commit", lambda path: (newest[0], {}))
    monkeypatch.setattr("loraloom.data.hub._downloaded", downloaded)
    tiny_recipe["data"] = {"dataset": "owner/news", "max_length": 16}
    winner = loraloom.search(tiny_recipe, tmp_path / "run")
    newest[0] = "second"
    assert loraloom.resume(tmp_path / "run") == winner
    assert collect(tmp_path / "run") is None
    assert asked == ["first"] * 3


def test_frames_and_lists_stand_for_files(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    del tiny_recipe["data"]["train_file"]
    rows = make_rows(90, seed=7)
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    loraloom.search(tiny_recipe, tmp_path / "lists", train=(texts, labels))
    loraloom.search(tiny_recipe, tmp_path / "frame", train=pd.DataFrame({"text": texts, "label": labels}))
    first, second = (Run(tmp_path / name).recipe.provenance["data"]["fingerprint"] for name in ("lists", "frame"))
    assert first == second


@pytest.mark.parametrize("from_python", [False, True])
def test_a_command_to_go_on_trains_where_the_run_did(
    tiny_recipe: dict[str, Any], tmp_path: Path, from_python: bool
) -> None:
    run, rows = tmp_path / "run", make_rows(30, seed=9)
    given: dict[str, Any] = {"test": tuple(zip(*rows, strict=True))} if from_python else {}
    loraloom.search(tiny_recipe, run, workers=1, **given)
    more = search_command(run, Run(run).recipe, "more")
    if from_python:
        assert go_on_command(run) == f"loraloom.resume({str(run)!r}, workers=1, test=…)"
        assert more.endswith("-more', workers=1, test=…)")
    else:
        assert go_on_command(run) == f"loraloom resume {run} --workers 1"
        assert more.endswith("-more --workers 1")
    assert MoreConfigurations(1, 2, 90.5, 60).command(run, Run(run).recipe) == go_on_command(run).replace(
        "workers", "max_seconds=91, workers" if from_python else "max_seconds 91 --workers"
    )
    loraloom.resume(run, **given)
    assert "workers" not in go_on_command(run)


def test_test_rows_from_python_beside_a_training_file_are_given_again(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    run, rows = tmp_path / "run", make_rows(30, seed=9)
    test = [text for text, _ in rows], [label for _, label in rows]
    winner = loraloom.search(tiny_recipe, run, test=test)
    again = f"loraloom.resume({str(run)!r}, test=…)"
    assert go_on_command(run) == again
    with pytest.raises(RunError) as refused:
        loraloom.resume(run)
    assert str(refused.value) == f"{run}: its test rows were given from Python; go on by: {again}"
    assert loraloom.resume(run, test=test) == winner
    assert search_command(run, Run(run).recipe, "more").endswith("test=…)")
    card = (run / "best" / "README.md").read_text(encoding="utf-8")
    assert "name: rows in memory\n      type: rows-in-memory\n      split: test" in card


def test_rows_whose_place_a_recipe_can_t_name_are_refused(
    tiny_recipe: dict[str, Any], tmp_path: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    (folder / "rows.csv").write_bytes(rows_file.read_bytes())
    monkeypatch.chdir(folder)
    with pytest.raises(RunError, match=r"rows\.csv': is no name in UTF-8"):
        loraloom.search(tiny_recipe, "run", overrides=["data.train_file=rows.csv"])
    assert [path.name for path in folder.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["budget.max_trainable_parameters=50"], BudgetError, "over the cap of 50"),
        (["budget.max_memory_gb=0.01"], BudgetError, "budget.max_memory_gb"),
        (
            ["budget.max_trainable_parameters=1500", "lora.r=64,65"],
            BudgetError,
            "no point .* the first, lora.r=64: it trains .* would fit with --set lora.r=",
        ),
        (
            ["budget.max_memory_gb=0.01", "lora.r=2,4"],
            BudgetError,
            "no point .* the first, lora.r=2: .*with batches of one short text it takes .* raise the limit",
        ),
        (["lora.target_modules=nothing"], LoraloomError, "the model has no 'nothing'; it has query"),
        (["data.train_file=/nowhere/rows.csv"], DataError, "/nowhere/rows.csv"),
        (["backbone.model=/nowhere/model"], LoraloomError, "/nowhere/model"),
        (["data.max_length=4096"], LoraloomError, "too long"),
    ],
)
def test_what_is_refused_leaves_no_folder(
    tiny_recipe: dict[str, Any], tmp_path: Path, overrides: list[str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said.replace("(", r"\(")):
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=overrides)
    assert list(tmp_path.iterdir()) == []


def test_all_trials_failing_is_said_with_the_reason(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LoraloomError, match=r"no trial was finished: .*lower train.learning_rate"):
        loraloom.search(tiny_recipe, tmp_path / "run", overrides=[*DIVERGING, "train.learning_rate=1000"])


@pytest.mark.parametrize(
    ("error", "said", "left"),
    [(OSError(errno.ENOLCK, "No locks available"), "can't be locked", False), (BlockingIOError(), "is in use", True)],
)
def test_a_run_that_can_not_be_held_leaves_no_folder_unless_another_process_has_it(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str, left: bool
) -> None:
    def refused(*_: Any) -> None:
        raise error

    monkeypatch.setattr("loraloom.study.run.fcntl", SimpleNamespace(flock=refused, LOCK_EX=2, LOCK_NB=4))
    with pytest.raises(RunError, match=said):
        loraloom.search(tiny_recipe, tmp_path / "run")
    assert (tmp_path / "run").exists() == left
