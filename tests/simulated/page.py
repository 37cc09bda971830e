"""Makes docs/statistics.md: `python -m tests.simulated.page`. No number on that page is typed by hand."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from loraloom.intervals import LEAST_DISCORDANT
from loraloom.machine import read_machine
from loraloom.report.points import points
from loraloom.wording import plural
from tests.simulated.simulations import (
    LITTLE,
    MUON,
    NULLS,
    PLANTED,
    VIEWS,
    Recovered,
    area_coverage,
    as_wide,
    confidence_gap_coverage,
    false_findings,
    gap_findings,
    interval_coverage,
    mcnemar_level,
    muon_wide,
    paired_coverage,
    power_as_advised,
    promoting,
    recovered,
    seeds_coverage,
    wilson_coverage,
    with_little,
)
from tests.simulated.studies import nothing

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
ROWS = (25, 50, 100, 222, 445, 1000, 2000, 7600)
ACCURACIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99)
PAIRED = (
    (100, 0.5, 0.0, 0.3), (100, 0.7, 0.05, 0.25), (222, 0.8, 0.0, 0.15), (222, 0.9, 0.02, 0.1), (445, 0.5, 0.0, 0.4),
    (445, 0.9, 0.01, 0.08), (445, 0.95, 0.0, 0.05), (445, 0.97, 0.01, 0.04), (1000, 0.9, 0.005, 0.06),
    (1000, 0.97, 0.0, 0.03), (1000, 0.98, 0.005, 0.025), (2000, 0.97, 0.002, 0.02), (2000, 0.99, 0.0, 0.01),
    (7600, 0.94, 0.002, 0.03), (7600, 0.99, 0.001, 0.01),
)  # fmt: skip
"""Rows, the worse one's accuracy, the difference, and the share of rows on which one alone is right."""
OTHER_INTERVALS = {"Jeffreys'": "jeffreys", "Agresti and Coull's": "agresti_coull", "Clopper and Pearson's": "beta"}
"""By statsmodels' names."""
SPREADS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
INTRODUCTION = """\
# Statistics: how often they are right

<!-- Made by `python -m tests.simulated.page`; its text is in tests/simulated/page.py. Don't edit it here. -->

What a report says of noise is tested where the truth is known: studies are made up, with effects planted or none, and
the report's own functions are asked. `make simulations` repeats all of it and writes this page anew; the tests do the
same with fewer studies. Shares have 95 % intervals in brackets.

Made {date} with {studies} studies for each line by `python -m tests.simulated.page --studies {studies}`, {machine},
Python {python}, in {minutes} minutes.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulated.page", description=__doc__)
    parser.add_argument("--studies", type=int, default=500, help="studies for each line (500)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (docs/statistics.md)")
    given = parser.parse_args()
    began = time.monotonic()
    lines = []
    for line in _sections(given.studies):
        print(line, flush=True)
        lines.append(line)
    opening = INTRODUCTION.format(
        date=datetime.now(UTC).date().isoformat(),
        studies=given.studies,
        machine=f"one core of {read_machine().cpu}",
        python=platform.python_version(),
        minutes=f"{(time.monotonic() - began) / 60:.0f}",
    )
    given.out.write_text("\n".join([opening, *lines, ""]), encoding="utf-8")


def _sections(studies: int) -> Iterator[str]:
    yield from _nulls(studies)
    yield from _planted(studies)
    yield from _promoted(studies)
    yield from _power(studies)
    yield from _gaps(studies)
    yield from _wilson()
    yield from _paired(20 * studies)
    yield from _mcnemar(20 * studies)
    yield from _area(studies)
    yield from _confidence_gap(4 * studies)
    yield from _seeds(20 * studies)


def _table(head: Sequence[str]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---", *["---:"] * (len(head) - 1)])


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _nulls(studies: int) -> Iterator[str]:
    yield "## False findings\n"
    yield "Studies in which no axis does anything, and in which the page would still say so of one: a verdict"
    yield "of an effect (all axes together), a heat map of an interaction, or either. It must be under 5 %.\n"
    yield from _table(("the study", "an effect", "an interaction", "either"))
    for name, make in NULLS.items():
        shares = false_findings(make, studies)
        yield _row([name, *shares.values()])
    yield ""


def _planted(studies: int) -> Iterator[str]:
    yield "## Planted effects\n"
    yield f"Muon adds {100 * MUON:g} percentage points, nothing else does anything. Bias is the mean estimate"
    yield "less the truth, with its standard error; intervals are simultaneous, so that they hold each truth"
    yield "more often than in 95 %.\n"
    yield from _recovered_head()
    for name, make in PLANTED.items():
        yield _recovered(name, recovered(make, MUON, studies))
    yield ""


def _recovered_head() -> Iterator[str]:
    return _table(("the study", "found", "bias, points", "interval holds it", "an effect of another axis"))


def _recovered(name: str, found: Recovered) -> str:
    bias = f"{100 * found.bias:+.3f} ± {100 * found.error_of_bias:.3f}"
    return _row([name, found.found, bias, found.covered, found.others])


def _promoted(studies: int) -> Iterator[str]:
    yield "## Searches that promote by results\n"
    yield "Successive halving of 108 configurations: the best third of those on few rows go on to all rows,"
    yield f"where accuracies are higher. Muon adds {100 * LITTLE:g} points; with brackets, a fourth begins on"
    yield "all rows. Ours takes configurations as first seen; the naive ways take survivors alone, or each"
    yield "configuration's last result.\n"
    yield from _recovered_head()
    for name, view in VIEWS.items():
        for brackets in (False, True):
            found = recovered(promoting(view, with_little, as_wide, hyperband=brackets), LITTLE, studies)
            yield _recovered(f"{name}{', brackets' if brackets else ''}", found)
    yield "\nThe same where Muon is no better in the mean, and its configurations differ five times as much: its"
    yield "best are promoted. Any verdict of an effect is false.\n"
    yield from _table(("the study", "an effect", "an interaction", "either"))
    for name, view in VIEWS.items():
        shares = false_findings(promoting(view, nothing, muon_wide), studies)
        yield _row([name, *shares.values()])
    yield ""


def _power(studies: int) -> Iterator[str]:
    found, number = power_as_advised(studies)
    yield "## Power as advised\n"
    yield "The page says how many configurations would show half a percentage point with a power of 80 %. Of a"
    yield f"pilot of 72 it says {number}; of studies of {number} with such an effect, it was found in {found}.\n"


def _wilson() -> Iterator[str]:
    yield "## Wilson's interval of an accuracy\n"
    yield "Coverage of the 95 % interval, exact (no simulation), by rows and accuracy. **Bold** is outside 93"
    yield "to 97 %. That is so where few rows are expected wrong: counts are then too coarse, for any interval"
    yield "without chance in it.\n"
    yield from _table(("rows", *(f"{accuracy:g}" for accuracy in ACCURACIES)))
    worst, bold, outside_of = 0.0, 0, dict.fromkeys(OTHER_INTERVALS, 0)
    for rows in ROWS:
        cells = []
        for accuracy in ACCURACIES:
            for name, method in OTHER_INTERVALS.items():
                outside_of[name] += not 0.93 <= interval_coverage(rows, accuracy, method) <= 0.97
            covered = wilson_coverage(rows, accuracy)
            outside = not 0.93 <= covered <= 0.97
            bold += outside
            worst = max(worst, rows * (1 - accuracy)) if outside else worst
            cells.append(f"**{100 * covered:.1f}**" if outside else f"{100 * covered:.1f}")
        yield _row([f"{rows:,}", *cells])
    told = ", ".join(f"{count} of {name}" for name, count in outside_of.items())
    yield f"\nNo interval with more than {worst:.1f} rows expected wrong is outside. Known intervals that could"
    yield f"stand in its place do no better: outside are {bold} of these, and in the same cells {told}.\n"


def _paired(times: int) -> Iterator[str]:
    yield "## The paired bootstrap of a difference\n"
    yield f"Coverage of the 95 % interval where it is given; it is refused where fewer than {LEAST_DISCORDANT}"
    yield f"rows have just one of the two right. {times:,} test sets for each line.\n"
    yield from _table(("rows", "accuracy", "difference", "one alone right", "holds the truth", "refused"))
    for rows, accuracy, difference, discordant in PAIRED:
        share, refused = paired_coverage(rows, accuracy, difference, discordant, times)
        cells = [f"{rows:,}", f"{accuracy:g}", f"{difference:g}", f"{rows * discordant:.0f} rows"]
        yield _row([*cells, share, f"{100 * refused:.1f} %"])
    yield ""


def _gaps(studies: int) -> Iterator[str]:
    yield "## Whether the gap widens\n"
    yield "Studies of 24 configurations, drawn, over four epochs; those that find the gap between training and"
    yield "validation to widen with the rank, and with the epochs, where it does by so many points a doubling or an"
    yield f"epoch. Each claim is tested at 2.5 %. {studies:,} studies for each line.\n"
    yield from _table(("widens by", "found by rank", "found by epoch"))
    for widening in (0.0, 0.002, 0.005, 0.01, 0.02):
        yield _row([f"{100 * widening:.1f}", *gap_findings(studies, widening)])
    yield ""


def _mcnemar(times: int) -> Iterator[str]:
    yield "## McNemar's exact test\n"
    yield "Test sets on which two classifiers are equally good, and the test finds a difference at 5 %. It must be"
    yield f"5 % or less; an exact test of few rows has less. {times:,} test sets for each line.\n"
    yield from _table(("rows", "one alone right", "finds a difference"))
    for rows, discordant in ((100, 0.05), (222, 0.1), (445, 0.05), (1000, 0.03), (7600, 0.01)):
        yield _row([f"{rows:,}", f"{rows * discordant:.0f} rows", mcnemar_level(rows, discordant, times)])
    yield ""


def _area(times: int) -> Iterator[str]:
    yield "## The bootstrap of the area under risk and coverage\n"
    yield "Coverage of the 95 % interval of AURC, of a model whose confidence is the chance to be right."
    yield f"{times:,} test sets for each line.\n"
    yield from _table(("rows", "holds the truth"))
    for rows in (100, 445, 2000):
        yield _row([f"{rows:,}", area_coverage(rows, times)])
    yield ""


def _confidence_gap(times: int) -> Iterator[str]:
    yield "## Confidence less accuracy\n"
    yield "Coverage of the 95 % interval: Wilson's of the accuracy, taken from the mean confidence. Rows are right"
    yield "with unlike chances, of which it is rather too long. Student's t of the rows' differences, which is not"
    yield "used, is too short where few rows are wrong. Models of four classes, of which some are too sure or not sure"
    yield f"enough. {times:,} test sets for each line.\n"
    yield from _table(("rows", "expected wrong", "confidence less accuracy", "holds the truth", "Student's would"))
    for spread in (2, 20, 40):
        for rows, temperature in ((100, 1.0), (445, 1.0), (445, 2.5), (445, 0.3)):
            found = confidence_gap_coverage(rows, spread, temperature, times)
            yield _row([f"{rows:,}", f"{found.wrong:.0f} rows", points(found.gap), found.ours, found.students])
    yield ""


def _seeds(times: int) -> Iterator[str]:
    yield "## Student's interval of a few seeds' mean\n"
    yield "Coverage of the 95 % interval on 445 rows at accuracies from half a row below 0.95 to half a row above,"
    yield "by the seeds' standard deviation in rows and the number of seeds; with the variance of rounding to whole"
    yield "rows added, as the report has it, and without. Two seeds that differ by a few rows often have the same"
    yield "count: without, their interval then has no length; with it, it is rather too long."
    yield f"{times:,} sets of seeds for each cell.\n"
    seeds = (2, 3, 5, 10)
    yield from _table(("standard deviation", *(f"{count} seeds" for count in seeds), *(f"{c}, without" for c in seeds)))
    for spread in SPREADS:
        cells = [
            f"{100 * float(seeds_coverage(445, 0.95, count, spread, times, rounding=rounding)):.1f}"
            for rounding in (True, False)
            for count in seeds
        ]
        yield _row([plural(int(spread), "row") if spread >= 1 else f"{spread:g} rows", *cells])
    yield "\nThe same with rounding, by accuracy, where seeds differ by two rows.\n"
    yield from _table(("accuracy", *(f"{count} seeds" for count in seeds)))
    for accuracy in (0.5, 0.7, 0.9, 0.97, 0.99):
        yield _row([f"{accuracy:g}", *(seeds_coverage(445, accuracy, count, 2.0, times) for count in seeds)])


if __name__ == "__main__":
    main()
