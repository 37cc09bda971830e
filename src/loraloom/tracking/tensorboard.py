"""TensorBoard: event files under RUN/tracking/tensorboard, a folder for each trial, with its place in the HParams tab.

Written by tensorboard's own EventFileWriter, without torch. Rejected: torch.utils.tensorboard.SummaryWriter, which is
the same writer behind an import of torch, in a process that has no other need of it. `TENSORBOARD_LOGGING_DIR`, which
transformers reads, names another folder; the run then has a folder in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from loraloom.tracking.tracker import Known, Point, Scalar, Told, trial_name


class TensorBoard:
    """Writes event files; a point that the files of a trial hold is not written again."""

    def begin(self, run: Told) -> None:
        """Imports the library, and makes the folder."""
        import tensorboard.summary.writer.event_file_writer  # noqa: F401

        elsewhere = os.environ.get("TENSORBOARD_LOGGING_DIR")
        self._folder = Path(elsewhere) / f"{run.name}-{run.key}" if elsewhere else run.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._trials: dict[int, _Trial] = {}

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        """The HParams tab compares what varies; in a search of one, the parameters that are searched most often."""
        if number not in self._trials:
            shown = varied or {
                name: value for name, value in parameters.items() if name.startswith(("lora.", "train."))
            }
            self._trials[number] = _Trial(self._folder / trial_name(number), shown)

    def log(self, number: int, points: Sequence[Point]) -> None:
        """Each metric is a scalar."""
        for step, metrics in points:
            self._trials[number].write(step, metrics)
        self._trials[number].flush()

    def end_trial(self, number: int, state: str, reason: str | None, figures: Mapping[str, float]) -> None:
        """The figures are scalars, which the HParams tab shows in its columns."""
        trial = self._trials.pop(number)
        trial.write(0, figures)
        trial.end(state)

    def crown(self, number: int, parameters: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """The test result joins the trial's figures."""
        trial = _Trial(self._folder / trial_name(number), None)
        trial.write(0, figures)
        trial.close()

    def close(self, *, finished: bool) -> None:
        """Closes the files of trials that were broken off."""
        for trial in self._trials.values():
            trial.close()


class _Trial:
    """One folder of event files."""

    def __init__(self, folder: Path, hyperparameters: Mapping[str, Scalar] | None) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        held = _held(folder) if folder.is_dir() else None
        self._known = Known(held or ())
        self._writer = EventFileWriter(str(folder))
        if hyperparameters is not None and not held:
            self._add(hparams_pb(dict(hyperparameters), trial_id=folder.name))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        fresh = self._known.fresh(step, metrics)
        if fresh:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in fresh.items()]
            self._add(Summary(value=values), step)

    def end(self, state: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_FAILURE if state == "failed" else api_pb2.STATUS_SUCCESS
        ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=ended))
        self._add(Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=data)]))
        self.close()

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, summary: object, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def _held(folder: Path) -> list[tuple[str, int, float]]:
    """What the event files in a folder hold; a record that a kill cut off is left out by the reader."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    events.Reload()
    return [(tag, event.step, event.value) for tag in events.Tags()[SCALARS] for event in events.Scalars(tag)]
