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
from loraloom.data import Encoded
from loraloom.engine.job import Rows
from loraloom.errors import RunError, UnmixableError
from loraloom.execute.alone import alone, left_as_found
from loraloom.execute.workplace import Workplace
from loraloom.preparation import prepare_again
from loraloom.recipe.fields import Metric
from loraloom.report.model_card import model_card
from loraloom.report.wording import listed, share
from loraloom.search.watcher import Watcher
from loraloom.study.choice import is_better_mixed, to_mix
from loraloom.study.commands import command_on
from loraloom.study.durable import replacing_folder, system_errors_of, write_manifest
from loraloom.study.evidence import read_predicted, write_predicted
from loraloom.study.leaderboard import Standing, mean_of, metric_name, standings, validation
from loraloom.study.record import CARD, SOUP_OF, TEST_PREDICTIONS, Result, Score, Timings, TrialRecord, write_record
from loraloom.study.run import BEST, SOUP, Run
from loraloom.use.adapter import Classifier
from loraloom.use.backbones import Backbones, load
from loraloom.use.evaluate import test_winner
from loraloom.use.soup import divide_logits, mix


@dataclass(frozen=True, slots=True)
class Soup:
    """What became of one: its record, the seeds that it is of, their mean metric, and the share of them that it holds.

    `is_advised` says whether it is to be used in the winner's place: of few training rows it is, since as few are held
    out that they could not tell, else where it is as good on the validation rows as its seeds are in the mean.
    """

    record: TrialRecord
    trials: tuple[TrialRecord, ...]
    mean: float
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
            winner = run.winner()
            seeds = standing_of(run, winner)
            _refuse_alone(run, seeds)
            place = prepare_again(run, watcher, in_memory, command_on("soup", run.path, run.recipe))
            made = mix_seeds(run, place, seeds, watcher)
            watcher.note("testing it")
            mixed, test = load(run.path / SOUP), place.data.test
            tested, predictions = test_winner(mixed, test, winner.tested_rows, watcher.note)
            run.publish(run.path / SOUP, tested, {TEST_PREDICTIONS: predictions, CARD: model_card(run.path, tested)})
            return replace(made, record=tested)


def mix_seeds(run: Run, place: Workplace, seeds: Standing, watcher: Watcher) -> Soup:
    """Makes RUN/soup of a configuration's `seeds`, and asks it of the validation rows; it is not tested.

    Raises:
        AdapterError: a seed's folder is damaged, or can't be used.
        UnmixableError: the seeds do not mix.
    """
    trials, metric = to_mix(seeds), run.recipe.search.metric
    if lost := [trial for trial in seeds.trials if trial not in trials]:
        watcher.note(f"left out of the mean of its seeds, since collapsed: trial {numbers(lost)}")
    if len(trials) == 1:
        raise UnmixableError(f"all of its seeds but trial {numbers(trials)} have collapsed")
    watcher.note(f"mixing trials {numbers(trials)}")
    folders = [run.trial_folder(trial.number) for trial in trials]
    backbones = Backbones()
    for folder in folders:
        backbones.add(folder)  # refuses what can't be used
    rows = place.rows(seeds.leader.configuration, noted=False)
    with replacing_folder(run.path / SOUP) as new, system_errors_of(run.path / SOUP):
        kept = mix_into(new, trials, folders, rows.validation, backbones)
        record = _validated(backbones.add(new), rows, trials, metric, new)  # as a user would
    mean, own = mean_of([validation(trial, metric) for trial in trials]), mean_of([validation(record, metric)])
    return Soup(record, trials, mean, kept, is_better_mixed(record, len(trials)) or own >= mean)


def mix_into(
    new: Path, trials: Sequence[TrialRecord], folders: Sequence[Path], validation: Encoded, backbones: Backbones
) -> float:
    """Makes `new` an adapter's folder, which can be loaded: the mean of the adapters in `folders`, with a record.

    Its record is like the first of `trials`, whose folders they are. It is made as sure of the rows of `validation` as
    they are together, which reads no label. Returns the share of their mean that it holds.

    Raises:
        UnmixableError: they have no mean.
    """
    kept = mix(folders, new)
    marks = (*trials[0].marks, SOUP_OF + numbers(trials))
    record = trials[0].model_copy(update={"timings": _together(trials), "marks": marks})
    write_record(new, record)
    write_manifest(new)
    predicted = [read_predicted(folder, len(record.labels)) for folder in folders]
    each = [one.probabilities for one in predicted if one is not None]
    if len(each) == len(folders):  # a run of an earlier version may have kept none
        own = metrics.softmax(backbones.add(new).logits_of(validation))
        divide_logits(new, temperature_towards(own, np.mean(each, axis=0)))
        write_manifest(new)
    return kept


def numbers(trials: Sequence[TrialRecord]) -> str:
    """The trials' numbers in words, ascending."""
    return listed([str(number) for number in sorted(trial.number for trial in trials)])


def standing_of(run: Run, winner: TrialRecord) -> Standing:
    """The winner with its other seeds, if it has any.

    Raises:
        RunError: its own trial is gone.
    """
    ranked = standings(run.records(), run.recipe.search.metric)
    of_winner = (one for one in ranked if any(trial.number == winner.number for trial in one.trials))
    if (seeds := next(of_winner, None)) is None:
        folder = run.trial_folder(winner.number)
        raise RunError(f"{folder}: is missing, whose copy {run.path / BEST} is; take another copy of the run")
    return seeds


def _refuse_alone(run: Run, seeds: Standing) -> None:
    """Refuses a winner of one seed.

    Raises:
        RunError: it is one.
    """
    if len(seeds.trials) > 1:
        return
    why, way = "was trained with one seed", "search with search.seeds=3"
    if run.recipe.search.seeds > 1:
        why, way = "has no other seed that was trained as far", "give its search more time"
    number = seeds.leader.number
    raise RunError(f"{run.path}: the winner, trial {number}, {why}, and a soup is of several: {way}")


def is_soup_of(record: TrialRecord, seeds: Standing) -> bool:
    """Whether it is of the soup of these seeds, and no others."""
    return record.soup_of == numbers(to_mix(seeds))


def is_soup_of_some(record: TrialRecord, seeds: Standing) -> bool:
    """Whether it is of a soup of these seeds, all or some: its number is that of one of those that it is of."""
    return record.is_soup and any(trial.number == record.number for trial in seeds.trials)


def _together(trials: Sequence[TrialRecord]) -> Timings | None:
    """What their trainings took together, at the first one's rates; None where one was not timed."""
    timed = [trial.timings for trial in trials if trial.timings is not None]
    if len(timed) < len(trials):
        return None
    seconds, train = sum(each.seconds for each in timed), sum(each.train_seconds for each in timed)
    return timed[0].model_copy(update={"seconds": seconds, "train_seconds": train})


def _validated(
    classifier: Classifier, rows: Rows, trials: Sequence[TrialRecord], metric: Metric, new: Path
) -> TrialRecord:
    """The record with what it reaches on the validation rows, written with its predictions of them.

    Raises:
        UnmixableError: it is worse than its seeds by more than chance.
    """
    probabilities = metrics.softmax(classifier.logits_of(rows.validation))
    score = Score.of(metrics.score(rows.data.validation.labels, probabilities))
    record = classifier.record.model_copy(update={"result": Result(validation=score)})
    _refuse_less(record, trials, metric)
    write_predicted(new, rows.predicted(probabilities))
    write_record(new, record)
    return record


def _refuse_less(mean: TrialRecord, trials: Sequence[TrialRecord], metric: Metric) -> None:
    """Seeds that came to answers of their own have a mean that knows less than each.

    That is told by accuracy, as in `study/choice.py`; the metric is told of too.

    Raises:
        UnmixableError: it is so, by more than the chance of which rows were held out.
    """
    if not trials[0].validation.is_above(validation(mean, "accuracy")):
        return
    figures = []
    for one in dict.fromkeys(("accuracy", metric)):
        theirs = listed([share(validation(trial, one)) for trial in trials])
        figures.append(f"{metric_name(one)} {share(validation(mean, one))} (they have {theirs})")
    has = f"the mean of trials {numbers(trials)} has {' and '.join(figures)} on the validation rows"
    raise UnmixableError(f"{has}; it is not kept")
