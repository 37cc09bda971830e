"""Whether the winner's confidence can be believed, and the temperature that mends it where it can't.

Of the change of the calibration error no interval is given: the error of few rows is biased upwards, the more so the
better calibrated a model is (Kumar, Liang and Ma, "Verified uncertainty calibration", NeurIPS 2019), and that of rows
drawn anew still more, so that a bootstrap's interval misses the truth. The log loss is a mean, without a bias, and
carries the verdict. But few wrong rows carry all that a higher temperature gains: drawn anew, no sample has one more
than were seen, so that below `LEAST_DISCORDANT` there is no interval, and no verdict.

A temperature that predictions are not divided by (`calibration.Temperature.is_needed`) is not recommended either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from loraloom.calibration import (
    Bin,
    Flags,
    Temperature,
    at_temperature,
    calibration_test,
    confidence_of,
    fit_temperature,
    reliability,
)
from loraloom.intervals import LEAST_DISCORDANT, Floats, Interval, wilson_interval
from loraloom.metrics import calibration_errors, row_losses
from loraloom.report.failures.kept import Judged
from loraloom.report.points import points, points_span, signed
from loraloom.report.wording import LEVEL, p_value
from loraloom.wording import plural

_USED = "`loraloom predict` divides by it, unless it is given `--no_temperature`."
DRAWS = 2_000
PORTION = 2_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, and the 95 % interval of what it changed by; None where too few rows are wrong."""

    before: float
    after: float
    interval: Interval | None

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def is_certain(self) -> bool:
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True, slots=True)
class Mended:
    """What dividing the logits by the temperature that validation rows show to be needed does to the test rows.

    `error` is the calibration error with it.
    """

    temperature: Temperature
    loss: Change
    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """`error` is the expected calibration error, `ceiling` what 95 % of well-calibrated models stay below."""

    rows: int
    bins: tuple[Bin, ...]
    error: float
    ceiling: float
    mended: Mended | None
    verdict: str
    remedy: str

    @property
    def told_apart(self) -> tuple[str, str]:
        """The error and the ceiling, with as many digits as tell which is larger."""
        return _told_apart(self.error, self.ceiling)


def calibrated(judged: Judged, validation: Judged | None) -> Calibrated:
    """The calibration on `judged`; the temperature is fitted on `validation`, and judged where these are other rows."""
    right, sure = judged.right, confidence_of(judged.probabilities)
    generator = np.random.default_rng(0)
    p, ceiling = calibration_test(right, sure, generator)
    error = float(calibration_errors(right, sure)[0])
    fitted = mended = None
    if judged.split == "test" and validation is not None:
        fitted = fit_temperature(validation.labels, validation.probabilities)
        mended = _mended(judged, fitted, generator) if fitted.is_needed else None
    return Calibrated(
        rows=int(right.size),
        bins=reliability(right, sure),
        error=error,
        ceiling=ceiling,
        mended=mended,
        verdict=_verdict(p, error, ceiling, *confidence_gap(right, sure)),
        remedy=_remedy(judged, fitted, mended),
    )


def confidence_gap(right: Flags, sure: Floats) -> tuple[float, Interval]:
    """Mean confidence (N,) less accuracy, with its 95 % interval: confidences are known, what chance moves is accuracy.

    Wilson's of that. Where rows' chances to be right are unlike it holds the truth at least as often (Hoeffding, "On
    the distribution of the number of successes in independent trials", Annals of Mathematical Statistics 27 (1956),
    713-721). Rejected: Student's t of the rows' differences, which is too short where few rows are wrong, and has next
    to no length where none is (docs/statistics.md).
    """
    hits, rows, mean = int(right.sum()), int(right.size), float(sure.mean())
    low, high = wilson_interval(hits, rows)
    return mean - hits / rows, (mean - high, mean - low)


def as_used(judged: Judged, found: Calibrated) -> Judged:
    """With the probabilities that `loraloom predict` gives, by which people set a threshold."""
    if found.mended is None:
        return judged
    return replace(judged, probabilities=at_temperature(judged.probabilities, found.mended.temperature.value))


def _mended(judged: Judged, temperature: Temperature, generator: np.random.Generator) -> Mended:
    after = at_temperature(judged.probabilities, temperature.value)
    right, sure = judged.right, confidence_of(after)
    losses = row_losses(judged.labels, judged.probabilities), row_losses(judged.labels, after)
    loss = float(losses[0].mean()), float(losses[1].mean())
    enough = np.count_nonzero(~right) >= LEAST_DISCORDANT
    return Mended(
        temperature=temperature,
        loss=Change(*loss, loss_interval(losses[1] - losses[0], generator) if enough else None),
        error=float(calibration_errors(right, sure)[0]),
        bins=reliability(right, sure),
    )


def loss_interval(differences: Floats, generator: np.random.Generator) -> Interval:
    """The bootstrap's 95 % interval of the mean of paired differences (N,), rows drawn anew.

    Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979), 1-26; percentiles, as
    scipy has it. BCa, which is better for few rows, takes memory by the square of the rows.
    """
    if differences.size < 2 or np.ptp(differences) == 0:
        return float(differences.mean()), float(differences.mean())
    batch = max(1, PORTION // differences.size)
    found = stats.bootstrap(
        (differences,), np.mean, n_resamples=DRAWS, batch=batch, method="percentile", rng=generator
    ).confidence_interval
    return float(found.low), float(found.high)


def _told_apart(error: float, ceiling: float) -> tuple[str, str]:
    places = next((places for places in (3, 4) if round(error, places) != round(ceiling, places)), 5)
    return f"{error:.{places}f}", f"{ceiling:.{places}f}"


def _verdict(p: float, error: float, ceiling: float, gap: float, interval: Interval) -> str:
    of_winner, of_others = _told_apart(error, ceiling)
    seen = f"the calibration error is {of_winner}"
    stay = f"95 % of well-calibrated models stay below {of_others} on as many rows ({p_value(p)})"
    if p > LEVEL:
        return f"The winner's confidence is not shown to be wrong: {seen}, and {stay}."
    if interval[0] > 0:
        how = "The winner is too sure of itself"
    elif interval[1] < 0:
        how = "The winner is not sure enough"
    else:  # which says little of its parts: they may be wrong both ways, or one way that so few rows don't show
        how = "The winner's confidence is wrong, though on average not shown to be too high or too low"
    return (
        f"{how}: {seen}, where {stay}; confidence less accuracy is {points(gap, interval)} on average "
        f"({points_span(interval)})."
    )


def _remedy(judged: Judged, fitted: Temperature | None, mended: Mended | None) -> str:
    if fitted is None:
        return (
            "The temperature that would mend it is judged on test rows, which are read when the search has ended."
            if judged.split != "test"
            else "The winner's validation predictions were not kept, so the temperature that would mend it is not "
            "known; a search by this version keeps them."
        )
    places = _places(*(end - 1 for end in fitted.interval), least=2) if fitted.is_needed else 2
    value, low, high = (f"{each:.{places}f}" for each in (fitted.value, *fitted.interval))
    found = (
        f"Fitted on {plural(fitted.rows, 'validation row')}, the temperature is {value} (95 % interval {low} … {high})"
    )
    if mended is None:
        return f"{found}: it is not shown to differ from 1, which changes nothing. `loraloom predict` uses none."
    loss = mended.loss
    places = _places(loss.difference, *(loss.interval or ()))
    difference, *ends = (signed(each, places) for each in (loss.difference, *(loss.interval or ())))
    change = f"on test it changes the loss from {loss.before:.3f} to {loss.after:.3f} (by {difference}"
    if loss.interval is None:
        return f"{found}; {change}): too few test rows are wrong to judge it. Predictions stay the same. {_USED}"
    change += f", 95 % interval {' … '.join(ends)})"
    if not loss.is_certain:
        return f"{found}; {change}: no gain is shown. Predictions stay the same. {_USED}"
    if loss.difference < 0:
        return (
            f"{found}; {change}: divide the logits by it where probabilities matter, as `loraloom predict` does. "
            "Predictions stay the same."
        )
    return f"{found}; {change}: it does harm there, so leave the probabilities as they are. {_USED}"


def _places(*values: float, least: int = 3) -> int:
    """Decimals by which none of them looks like zero that is not; five at most."""
    return next((places for places in range(least, 5) if all(round(each, places) for each in values if each)), 5)
