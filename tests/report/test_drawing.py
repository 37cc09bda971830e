"""A picture as a file, in the fewest passes."""

from __future__ import annotations

import io
from typing import Any, Literal

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from loraloom.report.pictures.drawing import STYLE, saved


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
