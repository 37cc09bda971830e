"""W&B: a W&B run for each trial, grouped by the search; offline under RUN/tracking/wandb unless there is a key.

Offline files go to a server by `wandb sync`. `WANDB_MODE`, `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_DIR` and the key
that `wandb login` stores are respected. A W&B run has an id made of the run's key and the trial's number: on a server a
trial that begins again goes on in its place; offline, its earlier file is replaced, unless it was synced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loraloom.tracking.tracker import Point, Scalar, Told, trial_name

_QUIET = {
    "WANDB_ERROR_REPORTING": "false",  # crash reports would go to a server from a run that is offline
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_X_DISABLE_STATS": "true",  # each trial would sample the machine while it trains
}


class WandB:
    """Logs to W&B, or to its files."""

    def begin(self, run: Told) -> None:
        """Goes online where the user has said so or has a key."""
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import wandb

        self._wandb: Any = wandb
        self._mode = os.environ.get("WANDB_MODE") or (None if wandb.login(prompt=False) else "offline")
        self._folder = Path(os.environ.get("WANDB_DIR") or run.folder.parent)  # W&B adds a folder of its own name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._key, self._group = run.key, f"{run.name}-{run.key}"
        self._trials: dict[int, Any] = {}

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        """All parameters are the config."""
        if number not in self._trials:
            name = f"{self._group}-{trial_name(number)}"
            self._trials[number] = self._open(f"{self._key}-{number:04d}", name, "trial", parameters)

    def log(self, number: int, points: Sequence[Point]) -> None:
        """Steps only rise in W&B: those that a server has got are left out."""
        run = self._trials[number]
        for step, metrics in points:
            if step >= run.step:
                run.log(dict(metrics), step=step)

    def end_trial(self, number: int, state: str, reason: str | None, figures: Mapping[str, float]) -> None:
        """The figures are the summary."""
        run = self._trials.pop(number)
        run.summary.update({**figures, "state": state, **({} if reason is None else {"reason": reason})})
        run.finish(exit_code=1 if state == "failed" else 0)

    def crown(self, number: int, parameters: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """The test result has a W&B run of its own: an offline one that has ended can't be added to."""
        name = f"{self._group}-winner"
        run = self._open(f"{self._key}-winner", name, "winner", {**parameters, "trial": number})
        run.summary.update(dict(figures))
        run.finish(exit_code=0)

    def close(self, *, finished: bool) -> None:
        """Trials that were broken off end as failed, and W&B's service ends."""
        for run in self._trials.values():
            run.finish(exit_code=1)
        self._wandb.teardown()

    def _open(self, identity: str, name: str, kind: str, config: Mapping[str, Scalar]) -> Any:
        if self._mode in ("offline", "dryrun"):  # W&B has both names for it
            for earlier in (self._folder / "wandb").glob(f"offline-run-*-{identity}"):
                if not any(earlier.glob("*.synced")):
                    shutil.rmtree(earlier)
        return self._wandb.init(
            mode=self._mode,
            project=os.environ.get("WANDB_PROJECT", "loraloom"),
            dir=str(self._folder),
            id=identity,
            name=name,
            group=self._group,
            job_type=kind,
            config=dict(config),
            resume="allow",
            reinit="create_new",
        )
