"""A trial's state on disk while it trains, so that a kill loses seconds and changes nothing.

    checkpoint/40/   state.safetensors (tensors), state.json (all else), manifest.json (SHA-256 of both, written last)

A generation is named for the optimizer steps done. It appears whole under its name (`study/durable.py`), and two are
kept: damage is found on load, and the generation before is used. A state is that between two steps, before the
evaluation that the last one may have asked for, with empty gradients: what accumulates is never saved.

Cost: one file of parameters and optimizer state, seven fsyncs; `Rhythm` keeps all but the first under 1 % of the time,
and `bench/checkpoint.py` measures it. Rejected: torch.save and HF Trainer's own checkpoints, which are pickles; every n
steps, which is nothing for one model and all of the time for another; a copy of metrics.jsonl, which grows.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from loraloom.engine.job import Job, silent
from loraloom.errors import AdapterError, in_a_line
from loraloom.recipe import Configuration
from loraloom.study.durable import discard, mend_folders, replacing_folder, sync_folder, verify_manifest
from loraloom.study.provenance import version_of
from loraloom.study.record import CHECKPOINT, METRICS, Dtype, checkpoints

FORMAT = 1
GENERATIONS = 2
PACKAGES = "loraloom", "torch", "transformers", "peft", "accelerate", "numpy"
"""Those whose version can change what a step computes."""
_TENSORS, _VALUES = "state.safetensors", "state.json"


class HaltError(Exception):
    """Training was asked to stop; raised between two steps."""


def heeding(stop: Callable[[], bool]) -> Callable[[], None]:
    """What raises HaltError from when `stop` said True for the first time."""
    stopped = False

    def heed() -> None:
        nonlocal stopped
        stopped = stopped or stop()
        if stopped:
            raise HaltError

    return heed


class Rhythm:
    """When a checkpoint is due: by the clock, each `least_seconds`, or seldomer where it costs more than its `share`.

    The share is kept since the last one, so that dear ones don't crowd, and over all the time, the first one included.
    """

    def __init__(
        self, least_seconds: float = 10.0, share: float = 0.01, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._least, self._share, self._clock = least_seconds, share, clock
        self._begun = self._last = clock()
        self._spent = 0.0
        self.cost = 0.0
        """Of the last one, in seconds; of a trial before, where this one has none yet."""

    def due(self) -> bool:
        """Whether it is time for one that costs what the last one cost."""
        now = self._clock()
        since, whole = now - self._last, now - self._begun
        paid = self.cost <= self._share * since and self._spent + self.cost <= self._share * whole
        return since >= self._least and paid

    def keep(self, save: Callable[[], None]) -> None:
        """Has checkpoints written, and takes note of what they cost."""
        start = self._clock()
        save()
        self._last = self._clock()
        self.cost = self._last - start
        self._spent += self.cost


@dataclass(frozen=True, slots=True)
class State:
    """A trial between two steps. `values` are JSON; `files` are texts by name, where a library reads its own."""

    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one job; only its own are read: of the same configuration, rows, engine, type and versions."""

    def __init__(self, job: Job, engine: str, dtype: str, note: Callable[[str], None] = silent) -> None:
        self._job, self._engine, self._dtype, self.note = job, engine, dtype, note
        self.folder = job.folder / CHECKPOINT

    def generation(self, step: int) -> Path:
        """The folder of one generation."""
        return self.folder / str(step)

    def save(self, state: State) -> None:
        """Adds a generation, and removes all but the newest two."""
        self.folder.mkdir(exist_ok=True)
        sync_folder(self._job.folder)  # metrics.jsonl may be new since the last one, and this one counts on it
        values = {
            "format": FORMAT,
            "of": self._of,
            "metrics": _metrics(self._job.folder / METRICS),
            "state": dict(state.values),
        }
        with replacing_folder(self.generation(state.step)) as new:
            save_file({name: value.contiguous() for name, value in state.tensors.items()}, new / _TENSORS)
            (new / _VALUES).write_text(json.dumps(values, allow_nan=False), encoding="utf-8")
            for name, text in state.files.items():
                (new / name).write_text(text, encoding="utf-8")
        for old in checkpoints(self._job.folder)[GENERATIONS:]:
            discard(old)

    def load(self) -> State | None:
        """The state to go on from, metrics.jsonl cut back to it; None where the trial begins anew, without metrics.

        What can't be used is removed, and said.

        Raises:
            OSError: it can't be read now, which is no reason to begin anew.
        """
        refused: list[str] = []
        if self.folder.is_dir():
            mend_folders(self.folder)
            for folder in checkpoints(self._job.folder):
                try:
                    state, length = self._read(folder)
                except _UnusableError as error:
                    refused.append(f"its checkpoint of step {folder.name} {error}")
                    discard(folder)
                    continue
                self._say(refused, f"it goes on from step {state.step}")
                if (self._job.folder / METRICS).exists():
                    os.truncate(self._job.folder / METRICS, length)
                return state
        self._say(refused, "it begins anew")
        (self._job.folder / METRICS).unlink(missing_ok=True)
        return None

    def _say(self, refused: list[str], then: str) -> None:
        if refused:
            self.note(f"trial {self._job.number}: {'; '.join(refused)}; {then}")

    def _read(self, folder: Path) -> tuple[State, int]:
        """A generation, and the length of metrics.jsonl that belongs to it."""
        try:
            values = _values_of(folder)
            if values["format"] != FORMAT:
                raise _UnusableError(f"is in format {values['format']}, and this version reads {FORMAT}")
            begun = Configuration.model_validate(values["of"]["configuration"])
            of = values["of"] | {"configuration": _compared(begun)}
            if others := [name for name, own in self._of.items() if of[name] != own]:
                raise _UnusableError(f"was made with other {', '.join(others)}")
            length = int(values["metrics"]["bytes"])
            if _metrics(self._job.folder / METRICS, length) != values["metrics"]:
                raise _UnusableError(f"does not belong to this {METRICS}")
            tensors = load((folder / _TENSORS).read_bytes())  # no map: a file in use can't be removed from NFS or FUSE
        except AdapterError as error:
            raise _UnusableError(f"is damaged ({str(error).split(';', 1)[0]})") from None
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise _UnusableError(f"can't be read ({in_a_line(error)})") from None
        return State(int(folder.name), tensors, values["state"]), length

    @cached_property
    def _of(self) -> dict[str, Any]:
        """What a state belongs to. Where weights come from is the run's to check (`study/provenance.py: changed`)."""
        job = self._job
        rows = hashlib.sha256(job.rows.data.fingerprint.encode())
        for encoded in (job.rows.train, job.rows.validation):
            rows.update(encoded.offsets.astype("<i8").tobytes())
            rows.update(encoded.input_ids.astype("<i4").tobytes())
        return {
            "configuration": _compared(job.configuration),
            "model": [job.source.model, job.source.revision],
            "rows": rows.hexdigest(),
            "engine": self._engine,
            "dtype": self._dtype,
            "trained parameters": job.expected_parameters,
            "versions": _versions(),
        }


def begun_with(folder: Path) -> Configuration | None:
    """The configuration that the trial in `folder` was begun with, by its newest checkpoint; None where it has none."""
    return next((begun for _, _, begun in _whole(folder)), None)


def type_begun_in(folder: Path) -> Dtype | None:
    """The number type of the trial in `folder`, by its newest checkpoint; None where it has none."""
    return next((of["dtype"] for _, of, _ in _whole(folder) if of.get("dtype") in get_args(Dtype)), None)


def step_to_go_on_from(folder: Path, configuration: Configuration) -> int:
    """The step of the newest checkpoint in `folder` that a trial of `configuration` can use; 0 where there is none.

    What its engine alone knows is not looked at: the rows, and the type where it is measured; nor is the weights'
    revision, in which all of a run's jobs are alike.
    """
    own, versions = _compared(configuration), _versions()
    usable = (step for step, of, begun in _whole(folder) if of.get("versions") == versions and _compared(begun) == own)
    return next(usable, 0)


def _whole(folder: Path) -> Iterator[tuple[int, dict[str, Any], Configuration]]:
    """The undamaged checkpoints of the trial in `folder`, newest first: step, what each is of, its configuration."""
    for generation in checkpoints(folder):
        try:
            of = _values_of(generation)["of"]
            yield int(generation.name), of, Configuration.model_validate(of["configuration"])
        except (AdapterError, OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # what is damaged is said by who would go on from it


def _values_of(generation: Path) -> dict[str, Any]:
    """A generation's values, when all of it is as it was written."""
    verify_manifest(generation)
    values: dict[str, Any] = json.loads((generation / _VALUES).read_text(encoding="utf-8"))
    return values


def _compared(configuration: Configuration) -> dict[str, Any]:
    """A configuration with all its fields, the same for who is told the type and who measures it: `dtype` says it."""
    return configuration.with_fields(train={"bf16": "auto", "fp16": "auto"}).model_dump(mode="json")


class _UnusableError(Exception):
    """Why a generation can't be gone on from, as the end of a sentence."""


def _metrics(path: Path, length: int | None = None) -> dict[str, Any]:
    """Bytes and SHA-256 of metrics.jsonl, or of its first `length` bytes; without `length` it is synced."""
    if not path.exists():
        return {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}
    with path.open("rb") as file:
        content = file.read() if length is None else file.read(length)
        if length is None:
            os.fsync(file.fileno())
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _versions() -> dict[str, str | None]:
    return {name: version_of(name) for name in PACKAGES}
