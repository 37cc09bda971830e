"""Tells trackers by their real process, and reads back what the real libraries stored."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from loraloom.errors import is_installed
from loraloom.tracking.channel import Channel, Limits
from loraloom.tracking.child import CLASSES

REPOSITORY = Path(__file__).parents[2]
KEY = "0123abcd"
NOT_NICE = "import os\nos.nice = lambda more: 0\n"
"""A sitecustomize by which trackers are no slower than the tests beside them, which would wait for minutes."""
Call = tuple[str, dict[str, Any]]


def trackers(*names: str) -> list[ParameterSet]:
    """Every tracker (or those named) as a test's parameters, one that is not installed skipped with the reason."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=f"{name} is not installed"))
        for name in names or CLASSES
    ]


def begin(folder: Path, name: str, **facts: Any) -> Call:
    return "begin", {"name": "demo", "key": KEY, "folder": str(folder / name), "facts": facts}


def begin_trial(number: int, **parameters: Any) -> Call:
    named = {f"lora.{name}": value for name, value in parameters.items()}
    return "begin_trial", {"number": number, "varied": named, "parameters": {**named, "train.optim": "adam"}}


def log(number: int, *points: tuple[int, float]) -> Call:
    """(step, accuracy) each."""
    return "log", {"number": number, "points": [(step, {"validation/accuracy": value}) for step, value in points]}


def end_trial(number: int, state: str = "complete", reason: str | None = None, accuracy: float = 0.5) -> Call:
    figures = {"result/validation_accuracy": accuracy, "result/trainable_parameters": 1000}
    return "end_trial", {"number": number, "state": state, "reason": reason, "figures": figures}


def crown(number: int, accuracy: float = 0.5, test: float = 0.25, **parameters: Any) -> Call:
    figures = {"result/validation_accuracy": accuracy, "result/trainable_parameters": 1000}
    named = {f"lora.{name}": value for name, value in parameters.items()}
    return "crown", {"number": number, "parameters": named, "figures": {**figures, "result/test_accuracy": test}}


def tell(folder: Path, name: str, *calls: Call, finished: bool = True, tracker: str | None = None) -> None:
    """One life of a tracker's process, which must not fail."""
    channel = Channel(name, tracker or CLASSES[name], folder, Limits())
    for call, arguments in calls:
        channel.send(call, **arguments)
    channel.close(finished=finished)
    channel.wait(180)
    assert channel.why_ended is None, f"{channel.why_ended}\n{channel.log.read_text()}"


@dataclass
class Stored:
    """A trial as a store has it: every value that it holds of a metric at a step, in case it holds two."""

    points: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    parameters: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def of(self, metric: str) -> dict[int, list[float]]:
        return {step: values for (name, step), values in sorted(self.points.items()) if name == metric}


def read(folder: Path, name: str) -> dict[str, Stored]:
    """What lies in a default store, by trial ('trial-0003'); what is said of the winner alone may be under 'winner'."""
    readers = {
        "tensorboard": _read_tensorboard,
        "mlflow": _read_mlflow,
        "wandb": _read_wandb,
        "trackio": _read_trackio,
    }
    return readers[name](folder / name)


def _read_tensorboard(folder: Path) -> dict[str, Stored]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = {}
    for path in sorted(folder.iterdir()):
        events, stored = EventAccumulator(str(path)), Stored()
        events.Reload()
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                stored.points[tag, event.step].append(event.value)
        plugin = events.summary_metadata
        started = metadata.parse_session_start_info_plugin_data(
            plugin[metadata.SESSION_START_INFO_TAG].plugin_data.content
        )
        for key, value in started.hparams.items():
            stored.parameters[key] = value.string_value or value.number_value
        if metadata.SESSION_END_INFO_TAG in plugin:
            ended = metadata.parse_session_end_info_plugin_data(
                plugin[metadata.SESSION_END_INFO_TAG].plugin_data.content
            )
            stored.words["status"] = str(ended.status)
        found[path.name] = stored
    return found


def _read_mlflow(folder: Path) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        runs = connection.execute(
            "SELECT run_uuid, runs.name, status FROM runs JOIN experiments USING (experiment_id)"
            " WHERE experiments.name = 'loraloom'"
        ).fetchall()
        tables = {
            table: connection.execute(f"SELECT run_uuid, key, value{step} FROM {table}").fetchall()  # noqa: S608
            for table, step in (("metrics", ", step"), ("params", ""), ("tags", ""))
        }
    kept = {run: Stored(words={"status": status}) for run, _, status in runs}
    for run, key, value, step in tables["metrics"]:
        kept[run].points[key, step].append(value)
    for run, key, value in tables["params"]:
        kept[run].parameters[key] = value
    for run, key, value in tables["tags"]:
        kept[run].words[key] = value
    (parent,) = [run for run, stored in kept.items() if "mlflow.parentRunId" not in stored.words]
    for run, name, _ in runs:
        assert run == parent or kept[run].words["mlflow.parentRunId"] == parent
        found["winner" if run == parent else name] = kept[run]
    return found


def _read_trackio(folder: Path) -> dict[str, Stored]:
    found: dict[str, Stored] = defaultdict(Stored)
    with closing(sqlite3.connect(folder / "loraloom.db")) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
        configs = connection.execute("SELECT run_name, config FROM configs").fetchall()
    for name, step, metrics in rows:
        stored = found[name.removeprefix(f"demo-{KEY}-")]
        for metric, value in json.loads(metrics).items():
            if isinstance(value, str):
                stored.words[metric] = value
            else:
                stored.points[metric, step].append(value)
    for name, config in configs:
        found[name.removeprefix(f"demo-{KEY}-")].parameters = json.loads(config)
    return found


def _read_wandb(folder: Path) -> dict[str, Stored]:
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, Stored] = {}
    for path in sorted(folder.glob("offline-run-*/run-*.wandb")):
        stored, name = Stored(), ""
        for data in _wandb_records(path.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            name = record.run.display_name.removeprefix(f"demo-{KEY}-") or name
            for item in record.run.config.update:
                stored.parameters[item.key] = json.loads(item.value_json)
            values = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            for metric, value in values.items():
                if not metric.startswith("_"):
                    stored.points[metric, values["_step"]].append(value)
            for item in record.summary.update:
                key, value = item.key or item.nested_key[0], json.loads(item.value_json)
                if isinstance(value, str):
                    stored.words[key] = value
                elif key.startswith("result/"):
                    stored.points[key, 0] = [value]
            if record.HasField("exit"):
                stored.words["exit_code"] = str(record.exit.exit_code)
        assert name not in found, f"two files hold {name}"
        found[name] = stored
    return found


def _wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log after a head of 7 bytes; (crc, length, kind) before each part."""
    position, whole = 7, b""
    while position + 7 <= len(data):
        left = 32_768 - position % 32_768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""
