"""Checks that the wheel and the sdist in a folder hold what the repository has, and nothing else.

    python scripts/package_contents.py dist

Every tracked file of the package is in the wheel (templates, styles, scripts, the kernels' sources, recipes, py.typed),
and none that isn't tracked; the sdist has what it takes to build and test again.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
NEEDED = (
    "loraloom/py.typed",
    "loraloom/backbone/known_configs.json",
    "loraloom/engine/loom/kernels/kernels.h",
    "loraloom/engine/loom/kernels/ops.cpp",
    "loraloom/recipes/demo.yaml",
    "loraloom/report/templates/page.css",
    "loraloom/report/templates/page.html.jinja",
    "loraloom/report/templates/page.js",
)
"""Said by name, so that a change of the rule below can't lose a kind of file without a word."""
ABOUT = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
FOLDERS = ("src", "tests", "bench", "study", "docs", "examples", "scripts", "website")
SDIST = (*FOLDERS, "mkdocs.yml", "Dockerfile", "Makefile", "pyproject.toml", "LICENSE", *ROOT.glob("*.md"))


def main() -> None:
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    problems = [*wheel_problems(wheel), *sdist_problems(sdist)]
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


def wheel_problems(wheel: Path) -> Iterable[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {name for name in names if name.startswith("loraloom/")}
    about = {name.partition(".dist-info/")[2] for name in names - code}
    yield from differences(wheel.name, code, {name.removeprefix("src/") for name in tracked("src/loraloom")})
    yield from (f"{wheel.name}: has no {name}" for name in sorted({*NEEDED} - code))
    yield from differences(wheel.name, about, set(ABOUT))


def sdist_problems(sdist: Path) -> Iterable[str]:
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    files = {member.name.partition("/")[2] for member in members if member.isfile()}
    expected = tracked(*map(str, SDIST))
    recipes = {name.removeprefix("src/loraloom/") for name in tracked("src/loraloom/recipes")}
    own = {"PKG-INFO", ".gitignore"}
    yield from (f"{sdist.name}: {member.name} is a link" for member in members if member.islnk() or member.issym())
    yield from differences(sdist.name, files, expected | recipes | own)


def differences(archive: str, found: set[str], expected: set[str]) -> Iterable[str]:
    yield from (f"{archive}: has no {name}" for name in sorted(expected - found))
    yield from (f"{archive}: has {name}, which is not tracked" for name in sorted(found - expected))


def tracked(*paths: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, check=True)
    return {name for name in listed.stdout.decode().split("\0") if name}


if __name__ == "__main__":
    main()
