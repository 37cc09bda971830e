"""The claims as pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.claims import pictures
from study.claims.judging import ClaimFound, LevelFound
from study.curve import RESULTS, draw, read_curves


def level(rank: int, accuracy: float) -> LevelFound:
    accuracies = (accuracy - 0.01, accuracy + 0.01)
    return LevelFound(f"{rank}", "", accuracy, accuracies, None, 1, 1, 1.0, False, 0.001, ())


def test_what_says_which_encoder_is_which_lies_over_no_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(pictures, "save", lambda figure, path: drawn.append(figure))
    claim = ClaimFound("rank", "Rank", "", "", tuple(level(rank, 0.9) for rank in (1, 2, 4)), (), ())
    found: list[Any] = [SimpleNamespace(name=name, claims=(claim,)) for name in ("demo", "all-mpnet-base-v2")]
    pictures.draw_levels(found, tmp_path / "levels.svg")
    (figure,) = drawn
    figure.draw_without_rendering()
    legends: list[Any] = [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]
    (legend,) = legends
    assert [text.get_text() for text in legend.get_texts()] == ["demo", "all-mpnet-base-v2"]
    place = legend.get_window_extent()
    assert not any(place.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    pictures.pyplot().close(figure)


def test_the_words_at_the_learning_curves_points_lie_over_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(pictures, "save", lambda figure, path: drawn.append(figure))
    curves = read_curves(RESULTS)
    assert curves is not None
    draw(curves, tmp_path / "curve.svg")
    (figure,) = drawn
    figure.draw_without_rendering()
    axes = figure.axes[1]
    words = [text.get_window_extent() for text in axes.texts]
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    assert len(words) >= 3
    assert not any(line.intersects_bbox(box, filled=False) for line in lines for box in words)
    assert all(box.x0 > axes.get_window_extent().x0 for box in words)
    pictures.pyplot().close(figure)
