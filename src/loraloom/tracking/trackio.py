"""trackio: a project in SQLite under RUN/tracking/trackio, a trackio run for each trial, grouped by the search.

`TRACKIO_DIR`, `TRACKIO_PROJECT`, `TRACKIO_SPACE_ID` and `TRACKIO_SERVER_URL` are respected. trackio itself says nothing
aloud when it can't store; so what was told is looked for in the local store when a trial ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from loraloom.tracking.tracker import Known, Point, Scalar, Told, trial_name


class Trackio:
    """Logs to a trackio project."""

    def begin(self, run: Told) -> None:
        """trackio reads its folder from the environment when it is imported."""
        os.environ.setdefault("TRACKIO_DIR", str(run.folder))
        import trackio

        self._trackio: Any = trackio
        self._local = not (os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"))
        self._project = os.environ.get("TRACKIO_PROJECT", "loraloom")
        self._group = f"{run.name}-{run.key}"
        self._trials: dict[int, _Trial] = {}

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        """All parameters are the config."""
        if number not in self._trials:
            self._trials[number] = self._open(number, dict(parameters))

    def log(self, number: int, points: Sequence[Point]) -> None:
        """Each metric keeps its step."""
        self._trials[number].log(points)

    def end_trial(self, number: int, state: str, reason: str | None, figures: Mapping[str, float]) -> None:
        """trackio has no summary: the figures are metrics at step 0, and so is the state, as text."""
        trial = self._trials.pop(number)
        trial.log([(0, figures)])
        trial.say({"state": state, **({} if reason is None else {"reason": reason})})
        trial.finish()

    def crown(self, number: int, parameters: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """The test result joins the trial's figures."""
        trial = self._open(number, dict(parameters))  # trackio would put an empty config in the place of the trial's
        trial.log([(0, figures)])
        trial.finish()

    def close(self, *, finished: bool) -> None:
        """Stores what trials that were broken off had said."""
        for trial in self._trials.values():
            trial.finish()

    def _open(self, number: int, config: dict[str, Scalar]) -> _Trial:
        name = f"{self._group}-{trial_name(number)}"  # a run is found again by its name alone
        run = self._trackio.init(
            self._project,
            name=name,
            group=self._group,
            config=config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return _Trial(run, self._project, name, self._local)


class _Trial:
    """One trackio run."""

    def __init__(self, run: Any, project: str, name: str, local: bool) -> None:
        self._run, self._project, self._name, self._local = run, project, name, local
        rows = self._rows()
        self._known = Known((key, row["step"], value) for row in rows for key, value in row.items())
        self._said = {key for row in rows for key in row}
        self._next = 0 if local else int(getattr(run, "_next_step", 0))
        """On a server, the first step that it has not got: trackio looks that up when a run is resumed."""
        self._steps = {row["step"] for row in rows}

    def log(self, points: Sequence[Point]) -> None:
        for step, metrics in points:
            fresh = self._known.fresh(step, metrics)
            if fresh and (step >= self._next or step == 0):
                self._run.log(fresh, step=step)
                self._steps.add(step)

    def say(self, words: Mapping[str, str]) -> None:
        new = {name: word for name, word in words.items() if name not in self._said}
        if new:
            self._run.log(new, step=0)
            self._steps.add(0)

    def finish(self) -> None:
        """Waits for trackio to store, and looks whether it did.

        Raises:
            OSError: it did not.
        """
        self._run.finish()
        if self._local and (lost := self._steps - {row["step"] for row in self._rows()}):
            raise OSError(f"trackio stored nothing for step {min(lost)} of {self._name}")

    def _rows(self) -> list[dict[str, Any]]:
        if not self._local:
            return []
        from trackio.sqlite_storage import SQLiteStorage

        return list(SQLiteStorage.get_logs(self._project, self._name))
