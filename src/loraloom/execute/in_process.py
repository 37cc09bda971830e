"""Runs packs of trials in this process, and chooses the engine that trains them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from loraloom.backbone import sources
from loraloom.engine import Engine, Job, Listener, Outcome, never, silent
from loraloom.errors import RecipeError
from loraloom.recipe import Choices, Configuration, Recipe

if TYPE_CHECKING:
    from loraloom.backbone.sources import Source


class InProcess:
    """An executor: gives jobs to an engine and returns what became of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pack_size(self, source: Source, configuration: Configuration) -> int:
        """How many trials like this one are best trained together."""
        return self._engine.pack_size(source, configuration)

    def run(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        stop: Callable[[], bool] = never,
        note: Callable[[str], None] = silent,
    ) -> tuple[Outcome, ...]:
        """Trains jobs that can share a pack."""
        return self._engine.train_pack(jobs, listener, stop, note)


class AutoEngine:
    """Loom for the models that it knows, the trainer for the others."""

    name = "auto"

    def __init__(self, *, profile: bool = False) -> None:
        from loraloom.engine.loom import LoomEngine
        from loraloom.engine.trainer import TrainerEngine

        self._loom, self._trainer = LoomEngine(profile=profile), TrainerEngine()

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


def choose_engine(recipe: Recipe, *, profile: bool = False) -> tuple[Engine, str]:
    """The engine that the recipe asks for, and why it is that one; with `profile` it says where its time goes.

    Raises:
        RecipeError: `engine: loom` for a model that loom does not know.
        BackboneError: a model is not to be had.
    """
    if recipe.engine == "trainer":
        return _trainer(), "as the recipe says: HF Trainer and PEFT"
    refused = {model: reason for model, reason in _refusals(recipe) if reason is not None}
    if not refused:
        from loraloom.engine.loom import LoomEngine

        reason = "auto: loom knows the model" if recipe.engine == "auto" else "as the recipe says"
        return LoomEngine(profile=profile), reason
    first, why = next(iter(refused.items()))
    if recipe.engine == "loom":
        raise RecipeError(f"engine: loom can't train {first!r}: {why}; use engine: trainer, or auto")
    if len(refused) < len(recipe.values("backbone.model")):
        return AutoEngine(profile=profile), f"auto: loom, but trainer for {', '.join(refused)}: {why}"
    return _trainer(), f"auto: HF Trainer and PEFT, since loom can't train {first!r}: {why}"


def _trainer() -> Engine:
    """The reference engine; HF Trainer is imported where it trains, since it takes 80 MB and a second."""
    from loraloom.engine.trainer import TrainerEngine

    return TrainerEngine()


def why_not_loom(source: Source, configuration: Configuration) -> str | None:
    """Why loom can't train a configuration; None where it can."""
    from loraloom.engine.loom.setting import why_not

    return why_not(source, configuration)


def _refusals(recipe: Recipe) -> list[tuple[str, str | None]]:
    """Each model of the recipe, and why loom can't train it with any of the recipe's heads."""
    named = {name: Choices(recipe.values(name)) for name in ("backbone.model", "head.kind") if name in recipe.axes}
    found: dict[str, str | None] = {}
    for point in recipe.model_copy(update={"axes": named}).grid():
        configuration = recipe.configuration(point)
        backbone = configuration.backbone
        reason = why_not_loom(sources.find(backbone.model, backbone.revision), configuration)
        found[backbone.model] = found.get(backbone.model) or reason
    return list(found.items())
