"""Keeps transformers' and PEFT's progress bars and load reports off a person's terminal.

What a load report warns of (weights that stay random) is refused in `pretrained.py`. One thread at a time: how much
these libraries say is the process's, and so are what transformers replaces in torch while it builds a model, and the
generators that it draws from. Work that takes long gives way to those that wait.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as untyped

logging: Any = untyped
_TURN = threading.Condition()
_WAITING: set[int] = set()
"""Threads that wait for their turn."""
_LOOK_SECONDS = 0.05


@contextmanager
def quietly() -> Iterator[None]:
    with _turn():
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                # transformers 5.24 warns of its own attribute when PEFT reads it; nothing for a user to do
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def awaited() -> bool:
    """Whether another thread waits for its turn."""
    return bool(_WAITING)


def give_way() -> None:
    """Within `quietly`: lets the threads that wait have their turns first."""
    while awaited():
        _TURN.wait(_LOOK_SECONDS)


@contextmanager
def _turn() -> Iterator[None]:
    own = threading.get_ident()
    try:
        _WAITING.add(own)
        _TURN.acquire()
    finally:
        _WAITING.discard(own)
    try:
        yield
    finally:
        _TURN.release()
