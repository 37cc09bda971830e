"""What can be left to people: accuracy on the rows that the winner is surest of, and thresholds for an accuracy.

The curve of risk and coverage is that of Geifman and El-Yaniv, "Selective classification for deep neural networks",
NeurIPS 2017, section 2; its area is in `calibration.coverage_curve`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loraloom.calibration import (
    Coverage,
    confidence_of,
    coverage_curve,
    drawn_areas,
    least_area,
    threshold_for,
)
from loraloom.intervals import LEAST_DISCORDANT, Floats, Interval, wilson_interval
from loraloom.report.failures.kept import Judged
from loraloom.wording import percent, plural

TARGETS = (0.95, 0.98, 0.99, 0.995)
DRAWS = 500
MOST_DRAWN = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """Rows whose confidence is `threshold` or more, which were right in `wanted` or more of such validation rows.

    `right_of_chosen` of these, which were `chosen_on`, were right, and the threshold has no more digits than tell them
    from the others. On the test rows: the share that is answered, and the accuracy of those, each with Wilson's
    interval; the accuracy is None where none is.
    """

    wanted: float
    threshold: float
    chosen_on: int
    right_of_chosen: int
    coverage: float
    coverage_interval: Interval
    accuracy: float | None
    accuracy_interval: Interval | None

    @property
    def from_confidence(self) -> str:
        """The threshold as it is, with three digits or more."""
        return np.format_float_positional(self.threshold, min_digits=3)


@dataclass(frozen=True, slots=True)
class Selective:
    """`area_interval` is of the curve's area, None where too few rows are wrong for one.

    `least` is the area of a model that is least sure just where it errs.
    """

    curve: Coverage
    area_interval: Interval | None
    least: float
    targets: tuple[Target, ...]
    verdict: str


def selective(judged: Judged, validation: Judged | None) -> Selective:
    """The curve on `judged`; thresholds are chosen on `validation`, so that their promise is tried on other rows.

    Both have the probabilities that answers are given with: divided by the temperature, where one is needed.
    """
    right, sure = judged.right, confidence_of(judged.probabilities)
    targets: tuple[Target, ...] = ()
    if judged.split == "test" and validation is not None:
        targets = tuple(_targets(judged, validation))
    return Selective(
        curve=coverage_curve(right, sure),
        area_interval=_area_interval(judged),
        least=least_area(right),
        targets=targets,
        verdict=_verdict(judged, validation, targets),
    )


def _targets(judged: Judged, validation: Judged) -> list[Target]:
    found = []
    sure, chosen_on = confidence_of(judged.probabilities), confidence_of(validation.probabilities)
    for wanted in TARGETS:
        threshold = threshold_for(validation.right, chosen_on, wanted)
        if threshold is None or wanted <= float(validation.right.mean()):
            continue  # out of reach, or reached by answering all
        threshold = _short(threshold, chosen_on)
        answered, chosen = sure >= threshold, chosen_on >= threshold
        rows, hits = int(answered.sum()), int(judged.right[answered].sum())
        found.append(
            Target(
                wanted=wanted,
                threshold=threshold,
                chosen_on=int(np.count_nonzero(chosen)),
                right_of_chosen=int(np.count_nonzero(validation.right[chosen])),
                coverage=rows / sure.size,
                coverage_interval=wilson_interval(rows, int(sure.size)),
                accuracy=hits / rows if rows else None,
                accuracy_interval=wilson_interval(hits, rows) if rows else None,
            )
        )
    return found


def _short(threshold: float, confidence: Floats) -> float:
    """The threshold rounded down to as few digits as answer the same rows, three or more: people copy it."""
    rounded = (math.floor(threshold * 10**digits) / 10**digits for digits in range(3, 16))
    answered = confidence >= threshold
    return next((short for short in rounded if ((confidence >= short) == answered).all()), threshold)


def _area_interval(judged: Judged) -> Interval | None:
    """The bootstrap's 95 % percentiles of the area; of more rows than 20,000, those of a part as large.

    None where fewer than `LEAST_DISCORDANT` rows are wrong: drawn again, too few errors are as few as they were.
    Efron and Tibshirani, "An introduction to the bootstrap" (1993), equation 13.5.
    """
    right, sure = judged.right, confidence_of(judged.probabilities)
    if np.count_nonzero(~right) < LEAST_DISCORDANT:
        return None
    generator = np.random.default_rng(0)
    rows = min(right.size, MOST_DRAWN)
    low, high = np.quantile(drawn_areas(right, sure, generator, DRAWS, rows), (0.025, 0.975))
    return float(low), float(high)


def _verdict(judged: Judged, validation: Judged | None, targets: tuple[Target, ...]) -> str:
    if judged.split != "test":
        return "Thresholds are chosen on validation and tried on test rows, which are read when the search has ended."
    if validation is None:
        return (
            "Nor can a confidence be named from which on it may be trusted: such a threshold is chosen on validation, "
            "and tried on test."
        )
    if not targets:
        whole = float(validation.right.mean())
        if whole < TARGETS[-1]:
            least = next(wanted for wanted in TARGETS if wanted > whole)
            return (
                f"Answering every row, the winner is right in {percent(whole)} of the validation rows; to leave out "
                f"those that it is least sure of does not bring that to {100 * least:g} %."
            )
        more = (
            "no threshold adds to that"
            if whole == 1
            else f"no less than each accuracy that thresholds are sought for ({100 * TARGETS[-1]:g} % at most)"
        )
        return f"Answering every row, the winner is right in {percent(whole)} of the validation rows: {more}."
    best = next((each for each in targets if each.wanted == 0.99), targets[-1])
    right, chosen = best.right_of_chosen, wilson_interval(best.right_of_chosen, best.chosen_on)
    said = (
        f"A threshold for {100 * best.wanted:g} %: of the {plural(best.chosen_on, 'validation row')} of which loraloom "
        f"predict is {best.from_confidence} sure or more, {right:,} {'is' if right == 1 else 'are'} right "
        f"(95 % interval {percent(chosen[0])} to {percent(chosen[1])}); on test these are {percent(best.coverage)} of "
        f"the rows ({percent(best.coverage_interval[0])} to {percent(best.coverage_interval[1])})"
    )
    if best.accuracy is None or best.accuracy_interval is None:
        return f"{said}."
    low, high = best.accuracy_interval
    return f"{said}, of which {percent(best.accuracy)} are right (95 % interval {percent(low)} to {percent(high)})."
