"""The report's pictures, a file for each section: `drawing.py` says how one is drawn, `pictures` draws all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping

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


def pictures(found: Findings, may_draw: Callable[[], bool] = lambda: True) -> Mapping[str, Picture] | str:
    """The pictures that there is something to draw for, by name; or a sentence on why there are none.

    `may_draw` is asked before each, and once all are drawn. Those of opened rows come last: the page does without them.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return WITHOUT_MATPLOTLIB
    drawn: dict[str, Picture] = {}

    def draws_all(drawing: Iterator[Picture]) -> bool:
        while may_draw():
            if (each := next(drawing, None)) is None:
                return True
            drawn[each.name] = each
        return False

    # matplotlib tells of each font that has no bold letters; nothing that is bold needs that font.
    with mpl.rc_context(), warnings.catch_warnings(), silenced("matplotlib.font_manager"):
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE | {"font.family": families()})
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        if not draws_all(_sections(found)):
            return UNDRAWN
        draws_all(draw_details(found.details))
    return drawn


def _sections(found: Findings) -> Iterator[Picture]:
    if found.tradeoffs:
        yield from draw_tradeoffs(found.tradeoffs)
    yield from draw_effects(found.effects)
    if found.curves:
        yield from draw_curves(found.curves)
    if found.gap:
        yield from draw_gap(found.gap)
    if found.test and found.test.matrix_fits:
        yield from draw_confusion(found.test)
    if found.failures:
        yield from draw_failures(found.failures)
    yield from draw_dataset(found.dataset)
    if not isinstance(found.similarity, str):
        yield from draw_similarity(found.similarity)
