"""Methods that loraloom does not have, beside LoRA: other starts, DoRA, R-Drop, attention, students, soups.

    python -m study.methods                what is not yet in the results is trained; the table is printed
    python -m study.methods --seconds 600  nothing is begun after as many
    python -m study.methods --table        the table of what there is, and train nothing

Each seed takes other training rows of a set (which is read by study/sets.py), and all methods the same. A method's rate
is the one of `RATES` with which the first seed is best on validation rows, in the mean over the sets; where an end of
the grid is best it goes on, for any method. Accuracy is that on test rows, which nothing is chosen by. Sets that are
held out for checking defaults are not read. What follows takes LoRA's rate.

Cleaning: of rows of which a tenth have another label, those are left out that confident learning names by
`loraloom.use.cross_fitting`, as a report does. A student is trained on the mean of what three teachers give, LoRA of
other seeds on the same rows; beside it is what that mean itself has right. Self-training: the first of these labels
three times as many rows of the set, whose labels are not read; those of which it is sure, after its temperature was
fitted on validation rows, are trained on too, from the start and in as many passes. Steps count those of teachers. As
self-training has more of them, LoRA alone has three times the passes too. A soup (study/soups.py) is one adapter of the
mean weights of three: of those teachers, or of the first of them and the same of rates that are lower and higher.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import product
from operator import truediv
from pathlib import Path
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.calibration import at_temperature, confidence_of, fit_temperature
from loraloom.data import Split
from loraloom.data.overlap import text_key
from loraloom.data.sampling import part_of, stratified_order
from loraloom.intervals import mean_interval
from loraloom.report.failures.suspects import confident_learning
from loraloom.report.markdown.text import table
from loraloom.use.cross_fitting import FOLDS, out_of_fold
from loraloom.use.embedding import Embedder
from study.arguments import run
from study.method_results import Case, Kept, Training, key_of
from study.plain_peft import TEMPERATURE, Classifier, Halves, Method, Rows, States, begin, probabilities, steps
from study.robustness.rows import with_noise
from study.sets import load
from study.soups import soup

RESULT = Path(__file__).parent / "results" / "methods.json"
ENCODER, MAX_LENGTH = "demo", 24
CASES = Case("trec", 500, 3), Case("sst2", 500, 3), Case("banking77", 770, 3)
VALIDATION_ROWS, TEST_ROWS = 300, 500
SEEDS = 6
RATES = 3e-4, 1e-3, 3e-3
TIMED = 10
BEYOND = {3e-4: 1e-4, 3e-3: 1e-2}
"""The rate that is tried too where an end of the grid is best."""
NOISE = 0.1
LORA, NOISY, CLEANED = "LoRA", "LoRA, noisy labels", "noisy labels, cleaned"
TOGETHER, STUDENT, SELF_TRAINED, LONGER = "three together", "student of three", "self-training", "LoRA, longer"
SOUP, SOUP_OF_RATES = "soup of three", "soup of three rates"
SOUPS = SOUP, SOUP_OF_RATES
APART = 3**0.5
MOST_TEACHERS = 3
_SEEDS = [(1.0, number) for number in range(MOST_TEACHERS)]
_RATES = [(factor, 0) for factor in (1.0, 1 / APART, APART)]
TEACHERS = {TOGETHER: _SEEDS, STUDENT: _SEEDS, SELF_TRAINED: _SEEDS[:1], SOUP: _SEEDS, SOUP_OF_RATES: _RATES}
"""What is trained before: by how many times the rate, and which of the seeds that a seed has for it."""
UNLABELLED, SURE = 3, 0.9
"""Rows to be labelled, in those that have labels; and from which confidence a label is believed."""
METHODS = {
    LORA: Method(),
    "PiSSA": Method(start="pissa"),
    "OLoRA": Method(start="olora"),
    "DoRA": Method(dora=True),
    "R-Drop": Method(consistency=1.0, dropout=0.1),
    "attention pooling": Method(attention=True),
}
TIMES_LONGER = 3
AT_ITS_RATE = NOISY, CLEANED, TOGETHER, STUDENT, SELF_TRAINED, LONGER, *SOUPS
"""What takes LoRA's rate."""
AGAINST = {name: NOISY if name == CLEANED else LORA for name in (*METHODS, *AT_ITS_RATE) if name != LORA}
"""What is compared, and with what."""

Asked = tuple[Case, str, float, int]
"""A case, a method's name, a rate, and a seed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m study.methods", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULT, help="the file of results")
    parser.add_argument("--seconds", type=float, help="begin no training after as many; by default all are trained")
    parser.add_argument("--table", action="store_true", help="the table of what there is, and train nothing")
    run("study.methods", _do, parser.parse_args())


def _do(given: argparse.Namespace) -> None:
    kept, begun = Kept(given.results), time.monotonic()
    if not given.table and (untimed := [name for name in METHODS if name not in kept.times]):
        kept.times |= times(CASES[0], untimed)
        kept.write()
    while not given.table and (asked := next(missing(kept), None)) is not None:
        if given.seconds is not None and time.monotonic() - begun > given.seconds:
            break
        training = measure(*asked)
        kept.add(*asked, training)
        print(f"{key_of(*asked)}: {training.valid:.4f} on validation rows, {training.accuracy:.4f}", flush=True)
    print("\n".join((*tuning_lines(kept), "", *lines(kept))))


def missing(kept: Kept) -> Iterator[Asked]:
    """What is not there yet: by the first seed the grid, and where it goes on; then seed by seed all methods."""
    for asked in _planned(kept):
        if kept.get(*asked) is None:
            yield asked


def _planned(kept: Kept) -> Iterator[Asked]:
    yield from ((case, name, rate, 0) for case in CASES for name in METHODS for rate in RATES)
    for case, name in product(CASES, METHODS):
        if (further := _further(kept, name)) is not None:
            yield case, name, further, 0
    for seed, case, name in product(range(SEEDS), CASES, (*METHODS, *AT_ITS_RATE)):
        if (rate := rate_of(kept, name)) is not None:
            yield case, name, rate, seed


def rate_of(kept: Kept, name: str) -> float | None:
    """The rate that is best on validation rows; None before all of the grid was tried."""
    tuned = name if name in METHODS else LORA
    best, further = _best(kept, tuned, RATES), _further(kept, tuned)
    return best if best is None or further is None else _best(kept, tuned, (best, further))


def _further(kept: Kept, name: str) -> float | None:
    """The rate beyond the grid, where its end is best."""
    best = _best(kept, name, RATES)
    return None if best is None else BEYOND.get(best)


def _best(kept: Kept, name: str, rates: tuple[float, ...]) -> float | None:
    means = {}
    for rate in rates:
        found = [kept.get(case, name, rate, 0) for case in CASES]
        means[rate] = fmean(each.valid if each else -np.inf for each in found)
    best = max(means, key=lambda rate: means[rate])
    return best if np.isfinite(min(means.values())) else None


def measure(case: Case, name: str, rate: float, seed: int) -> Training:
    """Trains on the rows of a seed, and counts what is right.

    Raises:
        DataError: the set can't be had.
    """
    teachers = [_teacher(case, factor * rate, seed, number) for factor, number in TEACHERS.get(name, ())]
    models, taken = [model for model, _ in teachers], sum(count for _, count in teachers)
    rows = _rows(case, name, seed, models)
    if name in SOUPS:
        models = [soup(models)]
    elif name != TOGETHER:
        longer = replace(case, passes=TIMES_LONGER * case.passes) if name == LONGER else case
        model, own = _trained(longer, METHODS.get(name, METHODS[LORA]), rows, rate, seed)
        models, taken = [model], taken + own
    valid, tested = (
        (int((_mean(models, _states(each.texts)).argmax(axis=1) == each.labels).sum()), len(each))
        for each in (_drawn(case, seed)[1], _tested(case))
    )
    parameters = sum(each.numel() for model in models for each in model.trained)
    return Training(valid, tested, len(rows.labels), taken, parameters)


def _rows(case: Case, name: str, seed: int, teachers: Sequence[Classifier]) -> Rows:
    drawn, validation = _drawn(case, seed)
    rows = Rows(_states(drawn.texts), drawn.labels)
    if name in (NOISY, CLEANED):
        rows = replace(rows, labels=with_noise(drawn.labels, NOISE, _classes(case), seed))
    if name == CLEANED:
        rows = _cleaned(rows, drawn.texts, _classes(case), seed)
    if name == STUDENT:
        rows = replace(rows, soft=at_temperature(_mean(teachers, rows.states), TEMPERATURE))
    if name == SELF_TRAINED:
        rows = _with_own(rows, teachers[0], _halves().states(_unlabelled(case, seed)), validation)
    return rows


def _trained(case: Case, method: Method, rows: Rows, rate: float, seed: int) -> tuple[Classifier, int]:
    """A classifier, and the steps that it took."""
    model = begin(_halves(), method, _classes(case), seed)
    return model, max(steps(model, method, rows, case.passes, rate, seed))


@lru_cache(maxsize=MOST_TEACHERS)
def _teacher(case: Case, rate: float, seed: int, number: int) -> tuple[Classifier, int]:
    """LoRA on the rows of a seed, but of a seed of its own, which no other training has."""
    own = SEEDS + seed * MOST_TEACHERS + number
    return _trained(case, METHODS[LORA], _rows(case, LORA, seed, ()), rate, own)


def _mean(models: Sequence[Classifier], states: States) -> NDArray[np.float64]:
    """The mean of what classifiers give, (N, C)."""
    return np.asarray(np.mean([probabilities(model, states) for model in models], axis=0), dtype=np.float64)


def _with_own(rows: Rows, teacher: Classifier, unlabelled: States, validation: Split) -> Rows:
    """The rows, and the unlabelled ones of which a classifier is sure, with its labels."""
    fitted = fit_temperature(validation.labels, probabilities(teacher, _states(validation.texts)), math.inf)
    given = at_temperature(probabilities(teacher, unlabelled), fitted.value)
    sure = np.flatnonzero(confidence_of(given) >= SURE)
    labels = np.concatenate([rows.labels, given[sure].argmax(axis=1)])
    return Rows([*rows.states, *(unlabelled[row] for row in sure.tolist())], labels)


def times(case: Case, names: Iterable[str]) -> dict[str, float]:
    """The processor time of a step of methods, in LoRA's on the same batch: the median of `TIMED` rounds."""
    drawn, _ = _drawn(case, 0)
    rows = Rows(_states(drawn.texts), drawn.labels)
    methods = {name: METHODS[name] for name in dict.fromkeys((LORA, *names))}
    models = {name: begin(_halves(), method, _classes(case), 0) for name, method in methods.items()}
    under_way = {name: steps(model, methods[name], rows, 1, RATES[0], 0) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(TIMED + 1):  # of which the first, in which memory is taken, is not counted
        for name, training in under_way.items():
            begun = time.process_time()
            next(training)
            seconds[name].append(time.process_time() - begun)
    plain = seconds[LORA][1:]
    return {name: round(median(map(truediv, own[1:], plain)), 2) for name, own in seconds.items()}


def _cleaned(rows: Rows, texts: tuple[str, ...], classes: int, seed: int) -> Rows:
    """The rows without those whose label looks wrong; classes with fewer rows than folds are not judged."""
    judged = np.flatnonzero(np.bincount(rows.labels, minlength=classes)[rows.labels] >= FOLDS)
    vectors = Embedder(sources.find(ENCODER), MAX_LENGTH).embed([texts[row] for row in judged])
    groups = np.unique([text_key(texts[row]) for row in judged], return_inverse=True)[1]
    found = out_of_fold(vectors, rows.labels[judged], groups, classes, seed)
    assert found is not None  # there is no deadline, and each set has two classes
    left = np.setdiff1d(np.arange(len(texts)), judged[confident_learning(rows.labels[judged], found).rows])
    return Rows([rows.states[row] for row in left], rows.labels[left])


def _drawn(case: Case, seed: int) -> tuple[Split, Split]:
    """Training rows of a seed, and validation rows that are none of them."""
    train_rows = load_once(case.name).train
    order = stratified_order(train_rows.labels, seed)
    return train_rows.take(order[: case.rows]), train_rows.take(order[case.rows : case.rows + VALIDATION_ROWS])


def _unlabelled(case: Case, seed: int) -> tuple[str, ...]:
    """Texts of rows that are neither, drawn by the classes' shares."""
    train_rows = load_once(case.name).train
    others = stratified_order(train_rows.labels, seed)[case.rows + VALIDATION_ROWS :]
    return train_rows.take(others[: UNLABELLED * case.rows]).texts


@cache
def _tested(case: Case) -> Split:
    return part_of(load_once(case.name).tests["test"], TEST_ROWS, 0)


def _classes(case: Case) -> int:
    return len(load_once(case.name).labels)


load_once = cache(load)


@cache
def _halves() -> Halves:
    return Halves(ENCODER, MAX_LENGTH)


@lru_cache(maxsize=12)
def _states(texts: tuple[str, ...]) -> States:
    return _halves().states(texts)


def tuning_lines(kept: Kept) -> Iterator[str]:
    """The accuracy on validation rows by which rates are chosen, of the first seed."""
    tried = sorted({*RATES, *BEYOND.values()})
    shown = []
    for case, name in product(CASES, METHODS):
        found = [kept.get(case, name, rate, 0) for rate in tried]
        if any(found):
            shown.append((case.name, name, *("" if each is None else f"{each.valid:.3f}" for each in found)))
    yield table(("set", "method", *(f"{rate:g}" for rate in tried)), shown, numbers=range(2, 2 + len(tried)))


def lines(kept: Kept) -> Iterator[str]:
    """The table: accuracy on test rows against that of LoRA, in points; each set weighs as many pairs as it has."""
    shown = []
    for name, other in AGAINST.items():
        pairs = _pairs(kept, name, other)
        gains = {each: [100 * (one.accuracy - two.accuracy) for one, two in own] for each, own in pairs.items()}
        every = [gain for own in gains.values() for gain in own]
        interval = mean_interval(every) if every else None
        within = "" if interval is None else f"{interval[0]:+.1f} … {interval[1]:+.1f}"
        of_sets = [f"{fmean(own):+.1f}" if own else "" for own in gains.values()]
        rate, effect = rate_of(kept, name), f"{fmean(every):+.2f}" if every else ""
        figures = f"{rate:g}" if rate else "", effect, within, str(len(every)), *of_sets
        times_steps = [one.steps / two.steps for own in pairs.values() for one, two in own]
        costs = (
            f"{fmean(times_steps):.2f}" if times_steps else "",
            f"{kept.times[name]:.2f}" if name in kept.times else "",
        )
        shown.append((name, other, *figures, *costs, verdict(gains, interval)))
    sets = [case.name for case in CASES]
    head = "method", "against", "rate", "points", "95 %", "pairs", *sets, "steps", "time of a step", "verdict"
    yield table(head, shown, numbers=range(2, 8 + len(sets)))


def _pairs(kept: Kept, name: str, other: str) -> dict[str, list[tuple[Training, Training]]]:
    """Trainings of both on the same rows, by set."""
    pairs: dict[str, list[tuple[Training, Training]]] = {case.name: [] for case in CASES}
    rates = [rate_of(kept, each) for each in (name, other)]
    for case in CASES:
        for seed in range(SEEDS):
            pair = [kept.get(case, each, rate or 0.0, seed) for each, rate in zip((name, other), rates, strict=True)]
            if pair[0] is not None and pair[1] is not None:
                pairs[case.name].append((pair[0], pair[1]))
    return pairs


def verdict(gains: Mapping[str, list[float]], interval: tuple[float, float] | None) -> str:
    """Better or worse where the interval says so and every set agrees; an interval needs two pairs."""
    pairs, means = sum(map(len, gains.values())), [fmean(own) if own else 0.0 for own in gains.values()]
    if interval is not None and interval[0] > 0 and min(means) > 0:
        return "better"
    if interval is not None and interval[1] < 0 and max(means) < 0:
        return "worse"
    return f"not distinguishable with {pairs} pairs" if pairs else "not measured yet"


if __name__ == "__main__":
    main()
