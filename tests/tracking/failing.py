"""Trackers that note what they are told, or fail in one way each; they live in a tracker's process, as real ones do."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from loraloom.tracking.mlflow import MLflow
from loraloom.tracking.tensorboard import TensorBoard
from loraloom.tracking.tracker import Point, Scalar, Told
from loraloom.tracking.trackio import Trackio
from loraloom.tracking.wandb import WandB


class Noting:
    """Writes each call as a line of calls.jsonl in its folder."""

    def begin(self, run: Told) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        self._file = (run.folder / "calls.jsonl").open("a")
        self._note("begin", name=run.name, key=run.key, facts=dict(run.facts))

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        self._note("begin_trial", number=number, varied=varied, parameters=parameters)

    def log(self, number: int, points: Sequence[Point]) -> None:
        self._note("log", number=number, points=points)

    def end_trial(self, number: int, state: str, reason: str | None, figures: Mapping[str, float]) -> None:
        self._note("end_trial", number=number, state=state, reason=reason, figures=figures)

    def crown(self, number: int, parameters: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        self._note("crown", number=number, parameters=parameters, figures=figures)

    def close(self, *, finished: bool) -> None:
        self._note("close", finished=finished)

    def _note(self, call: str, **arguments: Any) -> None:
        self._file.write(json.dumps({"call": call, **arguments}) + "\n")
        self._file.flush()


class RaisingAtOnce(Noting):
    def begin(self, run: Told) -> None:
        raise PermissionError("the server says no\nand more")


class Raising(Noting):
    def log(self, number: int, points: Sequence[Point]) -> None:
        raise RuntimeError("can't keep a metric")


class NotImportable(Noting):
    def begin(self, run: Told) -> None:
        import no_such_library  # type: ignore[import-not-found]  # noqa: F401


class Hanging(Noting):
    """In its first call after the beginning: none before it could be too slow where little time is given to each."""

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        time.sleep(10_000)


class HangingDeafly(Noting):
    """Neither a hang-up nor a polite request ends it."""

    def begin(self, run: Told) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        while True:
            time.sleep(1)


class HangingAtTheEnd(Noting):
    def close(self, *, finished: bool) -> None:
        time.sleep(10_000)


class Dying(Noting):
    def log(self, number: int, points: Sequence[Point]) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Leaving(Noting):
    def log(self, number: int, points: Sequence[Point]) -> None:
        os._exit(3)


class Talking(Noting):
    """Prints as libraries do, also from below Python, which must not be taken for answers."""

    def log(self, number: int, points: Sequence[Point]) -> None:
        print('{"error": "not an answer"}', flush=True)
        os.write(1, b"{}\n{}\n")
        super().log(number, points)


class TrackioThatStoresNothing(Trackio):
    """trackio catches what goes wrong in its store, and says nothing aloud."""

    def begin(self, run: Told) -> None:
        super().begin(run)
        from trackio.sqlite_storage import SQLiteStorage

        def no_space(*_: Any, **__: Any) -> None:
            raise OSError("no space left on device")

        SQLiteStorage.bulk_log = no_space


class _NoSpace:
    """No file may grow from the first metric on, as on a full disk; a write then fails with an OSError."""

    def log(self, number: int, points: Sequence[Point]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        super().log(number, points)  # type: ignore[misc]


class FullTensorBoard(_NoSpace, TensorBoard): ...


class FullMLflow(_NoSpace, MLflow): ...


class FullTrackio(_NoSpace, Trackio): ...


class FullWandB(_NoSpace, WandB): ...
