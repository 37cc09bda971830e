"""`loraloom report RUN`: reads the run folder, computes the findings, and writes RUN/report/ in one step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from loraloom.report.findings import Findings, findings
from loraloom.report.page import page
from loraloom.report.pictures import UNDRAWN, Picture, pictures
from loraloom.report.reading import read_run
from loraloom.report.tables import tables
from loraloom.study.durable import replacing_folder

LIBRARIES = (
    "matplotlib.figure",
    "matplotlib.collections",
    "matplotlib.ticker",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
)
"""What a page and its pictures import when they come to need it."""
LONG_PAGE_SECONDS = 5.0
"""The most that a page itself loads (optuna's importances, with scikit-learn) takes two or three."""


def write_report(
    run: Path,
    *,
    may_draw: Callable[[], bool] | None = None,
    similar: bool = True,
    against: Path | None = None,
    second: bool = False,
    why_not_similar: str | None = None,
) -> Path:
    """Writes RUN/report/ anew (index.html, CSV tables, PNG pictures) and returns the path of its page.

    A run may be under way, stopped or failed: the page says so and shows what there is. Without matplotlib
    there are no pictures. They take most of the time: with `may_draw`, which is asked before each, the page is written
    before them, and once more when they are drawn, unless it has said no.
    With `against`, another run's folder, the two winners are compared on the test rows that they share; with `second`,
    the file whose embeddings were made last is compared (`use/similarity.py: collect`). The page has what is asked for
    this time, whatever an earlier one had.
    `why_not_similar` says why texts have no embeddings, where that was tried (`use/similarity.py`); with `similar`
    false, the section on similarity says that alone, and none of its seconds are taken.

    Raises:
        RunError: `run` is not a run's folder, or can't be compared with `against`.
        RecipeError: its recipe can't be read.
    """
    found = findings(read_run(run), against, why_not_similar, similar=similar, second=second)
    report = run / "report"
    if may_draw is not None:
        _write(report, report_files(found, UNDRAWN))
    pictured = pictures(found, may_draw or (lambda: True))
    if may_draw is None or pictured != UNDRAWN:
        _write(report, report_files(found, pictured))
    return report / "index.html"


def _write(report: Path, files: Mapping[str, bytes]) -> None:
    with replacing_folder(report) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)


def load_libraries() -> None:
    """Imports `LIBRARIES`, which takes longer than a page and its pictures themselves where trials are few.

    A search under a clock has that behind it before it plans.
    """
    for name in LIBRARIES:
        with suppress(ImportError):  # what is missing is said where it is needed
            import_module(name)


def rehearse_report(run: Path) -> float:
    """Seconds that the page of a run takes as it is now, without pictures and similarity; nothing is written.

    What it loads for the first time is not among them, since from then on it is there; but where they are many it is
    a small part of them, and the page is not made once more.
    """
    while True:
        loaded, start = len(sys.modules), time.monotonic()
        report_files(findings(read_run(run), similar=False), UNDRAWN)
        seconds = time.monotonic() - start
        if len(sys.modules) == loaded or seconds > LONG_PAGE_SECONDS:
            return seconds


def report_files(found: Findings, pictured: Mapping[str, Picture] | str) -> dict[str, bytes]:
    """The page and what stands beside it, by name; `pictured` is as `pictures` returns it."""
    files = {name: text.encode() for name, text in tables(found).items()}
    if not isinstance(pictured, str):
        files |= {f"{name}.png": picture.png for name, picture in pictured.items()}
    files["index.html"] = page(found, pictured, tuple(sorted(files))).encode()
    return files
