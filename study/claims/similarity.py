"""How alike training, test and other texts are ("AI similarity"), and whether it matters: the report's section 8.

A search of the ranks 1, 4 and 16 by two seeds each, around the contest's point, whose winner reads the test rows once;
then its section on similarity, with robust.csv (another source, another year) as the file to compare: what
`loraloom report RUN --compare_file robust.csv` prints. Written to study/results/similarity/NAME.json.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loraloom import pipeline
from loraloom.data import TextData
from loraloom.errors import LoraloomError
from loraloom.recipe import read_recipe
from loraloom.report.reading import read_run
from loraloom.report.similarity import Similarity, similarity
from loraloom.study.durable import write_json
from loraloom.use.similarity import collect
from study.agnews_files import agnews_file
from study.claims.design import HERE
from study.draws import named
from study.machine import described

RANKS = 1, 4, 16
SEEDS = 2
"""Of each rank: whether rank matters for far rows is told from six trials or more, two of a rank."""


def measure(model: str, name: str, data: TextData, runs: Path, out: Path) -> None:
    """Searches the ranks, compares, and writes what the report says of it.

    Raises:
        LoraloomError: nothing could be embedded.
    """
    run = runs / f"similarity-{name}"
    shutil.rmtree(run, ignore_errors=True)
    run.parent.mkdir(parents=True, exist_ok=True)
    ranks = f"lora.r={','.join(map(str, RANKS))}"
    recipe = read_recipe(HERE / "contest.yaml", [f"backbone.model={model}", ranks, f"search.seeds={SEEDS}"])
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    in_memory: dict[str, Any] = {split: named(rows, data.labels) for split, rows in splits.items()}
    winner = pipeline.search(recipe, run, report=False, **in_memory)
    if why_not := collect(run, compare_file=agnews_file("robust.csv"), data=data):
        raise LoraloomError(f"similarity: {why_not}")
    found = similarity(read_run(run), [])
    if isinstance(found, str):
        raise LoraloomError(f"similarity: {found}")
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"encoder": name, "winner": winner.point, "test_accuracy": winner.test.accuracy}
    write_json(out, {**about, **described(), **_said(found)})


def _said(found: Similarity) -> dict[str, Any]:
    return {
        "how": found.how,
        "tests": found.tests,
        "differences": [
            {"of": list(one.names), "p": one.p, "head": one.verdict.head, "figures": one.verdict.figures}
            for one in found.comparisons
        ],
        "distances": [{"of": one.name, "tenths": list(one.tenths)} for one in found.distances],
        "trends": [
            {"of": one.trend.name, "p": one.p, "head": one.verdict.head, "figures": one.verdict.figures}
            for one in found.trends
        ],
        "rank": asdict(found.on_rank),
        "second": found.on_second,
    }
