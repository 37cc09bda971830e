"""Runs packs of trials in this process, and chooses the engine that trains them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loraloom.backbone import sources
from loraloom.backbone.sources import Source
from loraloom.engine import Engine, Job, Listener, Outcome, never, silent
from loraloom.errors import DeviceLostError, LoraloomError, RecipeError, in_a_line
from loraloom.execute.executor import Finished, endless
from loraloom.recipe import Configuration, Recipe
from loraloom.study.durable import disk_is_full, write_text

TRACEBACK = "traceback.txt"
"""In the folder of a trial that raised what no engine foresees."""


class InProcess:
    """An executor: gives one pack at a time to an engine in this process."""

    def __init__(self, engine: Engine, note: Callable[[str], None] = silent) -> None:
        self._engine, self._note = engine, note
        self._started: tuple[Job, ...] | None = None

    def pack_size(
        self,
        source: Source,
        configuration: Configuration,
        listener: Listener | None = None,
        stop: Callable[[], bool] = never,
    ) -> int:
        """How many trials like this one are best trained together."""
        return self._engine.pack_size(source, configuration)

    @property
    def where(self) -> str:
        """In this process."""
        import torch

        gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
        return f"in this process, {torch.get_num_threads()} threads{gpu}"

    @property
    def slots(self) -> int:
        """One."""
        return 1

    def room(self) -> bool:
        """Whether no pack is under way."""
        return self._started is None

    def start(self, jobs: Sequence[Job]) -> None:
        """Takes jobs that can share a pack; they are trained by `wait`."""
        self._started = tuple(jobs)

    def wait(self, listener: Listener, stop: Callable[[], bool], until: Callable[[], float] = endless) -> Finished:
        """Trains the pack that was started; see `Executor.wait`. Each trial's deadline is all that bounds it.

        Raises:
            DeviceLostError: the GPU can't be used by this process any more; its trials are begun again in another.
        """
        assert self._started is not None
        jobs, self._started = self._started, None
        try:
            return Finished(jobs, self._engine.train_pack(jobs, listener, stop, self._note))
        except (LoraloomError, OSError):
            raise
        except Exception as error:
            if disk_is_full(error):
                raise
            from loraloom.engine.device import device_is_lost

            for job in jobs:
                write_text(job.folder / TRACEBACK, traceback.format_exc())
            if device_is_lost():
                raise DeviceLostError(f"the GPU answers this process no more: {in_a_line(error)}") from error
            return Finished(jobs, lost=in_a_line(error))

    def close(self) -> None:
        """Nothing is under way between two calls of `wait`."""


class AutoEngine:
    """Loom for the models that it knows, the trainer for the others."""

    name = "auto"

    def __init__(self, *, profile: bool) -> None:
        self._loom, self._trainer = build_engine("loom", profile=profile), build_engine("trainer")

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """As the engine that takes it says."""
        return self._engine(source, configuration).pack_size(source, configuration)

    def train_pack(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]:
        """Trains jobs of one backbone by the engine that takes it."""
        return self._engine(jobs[0].source, jobs[0].configuration).train_pack(jobs, listener, stop, note)

    def _engine(self, source: Source, configuration: Configuration) -> Engine:
        return self._loom if why_not_loom(source, configuration) is None else self._trainer


@dataclass(frozen=True, slots=True)
class Chosen:
    """An engine, and why it is that one."""

    engine: Engine
    reason: str


def choose_engine(recipe: Recipe, *, profile: bool = False) -> Chosen:
    """The engine that the recipe asks for, and why it is that one; with `profile` it says where its time goes.

    Raises:
        RecipeError: `engine: loom` for a model that loom does not know.
        BackboneError: a model is not to be had.
    """
    if recipe.engine == "trainer":
        return Chosen(build_engine("trainer"), "as the recipe says: HF Trainer and PEFT")
    refused = _refused(recipe)
    if not refused:
        reason = "auto: loom knows the model" if recipe.engine == "auto" else "as the recipe says"
        return Chosen(build_engine("loom", profile=profile), reason)
    first, why = next(iter(refused.items()))
    if recipe.engine == "loom":
        raise RecipeError(f"engine: loom can't train {first!r}: {why}; use engine: trainer, or auto")
    if len(refused) < len(recipe.values("backbone.model")):
        reason = f"auto: loom, but trainer for {', '.join(refused)}: {why}"
        return Chosen(build_engine("auto", profile=profile), reason)
    return Chosen(build_engine("trainer"), f"auto: HF Trainer and PEFT, since loom can't train {first!r}: {why}")


def build_engine(name: str, *, profile: bool = False) -> Engine:
    """The engine of this name, made where it is to train; HF Trainer itself is imported as it trains, 80 MB of it.

    Raises:
        LoraloomError: there is none.
    """
    match name:
        case "loom":
            from loraloom.engine.loom import LoomEngine

            return LoomEngine(profile=profile)
        case "trainer":
            from loraloom.engine.trainer import TrainerEngine

            return TrainerEngine()
        case "auto":
            return AutoEngine(profile=profile)
    raise LoraloomError(f"engine: there is no {name!r}; there are loom, trainer and auto")


def why_not_loom(source: Source, configuration: Configuration) -> str | None:
    """Why loom can't train a configuration; None where it can."""
    from loraloom.engine.loom.setting import why_not

    return why_not(source, configuration)


def _refused(recipe: Recipe) -> dict[str, str]:
    """The models of the recipe that loom can't train with each of its heads, and why."""
    found: dict[str, str | None] = {}
    for point in recipe.narrowed(("backbone.model", "head.kind")).grid():
        configuration = recipe.configuration(point)
        backbone = configuration.backbone
        reason = why_not_loom(sources.find(backbone.model, backbone.revision), configuration)
        found[backbone.model] = found.get(backbone.model) or reason
    return {model: reason for model, reason in found.items() if reason is not None}
