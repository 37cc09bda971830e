"""The rule of imports: one way through the package and the folders around it, and what needs no torch goes without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "src" / "loraloom"
ORDER = (
    "errors",
    "wording",
    "hosts",
    "shipped",
    "machine",
    "recipe",
    "intervals",
    "metrics",
    "calibration",
    "budget",
    "hub",
    "deaf",
    "silenced",
    "collecting",
    "study",
    "data",
    "backbone",
    "engine",
    "search",
    "tracking",
    "execute",
    "report",
    "use",
    "preparation",
    "souping",
    "conclusion",
    "pipeline",
    "refitting",
    "blending",
    "terminal",
    "estimator",
    "cli",
)
"""A part imports from itself and from those before it."""
APART = {("backbone", "data"), ("data", "backbone")}
WHOLE = PACKAGE / "__init__.py", PACKAGE / "__main__.py"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path not in WHOLE)
TORCH_FREE = (
    "errors",
    "wording",
    "hosts",
    "shipped",
    "machine",
    "recipe",
    "intervals",
    "metrics",
    "calibration",
    "hub",
    "deaf",
    "silenced",
    "collecting",
    "study",
    "search",
    "tracking",
    "report",
    "preparation",
    "souping",
    "conclusion",
    "pipeline",
    "refitting",
    "blending",
    "cli",
)
"""Parts of which no module imports torch, nor does what it imports."""
OURS = ("loraloom", "study", "bench", "website", "tests", "scripts")
MAY = {
    "src": (),
    "study": ("loraloom",),
    "website": ("loraloom",),
    "bench": ("loraloom", "study.agnews_files", "study.machine", "study.others", "study.surroundings"),
}
"""What of the repository's the modules of a folder import beside their own; tests import what they test."""


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> tuple[tuple[int, str], ...]:
    """The lines and whole names that a module imports, also inside functions and under TYPE_CHECKING."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_every_part_has_its_place_in_the_order() -> None:
    assert {part_of(path) for path in MODULES} <= set(ORDER)
    assert f"    {', '.join(ORDER)}\n" in (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_parts_before_its_own(path: Path) -> None:
    own = part_of(path)
    for line, name in imported(path):
        root, other, *_ = *name.split("."), "__"
        if root != "loraloom" or other.startswith("__"):  # loraloom.__version__ and its like belong to no part
            continue
        assert ORDER.index(other) <= ORDER.index(own), f"{path}:{line}: {own} imports {other}"
        assert (own, other) not in APART, f"{path}:{line}: {own} and {other} stand beside each other"


@pytest.mark.parametrize("folder", MAY)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    may = "loraloom" if folder == "src" else folder, *MAY[folder]
    for path in (REPOSITORY / folder).rglob("*.py"):
        for line, name in imported(path):
            allowed = name.split(".")[0] not in OURS or any(f"{name}.".startswith(f"{one}.") for one in may)
            assert allowed, f"{path}:{line}: {folder} imports {name}"


def test_parts_that_answer_at_once_import_nothing_that_takes_seconds() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if part_of(path) in TORCH_FREE
    ]
    code = f"""
import importlib, sys
import loraloom.calibration, loraloom.metrics
if waits := {{"scipy.stats", "sklearn"}} & sys.modules.keys():
    sys.exit(f"predicting would wait for {{waits}}")
import loraloom.data
if waits := {{"transformers", "datasets", "pandas", "pyarrow", "sklearn"}} & sys.modules.keys():
    sys.exit(f"reading rows would wait for {{waits}}")
if "torch" in sys.modules:
    sys.exit("data imports torch")
for name in {["loraloom", *modules]}:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{{name}} imports torch")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
