"""`loraloom budget`, and searches that are refused by what it counts: which changes would fit, in the same words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.calling import call


def test_budget_counts_and_names_what_would_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["budget", "recipes/agnews-roberta-base.yaml", "--json"]
    code, out, _ = call(capsys, monkeypatch, *command)
    assert (code, json.loads(out)["trainable_parameters"], json.loads(out)["parts"]["head"]) == (0, 759_556, 593_668)
    code, out, _ = call(capsys, monkeypatch, *command, "--set", "lora.r=16")
    assert code == 2
    assert {"lora.r=10", "head.kind=linear"} <= {change["change"] for change in json.loads(out)["changes"]}


@pytest.mark.parametrize(
    ("ranks", "refusal"),
    [
        ("16", "the recipe does not fit: it trains 1,201,924 parameters"),
        ("16,4", ""),
        ("16,32", "no point of the search fits the budget; the first, lora.r=16: it trains 1,201,924 parameters"),
    ],
)
def test_budget_exits_2_where_nothing_fits_and_says_so_only_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ranks: str, refusal: str
) -> None:
    command = ["budget", "recipes/agnews-roberta-base.yaml", f"--set=lora.r={ranks}"]
    code, out, err = call(capsys, monkeypatch, *command)
    refused = bool(refusal)
    assert (code, "does not fit" in out, "would fit:" in out) == (2 if refused else 0, refused, refused)
    assert "OVER the cap" in out
    assert ("a search leaves out the one above, and trains those that fit" in out) is not refused
    assert (refusal in err, bool(err)) == (True, refused)
    assert call(capsys, monkeypatch, *command, "--json")[::2] == (code, err)


def test_budget_counts_what_is_tried_alone_where_few_rows_are_held_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "auto.yaml"
    path.write_text(yaml.safe_dump({name: tiny_recipe[name] for name in ("data", "backbone")}))
    for seconds, said in (("60", True), ("null", False)):
        changes = ("search.sampler=auto", "train.bf16=false", f"budget.max_seconds={seconds}")
        code, out, _ = call(capsys, monkeypatch, "budget", str(path), *(f"--set={change}" for change in changes))
        assert code == 0
        assert ("so that under a clock only these are tried, unless search.n_trials asks for more:\n" in out) is said
        assert ("the fewest parameters: " in out) is not said
        assert out.count(" parameters (lora.r=16, ") == (2 if said else 0)


def test_budget_counts_every_rank_of_a_range(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """q and v of roberta-base under a million, its own head trained and no bias: 11 is the largest rank that fits."""
    changes = ["search.sampler=random", "lora.bias=none", "lora.r={min: 1, max: 32}"]
    command = ["budget", "recipes/agnews-roberta-base.yaml", *(f"--set={change}" for change in changes)]
    code, out, _ = call(capsys, monkeypatch, *command, "--json")
    said = json.loads(out)
    assert (code, len(said["points"]), said["points_that_fit"]) == (0, 32, 11)
    code, out, _ = call(capsys, monkeypatch, *command)
    assert "32 combinations differ in what is counted; 11 fit the budget" in out
    assert "the fewest parameters: 630,532 (lora.r=1)" in out
    assert "the most parameters: 999,172 (lora.r=11)" in out
    assert out.count("left out: lora.r=") == 3
    assert "  and 18 more" in out.splitlines()
    assert "with all else as here, the largest rank that fits is r = 11" in out


def test_budget_counts_the_points_that_memory_leaves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [
        "search.sampler=grid",
        "train.per_device_train_batch_size=[8, 4096]",
        "lora.bias=none",
        "lora.r=4",
        "budget.max_memory_gb=8",
    ]
    command = ["budget", "recipes/agnews-roberta-base.yaml", *(f"--set={change}" for change in changes)]
    code, out, _ = call(capsys, monkeypatch, *command, "--json")
    points = {one["point"]: one["fits"] for one in json.loads(out)["points"]}
    assert (code, points) == (
        0,
        {"train.per_device_train_batch_size=8": True, "train.per_device_train_batch_size=4096": False},
    )
    code, out, _ = call(capsys, monkeypatch, *command)
    assert "2 combinations differ in what is counted; 1 fit the budget" in out
    assert "left out: train.per_device_train_batch_size=4096: it would take about" in out


def test_budget_under_a_clock_says_what_a_pass_takes_and_what_null_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    changes = ["search.sampler=auto", "search.epochs=clock", "budget.max_seconds=60"]
    layers = "lora.layers_to_transform={values: [null, [0]]}"
    command = ["budget", str(recipe_file), *(f"--set={change}" for change in (*changes, layers))]
    code, out, _ = call(capsys, monkeypatch, *command)
    assert code == 0
    assert re.search(r"estimates: .* GB of memory and \d+ s a pass over the rows, in .*; the clock says how many", out)
    assert re.search(r"on this machine, if every text has \d+ tokens, as yours have in the mean; ", out)
    assert "  lora.layers_to_transform=null is every layer" in out.splitlines()
    assert "lora.target_modules=null is" not in out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["budget.max_trainable_parameters=10", "budget.max_memory_gb=64"], "raise the cap or take a smaller model"),
        (
            ["budget.max_trainable_parameters=2000", "lora.r=64"],
            "(budget.max_trainable_parameters); the head alone is 99 of them; it would fit with --set lora.r=",
        ),
    ],
    ids=["not to save memory", "what the head takes"],
)
def test_a_search_that_does_not_fit_the_cap_is_told_what_would(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recipe_file: Path,
    tmp_path: Path,
    changes: list[str],
    told: str,
) -> None:
    command = ["search", str(recipe_file), "--out", str(tmp_path / "run")]
    code, _, said = call(capsys, monkeypatch, *command, *(f"--set={change}" for change in changes))
    assert code == 2
    assert told in said


def test_budget_and_a_search_say_alike_that_no_change_would_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe_file: Path, tmp_path: Path
) -> None:
    none = "no single change would fit, nor another with a smaller rank: raise the cap or take a smaller model"
    change = "--set=budget.max_trainable_parameters=10"
    code, said, _ = call(capsys, monkeypatch, "budget", str(recipe_file), change)
    assert (code, none in " ".join(said.split())) == (2, True)
    code, _, said = call(capsys, monkeypatch, "search", str(recipe_file), "--out", str(tmp_path / "run"), change)
    assert (code, none in " ".join(said.split())) == (2, True)


def test_budget_counts_what_auto_would_search(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "budget", "agnews-auto", "--json", "--set", "lora.r=4")
    said = json.loads(out)
    counts = [point["parameters"] for point in said["points"]]
    assert (code, said["trainable_parameters"]) == (0, 759_556)
    assert (759_556 in counts, len(set(counts)) > 2) == (True, True)
    assert said["points_that_fit"] == sum(count <= 1_000_000 for count in counts)
