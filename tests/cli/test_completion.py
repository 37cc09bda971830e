"""What the Tab key offers: recipes, runs and adapters, asked as a shell asks, without torch."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraloom.cli.completion import complete_adapter, complete_recipe, complete_run, complete_served, complete_shipped


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("data", "runs/first/best", "runs/first/trials", "runs/broken", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("mine.yaml", "demo.csv", "runs/first/recipe.yaml", "runs/first/best/adapter_config.json"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_recipes_are_files_and_names_beside_folders() -> None:
    assert {"demo", "agnews-grid", "mine.yaml", "data/", "runs/"} <= set(complete_recipe(""))
    assert ".hidden/" not in complete_recipe("")
    assert complete_recipe("d") == ["data/", "demo"]
    assert complete_recipe("m") == ["mine.yaml"]
    assert complete_shipped("agnews-a") == ["agnews-auto"]


def test_paths_are_offered_as_they_are_typed(here: Path) -> None:
    assert complete_recipe("./m") == ["./mine.yaml"]
    assert complete_recipe(f"{here}/m") == [f"{here}/mine.yaml"]
    assert complete_recipe("runs/first/") == ["runs/first/best/", "runs/first/recipe.yaml", "runs/first/trials/"]


@pytest.mark.usefixtures("here")
def test_folders_alone_are_left_to_the_shell() -> None:
    assert complete_recipe("data") == []
    assert complete_run("") == []
    assert complete_run("nowhere/x") == []


def test_a_run_is_a_folder_with_a_recipe_and_trials(here: Path) -> None:
    (here / "runs" / "broken" / "recipe.yaml").touch()
    assert complete_run("runs/") == ["runs/broken/", "runs/first"]


def test_what_may_not_be_looked_at_is_in_nobodys_way(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another's folder in /tmp is, or a link to itself."""
    (here / "runs" / "loop").symlink_to("loop")
    (here / "runs" / "private").mkdir()
    look = os.stat

    def may_look(path: Any, **options: Any) -> os.stat_result:
        if "private/" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return look(path, **options)

    monkeypatch.setattr(os, "stat", may_look)
    assert complete_run("runs/") == ["runs/broken/", "runs/first", "runs/private/"]
    assert complete_adapter("runs/") == ["runs/broken/", "runs/first/best", "runs/private/"]


def test_an_adapter_of_a_run_is_its_winner(here: Path) -> None:
    assert complete_adapter("runs/f") == ["runs/first/best"]
    assert complete_adapter("runs/first/") == ["runs/first/best", "runs/first/trials/"]
    assert complete_served("news=runs/f") == ["news=runs/first/best"]
    (here / "runs" / "r=4" / "best").mkdir(parents=True)
    for file in ("recipe.yaml", "best/adapter_config.json"):
        (here / "runs" / "r=4" / file).touch()
    assert complete_served("runs/r=") == ["runs/r=4/best"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("loraloom search ag", ["agnews-auto", "agnews-grid", "agnews-roberta-base"]),
        ("loraloom watch runs/", ["runs/broken/", "runs/first"]),
        ("loraloom submit runs/f", ["runs/first/best"]),
        ("loraloom serve runs/f", ["runs/first/best"]),
        ("loraloom eva", ["evaluate"]),
        ("loraloom ne", ["new"]),
        ("loraloom search demo --gr", ["--grace"]),
    ],
)
def test_a_shell_is_answered_without_torch(here: Path, typed: str, offered: list[str]) -> None:
    code = """import sys
from loraloom import cli
sys.argv = ["loraloom"]
try:
    cli.run()
finally:
    assert not {"torch", "optuna", "loraloom.recipe"} & set(sys.modules)
"""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_LORALOOM_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, offered), done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_is_told_to_complete_is_loraloom_also_by_python_m(shell: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "loraloom", "--show-completion", shell],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"_LORALOOM_COMPLETE=complete_{shell}" in told
    assert "python -m" not in told
