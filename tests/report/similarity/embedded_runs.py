"""Run folders with embeddings: vectors with a known truth beside the report's made-up runs. Without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from loraloom.recipe import Recipe
from loraloom.report.reading import read_run
from loraloom.report.similarity import Similarity, similarity
from loraloom.study.durable import write_manifest
from loraloom.study.embeddings import Embedded, Embeddings, Second, SecondAbout, embeddings_key, write_embeddings
from tests.report.report_runs import (
    PROVENANCE,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    write_run,
)
from tests.report.similarity.simulated import generator_of, unit_vectors

CENTRE = np.ones(16)
WRONG = 30


def found_in(run: Path) -> Similarity:
    found = similarity(read_run(run), [])
    assert not isinstance(found, str), found
    return found


def similar_run(
    run: Path, *, second: Second | None = None, recipe: Recipe | None = None, evidence: bool = True, seeds: int = 1
) -> Path:
    """A finished run of ten configurations with embeddings of which training and test are of one distribution."""
    recipe = recipe or make_recipe(PROVENANCE, lora={"r": [2, 4, 8, 16, 32]})
    trained = [(point, seed) for seed in range(seeds) for point in recipe.grid()]
    records = [make_record(recipe, number, point, 0.9, seed=seed) for number, (point, seed) in enumerate(trained)]
    tested = make_score((TEST_ROWS - WRONG) / TEST_ROWS, TEST_ROWS)
    best = make_record(recipe, 3, records[3].point, 0.9, seed=records[3].seed, test=tested)
    write_run(run, recipe, records, best=best, predictions=make_predictions(wrong=WRONG))
    if evidence:
        for record in records:
            write_answers(run / "trials" / f"{record.number:04d}", record.number)
    embed(run, second)
    return run


def embed(run: Path, second: Second | None = None, **changes: Any) -> None:
    read = read_run(run)
    assert read.best is not None
    key = embeddings_key(read.recipe, read.best.record)
    assert key is not None
    sets = {
        name: embedded(rows, seed, of=of)
        for seed, (name, rows, of) in enumerate(
            (("train", 500, 1558), ("validation", VALIDATION_ROWS, VALIDATION_ROWS), ("test", TEST_ROWS, TEST_ROWS))
        )
    }
    write_embeddings(run, Embeddings(replace(key, **changes), **sets, seconds=1.5, second=second))


def embedded(rows: int, seed: int, *, of: int | None = None, centre: NDArray[np.float64] = CENTRE) -> Embedded:
    return Embedded(of or rows, np.arange(rows), unit_vectors(generator_of(seed), rows, centre))


def second_set(
    rows: int = 300, *, accuracy: float | None = 0.6, file: str = "machine.csv", winner: int = 3, empty: int = 0
) -> Second:
    """Texts of another kind, on which the winner is right less often; without labels where `accuracy` is None."""
    about = SecondAbout(file, "0" * 64, rows, empty, None if accuracy else "it has no column of labels", winner)
    part = embedded(rows, 9, centre=np.r_[np.full(8, 2.0), np.full(8, -1.0)])
    correct = None if accuracy is None else generator_of(5).random(rows) < accuracy
    return Second(about, part, None if correct is None else np.zeros(rows, dtype=np.int64), correct)


def write_answers(folder: Path, seed: int) -> None:
    """A trial's predictions of single validation rows, as many of them wrong as its record says: one in ten."""
    generator = generator_of(seed)
    labels = generator.integers(0, 5, size=VALIDATION_ROWS).astype(np.int32)
    wrong = generator.permutation(VALIDATION_ROWS) >= round(0.9 * VALIDATION_ROWS)
    predicted = np.where(wrong, (labels + 1) % 5, labels)
    probabilities = np.full((VALIDATION_ROWS, 5), 0.1, dtype=np.float32)
    probabilities[np.arange(VALIDATION_ROWS), predicted] = 0.6
    rows = np.arange(VALIDATION_ROWS, dtype=np.int32)
    content = save({"probabilities": probabilities, "labels": labels, "rows": rows})
    (folder / "validation.safetensors").write_bytes(content)
    write_manifest(folder)
