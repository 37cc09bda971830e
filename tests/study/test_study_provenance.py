"""What provenance says of the code that a run was made with."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloom.machine import read_machine
from loraloom.recipe import read_recipe
from loraloom.study import provenance


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_revision_is_that_of_the_checkout_that_has_this_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not of a checkout that a virtual environment lies in."""
    code = tmp_path / "installed" / "provenance.py"
    code.parent.mkdir()
    code.touch()
    monkeypatch.setattr(provenance, "__file__", str(code))
    monkeypatch.setattr(provenance, "_git_revision", provenance._git_revision.__wrapped__)  # asked anew each time
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project's")
    assert provenance.describe_machine()["git_revision"] is None
    _git(tmp_path, "add", "installed")
    _git(tmp_path, "commit", "-q", "-m", "this code")
    assert provenance.describe_machine()["git_revision"] == _git(tmp_path, "rev-parse", "HEAD")
    code.write_text("changed")
    assert provenance.describe_machine()["git_revision"] == _git(tmp_path, "rev-parse", "HEAD") + "+"


def test_the_gpus_are_told_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, told in (((), None), (("NVIDIA A100", "Tesla T4"), "NVIDIA A100, Tesla T4")):
        monkeypatch.setattr(provenance, "read_machine", lambda gpus=gpus: replace(read_machine(), gpus=gpus))
        assert provenance.describe_machine()["machine"]["gpu"] == told


@pytest.mark.parametrize(
    ("made", "revision"),
    [
        ({"name": "owner/news", "revision": "abc123"}, "abc123"),
        ({"name": "owner/news", "revision": None}, None),
        ({"name": "owner/other", "revision": "abc123"}, None),
        (None, None),
    ],
)
def test_a_commit_is_kept_of_the_data_set_that_a_run_was_made_of(made: Any, revision: str | None) -> None:
    recipe = read_recipe({"data": {"dataset": "owner/news"}}).model_copy(update={"provenance": {"data": made}})
    assert provenance.data_revision(recipe) == revision


@pytest.mark.parametrize("pinned", [{}, {"data": None}, {"data": {}, "model_revisions": [1]}])
def test_of_a_run_that_states_nothing_of_its_data_these_are_others(pinned: dict[str, Any]) -> None:
    now = {"data": {"name": "rows.csv", "fingerprint": "abc"}, "model_revisions": {"demo": "1"}}
    assert provenance.changed(pinned, now) == "the data 'rows.csv'"
    stated = {**pinned, "data": {"name": "rows.csv", "fingerprint": "abc"}}
    assert provenance.changed(stated, now) is None


@pytest.mark.parametrize("given", [None, "x", 3, [1], {}, {"rows": 3, "class_rows": {"train": [1]}, "fingerprint": 5}])
def test_what_is_missing_or_of_another_kind_is_as_if_it_were_not_stated(given: Any) -> None:
    recipe = read_recipe({"data": {"dataset": "demo"}}).model_copy(
        update={
            "provenance": {
                **{"data": given, "model_revisions": given, "dropped_points": given},
                "more_dropped_points": True,
            }
        }
    )
    assert provenance.rows_of(recipe) == {}
    assert not any(provenance.class_rows(recipe).values())
    assert provenance.fingerprint_of(recipe) is None
    assert provenance.model_revision(recipe, "demo") is None
    assert provenance.dropped_points(recipe)[1] == 0


def test_a_truth_value_or_a_number_below_0_is_no_count() -> None:
    data = {"rows": {"train": 40, "validation": True, "test": -1}, "class_rows": {"train": {"a": 30, "b": 1.5}}}
    recipe = read_recipe({"data": {"dataset": "demo"}}).model_copy(update={"provenance": {"data": data}})
    assert provenance.rows_of(recipe) == {"train": 40}
    assert provenance.class_rows(recipe) == {"train": {"a": 30}}
