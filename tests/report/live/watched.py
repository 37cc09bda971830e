"""A run that is watched: its server, and a trial that ends meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loraloom.report.live import make_server
from loraloom.report.live.server import WatchServer
from loraloom.study.durable import write_manifest
from tests.report.report_runs import make_recipe, make_record
from tests.serving import answering


@contextmanager
def served(run: Path) -> Iterator[WatchServer]:
    with make_server(run, 0) as server, answering(server):
        yield server


def finish(run: Path, number: int, accuracy: float = 0.97) -> None:
    """A trial that ends in a run made by `growing`."""
    recipe = make_recipe()
    folder = run / "trials" / f"{number:04d}"
    folder.mkdir()
    record = make_record(recipe, number, list(recipe.grid())[number], accuracy)
    (folder / "trial.json").write_text(record.model_dump_json())
    write_manifest(folder)
