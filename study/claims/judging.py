"""From trials to verdicts: each contrast with its effect, interval and corrected p, each claim with an answer.

Effects are differences of shares, paired by seed and by row; how much seeds vary is learnt from all contrasts of an
encoder. All contrasts of all encoders are one family (Holm). A
difference is said to be there where its corrected p is below 0.05; to be none where the interval lies within half a
point on either side of 0; and else nothing is said to be known. A claim of more than one or the other is answered too
where the interval leaves out half a point of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loraloom.intervals import Interval, holm
from loraloom.report.effects.analysis import MARGIN
from loraloom.report.gap import gaps
from loraloom.report.points import points, size, spread
from loraloom.report.wording import LEVEL
from study import agnews
from study.claims.crossed import Estimate, crossed, mean_squares, of_seeds_alone
from study.claims.design import Claim, Contrast, Design, Expected
from study.claims.moderated import NO_PRIOR, Prior, prior_of
from study.outcomes import Kept, Trained
from study.trials import Trial

Verdict = Literal["higher", "lower", "equal", "undecided"]
Answer = Literal["holds", "does not hold", "undecided", "not claimed"]
_Seeds = dict[int, Trained]
"""The trials of one level, by their seed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A contrast: `p` is corrected; `pairs` are differences of two trials, over levels and seeds."""

    name: str
    measure: str
    of: tuple[str, ...]
    to: tuple[str, ...]
    estimate: Estimate
    pairs: int
    p: float
    verdict: Verdict
    said: Expected | None
    answer: Answer

    @property
    def sentence(self) -> str:
        """The verdict in words, with its figures."""
        found, interval = self.estimate.mean, self.estimate.interval
        words = {
            "higher": f"{size(found, interval)} higher",
            "lower": f"{size(found, interval)} lower",
            "equal": f"no difference beyond {100 * MARGIN:g} pp",
            "undecided": "undecided",
        }[self.verdict]
        return f"{self.name}: {words} ({points(found, interval)}, {spread(interval)}, {self.pairs} pairs)"


@dataclass(frozen=True, slots=True)
class LevelFound:
    """A level as it was trained: means over seeds (of seconds `Kept.seconds`), and each seed's accuracy.

    Seconds are `disturbed` where those of a seed are. The `gap` at the end is None where it is not known of a seed.
    """

    name: str
    key: str
    accuracy: float
    accuracies: tuple[float, ...]
    gap: float | None
    trainable: int
    head: int
    seconds: float
    disturbed: bool
    rate: float
    curve: tuple[tuple[float, float, float], ...]
    """Means over seeds of epoch, training accuracy and validation accuracy, at each evaluation."""


@dataclass(frozen=True, slots=True)
class ClaimFound:
    """A claim with what became of it; `missing` are trials that were not trained, or failed, in words."""

    name: str
    title: str
    said: str
    note: str
    levels: tuple[LevelFound, ...]
    contrasts: tuple[Judged, ...]
    missing: tuple[str, ...]

    @property
    def best(self) -> LevelFound:
        """The level with the highest mean accuracy on the rows that were compared; of equals the first."""
        return max(self.levels, key=lambda level: level.accuracy)


def judge(design: Design, kept: Kept) -> tuple[ClaimFound, ...]:
    """The claims of one encoder of which something can be compared; p-values are not corrected yet."""
    trained = [_trained(design, claim, kept) for claim in design.table.claims]
    prior = _prior([one for claim in trained for one in claim.compared])
    return tuple(_found(claim, prior) for claim in trained if claim.compared)


def corrected(encoders: Sequence[tuple[ClaimFound, ...]]) -> tuple[tuple[ClaimFound, ...], ...]:
    """The claims of all encoders with p-values that are corrected for their number, and verdicts by these."""
    values = iter(holm([one.estimate.p for claims in encoders for claim in claims for one in claim.contrasts]))

    def judged(claim: ClaimFound) -> ClaimFound:
        return replace(claim, contrasts=tuple(_judged(one, next(values)) for one in claim.contrasts))

    return tuple(tuple(judged(claim) for claim in claims) for claims in encoders)


def verdict_on(estimate: Estimate, p: float) -> Verdict:
    """`p` is corrected."""
    low, high = estimate.interval
    if p < LEVEL:
        return "higher" if estimate.mean > 0 else "lower"
    return "equal" if low >= -MARGIN and high <= MARGIN else "undecided"


def answer_to(said: Expected | None, verdict: Verdict, interval: Interval) -> Answer:
    """Whether what was said holds, by the verdict, or since the interval leaves out half a point more, or less."""
    if said is None:
        return "not claimed"
    low, high = interval
    if said == "not higher":
        holds, fails = verdict == "lower" or high <= MARGIN, verdict == "higher"
    else:
        no_more = (said == "higher" and high <= MARGIN) or (said == "lower" and low >= -MARGIN)
        holds, fails = verdict == said, verdict != "undecided" or no_more
    return "holds" if holds else "does not hold" if fails else "undecided"


def _judged(one: Judged, p: float) -> Judged:
    verdict = verdict_on(one.estimate, p)
    return replace(one, p=p, verdict=verdict, answer=answer_to(one.said, verdict, one.estimate.interval))


@dataclass(frozen=True, slots=True)
class _Compared:
    """A contrast's differences: (S, N) of S seeds on N rows, or (S,) where each seed has one figure.

    `weights` are what each configuration, by its key, has in them.
    """

    contrast: Contrast
    weights: Mapping[str, float]
    differences: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A claim with what was trained for it."""

    claim: Claim
    levels: tuple[LevelFound, ...]
    compared: tuple[_Compared, ...]
    missing: tuple[str, ...]


def _trained(design: Design, claim: Claim, kept: Kept) -> _Claim:
    def accuracy(trial: Trial) -> float | None:
        return kept.accuracy(trial.key, trial.seed)

    trained: dict[str, _Seeds] = {}
    levels: list[LevelFound] = []
    missing: list[str] = []
    for level in claim.points:
        own: _Seeds = {}
        rate: float | None = None
        for seed in design.table.all_seeds:
            trial = design.compared(claim, level, seed, accuracy)
            one = None if trial is None else kept.get(trial.key, seed)
            if trial is not None:
                rate = trial.configuration.train.learning_rate
            if one is not None and one.accuracy is not None:
                own[seed] = one
            elif seed in design.table.seeds:
                missing.append(f"{level}, seed {seed}: {'not trained' if one is None else one.reason}")
        if rate is not None and own.keys() >= set(design.table.seeds):
            trained[level] = own
            levels.append(_level(level, list(own.values()), rate, kept))
    compared: list[_Compared] = []
    for contrast in claim.contrasts:
        if {str(level) for level in (*contrast.of, *contrast.to)} <= trained.keys():
            found = _compare(contrast, trained, kept.labels, list(kept.header["classes"]))
            if contrast.measure == "gap" and len(found.differences) < 2:
                missing.append(f"{contrast.name}: the gap is known of fewer than two seeds")
            else:
                compared.append(found)
    return _Claim(claim, tuple(levels), tuple(compared), tuple(missing))


def _level(name: str, trained: Sequence[Trained], rate: float, kept: Kept) -> LevelFound:
    accuracies = [_known(one.accuracy) for one in trained]
    known = [found for one in trained if (found := _gap(one)) is not None]
    curve = np.mean([one.curve for one in trained], axis=0)
    return LevelFound(
        name=name,
        key=trained[0].key,
        accuracy=float(np.mean(accuracies)),
        accuracies=tuple(accuracies),
        gap=float(np.mean(known)) if len(known) == len(trained) else None,
        trainable=trained[0].trainable,
        head=trained[0].head,
        seconds=kept.seconds(trained),
        disturbed=any(one.is_disturbed for one in trained),
        rate=rate,
        curve=tuple((float(epoch), float(train), float(validation)) for epoch, train, validation in curve),
    )


def _compare(
    contrast: Contrast, trained: Mapping[str, _Seeds], labels: NDArray[np.int64], classes: list[str]
) -> _Compared:
    """The differences of a contrast, by the seeds that all its levels have, and whose gap is known where it is that."""
    levels = [trained[str(level)] for level in (*contrast.of, *contrast.to)]
    if contrast.measure == "gap":
        levels = [{seed: one for seed, one in level.items() if _gap(one) is not None} for level in levels]
    seeds = sorted(set.intersection(*(set(level) for level in levels)))
    rows = np.arange(len(labels))
    if contrast.measure == "rarest":
        rows = np.flatnonzero(labels == classes.index(agnews.RAREST))

    def measured(one: Trained) -> Any:
        return _gap(one) if contrast.measure == "gap" else one.right(len(labels))[rows].astype(np.float64)

    def side(names: Sequence[Any]) -> NDArray[np.float64]:
        by_level = [np.array([measured(trained[str(name)][seed]) for seed in seeds]) for name in names]
        return np.asarray(np.mean(by_level, axis=0), dtype=np.float64)

    return _Compared(contrast, _weights(contrast, trained), side(contrast.of) - side(contrast.to))


def _weights(contrast: Contrast, trained: Mapping[str, _Seeds]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for names, sign in ((contrast.of, 1), (contrast.to, -1)):
        for name in names:
            key = next(iter(trained[str(name)].values())).key
            weights[key] = weights.get(key, 0.0) + sign / len(names)
    return weights


def _prior(compared: Sequence[_Compared]) -> Prior:
    """What the contrasts of accuracy on all rows have in common in how they vary over seeds."""
    own = [one for one in compared if one.contrast.measure == "accuracy"]
    tables, keys = [one.differences for one in own], sorted({key for one in own for key in one.weights})
    weights = np.array([[one.weights.get(key, 0.0) for key in keys] for one in own])
    return prior_of([mean_squares(table).seeds for table in tables], [len(table) - 1 for table in tables], weights)


def _found(own: _Claim, prior: Prior) -> ClaimFound:
    claim = own.claim
    contrasts = tuple(_judge(one, prior) for one in own.compared)
    return ClaimFound(claim.name, claim.title, claim.said, claim.note, own.levels, contrasts, own.missing)


def _judge(one: _Compared, prior: Prior) -> Judged:
    contrast, differences = one.contrast, one.differences
    if contrast.measure == "gap":
        estimate = of_seeds_alone(differences)
    else:
        estimate = crossed(differences, prior if contrast.measure == "accuracy" else NO_PRIOR)
    of, to = (tuple(str(level) for level in side) for side in (contrast.of, contrast.to))
    verdict = verdict_on(estimate, estimate.p)
    answer = answer_to(contrast.said, verdict, estimate.interval)
    pairs = max(len(of), len(to)) * len(differences)
    return Judged(contrast.name, contrast.measure, of, to, estimate, pairs, estimate.p, verdict, contrast.said, answer)


def _gap(trained: Trained) -> float | None:
    """The gap at the last evaluation, or None where it is not known."""
    known = gaps(trained.curve[-2:])
    return known[0][1] if known else None


def _known(value: float | None) -> float:
    assert value is not None  # a trial that has an accuracy has them all
    return value
