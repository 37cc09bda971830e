"""Damage to a run: files that are not as the run wrote them are found here, and put right where they can be.

A finished trial's files and the winner's have their SHA-256 in a manifest, and the recipe has its own on its first
line. All are compared when a run is gone on with, which reads every file once (about a second for a gigabyte).
leaderboard.csv and report/ are not looked at: they are written anew from the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from pathlib import Path

from loraloom.errors import AdapterError, RecipeError, RunError
from loraloom.recipe import Recipe, dump_recipe, read_recipe
from loraloom.recipe.reading import MAX_RECIPE_BYTES
from loraloom.study.durable import MANIFEST, is_whole, remove, sync_folder, verify_manifest, write_text
from loraloom.study.record import CARD, RECORD, read_record

RECIPE = "recipe.yaml"
_SEAL = "# SHA-256 of the lines below: "


def write_recipe(path: Path, recipe: Recipe) -> None:
    """The run's recipe, sealed by a comment that YAML does not read."""
    text = dump_recipe(recipe)
    write_text(path, f"{_SEAL}{_digest(text)}\n{text}")


def read_sealed_recipe(path: Path) -> Recipe:
    """The recipe of a run; one without a seal is of an older version, and is taken as it is.

    Raises:
        RunError: it is not as the run wrote it.
        RecipeError: it breaks a rule.
    """
    try:
        size = path.stat().st_size
        if size > MAX_RECIPE_BYTES:  # where an adapter comes from anybody, so does the run that its folder lies in
            most = f"at most {MAX_RECIPE_BYTES:,} are read"
            raise RunError(f"{path}: {size:,} bytes is too large for a run's recipe; {most}")
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: can't be read: {error.strerror}") from None
    first, _, rest = content.partition(b"\n")
    seal = _SEAL.encode()
    if first.startswith(seal) and first != seal + _digest(rest).encode():
        raise RunError(
            f"{path}: is not as the run wrote it, so its trials can't be told apart from another's; "
            f"put the original back, or begin another run"
        )
    if all(not line.strip() or line.startswith(b"#") for line in content.splitlines()):
        raise RunError(f"{path}: is cut off or empty; put the original back, or begin another run")
    return _read_recipe(path, content)


@lru_cache(maxsize=2)
def _read_recipe(path: Path, content: bytes) -> Recipe:
    """The recipe in `path`, whose content `content` is; a command opens its run several times, and YAML is slow.

    So does one that compares two runs, by turns.
    """
    try:
        return read_recipe(path)
    except (UnicodeError, ValueError) as error:
        raise RecipeError(f"{path}: can't be read: {error}") from None


def put_aside_damage(run: Path, trials: Iterable[Path], best: Path, say: Callable[[str], None]) -> None:
    """Takes the manifest from each of the `trials` folders that is finished and of which a file is damaged.

    It then counts as unfinished, so that the trial is trained again, and best/ made again from its trial: both give
    what was there, to the bit.
    """
    damaged = set()
    for folder in filter(is_whole, trials):
        if damage := _damage(folder):
            say(f"{damage}; trial {int(folder.name)} is trained again")
            damaged.add(int(folder.name))
            if _damage(folder, only=(RECORD,)):
                (folder / RECORD).unlink(missing_ok=True)  # one that stands says with how many passes it was trained
            (folder / MANIFEST).unlink()
            sync_folder(folder)
    if is_whole(best):
        damage = _damage(best)
        if damage is None and read_record(best).number in damaged:
            damage = f"{best}: is the winner of a trial that is trained again"  # which gets its test result with best/
        if damage is not None:
            say(f"{damage}; {best.name}/ is made again")
            remove(best)
            sync_folder(run)


def _damage(folder: Path, only: Collection[str] | None = None) -> str | None:
    try:
        verify_manifest(folder, only, but=(CARD,))  # which is written anew where it is not as it should be
    except AdapterError as error:
        return str(error).partition(";")[0]
    return None


def _digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
