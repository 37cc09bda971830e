"""One run at a time in a process, which is left as it was found.

A run seeds the global random generators, trains in fp32 whatever torch's default type is by then, says itself what is
on a GPU, silences Optuna, and uses what HF Trainer and transformers keep one of for a process; and one run takes all
cores. So runs that threads begin take turns, and callers keep their generators: a split drawn after a fit would else
be the same after each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from loraloom.errors import LoraloomError

_TURN = threading.RLock()
"""Of the run under way. A run within a run, of the same thread, does not wait for itself."""


@contextmanager
def alone(started: float | None = None) -> Iterator[float | None]:
    """Within, no other thread's run is under way; Ctrl-C ends the waiting for it.

    Gives `started`, later by the time that it waited: a run has as much of `max_seconds` as one that waits for none.
    """
    asked = time.monotonic()
    with _TURN:
        yield None if started is None else started + time.monotonic() - asked


@contextmanager
def left_as_found() -> Iterator[None]:
    """Afterwards, random generators, torch's defaults and how much Optuna says are as they were before.

    Within, gradients can be computed, though it is called where none are, tensors lie on the CPU where nothing else is
    said, and a number too small for its type is 0, though numpy.seterr has it raise an error.

    Raises:
        LoraloomError: it is called within torch.autocast, be it disabled: casts of weights would be kept beyond their
            step, until that ends, and a trial would not learn.
    """
    import numpy as np
    import optuna
    import torch

    from loraloom.engine.generators import kept_generators

    deep = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    if deep > 1:
        raise LoraloomError("this is called within torch.autocast, where trials would not learn; call it outside")
    verbosity, dtype = optuna.logging.get_verbosity(), torch.get_default_dtype()
    # Under a default device each call of torch costs more: there is none where none is needed.
    on_cpu = nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
    as_numpy_comes = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
    try:
        torch.set_default_dtype(torch.float32)
        with as_numpy_comes, on_cpu, torch.inference_mode(mode=False), torch.enable_grad(), kept_generators():
            yield
    finally:
        torch.set_default_dtype(dtype)
        optuna.logging.set_verbosity(verbosity)
