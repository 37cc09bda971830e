"""What docs/performance.md says of searches: a grid's, deadlines, and what a search costs beside training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.comparison import met
from loraloom.report.markdown.text import figures
from loraloom.wording import plural

_GRID = """\
## A grid, searched

The contest's grid of {points} points (rank, alpha, optimizer, rate, batch size) on {rows:,} rows of AG News with the
demo's encoder, searched by successive halving: `python -m bench.grid`. Measured {date} on {processor}, {cores} cores.
The time is that of the whole command, evaluations, the final test and the report included; HF Trainer's is what
training all points would take at its speed on the same machine (demo, above), without any evaluation. The winner's
rank, and what it lacks to the best (regret), are by validation accuracies of all points, each trained on all rows
(`bench/results/grid.json`); p is McNemar's of the two adapters on 2,000 test rows.
"""
GOAL_SHARE = 0.9
"""Of a search's time, for training and evaluation."""
_DEADLINES = """\
## Deadlines, on {processor}

Searches of the demo's recipe against deadlines, {together} at a time, beside a load that comes and goes:
`python -m bench.deadlines --searches {number} --longest {longest:.0f}`. Measured {date} on {processor}, {cores} cores.
**share** is what training, validation and the winner's test took of the time given; the goal is {goal:.0f} % on
average: {judged}. {sentence}
"""
_LEDGER = """\
## A search's own cost, up to 10,000 trials

What a trial costs beside its training, with so many trials in the ledger before it: `python -m bench.ledger`. Measured
{date} on {processor}, {cores} cores. Each cell is the median over {repeats} trials, in milliseconds: on the clock, and
in brackets the processor's time, which a busy machine leaves as it is. Six axes.

- **ask**: the next trial is chosen and begun in the ledger; **tell**: its end. Both are {commits} transactions, which
  wait for the disk as SQLite does by default; **disk** is what those take on the clock.
- **report**: an evaluation is noted, and whether the trial goes on after it.
- **table**: its place in the leaderboard and the standings. **file**: leaderboard.csv is written, at most a twentieth
  of the time. **screen**: the terminal's view is drawn once.
- **open**: reading the run once, when it is begun or gone on with, in seconds.
"""


def grid(whole: Path, found: dict[str, Any]) -> Iterator[str]:
    """The contest's grid by halving, beside all of it by HF Trainer (`bench/grid.py`); the whole grid is in `whole`."""
    machine, points = found["machine"], len(json.loads(whole.read_text(encoding="utf-8"))["points"])
    yield _GRID.format(points=points, rows=found["rows"], date=machine["started"][:10], **machine["machine"])
    yield figures(
        ("trials", "s", "HF Trainer + PEFT as it comes", "goal", "tuned", "goal", "winner's rank", "regret", "p"),
        [
            (
                f"{found['trials']:,}",
                f"{found['seconds']:,.0f}",
                f"{found['hf_trainer_as_it_comes_is']:.1f} ×",
                f"≥ 25 ×, {met(found['hf_trainer_as_it_comes_is'] >= 25)}",
                f"{found['hf_trainer_tuned_is']:.1f} ×",
                f"≥ 6 ×, {met(found['hf_trainer_tuned_is'] >= 6)}",
                str(found["rank_in_table"]),
                f"{found['regret']:.4f}",
                f"{found['mcnemar_p']:.2f}",
            )
        ],
    )


def deadlines(found: dict[str, Any]) -> Iterator[str]:
    """Whether searches end in their time, and how much of it they use (`bench/deadlines.py`)."""
    machine, searches = found["machine"], found["searches"]
    yield _DEADLINES.format(
        together=found["together"],
        number=len(searches),
        longest=max(search["deadline"] for search in searches),
        date=machine["started"][:10],
        goal=100 * GOAL_SHARE,
        judged="met" if found["mean_share"] > GOAL_SHARE else "missed",
        sentence=f"{plural(found['overruns'], 'overrun')} in {plural(len(searches), 'search')}; "
        f"{_failed(found)}{_refused(found)}{found['mean_share']:.0%} of the time on average, "
        f"{found['share_of_all']:.0%} of all of it.",
        **machine["machine"],
    )
    yield figures(
        ("deadline, s", "took, s", "exit code", "trials", "share"),
        [
            (
                f"{search['deadline']:,.0f}",
                f"{search['seconds']:,.1f}",
                str(search["code"]),
                str(search["trials"]),
                f"{search['share']:.0%}",
            )
            for search in searches
        ],
    )


def _refused(found: dict[str, Any]) -> str:
    """Those that were refused are in no mean, where they were counted apart."""
    if not found.get("refused"):
        return ""
    return f"{found['refused']} refused, since the time suffices for no trial; by the others "


def _failed(found: dict[str, Any]) -> str:
    return f"{found['failed']} failed; " if found.get("failed") else ""


def ledger(found: dict[str, Any]) -> Iterator[str]:
    """What a search costs a trial beside training (`bench/ledger.py`)."""
    machine, lines = found["machine"]["machine"], found["lines"]
    yield _LEDGER.format(
        commits=" or ".join(sorted({str(line["commits"]) for line in lines})),
        date=found["machine"]["started"][:10],
        repeats=lines[0]["repeats"],
        **machine,
    )
    parts = "ask", "tell", "disk", "report", "table", "file", "screen"
    yield figures(
        ("search", "trials", *parts, "open, s"),
        [
            (
                line["sampler"] + ("" if line["pruner"] == "none" else f", {line['pruner']}"),
                f"{line['trials']:,}",
                *(_cost(line[part]) for part in parts),
                f"{line['open_seconds']:.1f}",
            )
            for line in sorted(lines, key=lambda line: (line["sampler"], line["pruner"], line["trials"]))
        ],
    )


def _cost(of: dict[str, float]) -> str:
    return f"{of['median']:.1f}" + (f" ({of['processor']:.1f})" if of["processor"] else "")
