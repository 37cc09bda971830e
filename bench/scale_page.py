"""Writes docs/cluster.md's figures, between its two marks, of bench/results/scale.json: `python -m bench.scale_page`.

No number between the marks is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import RESULTS, ROOT
from loraloom.errors import DataError
from loraloom.report.markdown.text import table
from loraloom.study.durable import write_text

RESULT = RESULTS / "scale.json"
PAGE = ROOT / "docs" / "cluster.md"
BEGIN = "<!-- Made by `python -m bench.scale_page` of bench/results/scale.json; its text is in bench/scale_page.py. -->"
END = "<!-- Until here. -->"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale_page", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--result", type=Path, default=RESULT, help="what bench.scale found (bench/results/scale.json)")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (docs/cluster.md)")
    given = parser.parse_args()
    found = json.loads(given.result.read_text(encoding="utf-8"))
    write_text(given.page, replaced(given.page.read_text(encoding="utf-8"), "\n".join(section(found))))


def replaced(page: str, text: str) -> str:
    """The page with `text` between its marks.

    Raises:
        DataError: it has not got each of them once.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise DataError(f"the page must have each of these lines once: {BEGIN} {END}")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


def section(found: dict[str, Any]) -> Iterator[str]:
    """What was measured, and what was simulated with it."""
    *_, ends = found["measured"]
    yield f"Measured {_where(found)}, load average {found['load_average']:.1f}, {found['workers']} workers. Where other"
    yield "programs took the machine, figures say where time goes, not what a quiet machine reaches: run it on yours."
    yield ""
    yield table(
        ("pruner", "ledger", "driver's time for a report, ms", "reports/s, between starts and ends"),
        [
            (
                case["pruner"],
                case["ledger"],
                f"{case['parts']['report']['last_ms']:.1f}",
                f"{case['reports_per_second']:,.0f}",
            )
            for case in found["measured"][:-1]
        ],
        numbers=(2, 3),
    )
    yield ""
    parts = ends["parts"]
    spent = [[parts[name][when] for when in ("first_ms", "last_ms")] for name in ("start", "end")]
    wanted, trials = found["wanted_reports_per_second"], ends["trials"]
    reached = {case["pruner"]: case["reports_per_second"] for case in reversed(found["measured"][:-1])}
    judged = ", ".join(
        f"{'met' if rate >= wanted else 'missed'} {'without a pruner' if pruner == 'none' else f'with {pruner}'}"
        for pruner, rate in sorted(reached.items(), key=lambda one: -one[1])
    )
    yield f"{wanted} reports a second are the goal: {judged}. In a search of {trials} trials a start took"
    yield "{:.0f} ms at first and {:.0f} at last, an end {:.0f} and {:.0f}.".format(*spent[0], *spent[1])
    yield ""
    fails = found["failures"]
    hours, lost, begin = fails["mean_seconds_between"] / 3600, fails["lost_seconds"], fails["begin_seconds"]
    yield f"Simulated with the costs of the first line and of that search: {found['reports_per_trial']} reports a"
    yield f"trial, workers that die every {hours:g} hours on average, lose {lost:g} s, are replaced after {begin:g} s."
    yield "The share of the time that all workers could train, and in brackets how busy the driver is:"
    yield ""
    yield simulated(found)
    yield ""
    most, pruned = (
        ", ".join(f"{workers:.0f} for trials of {seconds} s" for seconds, workers in found[name].items())
        for name in ("limits", "limits_with_pruner")
    )
    yield f"So many workers keep the driver busy all the time: {most};"
    yield f"with a pruner that hears each report {pruned}."


def simulated(found: dict[str, Any]) -> str:
    """A row for each number of workers, a column for each length of trials."""
    shares = {(row["workers"], row["trial_seconds"]): row for row in found["simulated"]}
    lengths = sorted({seconds for _, seconds in shares})
    rows = []
    for workers in sorted({number for number, _ in shares}):
        cells = (shares[workers, seconds] for seconds in lengths)
        said = (f"{cell['share_of_ideal']:.0%} ({cell['driver_busy']:.0%})" for cell in cells)
        rows.append([f"{workers:,}", *said])
    head = ["workers", *(f"trials of {seconds:g} s" for seconds in lengths)]
    return table(head, rows, range(len(head)))


def _where(found: dict[str, Any]) -> str:
    about = found["machine"]
    machine, revision = about["machine"], (about["git_revision"] or "no git revision")[:9]
    return (
        f"{about['started'][:10]} on {machine['processor']}, {machine['cores']} cores, Python {about['python']}, "
        f"loraloom at {revision}"
    )


if __name__ == "__main__":
    main()
