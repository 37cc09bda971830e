"""The tiny searches that faults are brought to, and what two runs of one must have in common to the bit."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml

from loraloom.study.ledger import Ledger
from loraloom.study.pruning_notes import ENDED
from tests.conftest import make_rows, write_csv, write_model

ROWS, MANY_ROWS = 60, 520
_RANGES: dict[str, Any] = {
    "engine": "loom",
    "lora": {"r": {"min": 1, "max": 8}},
    "train": {"learning_rate": {"min": 0.001, "max": 0.1, "log": True}, "num_train_epochs": 3},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "loom": {"engine": "loom"},
    "trainer": {"engine": "trainer"},
    "pruned": _RANGES | {"search": {"sampler": "tpe", "n_trials": 4, "pruner": "halving", "resource": "epochs"}},
    "climbing": _RANGES
    | {
        "train": {"learning_rate": {"min": 0.001, "max": 0.1, "log": True}, "per_device_train_batch_size": 64},
        "search": {"sampler": "random", "n_trials": 4, "pruner": "halving", "resource": "rows", "seeds": 2},
    },
}
"""By name: what differs from the recipe of `write_search`; the last has many rows, so that it has rungs of them."""
TIMES = ("seconds", "train_seconds", "examples_per_second", "tokens_per_second", "peak_share")


@dataclass(frozen=True, slots=True)
class Search:
    """A recipe on disk."""

    name: str
    recipe: Path
    rows: Path


def write_search(folder: Path, name: str) -> Search:
    """The recipe `name`, with its rows and its model, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, model = folder / f"rows-{name}.csv", folder / "model"
    write_csv(rows, make_rows(MANY_ROWS if name == "climbing" else ROWS, seed=1))
    if not model.exists():
        write_model(model)
    recipe: dict[str, Any] = {
        "data": {"train_file": str(rows), "validation_share": 0.2, "max_length": 16},
        "backbone": {"model": str(model), "dropout": "keep"},
        "lora": {"r": [1, 2], "lora_dropout": 0.1},
        "train": {
            "learning_rate": 0.02,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "bf16": False,
        },
    }
    for part, changes in SEARCHES[name].items():
        recipe[part] = {**recipe.get(part, {}), **changes} if isinstance(changes, dict) else changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return Search(name, path, rows)


def held(run: Path) -> dict[str, Any]:
    """All that a run holds which must not depend on faults: by name, bytes or plain values. Times are left out."""
    values: dict[str, Any] = {"leaderboard.csv": _leaderboard(run / "leaderboard.csv")}
    for folder in [run / "rows", run / "best", *sorted((run / "trials").iterdir())]:
        place = folder.relative_to(run).as_posix()
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{place}/{file.relative_to(folder).as_posix()}"
            if file.name == "trial.json":
                values[name] = _record(file)
            elif file.name == "metrics.jsonl":
                values[name] = _metrics(file)
            elif file.name != "manifest.json":
                values[name] = file.read_bytes()
    for entry in ledger_of(run):
        values[f"study.db trial {entry['number']}"] = entry
    return values


def ledger_of(run: Path) -> list[dict[str, Any]]:
    """The ledger's trials as plain values; a pruned trial's state says where it was ended, and of a complete one it is
    nothing that anybody reads."""
    ledger = Ledger(run / "study.db", optuna.pruners.NopPruner())
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "params": trial.params,
            "intermediate": trial.intermediate_values,
            "user": {name: value for name, value in trial.user_attrs.items() if name != ENDED},
            "system": trial.system_attrs,
        }
        for trial in ledger._study.get_trials(deepcopy=False)
    ]


def differences(run: Path, whole: dict[str, Any]) -> list[str]:
    """The names of what `run` holds otherwise than a run that nothing befell."""
    found = held(run)
    return sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))


def _leaderboard(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def _record(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in values.items() if name != "timings"}


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]
