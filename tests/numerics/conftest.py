"""Models and classifiers of each architecture, built once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from loraloom.backbone.quiet import quietly
from tests.numerics.architectures import save_model
from tests.numerics.both import Base, build

Folders = Callable[[str], Path]
Bases = Callable[..., Base]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of an architecture's model."""

    @cache
    def folder(architecture: str) -> Path:
        with quietly():
            return save_model(architecture, tmp_path_factory.mktemp(architecture) / "model")

    return folder


@pytest.fixture(scope="session")
def base_of(folder_of: Folders) -> Bases:
    """An architecture's classifier, by `head`, `pooling` and `dropout`; not to be changed."""

    @cache
    def base(architecture: str, head: str = "native", pooling: str = "native", dropout: str = "off") -> Base:
        return build(folder_of(architecture), architecture, head=head, pooling=pooling, dropout=dropout)

    return base
