"""Keeps transformers' and PEFT's progress bars and load reports off a person's terminal.

What a load report warns of (weights that stay random) is refused in `pretrained.py`. One thread at a time: how much
these libraries say is the process's, and so is what transformers replaces in torch while it builds a model.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as untyped

logging: Any = untyped
_TURN = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    with _TURN:
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
