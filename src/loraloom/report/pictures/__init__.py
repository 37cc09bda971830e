"""The report's pictures, a file for each section: `drawing.py` says how one is drawn, `pictures` draws all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from loraloom.report.findings import Findings
from loraloom.report.pictures.confusion import draw_confusion
from loraloom.report.pictures.curves import draw_curves
from loraloom.report.pictures.dataset import draw_dataset
from loraloom.report.pictures.details import draw_details
from loraloom.report.pictures.drawing import STYLE, Picture, families
from loraloom.report.pictures.effects import draw_effects
from loraloom.report.pictures.failures import draw_failures
from loraloom.report.pictures.gap import draw_gap
from loraloom.report.pictures.similarity import draw_similarity
from loraloom.report.pictures.tradeoffs import draw_tradeoffs
from loraloom.silenced import silenced

__all__ = ["Picture", "pictures"]

WITHOUT_MATPLOTLIB = (
    "The pictures are missing: they need matplotlib (pip install 'loraloom[report]'). Then this draws them:"
)
UNDRAWN = "The pictures are missing: there was no time left to draw them. This draws them:"


def pictures(found: Findings, may_draw: Callable[[], bool]) -> Mapping[str, Picture] | str:
    """The pictures that there is something to draw for, by name; or a sentence on why there are none.

    `may_draw` is asked before each section's.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return WITHOUT_MATPLOTLIB
    drawn: dict[str, Picture] = {}
    # matplotlib tells of each font that has no bold letters; nothing that is bold needs that font.
    with mpl.rc_context(), warnings.catch_warnings(), silenced("matplotlib.font_manager"):
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE | {"font.family": families()})
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        for draw in _sections(found):
            if not may_draw():
                return UNDRAWN
            drawn |= {each.name: each for each in draw()}
    return drawn


def _sections(found: Findings) -> Iterator[Callable[[], Iterator[Picture]]]:
    if found.tradeoffs:
        yield partial(draw_tradeoffs, found.tradeoffs)
    yield partial(draw_effects, found.effects)
    yield partial(draw_details, found.details)
    if found.curves:
        yield partial(draw_curves, found.curves)
    if found.gap:
        yield partial(draw_gap, found.gap)
    if found.test and found.test.matrix_fits:
        yield partial(draw_confusion, found.test)
    if found.failures:
        yield partial(draw_failures, found.failures)
    yield partial(draw_dataset, found.dataset)
    if not isinstance(found.similarity, str):
        yield partial(draw_similarity, found.similarity)
