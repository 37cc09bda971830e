"""plan.json: the rungs, which a resumed run must keep, what was measured, and the plan as it was first made, so that
the report can set what happened beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraloom.errors import RunError
from loraloom.search.costs import Costs, Key, Measured
from loraloom.search.pace import LeftOut
from loraloom.search.plan import Plan
from loraloom.study.run import PLAN
from loraloom.study.sealed import read_sealed, write_sealed


def read_plan(run: Path) -> dict[str, Any]:
    """What a run's plan.json holds; nothing where there is none yet.

    Raises:
        RunError: it is damaged, or of a version of loraloom whose plans this one can't read.
    """
    path = run / PLAN
    try:
        kept = read_sealed(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: can't be read: {error}; remove it, and the search is planned anew") from None
    try:
        known_costs(kept)
        if "rungs" in kept:
            plan_of(kept)
    except (TypeError, ValueError, KeyError, AttributeError):  # it is as it was written, by who writes it otherwise
        then = "go on by that version, or remove it, and the search is planned anew"
        raise RunError(f"{path}: can't be read: another version of loraloom wrote it; {then}") from None
    return kept


def write_plan(run: Path, values: Mapping[str, Any]) -> None:
    """Writes plan.json, whole or not at all."""
    write_sealed(run / PLAN, values)


def is_planned(run: Path) -> bool:
    """Whether what a row costs was measured for a run, here or elsewhere."""
    return bool(read_plan(run).get("measured"))


def has_passes(run: Path) -> bool:
    """Whether the plan of a run says how many passes over the rows its trials have, which a clock did once."""
    return read_plan(run).get("epochs") is not None


def as_json(plan: Plan) -> dict[str, Any]:
    """Plain values of a plan."""
    epochs = None if plan.epochs is None else [[list(key), passes] for key, passes in plan.epochs.items()]
    return {
        "rungs": list(plan.rungs),
        "finalists": plan.finalists,
        "seeds": plan.seeds,
        "epochs": epochs,
        "leading_rung": plan.leading_rung,
        "fitted": plan.fitted,
    }


def plan_of(kept: Mapping[str, Any]) -> Plan:
    """The plan of which `as_json` made these values, as versions before this one did of some of them."""
    epochs = None if kept.get("epochs") is None else {Key(*key): passes for key, passes in kept["epochs"]}
    rungs, leading_rung = tuple(kept["rungs"]), kept.get("leading_rung", 0)
    return Plan(rungs, kept["finalists"], kept["seeds"], epochs, leading_rung, kept.get("fitted", False))


def known_costs(kept: Mapping[str, Any]) -> tuple[Costs, LeftOut]:
    """What was measured, and why the models and lengths could not be that were left out."""
    costs = Costs(Measured(**one) for one in kept.get("measured", ()))
    return costs, {(model, length): why for model, length, why in kept.get("left_out", ())}
