"""Training rows in the report: judged by what was cross-fitted, and by nothing that is stale or damaged."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loraloom.report.failures.findings import Failures
from loraloom.report.findings import findings
from loraloom.report.reading import read_run
from loraloom.report.writing import write_report
from loraloom.study.cross_fitted import FOLDER, CrossFitted, write_cross_fitted
from loraloom.study.embeddings import embeddings_key
from loraloom.study.evidence import Predicted
from tests.report.kept_runs import FACTS, keep, kept_predictions
from tests.report.report_runs import LABELS, whole_run

ROWS, TURNED = 200, 6


@pytest.fixture
def run(tmp_path: Path) -> Path:
    data = {**FACTS, "fingerprint": "sha256:data"}
    return keep(whole_run(tmp_path / "kept", data=data, predictions=kept_predictions()))


def cross_fitted(run: Path, **changes: object) -> CrossFitted:
    """The first `TURNED` of `ROWS` rows are labelled as the class after theirs."""
    read = read_run(run)
    assert read.best is not None
    key = embeddings_key(read.recipe, read.best.record)
    assert key is not None
    true = np.arange(ROWS) % len(LABELS)
    given = np.where(np.arange(ROWS) < TURNED, (true + 1) % len(LABELS), true)
    shares = np.where(np.arange(len(LABELS)) == true[:, None], 0.9, 0.1 / (len(LABELS) - 1)).astype(np.float32)
    texts = {2 * row: f"Training text {row}." for row in range(ROWS)}
    fitted = CrossFitted(key, Predicted(shares, given, 2 * np.arange(ROWS)), texts, 2 * ROWS, 5, 10.0, 1.0)
    return replace(fitted, **changes)  # type: ignore[arg-type]


def failed(run: Path) -> Failures:
    found = findings(read_run(run)).failures
    assert found is not None
    return found


def test_turned_labels_are_named_with_how_they_were_found(run: Path) -> None:
    write_cross_fitted(run, cross_fitted(run))
    training = failed(run).training
    assert training.suspects is not None
    assert training.suspects.count == TURNED
    assert {each.row for each in training.suspects.worst} == {2 * row for row in range(TURNED)}
    assert training.suspects.worst[0].text == "Training text 0."
    assert "by a linear probe on the frozen embeddings, 5 folds" in training.how
    assert "200 of 400 training rows" in training.how
    page = write_report(run, may_draw=lambda: False)
    assert f"{TURNED} of {ROWS} training rows have a label that looks wrong to the linear probe" in page.read_text()
    assert "A row&#39;s number is its place in its split, from 0, and not that in your file" in page.read_text()
    assert "training,0," in (page.parent / "suspect_labels.csv").read_text()


def test_without_it_the_page_says_how_to_have_it(run: Path) -> None:
    training = failed(run).training
    assert training.suspects is None
    assert "Training rows were not judged" in training.how


def test_what_is_of_other_data_is_left_out(run: Path) -> None:
    write_cross_fitted(run, cross_fitted(run, key=replace(cross_fitted(run).key, data="sha256:other")))
    assert failed(run).training.suspects is None


def test_damage_is_said_and_the_report_stands(run: Path) -> None:
    write_cross_fitted(run, cross_fitted(run))
    (run / FOLDER / "rows.jsonl").write_text("x")
    said = findings(read_run(run))
    assert said.failures is not None
    assert said.failures.training.suspects is None
    assert any("labels of training rows are not judged" in problem for problem in said.problems)


def test_a_text_that_is_cut_is_not_called_whole(tmp_path: Path) -> None:
    predictions = kept_predictions()
    for line, characters in zip(predictions, (6_000, 20_000, *[30_000] * 11), strict=False):
        line["text"] = "t" * characters
    data = {**FACTS, "fingerprint": "sha256:data"}
    run = keep(whole_run(tmp_path / "r", data=data, predictions=predictions), text="v" * 4_990)
    write_cross_fitted(run, cross_fitted(run, texts=dict.fromkeys(range(0, 2 * ROWS, 2), "r" * 9_000)))
    page = write_report(run, may_draw=lambda: False).read_text(encoding="utf-8")
    assert set(re.findall("<summary>(.* characters.*)</summary>", page)) == {
        "The first 5,000 characters, as the run kept them",
        "The first 20,000 of 30,000 characters",
        "The whole text (6,000 characters)",
        "The whole text (20,000 characters)",
    }
    assert "t" * 20_000 + "…</blockquote>" in page
    assert "9,000" not in page
