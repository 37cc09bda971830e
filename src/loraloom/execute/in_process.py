"""Runs trials in this process, one after another."""

from __future__ import annotations

from loraloom.engine import Engine, Job, Listener, Outcome
from loraloom.errors import RecipeError
from loraloom.recipe import Recipe


class InProcess:
    """An executor: gives jobs to an engine and returns what became of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, job: Job, listener: Listener) -> Outcome:
        return self._engine.train(job, listener)


def choose_engine(recipe: Recipe) -> tuple[Engine, str]:
    """The engine that the recipe asks for, and why it is that one.

    Raises:
        RecipeError: an engine that this version has not got.
    """
    from loraloom.engine.trainer import TrainerEngine

    match recipe.engine:
        case "loom":
            raise RecipeError("engine: 'loom' is not in this version; use auto or trainer")
        case "auto":
            return TrainerEngine(), "auto: HF Trainer and PEFT, the one engine of this version"
        case "trainer":
            return TrainerEngine(), "as the recipe says: HF Trainer and PEFT"
