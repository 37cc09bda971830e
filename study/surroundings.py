"""What every measured process is given, here and in `bench/`: the processor alone, offline, and a cache of its own."""

from __future__ import annotations

from pathlib import Path


def surroundings(cache: Path, threads: int) -> dict[str, str]:
    """Environment variables, over those that the process inherits."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LORALOOM_CACHE": str(cache),
    }


def own_cache(folder: Path, kernels: Path) -> Path:
    """A new cache in `folder`, empty but for compiled kernels: a machine makes those once."""
    cache = folder / "cache"
    cache.mkdir()
    kernels.mkdir(parents=True, exist_ok=True)
    (cache / "kernels").symlink_to(kernels.absolute())
    return cache
