"""What docs/defaults.md repeats of the comparison with other tools is what its results say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.comparison import read_results

ROOT = Path(__file__).parent.parent.parent
DEFAULTS = ROOT / "docs" / "defaults.md"


def of_two_minutes(name: str, peer: str) -> dict[str, Any]:
    """The newest result of a peer on a set."""
    own = [one for one in read_results() if (one["set"], one["peer"], one["seconds"]) == (name, peer, 120)]
    return dict(max(own, key=lambda one: one["date"])["tests"]["test"])


def test_the_defaults_page_has_the_newest_figures_of_the_sets_held_out() -> None:
    page = " ".join(DEFAULTS.read_text(encoding="utf-8").split())
    ours, probe, svm = (f"{of_two_minutes('clinc150', peer)['accuracy']:.4f}" for peer in ("loraloom", "probe", "svm"))
    assert (
        f"has {ours} on CLINC150, where logistic regression on frozen embeddings has {probe} and an SVM {svm}" in page
    )
    own, other = of_two_minutes("r8", "loraloom"), of_two_minutes("r8", "svm")
    rows = f"by {other['correct'] - own['correct']} rows of {own['rows']:,}"
    assert f"{own['accuracy']:.4f} on R8, where the SVM has {other['accuracy']:.4f}, {rows}" in page
