"""Three adapters over one tiny encoder, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.random_adapters import save_random_adapter
from loraloom.use.serve.registry import Registry
from tests.use.serve.servers import LABELS, RECIPES, load_registry
from tests.use.validated import keep_validation


@pytest.fixture(scope="session")
def adapter_folders(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    """Folders of adapters by name, all below one."""
    root = tmp_path_factory.mktemp("served")
    return {
        name: save_random_adapter(root / name, tiny_model, recipe, labels=LABELS[name], seed=seed, spread=0.5)
        for seed, (name, recipe) in enumerate(RECIPES.items())
    }


@pytest.fixture(scope="session")
def registry(adapter_folders: dict[str, Path]) -> Registry:
    """All three served; not to be changed."""
    return load_registry(adapter_folders)


@pytest.fixture(scope="session")
def alone(adapter_folders: dict[str, Path]) -> Registry:
    """One of them served; not to be changed."""
    return load_registry({"animals": adapter_folders["animals"]})


@pytest.fixture(scope="session")
def validated(tmp_path_factory: pytest.TempPathFactory, adapter_folders: dict[str, Path]) -> Path:
    """One of them that expects its first class in eight rows of ten; not to be changed."""
    folder = shutil.copytree(adapter_folders["animals"], tmp_path_factory.mktemp("validated") / "animals")
    keep_validation(folder, 2.0, shares=(8, 1, 1))
    return folder
