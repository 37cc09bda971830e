"""The run that an adapter's folder lies in, where it does: its data's facts, its validation rows, its doubts."""

from __future__ import annotations

from pathlib import Path

from loraloom.study.run import BEST, RECIPE, TRIALS


def run_of(adapter: Path) -> Path | None:
    """RUN, for RUN/best and RUN/trials/0007; None for a folder that was taken elsewhere."""
    place = adapter.resolve()
    run = place.parent if place.name == BEST else place.parent.parent if place.parent.name == TRIALS else None
    return run if run is not None and (run / RECIPE).is_file() else None
