"""A picture as a file, in the fewest passes."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import matplotlib as mpl
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loraloom.report.failures.groups import Dependence, Group
from loraloom.report.pictures import drawing
from loraloom.report.pictures.confusion import _fill
from loraloom.report.pictures.drawing import _OF_OTHER_SCRIPTS, SIZE, STYLE, families, picture, saved
from loraloom.report.pictures.failures import _by_length


def drawn() -> Figure:
    """Its labels, by their width and number, move what a layout places."""
    figure = Figure(figsize=(4.9, 3.1))
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [0.001, 10, 100_000], label="validation")
    axes.set_yscale("log")
    axes.set_ylabel("a label\nof two lines")
    figure.legend(loc="outside lower left")
    axes.set_title("A title", loc="left")
    return figure


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_picture_is_what_savefig_would_write(kind: Literal["png", "svg"]) -> None:
    """savefig draws twice: first for the layout alone."""
    metadata: Any = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        assert drawn().get_layout_engine() is not None
        drawn().savefig(buffer, format=kind, dpi=160, facecolor="none", metadata=metadata)
        assert saved(drawn(), kind, dpi=160, facecolor="none") == buffer.getvalue()


def test_letters_that_matplotlibs_font_lacks_are_drawn_by_one_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A font of one letter by the name of one that systems have; what no font has is warned of."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [font for font in manager.ttflist if font.name not in _OF_OTHER_SCRIPTS])
    assert families() == ["sans-serif"]
    made = FontBuilder(1000)
    made.setupGlyphOrder([".notdef", "body"])
    made.setupCharacterMap({ord("体"): "body"})
    pen = TTGlyphPen(None)
    for place, go in (((0, 0), pen.moveTo), ((900, 0), pen.lineTo), ((900, 900), pen.lineTo)):
        go(place)
    pen.closePath()
    made.setupGlyf(dict.fromkeys([".notdef", "body"], pen.glyph()))
    made.setupHorizontalMetrics(dict.fromkeys([".notdef", "body"], (1000, 0)))
    made.setupHorizontalHeader(ascent=900, descent=0)
    made.setupNameTable({"familyName": "SimHei", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(tmp_path / "SimHei.ttf")
    manager.addfont(tmp_path / "SimHei.ttf")
    assert families() == ["sans-serif", "SimHei"]
    with mpl.rc_context(STYLE | {"font.family": families()}):
        figure = Figure()
        figure.add_subplot().set_title("体")
        assert saved(figure, "png")


def laid_out(draw: Callable[[Axes], object], size: tuple[float, float]) -> Axes:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        draw(axes)
        saved(figure, "png")
    return axes


@pytest.mark.parametrize("names", [("1,620–2,419",) * 5, ("12,620–32,419",) * 5, ("2–419",) * 2])
def test_groups_of_many_rows_do_not_run_into_each_other(names: tuple[str, ...]) -> None:
    groups = tuple(Group(name, 11_200, 11_000, 0.98, (0.97, 0.99)) for name in names)
    axes = laid_out(lambda axes: _by_length(axes, Dependence(groups)), SIZE)
    labels = axes.get_xticklabels()
    assert all(one.get_window_extent().x1 < other.get_window_extent().x0 for one, other in pairwise(labels))
    assert labels[0].get_fontsize() == (
        10 if len(names) == 2 else pytest.approx(90 / max(map(len, (*names, "11,200 rows"))))
    )


def test_a_group_of_one_row_is_told_so_below_the_axis() -> None:
    groups = tuple(Group(name, rows, 1, 1 / rows, (0.2, 1.0)) for name, rows in (("5", 1), ("9", 2)))
    axes = laid_out(lambda axes: _by_length(axes, Dependence(groups)), SIZE)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5\n1 row", "9\n2 rows"]


def test_counts_of_many_rows_stay_in_their_cells() -> None:
    labels = [f"class {number}" for number in range(20)]
    test: Any = SimpleNamespace(labels=labels, matrix=[[12_650] * 20] * 20)
    axes = laid_out(lambda axes: _fill(axes, test), (10.6, 9.5))
    wide = axes.get_window_extent().width / 20
    assert 0 < max(text.get_window_extent().width for text in axes.texts) < wide


@pytest.mark.parametrize("names", ["r", "a class of a long name"])
def test_a_title_is_whole_whatever_stands_before_the_axes(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    title, figures = "Class shares: ● train, ◆ validation, ▲ test", list[Figure]()

    def kept(figure: Figure, kind: Literal["png", "svg"], **options: Any) -> bytes:
        figures.append(figure)
        return saved(figure, kind, **options)

    monkeypatch.setattr(drawing, "saved", kept)
    with mpl.rc_context(STYLE):
        picture("shares", title, "", lambda axes: axes.set_yticks([0, 1], [names] * 2))
    figure = figures[-1]
    (axes,) = figure.axes
    box = axes._left_title.get_window_extent()  # type: ignore[attr-defined]
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert bool(abs(box.x0 - axes.get_window_extent().x0) < 2) is (names == "r")
