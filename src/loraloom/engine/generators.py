"""The states of the global random generators (Python's, numpy's, torch's), as JSON and tensors; 15 KB.

HF Trainer draws dropout and the seeds of its loaders from them. Loom draws from none while it trains.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

_TORCH, _CUDA = "generator:torch", "generator:cuda"


@dataclass(frozen=True, slots=True)
class Generators:
    """The states at one moment."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    @classmethod
    def now(cls) -> Generators:
        """Those of this moment, of the current GPU too where this process uses one."""
        tensors = {_TORCH: torch.get_rng_state()}
        if _uses_gpu():
            tensors[_CUDA] = torch.cuda.get_rng_state()
        numpy = np.random.get_state(legacy=False)
        assert isinstance(numpy, dict)
        return cls(
            tensors,
            {
                "python": random.getstate(),
                "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
            },
        )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> Generators:
        """Those among a checkpoint's tensors and values."""
        found = {name: tensors[name] for name in (_TORCH, _CUDA) if name in tensors}
        return cls(found, {name: values[name] for name in ("python", "numpy")})

    def restore(self) -> None:
        """Makes them the states of this moment."""
        kind, words, gauss = self.values["python"]
        random.setstate((kind, tuple(words), gauss))
        numpy = self.values["numpy"]
        key = np.array(numpy["state"]["key"], dtype=np.uint32)
        np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
        torch.set_rng_state(self.tensors[_TORCH])
        if _CUDA in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors[_CUDA])


@contextmanager
def kept_generators() -> Iterator[None]:
    """Within, the global generators may be seeded and drawn from; afterwards they are as they were.

    Asking a GPU for its state would begin to use it: one that is used only from then on is seeded as the CPU was.
    """
    before = Generators.now()
    gpus = torch.cuda.get_rng_state_all() if _uses_gpu() else None
    try:
        yield
    finally:
        Generators({_TORCH: before.tensors[_TORCH]}, before.values).restore()
        with suppress(RuntimeError):  # of a GPU that was lost meanwhile, which has an error of its own
            if gpus is not None:
                torch.cuda.set_rng_state_all(gpus)
            elif _uses_gpu():
                torch.cuda.manual_seed_all(torch.initial_seed())


def _uses_gpu() -> bool:
    """Whether this process uses a GPU already."""
    return bool(cast(Any, torch.cuda).is_initialized())
