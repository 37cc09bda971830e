"""The winner with TF-IDF's scores blended in: RUN/blend.

An adapter's folder like best/, with a linear classifier of words and pairs of words beside the weights
(`use/tfidf.py`). It is asked of the validation rows, by which its temperature is fitted, and is tested as the winner
was, beside which it is told; best/ stays the run's answer, since no cap counts TF-IDF's weights.

Costs reading the validation and test rows once more, and seconds of fitting; nothing is trained of the adapter. It
appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Split
from loraloom.data.sampling import part_of
from loraloom.execute.alone import alone, left_as_found
from loraloom.intervals import Paired
from loraloom.metrics import score, softmax
from loraloom.preparation import prepare_again
from loraloom.report.beside import corrected
from loraloom.report.model_card import Form, model_card
from loraloom.report.next_steps import blending_takes
from loraloom.report.reading import read_best
from loraloom.search.watcher import Watcher
from loraloom.study.commands import command_on
from loraloom.study.durable import replacing_folder, system_errors_of, write_manifest, write_text
from loraloom.study.evidence import write_predicted
from loraloom.study.record import (
    BLENDED,
    BY_TFIDF,
    CARD,
    CONFIG,
    TEST_PREDICTIONS,
    WEIGHTS,
    Result,
    Score,
    TrialRecord,
    write_record,
)
from loraloom.study.run import BEST, BLEND, Run
from loraloom.use.adapter import Classifier
from loraloom.use.backbones import Backbones
from loraloom.use.evaluate import predict_texts, test_winner, tested_part
from loraloom.use.tfidf import Tfidf, fit
from loraloom.wording import plural

MOST_ROWS = 200_000
"""Of training, a stratified part: words of more rows take gigabytes to count, and tell little that is new."""


@dataclass(frozen=True, slots=True)
class Blend:
    """What became of one: its record, what TF-IDF has apart from it, and what it gained; None if that can't be told.

    The p of `gain` is corrected for the test of TF-IDF alone, as in the report.
    """

    record: TrialRecord
    tfidf: Tfidf
    train_rows: int
    apart: Result
    gain: Paired | None


def blend(out: Path | str, *, watcher: Watcher | None = None, **in_memory: Any) -> Blend:
    """Blends TF-IDF's scores into the winner of the run in `out`, as RUN/blend, and tests it.

    `in_memory` are rows that were given to the search from Python, which are given again.

    Raises:
        RunError: there is no run or no winner, or its rows or models have changed.
        AdapterError: best/ is damaged, or can't be used.
        UnblendableError: the training rows hold nothing that TF-IDF goes by.
    """
    with alone(), left_as_found():
        run, watcher = Run(Path(out)), watcher or Watcher()
        with run.locked():
            winner = run.winner()
            place = prepare_again(run, watcher, in_memory, command_on("blend", run.path, run.recipe))
            data, asked = place.data, place.rows(winner.configuration, noted=False)
            validation = asked.data.validation
            test = data.test.take(tested_part(data.test, winner.tested_rows))
            most = run.recipe.data.max_train_samples  # the winner's own has its rung's rows
            train = part_of(data.train, min(most or MOST_ROWS, MOST_ROWS), run.recipe.train.seed)
            rows = plural(len(train), "training row")
            watcher.note(f"fitting TF-IDF to {rows}, which takes {blending_takes(len(train))}")
            tfidf = fit(train.texts, train.labels, len(data.labels))
            with replacing_folder(run.path / BLEND) as new, system_errors_of(run.path / BLEND):
                classifier = _begun(run, winner, tfidf, new)
                watcher.note(f"asking it of {plural(len(validation), 'validation row')}")
                doing = "asking it of validation rows"
                _, probabilities = predict_texts(classifier, validation.texts, doing, watcher.note)
                write_predicted(new, asked.predicted(probabilities))
                watcher.note("testing it")
                tested, predictions = test_winner(classifier, data.test, winner.tested_rows, watcher.note)
                result = Result(validation=_scored(validation, probabilities), test=tested.test)
                record = tested.model_copy(update={"result": result})
                by_tfidf = [softmax(tfidf.log_probabilities(split.texts)) for split in (validation, test)]
                write_record(new, record)
                for name, text in {
                    TEST_PREDICTIONS: predictions,
                    BY_TFIDF: json.dumps(by_tfidf[1].argmax(axis=1).tolist()),
                    CARD: model_card(run.path, record, _form(tfidf, len(train))),
                }.items():
                    write_text(new / name, text)
            apart = Result(validation=_scored(validation, by_tfidf[0]), test=_scored(test, by_tfidf[1]))
            return Blend(record, tfidf, len(train), apart, _gain(run, test, by_tfidf[1].argmax(axis=1), predictions))


def _begun(run: Run, winner: TrialRecord, tfidf: Tfidf, new: Path) -> Classifier:
    """Makes `new` an adapter's folder that can be loaded, and loads it, as a user would."""
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(run.path / BEST / name, new / name)
    tfidf.write(new)
    record = winner.model_copy(update={"marks": (*winner.marks, BLENDED)})
    write_record(new, record)
    write_manifest(new)
    return Backbones().add(new)


def _scored(rows: Split, probabilities: NDArray[np.float64]) -> Score:
    return Score.of(score(rows.labels, probabilities))


def _gain(run: Run, test: Split, by_tfidf: NDArray[np.int64], predictions: str) -> Paired | None:
    """Against what best/ kept of its own test; None where that can't be read, or is of other rows."""
    best = read_best(run.path / BEST, [])
    if best is None or [row.text for row in best.predictions] != list(test.texts):
        return None
    before = [row.is_right for row in best.predictions]
    said = [json.loads(line)["prediction"] for line in predictions.rstrip("\n").split("\n")]
    _, gain = corrected(before, *((np.array(each) == test.labels).tolist() for each in (by_tfidf, said)))
    return gain


def _form(tfidf: Tfidf, train_rows: int) -> Form:
    """What its card says that an adapter's does not."""
    return Form(
        opening="A LoRA adapter and its head, with TF-IDF's scores blended in, which sort texts into",
        limits=(
            f"One part in three of its answers is TF-IDF's, a linear classifier's of {len(tfidf.terms):,} words and "
            f"pairs of words of {plural(train_rows, 'training row')}. Its {tfidf.parameters:,} weights are not among "
            "the trainable parameters above: no cap counts them.",
        ),
    )
