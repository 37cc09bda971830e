"""How a run is prepared: the data, read and checked, and what the run states of itself before anything is trained."""

from __future__ import annotations

from typing import Any

from loraloom.data import load_data
from loraloom.errors import RunError
from loraloom.execute.kept_type import kept_type
from loraloom.execute.workplace import Workplace
from loraloom.machine import with_home
from loraloom.recipe import Recipe
from loraloom.report.wording import listed
from loraloom.search.watcher import Watcher
from loraloom.study.durable import refuse_bytes
from loraloom.study.provenance import changed, data_revision, describe_machine, findings_stated
from loraloom.study.run import Run

MOST_DROPPED = 100
"""Of the points over the budget, those that a run's recipe names with the reason: of a large grid thousands may be."""


def prepare(
    recipe: Recipe, watcher: Watcher, allow_leak: bool, in_memory: dict[str, Any], begun: Run | None = None
) -> Workplace:
    """The data, read and checked; what was found when a run was `begun` is not said again, and it keeps its type."""
    data = load_data(
        recipe.data,
        seed=recipe.train.seed,
        allow_leak=allow_leak,
        revision=data_revision(recipe),
        metric=recipe.search.metric,
        note=watcher.note,
        **in_memory,
    )
    known = [] if begun is None else [told.get("sentence") for told in findings_stated(begun.recipe)]
    for finding in data.findings:
        if finding.sentence not in known:
            watcher.found(finding)
    return Workplace(recipe, data, watcher.found, None if begun is None else kept_type(begun), watcher.note)


def prepare_again(run: Run, watcher: Watcher, in_memory: dict[str, Any], again: str) -> Workplace:
    """The rows and models of a run that is there; `again` is the command for which they are wanted.

    Raises:
        RunError: they are not as they were, or were given from Python and are not now.
    """
    made = run.recipe.provenance
    if any(in_memory.get(split) is None for split in run.recipe.from_python):
        given = listed(list(run.recipe.from_python))
        raise RunError(f"{run.path}: its {given} rows were given from Python; go on by: {again}")
    place = prepare(run.recipe, watcher, bool(made.get("allow_leak")), in_memory, run)
    if difference := changed(made, place.pins()):
        raise RunError(f"{run.path}: {difference} has changed since the run began; begin another run")
    return place


def stated(place: Workplace) -> dict[str, Any]:
    """How a run is made, to be kept with its recipe; what can't be trained is refused.

    Raises:
        LoraloomError: as `Workplace.pins` and `Workplace.check`.
    """
    told = {**describe_machine(), **place.pins(), "cards": place.cards()}
    dropped = place.check()
    told["data"] |= place.facts()
    told["dropped_points"], told["more_dropped_points"] = list(dropped[:MOST_DROPPED]), len(dropped[MOST_DROPPED:])
    return told


def anchored(recipe: Recipe) -> Recipe:
    """The recipe with its files and folders named from the root, so that the run goes on from any folder."""
    data = {
        name: _from_root(value)
        for name in ("train_file", "validation_file", "test_file")
        if (value := getattr(recipe.data, name))
    }
    return recipe.with_fields(data=data).renamed("backbone.model", _place)


def _place(model: str) -> str:
    """A model's folder from the root; a name on the hub, or 'demo', as it is."""
    return _from_root(model) if model != "demo" and with_home(model).is_dir() else model


def _from_root(path: str) -> str:
    whole = with_home(path).absolute()
    refuse_bytes(whole)
    return str(whole)
