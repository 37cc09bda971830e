"""Optional packages: none is imported unasked, all that is imported is declared, an absent one is named in a sentence.

`scripts/try_package.py` tests whole installations, in fresh environments.
"""

from __future__ import annotations

import ast
import json
import re
import signal
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.commands import Commands, wait_for

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "loraloom"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in ("dev", "docs", "tracking")]
"""Those that users ask for; `tracking` and `dev` are sums, and `docs` is for the documentation's site."""

ASKING: dict[str, tuple[str, ...]] = {
    "demo": ("budget", "demo"),
    "ray": ("search", "rows.yaml", "--out", "asked", "--ray", "auto"),
    "zstd": ("search", "rows.yaml", "--out", "asked"),
    "tensorboard": ("search", "rows.yaml", "--out", "asked", "--set", "report_to=tensorboard"),
    "mlflow": ("search", "rows.yaml", "--out", "asked", "--set", "report_to=mlflow"),
    "wandb": ("search", "rows.yaml", "--out", "asked", "--set", "report_to=wandb"),
    "trackio": ("search", "rows.yaml", "--out", "asked", "--set", "report_to=trackio"),
    "dashboard": ("dashboard", "a_run"),
    "export": ("export", "an_adapter", "--format", "onnx", "--out", "exported"),
    "serve": ("serve", "an_adapter"),
}
"""A command that needs an extra."""
USING: dict[str, tuple[tuple[str, ...], str, str]] = {
    "demo": (("budget", "demo"), "parameters", "run/best"),
    "zstd": (("predict", "run/best", "--file", "rows.csv.zst", "--out", "used.csv"), "", "used.csv"),
    "tensorboard": (
        ("search", "tiny.yaml", "--out", "used", "--set", "report_to=tensorboard"),
        "winner",
        "used/tracking/tensorboard/*/events.*",
    ),
    "report": (("report", "run"), "index.html", "run/report/*.png"),
    "export": (("export", "run/best", "--format", "onnx", "--out", "used"), "ONNX int8", "used/model_int8.onnx"),
}
"""A command that an extra makes possible where there is a run, a word that it prints, and a file that is there then."""
UNUSED = {"ray", "mlflow", "wandb", "trackio", "dashboard"}
"""Extras whose use takes a cluster, an account or a browser; `serve` is started and asked."""
SILENT = {"report"}
"""Extras without which a command does less, and says so in what it writes: the page names `loraloom[report]`."""

WITHOUT = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder

absent, commands = json.loads(sys.argv[1])
find = PathFinder.find_spec
PathFinder.find_spec = staticmethod(lambda name, *rest: None if name.split(".")[0] in absent else find(name, *rest))
for name in list(sys.modules):  # what others' packages import is theirs
    if name.split(".")[0] in {"loraloom", *absent}:
        del sys.modules[name]

import loraloom.pipeline
from loraloom import cli

said = {}
for extra, command in commands.items():
    sys.argv = ["loraloom", *command]
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        code = cli.run()
    said[extra] = [code, error.getvalue()]
print(json.dumps(said))
"""

TRYING = """
import sys, tempfile
from pathlib import Path
from scripts import try_package

here = Path.cwd()
try_package.ROOT, tempfile.tempdir = here, str(here / "temporary")
sys.argv = ["try_package.py", "--python", str(here / "python")]
try_package.main()
"""


def test_every_extra_has_a_command_that_asks_for_it() -> None:
    assert set(EXTRAS) <= set(ASKING) | SILENT


def test_every_extra_is_used_where_it_is_installed_alone_or_known_to_need_more() -> None:
    assert sorted(EXTRAS) == sorted([*USING, *UNUSED, "serve"])


@pytest.fixture(scope="module")
def said(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What each extra's command says, and its exit code, where no package of any extra is installed."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "rows.yaml").write_text("data: {train_file: rows.csv.zst}\nbackbone: {model: ./model}\n")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model" / "model.safetensors").touch()
    (folder / "rows.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    (folder / "a_run" / "trials").mkdir(parents=True)
    (folder / "a_run" / "recipe.yaml").write_text("data: {train_file: rows.csv}\n")
    absent = sorted(_only_of_extras())
    asked = {extra: ASKING[extra] for extra in EXTRAS if extra in ASKING}
    ended = commands.start(json.dumps([absent, asked]), code=WITHOUT, folder=folder).wait()
    assert ended.code == 0, ended.err
    assert not (folder / "run").exists()
    return {extra: (code, text) for extra, (code, text) in json.loads(ended.out.splitlines()[-1]).items()}


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra not in SILENT])
def test_a_command_without_its_extra_says_what_to_install_and_exits_2(
    said: dict[str, tuple[int, str]], extra: str
) -> None:
    code, text = said[extra]
    assert code == 2, text
    assert text.count("\n") == 1
    assert f"needs the extra '{extra}': pip install 'loraloom[{extra}]'" in text


def test_the_page_says_what_its_pictures_need() -> None:
    from loraloom.report.pictures import WITHOUT_MATPLOTLIB

    assert "pip install 'loraloom[report]'" in WITHOUT_MATPLOTLIB


def test_what_is_imported_is_a_dependency_or_of_an_extra() -> None:
    """Also what a dependency brings along may be imported: huggingface_hub comes with transformers."""
    known = _closure(PROJECT["dependencies"]) | {name for extra in EXTRAS for name in _closure(_packages_of(extra))}
    unknown = {
        f"{path.relative_to(PACKAGE)}:{line}: {root}"
        for path in PACKAGE.rglob("*.py")
        for line, root, _ in _imports(path)
        if not _distributions(root) & known
    }
    assert not unknown


def test_the_torch_that_the_image_and_the_documentation_name_is_one_that_is_allowed() -> None:
    allowed = next(text for text in PROJECT["dependencies"] if Requirement(text).name == "torch")
    (least,), (most,) = (re.findall(sign + r"([\d.]+)", allowed) for sign in (">=", "<"))
    assert f'"{allowed}"' in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"Any torch from {least} on, before {most}, will do" in page


def test_no_module_imports_an_extra_before_it_is_used() -> None:
    """A module may, where all that import it do so inside a function, behind the guard that names the extra."""
    of_extras = _only_of_extras()
    needing = {
        path
        for path in PACKAGE.rglob("*.py")
        if any(root in of_extras and at_once for _, root, at_once in _imports(path))
    }
    at_once = {path: {name for name, now in _own_imports(path) if now} for path in PACKAGE.rglob("*.py")}
    while more := {path for path, names in at_once.items() if names & {_name(p) for p in needing}} - needing:
        needing |= more
    parts = {path.relative_to(PACKAGE).parts[0] for path in needing}
    free = {
        "__init__.py",
        "cli",
        "preparation.py",
        "conclusion.py",
        "pipeline.py",
        "terminal",
        "execute",
        "engine",
        "search",
    }
    assert not free & parts, needing


def test_trying_the_package_leaves_no_folder_when_it_is_stopped(commands: Commands, tmp_path: Path) -> None:
    for folder in ("dist", "temporary"):
        (tmp_path / folder).mkdir()
    (tmp_path / "dist" / "loraloom-0.1.0-py3-none-any.whl").touch()
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ntouch "$TMPDIR/left" begun\nexec sleep 600\n')
    python.chmod(0o755)
    with commands.start(code=TRYING, folder=tmp_path) as child:
        wait_for((tmp_path / "begun").exists)
        child.send(signal.SIGTERM)
        assert child.wait().code == 128 + signal.SIGTERM
    assert not list((tmp_path / "temporary").iterdir())


# Reading the source


def _imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, top-level package of others, whether importing the module imports it)."""
    for node, at_once in _nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            continue
        for root in {name.split(".")[0] for name in names} - {"loraloom"}:
            if root not in sys.stdlib_module_names:
                yield node.lineno, root, at_once


def _own_imports(path: Path) -> Iterator[tuple[str, bool]]:
    for node, at_once in _nodes(path):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("loraloom"):
            yield from ((f"{node.module}.{alias.name}", at_once) for alias in node.names)
            yield str(node.module), at_once


@cache
def _nodes(path: Path) -> tuple[tuple[ast.AST, bool], ...]:
    """The imports of a file, and whether they are run on import."""
    found = _walk(ast.parse(path.read_text(encoding="utf-8")))
    return tuple((node, at_once) for node, at_once in found if isinstance(node, ast.Import | ast.ImportFrom))


def _walk(node: ast.AST, at_once: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes but those for the type checker alone, and whether they are run on import."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    yield node, at_once
    inside = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, inside)


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Reading the metadata


def _packages_of(extra: str) -> list[str]:
    return list(PROJECT["optional-dependencies"][extra])


def brought_by(extra: str) -> set[str]:
    """The distributions that an extra names."""
    return {str(canonicalize_name(Requirement(text).name)) for text in _packages_of(extra)}


def _only_of_extras() -> set[str]:
    """The names by which an extra's packages are imported, where nothing else brings them."""
    wanted = set[str]().union(*map(brought_by, EXTRAS)) - _closure(PROJECT["dependencies"])
    return {root for root in _all_distributions() if _distributions(root) & wanted}


def _distributions(root: str) -> set[str]:
    return {str(canonicalize_name(name)) for name in _all_distributions().get(root, [])}


@cache
def _all_distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _closure(requirements: list[str]) -> set[str]:
    """The distributions that these bring, themselves included."""
    found: set[str] = set()
    wanted = [Requirement(text) for text in requirements]
    while wanted:
        one = wanted.pop()
        name = str(canonicalize_name(one.name))
        if name in found or (one.marker and not any(one.marker.evaluate({"extra": e}) for e in ("", *one.extras))):
            continue
        found.add(name)
        try:
            wanted += [Requirement(text) for text in requires(name) or () if not re.search(r"extra\s*==", text)]
        except PackageNotFoundError:
            continue
    return found
