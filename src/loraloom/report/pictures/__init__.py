"""The report's pictures, a file for each section: `drawing.py` says how one is drawn, `pictures` draws all."""

from __future__ import annotations

import warnings

from loraloom.report.findings import Findings
from loraloom.report.pictures.confusion import draw_confusion
from loraloom.report.pictures.curves import draw_curves
from loraloom.report.pictures.dataset import draw_dataset
from loraloom.report.pictures.details import draw_details
from loraloom.report.pictures.drawing import STYLE, Picture
from loraloom.report.pictures.effects import draw_effects
from loraloom.report.pictures.failures import draw_failures
from loraloom.report.pictures.gap import draw_gap
from loraloom.report.pictures.similarity import draw_similarity
from loraloom.report.pictures.tradeoffs import draw_tradeoffs

__all__ = ["Picture", "pictures"]


def pictures(found: Findings) -> dict[str, Picture] | None:
    """The pictures that there is something to draw for, by name; None where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    drawn: dict[str, Picture] = {}
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        if found.tradeoffs:
            drawn |= draw_tradeoffs(found.tradeoffs)
        drawn |= draw_effects(found.effects)
        drawn |= draw_details(found.details)
        if found.curves:
            drawn |= draw_curves(found.curves)
        if found.gap:
            drawn |= draw_gap(found.gap)
        if found.test and found.test.matrix_fits:
            drawn["confusion"] = draw_confusion(found.test)
        if found.failures:
            drawn |= draw_failures(found.failures)
        drawn |= draw_dataset(found.dataset)
        if not isinstance(found.similarity, str):
            drawn |= draw_similarity(found.similarity)
    return drawn
