"""Trials that are stopped, killed and gone on with, and what is compared of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from loraloom.engine import Engine, Job, Outcome
from loraloom.engine.checkpoint import Rhythm
from loraloom.engine.loom import LoomEngine
from loraloom.engine.trainer import TrainerEngine
from loraloom.study.evidence import VALIDATION
from loraloom.study.record import Evaluation, read_metrics
from tests.numerics.architectures import make_job

TIMED = {"seconds", "examples_per_second", "tokens_per_second", "peak_share"}
ENGINES: dict[str, Callable[..., Engine]] = {"loom": LoomEngine, "trainer": TrainerEngine}


class KilledError(BaseException):
    """A kill: nothing of ours runs after it."""


class Stop(Protocol):
    def __call__(self) -> bool: ...


def always() -> Rhythm:
    """A checkpoint after every step."""
    return Rhythm(least_seconds=0, share=1e9)


class Third(Rhythm):
    """A checkpoint after every third step."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def due(self) -> bool:
        self._asked += 1
        return self._asked % 3 == 0


def at(moment: int) -> Stop:
    """Says True when asked for the `moment`-th time, from 1."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == moment

    return stop


def hear(job: Job, evaluation: Evaluation) -> bool:
    del job, evaluation
    return True


def job_of(folder: Path, out: Path, fields: dict[str, Any] | None = None, number: int = 0) -> Job:
    """A job of 21 rows: dropout everywhere, accumulation over three batches, two epochs, 6 steps."""
    common: dict[str, Any] = {
        "lora": {"r": 2, "lora_dropout": 0.2, "bias": "lora_only"},
        "train": {
            "bf16": False,
            "learning_rate": 0.02,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 3,
            "gradient_accumulation_steps": 3,
        },
    }
    recipe = {section: values | (fields or {}).get(section, {}) for section, values in common.items()}
    return make_job(folder, out, recipe, number=number, dropout="keep")


def go_on(engine: Engine, jobs: Sequence[Job], stop_of: Callable[[], Stop]) -> tuple[tuple[Outcome, ...], int]:
    """Trains jobs that are broken off again and again, by an engine of this process; also how many times they were."""
    waiting, ended, times = {job.number: job for job in jobs}, {}, 0
    while waiting:
        try:
            outcomes = engine.train_pack(list(waiting.values()), hear, stop_of())
        except KilledError:
            outcomes = ()
        times += 1
        for job, outcome in zip(list(waiting.values()), outcomes, strict=False):
            if outcome.state != "stopped":
                ended[job.number] = outcome
                del waiting[job.number]
        assert times < 200
    return tuple(ended[job.number] for job in jobs), times - 1


Contents = tuple[bytes, bytes | None, list[dict[str, Any]]]


def contents(folder: Path) -> Contents:
    """A trial's adapter, its validation predictions if it is complete, and its evaluations without what was timed."""
    lines = [evaluation.model_dump(exclude=TIMED) for evaluation in read_metrics(folder)]
    predicted = folder / VALIDATION
    kept = predicted.read_bytes() if predicted.exists() else None
    return (folder / "adapter_model.safetensors").read_bytes(), kept, lines


def untimed(outcome: Outcome) -> tuple[Any, ...]:
    """An outcome without its timings."""
    return outcome.state, outcome.dtype, outcome.counts, outcome.reason, outcome.result, outcome.marks


def assert_same(engine: Engine, broken_off: Job, unbroken: Job, outcome: Any) -> None:
    (expected,) = engine.train_pack([unbroken], hear)
    assert expected.state == "complete"
    assert untimed(outcome) == untimed(expected)
    assert contents(broken_off.folder) == contents(unbroken.folder)
