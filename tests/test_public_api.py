"""What `import loraloom` offers: a name or a parameter that comes or goes is meant to."""

from __future__ import annotations

from importlib.metadata import version
from inspect import signature

import loraloom

ERRORS = {
    "AdapterError",
    "BackboneError",
    "BudgetError",
    "DataError",
    "LoraloomError",
    "MissingExtraError",
    "RecipeError",
    "RunError",
    "StoppedError",
}
ROWS = {"train", "validation", "test"}


def test_names() -> None:
    assert set(loraloom.__all__) == {*ERRORS, "LoraClassifier", "blend", "load", "refit", "resume", "search", "soup"}
    assert all(issubclass(getattr(loraloom, name), loraloom.LoraloomError) for name in ERRORS)


def test_what_a_notebook_proposes_after_the_dot_is_the_public_names() -> None:
    assert dir(loraloom) == sorted([*loraloom.__all__, "__version__"])


def test_the_version_is_that_of_the_package() -> None:
    assert loraloom.__version__ == version("loraloom")


def test_parameters() -> None:
    place = {"workers", "ray", "gpus_per_pack"}
    assert set(signature(loraloom.search).parameters) == {
        *("recipe", "out", "overrides", "deadline", "allow_leak", "report"),
        *place,
        *ROWS,
    }
    assert set(signature(loraloom.resume).parameters) == {"out", "max_seconds", "deadline", *place, *ROWS}
    assert set(signature(loraloom.refit).parameters) == {"out", *ROWS}
    assert set(signature(loraloom.load).parameters) == {"path", "revision", "class_shares"}
