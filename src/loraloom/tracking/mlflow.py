"""MLflow: a run for the search and a nested run for each trial, in SQLite under RUN/tracking/mlflow.

`MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` are respected. mlflow-skinny suffices: SQLAlchemy and alembic, which
its SQLite store needs, come with Optuna. Rejected: the folder of files, which MLflow itself advises against since 3.7.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from loraloom.tracking.tracker import Known, Point, Scalar, Told, trial_name

_RUN, _TRIAL, _WINNER = "loraloom.run", "loraloom.trial", "loraloom.winner"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_BATCH = 500
"""Metrics in one request; MLflow takes no more than 1,000."""
_LONGEST = 500
"""Characters of a parameter; what older servers take."""


class MLflow:
    """Talks to a tracking store by MLflow's client."""

    def begin(self, run: Told) -> None:
        """Finds the search's run by its key, or makes it.

        Raises:
            ValueError: the store is to be where no address leads to.
        """
        local = None if os.environ.get("MLFLOW_TRACKING_URI") else run.folder
        if local is not None and "?" in str(local):
            raise ValueError(f"{local}: SQLite's address ends at the ?; rename that folder, or set MLFLOW_TRACKING_URI")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would send usage from a run that is local
        from mlflow.tracking import MlflowClient

        if local is not None:
            local.mkdir(parents=True, exist_ok=True)
        self._client: Any = MlflowClient(None if local is None else f"sqlite:///{local / 'mlflow.db'}")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "loraloom")
        artifacts = None if local is None else (local / "artifacts").as_uri()
        found = self._client.get_experiment_by_name(name)
        self._experiment: str = found.experiment_id if found else self._client.create_experiment(name, artifacts)
        self._key, self._trials, self._known = run.key, dict[int, str](), dict[int, Known]()
        self._parent = self._find({_RUN: run.key, _TRIAL: "search"}, run.name)
        self._client.update_run(self._parent, status="RUNNING")
        self._params(self._parent, run.facts)

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        """All parameters are params; MLflow shows those that differ."""
        run_id = self._open(number)
        self._client.update_run(run_id, status="RUNNING")
        self._params(run_id, parameters)

    def log(self, number: int, points: Sequence[Point]) -> None:
        """Each metric keeps its step."""
        known = self._known[number]
        flat = [(name, value, step) for step, metrics in points for name, value in known.fresh(step, metrics).items()]
        self._send(self._trials[number], flat)

    def end_trial(self, number: int, state: str, reason: str | None, figures: Mapping[str, float]) -> None:
        """The state is the run's status; a reason is a tag."""
        self.log(number, [(0, figures)])
        run_id = self._trials[number]
        self._client.set_tag(run_id, "loraloom.state", state)
        if reason is not None:
            self._client.set_tag(run_id, "loraloom.reason", reason)
        self._client.set_terminated(run_id, status=_STATUS[state])
        del self._trials[number], self._known[number]

    def crown(self, number: int, parameters: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """The search's run gets the winner's figures, too."""
        run_id = self._open(number)
        self.log(number, [(0, figures)])
        held = self._client.get_run(self._parent).data.metrics
        self._send(self._parent, [(name, value, 0) for name, value in figures.items() if held.get(name) != value])
        self._client.set_tag(self._parent, _WINNER, str(number))
        earlier = f"tags.`{_RUN}` = '{self._key}' and tags.`{_WINNER}` = 'true'"
        for run in self._client.search_runs([self._experiment], earlier):
            self._client.delete_tag(run.info.run_id, _WINNER)
        self._client.set_tag(run_id, _WINNER, "true")

    def close(self, *, finished: bool) -> None:
        """A run that was broken off counts as killed until it goes on."""
        for run_id in self._trials.values():
            if self._client.get_run(run_id).info.status == "RUNNING":
                self._client.set_terminated(run_id, status="KILLED")
        self._client.set_terminated(self._parent, status="FINISHED" if finished else "KILLED")

    def _open(self, number: int) -> str:
        """The trial's run, and what the store holds of it."""
        if number not in self._trials:
            tags = {_RUN: self._key, _TRIAL: str(number), "mlflow.parentRunId": self._parent}
            run_id = self._trials[number] = self._find(tags, trial_name(number))
            names = self._client.get_run(run_id).data.metrics
            history = (point for name in names for point in self._client.get_metric_history(run_id, name))
            self._known[number] = Known((point.key, point.step, point.value) for point in history)
        return self._trials[number]

    def _find(self, tags: Mapping[str, str], name: str) -> str:
        filters = [f"tags.`{tag}` = '{tags[tag]}'" for tag in (_RUN, _TRIAL)]
        found = self._client.search_runs([self._experiment], " and ".join(filters), max_results=1)
        run = found[0] if found else self._client.create_run(self._experiment, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def _params(self, run_id: str, values: Mapping[str, Scalar]) -> None:
        from mlflow.entities import Param

        held = self._client.get_run(run_id).data.params  # which MLflow lets nobody change
        new = [Param(name, str(value)[:_LONGEST]) for name, value in values.items() if name not in held]
        self._client.log_batch(run_id, params=new)

    def _send(self, run_id: str, flat: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value, step in flat]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
