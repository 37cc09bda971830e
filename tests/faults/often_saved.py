"""Checkpoints after every step: so that kills of trials that take less than a second come between them."""

from __future__ import annotations

import time

from loraloom.engine.checkpoint import Rhythm


def befall() -> None:
    """Makes every step's end a time to save, whatever it costs."""
    Rhythm.__init__.__defaults__ = (0.0, 1e9, time.monotonic)
