"""The seeds of the winner in one adapter, of one adapter's parameters: RUN/soup.

A search repeats the winner's configuration with several seeds. A soup is their mean (`use/soup.py`): what an ensemble
of them knows, as far as one adapter has room for it, within the same cap. It is judged by the validation rows, as
trials are. Of few rows a search makes it by itself, and best/ is it (`conclusion.py`); `loraloom soup` makes it of any
winner, and tests it as that was.

Costs reading the validation rows twice; nothing is trained. It appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loraloom import metrics
from loraloom.calibration import temperature_towards
from loraloom.errors import RunError, UnmixableError
from loraloom.execute.alone import alone, left_as_found
from loraloom.execute.workplace import Workplace
from loraloom.preparation import prepare_again
from loraloom.report.model_card import model_card
from loraloom.report.wording import listed
from loraloom.search.watcher import Watcher
from loraloom.study.choice import is_better_mixed
from loraloom.study.commands import command_on
from loraloom.study.durable import replacing_folder, system_errors_of, write_json, write_manifest
from loraloom.study.evidence import read_predicted, write_predicted
from loraloom.study.leaderboard import Standing, mean_of, standings, validation
from loraloom.study.record import CARD, RECORD, SOUP_OF, TEST_PREDICTIONS, Result, Score, Timings, TrialRecord
from loraloom.study.run import BEST, SOUP, Run
from loraloom.use.adapter import Classifier, load
from loraloom.use.backbones import Backbones
from loraloom.use.evaluate import test_winner
from loraloom.use.soup import divide_logits, mix


@dataclass(frozen=True, slots=True)
class Soup:
    """What became of one: its record, the winner's seeds that it is of, and the share of their mean that it holds.

    `is_advised` says whether it is to be used in the winner's place: of few training rows it is, since as few are held
    out that they could not tell, else where it is as good on the validation rows as its seeds are in the mean.
    """

    record: TrialRecord
    seeds: Standing
    kept: float
    is_advised: bool


def soup(out: Path | str, *, watcher: Watcher | None = None, **in_memory: Any) -> Soup:
    """Mixes the seeds of the winner of the run in `out` into RUN/soup, and tests it.

    `in_memory` are rows that were given to the search from Python, which are given again.

    Raises:
        RunError: there is no run or no winner, it has one seed, or its rows or models have changed.
        AdapterError: a seed's folder is damaged, or can't be used.
        UnmixableError: the seeds do not mix.
    """
    with alone(), left_as_found():
        run, watcher = Run(Path(out)), watcher or Watcher()
        with run.locked():
            seeds = _seeds(run, run.winner())
            place = prepare_again(run, watcher, in_memory, command_on("soup", run.path, run.recipe))
            made = mix_seeds(run, place, seeds, watcher)
            watcher.note("testing it")
            tested, predictions = test_winner(load(run.path / SOUP), place.data.test)
            run.publish(run.path / SOUP, tested, {TEST_PREDICTIONS: predictions, CARD: model_card(run.path, tested)})
            return replace(made, record=tested)


def mix_seeds(run: Run, place: Workplace, seeds: Standing, watcher: Watcher) -> Soup:
    """Makes RUN/soup of a configuration's `seeds`, and asks it of the validation rows; it is not tested.

    Raises:
        AdapterError: a seed's folder is damaged, or can't be used.
        UnmixableError: the seeds do not mix.
    """
    watcher.note(f"mixing trials {numbers(seeds.trials)}")
    folders = [run.trial_folder(trial.number) for trial in seeds.trials]
    backbones = Backbones()
    for folder in folders:
        backbones.add(folder)  # refuses what can't be used
    with replacing_folder(run.path / SOUP) as new, system_errors_of(run.path / SOUP):
        kept = mix(folders, new)
        _label(seeds, new)
        _sharpen(backbones.add(new), run, place, seeds, new)
        record = _validated(backbones.add(new), place, seeds, new)  # as a user would
    own = mean_of([validation(record, run.recipe.search.metric)])
    return Soup(record, seeds, kept, is_better_mixed(record, len(seeds.trials)) or own >= seeds.mean)


def numbers(trials: Sequence[TrialRecord]) -> str:
    """The trials' numbers in words, ascending."""
    return listed([str(number) for number in sorted(trial.number for trial in trials)])


def _seeds(run: Run, winner: TrialRecord) -> Standing:
    """The winner with its other seeds.

    Raises:
        RunError: its own trial is gone, or it has no other.
    """
    ranked = standings(run.records(), run.recipe.search.metric)
    of_winner = (one for one in ranked if any(trial.number == winner.number for trial in one.trials))
    if (seeds := next(of_winner, None)) is None:
        folder = run.trial_folder(winner.number)
        raise RunError(f"{folder}: is missing, whose copy {run.path / BEST} is; take another copy of the run")
    if len(seeds.trials) == 1:
        why, way = "was trained with one seed", "search with search.seeds=3"
        if run.recipe.search.seeds > 1:
            why, way = "has no other seed that was trained as far", "give its search more time"
        raise RunError(f"{run.path}: the winner, trial {winner.number}, {why}, and a soup is of several: {way}")
    return seeds


def is_soup_of(record: TrialRecord, seeds: Standing) -> bool:
    """Whether it is of the soup of these seeds, and no others."""
    return record.soup_of == numbers(seeds.trials)


def _label(seeds: Standing, new: Path) -> None:
    """Makes what was mixed in `new` an adapter's folder, which can be loaded, by a record like its best seed's."""
    marks = (*seeds.leader.marks, SOUP_OF + numbers(seeds.trials))
    record = seeds.leader.model_copy(update={"timings": _together(seeds), "marks": marks})
    write_json(new / RECORD, record.model_dump(mode="json"))
    write_manifest(new)


def _together(seeds: Standing) -> Timings | None:
    """What the seeds' trainings took together, at the best one's rates; None where one was not timed."""
    timed = [trial.timings for trial in seeds.trials if trial.timings is not None]
    if len(timed) < len(seeds.trials):
        return None
    seconds, train = sum(each.seconds for each in timed), sum(each.train_seconds for each in timed)
    return timed[0].model_copy(update={"seconds": seconds, "train_seconds": train})


def _sharpen(classifier: Classifier, run: Run, place: Workplace, seeds: Standing, new: Path) -> None:
    """Makes what was mixed in `new` as sure of the validation rows as its seeds are together; it reads no label."""
    kept = [read_predicted(run.trial_folder(trial.number), len(trial.labels)) for trial in seeds.trials]
    together = [each.probabilities for each in kept if each is not None]
    if len(together) < len(kept):
        return  # the run is of a version that kept none
    rows = place.rows(seeds.leader.configuration, noted=False)
    own = metrics.softmax(classifier.logits_of(rows.validation))
    divide_logits(new, temperature_towards(own, np.mean(together, axis=0)))
    write_manifest(new)


def _validated(classifier: Classifier, place: Workplace, seeds: Standing, new: Path) -> TrialRecord:
    """The record with what it reaches on the validation rows, written with its predictions of them.

    Raises:
        UnmixableError: it is worse than its seeds by more than chance.
    """
    rows = place.rows(seeds.leader.configuration, noted=False)
    probabilities = metrics.softmax(classifier.logits_of(rows.validation))
    score = Score.of(metrics.score(rows.data.validation.labels, probabilities))
    _refuse_less(score, seeds)
    write_predicted(new, rows.predicted(probabilities))
    record = classifier.record.model_copy(update={"result": Result(validation=score)})
    write_json(new / RECORD, record.model_dump(mode="json"))
    return record


def _refuse_less(score: Score, seeds: Standing) -> None:
    """Seeds that came to answers of their own, or of which one collapsed, have a mean that knows less than each.

    Raises:
        UnmixableError: it is so, by more than the chance of which rows were held out.
    """
    assert seeds.leader.result is not None
    interval = seeds.leader.result.validation.interval
    if interval is not None and score.accuracy < interval[0]:
        each = listed([f"{validation(trial, 'accuracy'):.3f}" for trial in seeds.trials])
        raise UnmixableError(
            f"the mean of trials {numbers(seeds.trials)} has an accuracy of {score.accuracy:.3f} on the validation "
            f"rows, where they have {each}; it is not kept"
        )
