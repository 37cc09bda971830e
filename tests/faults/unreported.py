"""Runs that end without their report, a third of what a tiny one takes."""

from __future__ import annotations

from loraloom import conclusion


def befall() -> None:
    """Leaves the report out."""
    vars(conclusion)["_report"] = lambda *_: None
