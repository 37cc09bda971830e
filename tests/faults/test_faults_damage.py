"""Damaged files: found, and mended or refused in a sentence; never another number."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.commands import Commands
from tests.faults import unreported
from tests.faults.damage import Damage, Unhurt, cuts, damage_run, flips, interrupted
from tests.faults.kills import Whole

FLIPS, CUTS = 2, 2
"""`make torture` does thousands; those that decide something are each a test below."""
UNREPORTED = (unreported.__name__,)
"""Of a damaged run the command `report` is asked for a report; what goes on with it need not write another."""


@pytest.fixture(scope="module", params=["finished", "interrupted"])
def unhurt(request: pytest.FixtureRequest, commands: Commands, loom: Whole, scratch: Path) -> Unhurt:
    finished = scratch / f"{loom.search.name}-whole"
    run = finished if request.param == "finished" else interrupted(commands, loom, scratch)
    return Unhurt.read(commands, run, loom.search.rows)


@pytest.fixture(scope="module", params=["finished", "interrupted"])
def unhurt_pruned(request: pytest.FixtureRequest, commands: Commands, pruned: Whole, scratch: Path) -> Unhurt:
    finished = scratch / f"{pruned.search.name}-whole"
    run = finished if request.param == "finished" else interrupted(commands, pruned, scratch)
    return Unhurt.read(commands, run, pruned.search.rows)


@pytest.mark.parametrize("kind", ["flips", "cuts"])
def test_damage_is_found_and_mended_or_refused(
    commands: Commands, loom: Whole, unhurt: Unhurt, tmp_path: Path, kind: str
) -> None:
    every = list(cuts(unhurt.run))
    some = flips(unhurt.run, FLIPS, seed=7) if kind == "flips" else random.Random(7).sample(every, CUTS)  # noqa: S311
    wrong = [word for damage in some for word in damage_run(commands, loom, unhurt, tmp_path, damage, UNREPORTED).wrong]
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "cut_of"), [("commands.json", "finished"), ("plan.json", "interrupted"), ("best/README.md", "finished")]
)
def test_what_a_run_says_of_itself_is_not_changed_unseen(
    commands: Commands, loom: Whole, unhurt: Unhurt, tmp_path: Path, file: str, cut_of: str
) -> None:
    """Cut in one of the runs, and with a bit flipped in the other; both where only one of them has it."""
    path, interrupted_run = unhurt.run / file, unhurt.run.name.endswith("interrupted")
    if not path.exists():
        pytest.skip(f"a run that was interrupted has no {file}")
    size = path.stat().st_size
    cut, flip = Damage(file, size=size // 2), Damage(file, bit=4 * size)
    one = cut if interrupted_run == (cut_of == "interrupted") else flip
    for damage in (cut, flip) if file.startswith("best") else (one,):
        assert damage_run(commands, loom, unhurt, tmp_path, damage, UNREPORTED).wrong == []


@pytest.mark.parametrize(
    "file", ["recipe.yaml", "study.db", "trials/0000/trial.json", "trials/0000/adapter_model.safetensors"]
)
def test_what_decides_a_result_is_never_damaged_unseen(
    commands: Commands, loom: Whole, unhurt: Unhurt, tmp_path: Path, file: str
) -> None:
    damage = Damage(file, size=(unhurt.run / file).stat().st_size // 2)
    found = damage_run(commands, loom, unhurt, tmp_path, damage, UNREPORTED)
    assert (found.wrong, found.harmless) == ([], 0)


@pytest.mark.parametrize("file", ["study.db", "trials/0000/trial.json", "trials/0000/adapter_model.safetensors"])
def test_a_search_with_a_pruner_of_epochs_decides_the_same_after_a_damage(
    commands: Commands, pruned: Whole, unhurt_pruned: Unhurt, tmp_path: Path, file: str
) -> None:
    damage = Damage(file, size=(unhurt_pruned.run / file).stat().st_size // 2)
    found = damage_run(commands, pruned, unhurt_pruned, tmp_path, damage, UNREPORTED)
    assert (found.wrong, found.refused, found.harmless) == ([], 0, 0)
