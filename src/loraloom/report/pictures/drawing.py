"""How a picture is drawn: the style, an SVG for the page and a PNG for elsewhere, by matplotlib (the extra `report`).

They are drawn once in the light palette; `svg.py` turns its colours into the page's CSS variables. Rejected:
a plotting library in the page (its pictures would need a script), and drawing twice, by hand for the page and again
for the files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from loraloom.report.svg import GRID, INK, MUTED, Marks, for_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (4.9, 3.1)
"""Inches."""
LETTER = 0.085
"""Inches of one in a title, more than in the mean."""
STYLE: Any = {  # matplotlib's stubs want a literal type of its own for every name
    "font.size": 10,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "loraloom",
    "figure.constrained_layout.use": True,
}
_OF_OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "NanumGothic", "Noto Sans Thai", "Thonburi"),
    *("Noto Sans Devanagari", "Lohit Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Telugu"),
    *("FreeSans", "Arial Unicode MS", "Unifont"),
)


def families() -> list[str]:
    """matplotlib's own fonts, and those of this machine that have what these lack: letters of Chinese, Thai and so on.

    It is told by their names, since opening all fonts to see what they have takes seconds.
    """
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["sans-serif", *(name for name in _OF_OTHER_SCRIPTS if name in installed)]


@dataclass(frozen=True, slots=True)
class Picture:
    """`svg` is safe to put into the page: all its text was escaped by the XML writer."""

    name: str
    svg: Markup
    png: bytes


def picture(
    name: str,
    title: str,
    sentence: str,
    draw: Callable[[Axes], object],
    *,
    legend: Sequence[str] = (),
    size: tuple[float, float] = SIZE,
    marks: Marks | None = None,
) -> Picture:
    """Draws into new axes; `sentence` says what is to be seen. Title and legend are for the PNG: the page has its own.

    They are put above and below what was laid out for the page: laying out takes as long as drawing.
    `marks` are the trials behind the points of scatters, by the name that `draw` gave them (`set_gid`).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    draw(axes)
    svg = for_page(saved(figure, "svg", facecolor="none"), name, title, sentence, marks or {})
    figure.set_layout_engine("none")
    left, low, wide, high = axes.get_position().bounds
    below, above = 0.19 * len(legend) + 0.05 * bool(legend), 0.24
    whole = below + size[1] + above
    figure.set_figheight(whole)
    axes.set_position((left, (below + low * size[1]) / whole, wide, high * size[1] / whole))
    if legend:
        handles = [line for line in axes.get_lines() if line.get_label() == "validation"]
        figure.legend(handles, legend, loc="lower left", frameon=False, fontsize=8)
    start = max(0.05, min(left * size[0], size[0] - LETTER * len(title)))  # above the axes, or as far left as it takes
    axes.set_title(title, loc="left", x=(start / size[0] - left) / wide, fontsize=10.5, fontweight="bold")
    return Picture(name, Markup(svg), saved(figure, "png", dpi=160))  # noqa: S704  # drawn and escaped by us


def saved(figure: Figure, kind: Literal["svg", "png"], *, dpi: float = 100, facecolor: str = "white") -> bytes:
    """The figure as a file. `Figure.savefig` writes the same bytes, but draws a figure that has a layout twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    figure.set_dpi(dpi)
    figure.set_facecolor(facecolor)
    canvas: Any  # these two methods have no types
    if kind == "svg":
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    else:
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
