"""From trials to verdicts: each contrast with its effect, interval and corrected p, each claim with an answer.

Effects are differences of shares, paired by seed and by row. All contrasts of all encoders are one family (Holm). A
difference is said to be there where its corrected p is below 0.05; to be none where the interval lies within half a
point on either side of 0; and else nothing is said to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loraloom.report.points import points, size, spread
from loraloom.report.similarity.findings import holm
from study import agnews
from study.claims.crossed import Estimate, crossed, of_seeds_alone
from study.claims.design import Claim, Contrast, Design, Expected
from study.outcomes import Kept, Trained
from study.trials import Trial

LEVEL = 0.05
MARGIN = 0.005
"""Half a point: a smaller difference is none that one would train again for."""

Verdict = Literal["higher", "lower", "equal", "undecided"]
Answer = Literal["holds", "does not hold", "undecided", "not claimed"]


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
    """A level as it was trained: means over seeds, and each seed's accuracy."""

    name: str
    key: str
    accuracy: float
    accuracies: tuple[float, ...]
    gap: float
    trainable: int
    head: int
    seconds: float
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
    """The claims of one encoder that have a level with all its seeds; p-values are not corrected yet."""
    found = [_claim(design, claim, kept) for claim in design.table.claims]
    return tuple(claim for claim in found if claim.levels)


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


def answer_to(said: Expected | None, verdict: Verdict) -> Answer:
    """Whether what was said holds, by the verdict."""
    if said is None:
        return "not claimed"
    if verdict == "undecided":
        return "undecided"
    return "holds" if verdict == {"none": "equal"}.get(said, said) else "does not hold"


def _judged(one: Judged, p: float) -> Judged:
    verdict = verdict_on(one.estimate, p)
    return replace(one, p=p, verdict=verdict, answer=answer_to(one.said, verdict))


def _claim(design: Design, claim: Claim, kept: Kept) -> ClaimFound:
    def accuracy(trial: Trial) -> float | None:
        trained = kept.get(trial.key, trial.seed)
        return None if trained is None else trained.accuracy

    trained: dict[str, list[Trained]] = {}
    levels: list[LevelFound] = []
    missing: list[str] = []
    for level in claim.points:
        own: list[Trained] = []
        rate: float | None = None
        for seed in design.table.seeds:
            trial = design.compared(claim, level, seed, accuracy)
            one = None if trial is None else kept.get(trial.key, seed)
            if trial is not None:
                rate = trial.configuration.train.learning_rate
            if one is None or one.accuracy is None:
                missing.append(f"{level}, seed {seed}: {'not trained' if one is None else one.reason}")
            else:
                own.append(one)
        if rate is not None and len(own) == len(design.table.seeds):
            trained[level] = own
            levels.append(_level(level, own, rate))
    contrasts = tuple(
        _contrast(one, trained, kept.labels, list(kept.header["classes"]))
        for one in claim.contrasts
        if {str(level) for level in (*one.of, *one.to)} <= trained.keys()
    )
    return ClaimFound(claim.name, claim.title, claim.said, claim.note, tuple(levels), contrasts, tuple(missing))


def _level(name: str, trained: Sequence[Trained], rate: float) -> LevelFound:
    accuracies = [_known(one.accuracy) for one in trained]
    gaps = [_known(one.train_accuracy) - _known(one.accuracy) for one in trained]
    curve = np.mean([one.curve for one in trained], axis=0)
    return LevelFound(
        name=name,
        key=trained[0].key,
        accuracy=float(np.mean(accuracies)),
        accuracies=tuple(accuracies),
        gap=float(np.mean(gaps)),
        trainable=trained[0].trainable,
        head=trained[0].head,
        seconds=float(np.mean([one.seconds for one in trained])),
        rate=rate,
        curve=tuple((float(epoch), float(train), float(validation)) for epoch, train, validation in curve),
    )


def _contrast(
    contrast: Contrast, trained: dict[str, list[Trained]], labels: NDArray[np.int64], classes: list[str]
) -> Judged:
    of, to = (tuple(str(level) for level in side) for side in (contrast.of, contrast.to))
    if contrast.measure == "gap":
        sides = [np.mean([[_gap(one) for one in trained[level]] for level in side], axis=0) for side in (of, to)]
        estimate = of_seeds_alone(sides[0] - sides[1])
    else:
        rows = np.arange(len(labels))
        if contrast.measure == "rarest":
            rows = np.flatnonzero(labels == classes.index(agnews.RAREST))
        tables = [
            np.mean([[one.right(len(labels))[rows] for one in trained[level]] for level in side], axis=0)
            for side in (of, to)
        ]
        estimate = crossed(tables[0].astype(np.float64) - tables[1])
    pairs = max(len(of), len(to)) * len(trained[of[0]])
    verdict = verdict_on(estimate, estimate.p)
    answer = answer_to(contrast.said, verdict)
    return Judged(contrast.name, contrast.measure, of, to, estimate, pairs, estimate.p, verdict, contrast.said, answer)


def _gap(trained: Trained) -> float:
    return _known(trained.train_accuracy) - _known(trained.accuracy)


def _known(value: float | None) -> float:
    assert value is not None  # a trial that has an accuracy has them all
    return value
