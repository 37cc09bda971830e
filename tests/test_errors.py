"""What is made of errors that are not ours; and which packages are there."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path

import pytest

from loraloom.errors import (
    LoraloomError,
    MissingExtraError,
    RecipeError,
    StoppedError,
    first_line,
    in_a_line,
    is_installed,
    shell_resume_command,
)
from loraloom.use.export.onnx_folder import refuse_missing


@pytest.mark.parametrize(
    "error",
    [
        MissingExtraError("demo", "demo"),
        RecipeError("lora.r: 0", "lora.q: no"),
        StoppedError(Path("x"), "stopped", 130),
    ],
)
def test_an_error_is_the_same_in_another_process(error: LoraloomError) -> None:
    """As where joblib has a classifier fitted; it is copied as it is pickled."""
    error.add_note("what was trained before is kept")
    other = copy.copy(error)
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("error", "line", "with_kind"),
    [
        (OSError("\nno space left\non device"), "no space left", "OSError: no space left"),
        (ValueError(), "ValueError", "ValueError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_an_error_is_told_by_its_first_line_or_its_kind(error: Exception, line: str, with_kind: str) -> None:
    assert (first_line(error), in_a_line(error)) == (line, with_kind)


def test_a_folder_of_a_package_s_name_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it for what `export` needs, where no package of that name comes later on the path."""
    (tmp_path / "onnx").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    importlib.invalidate_caches()
    assert not is_installed("onnx")
    with pytest.raises(MissingExtraError):
        refuse_missing()


def test_a_package_is_found_without_being_imported() -> None:
    assert is_installed("optuna")
    assert not is_installed("none_of_this_name")


@pytest.mark.parametrize(
    ("run", "command"),
    [
        ("runs/x", "loraloom resume runs/x"),
        ("my run", "loraloom resume 'my run'"),
        ("--dash", "loraloom resume ./--dash"),
        ("-my run", "loraloom resume './-my run'"),
    ],
)
def test_a_command_to_copy_names_its_folder_so_that_it_is_no_option(run: str, command: str) -> None:
    assert shell_resume_command(Path(f"./{run}")) == command
    assert shell_resume_command(Path(f"./{run}"), {"workers": 2, "ray": "a b"}) == f"{command} --workers 2 --ray 'a b'"
