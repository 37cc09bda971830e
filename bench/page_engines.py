"""What docs/performance.md says of the engines beside HF Trainer, on each machine, and of their accuracy in bf16."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.cases import MEGA_BATCH
from bench.comparison import Comparison, met
from loraloom.report.markdown.text import figures

_SHORT = """\
## In short

How many times as fast loraloom is as HF Trainer + PEFT, tuned in the way that was the fastest of all that were
measured. As it comes, HF Trainer is slower; the goals, and which of them are missed, stand with each processor.

{table}

{cases}

"""


def in_short(machines: Sequence[Sequence[Comparison]]) -> str:
    """How many times as fast loraloom is, by machine and case; nothing where nothing was measured."""
    if not machines:
        return ""
    titles = {one.case: one.title for found in machines for one in found}
    lines = []
    for found in machines:
        times = {one.case: _times(one) for one in found}
        lines.append([found[0].machine["machine"]["processor"], *(times.get(case, "") for case in titles)])
    cases = "\n".join(f"- **{case}**: {title}" for case, title in titles.items())
    return _SHORT.format(table=figures(("processor", *titles), lines), cases=cases)


def _times(comparison: Comparison) -> str:
    """As fast as the fastest of HF Trainer's ways."""
    times = [line.loom_is_times for line in comparison.lines if line.loom_is_times is not None]
    return f"{min(times):.2f} ×"


def machine_section(comparisons: list[Comparison]) -> Iterator[str]:
    """All cases on one machine, goals first."""
    first = comparisons[0]
    yield f"## On {first.machine['machine']['processor']}, {first.threads} threads"
    yield ""
    yield from _goals(comparisons)
    for comparison in comparisons:
        yield ""
        yield from _section(comparison)


def _goals(comparisons: list[Comparison]) -> Iterator[str]:
    yield figures(
        ("case", "loraloom is, or has", "goal", "reached", ""),
        [
            (
                comparison.case,
                goal.words,
                f"{goal.bound} {goal.goal:g}",
                f"{goal.reached:.2f}",
                met(goal.met),
            )
            for comparison in comparisons
            for goal in comparison.goals
        ],
    )


def _section(comparison: Comparison) -> Iterator[str]:
    yield f"### {comparison.case}: {comparison.title}"
    yield ""
    yield _measured(comparison)
    yield ""
    yield figures(*comparison.table())


def _measured(comparison: Comparison) -> str:
    """What was measured, where and when, in sentences."""
    machine, work, peak = comparison.machine, comparison.work, comparison.peak
    hardware, packages = machine["machine"], machine["packages"]
    small, large = work["rows"]
    rows = f"{large:,} rows" if small == large else f"{small:,} and {large:,} rows"
    engine = "" if comparison.engine == "loom" else f" In loraloom's place: its engine `{comparison.engine}`."
    quick = " **Tiny sizes, to see that it runs: these numbers mean nothing.**" if comparison.quick else ""
    revision = (machine["git_revision"] or "no git revision")[:9]
    return (
        f"{rows.capitalize()} of {comparison.tokens_per_row:.1f} tokens, batches of {work['batch']}, "
        f"{work['epochs']} epoch{'s' * (work['epochs'] > 1)}, {'bf16' if work['bf16'] else 'fp32'}, "
        f"best of {comparison.rounds} round{'s' * (comparison.rounds > 1)}.{engine}{_sorted_among(comparison)}{quick}\n"
        f"Measured {machine['started'][:10]} on {hardware['processor']}, {comparison.threads} threads, "
        f"{hardware['memory_gb']:g} GB; torch {packages['torch']}, transformers {packages['transformers']}, "
        f"peft {packages['peft']}; loraloom at {revision}.\n"
        f"Peak: {peak['operations_per_second'] / 1e12:.2f} · 10¹² operations a second, by {peak['product']} "
        f"(in each round: {', '.join(f'{rate / 1e12:.2f}' for rate in comparison.peaks)})."
    )


def _sorted_among(comparison: Comparison) -> str:
    """Of comparisons that left it to HF Trainer: among how many batches the tuned one sorted rows by length."""
    work = comparison.work
    if comparison.mega_batch is not None or work["joined"]:  # joined rows are of one length
        return ""
    among = dict.fromkeys(str(max(1, min(rows // (4 * work["batch"]), MEGA_BATCH))) for rows in work["rows"])
    return (
        f" HF Trainer, tuned, sorted rows by length among {' and '.join(among)} batches alone, its own choice for so "
        "few: of 1, the order is random."
    )


def accuracy(found: dict[str, Any]) -> Iterator[str]:
    """bf16 by both engines, paired by seed (`bench/accuracy.py`)."""
    seeds = len(found["runs"]["loom"])
    machine = found["machine"]["machine"]
    yield "## Accuracy in bf16"
    yield ""
    yield f"The demo's data, {', '.join(found['point'])}, {seeds} seeds by each engine,"
    yield f"paired: `python -m bench.accuracy`. Measured {found['machine']['started'][:10]} on {machine['processor']},"
    yield f"{machine['cores']} cores. Orders of rows and dropout masks differ between the engines; first weights don't."
    yield ""
    header = ("validation", "trainer", "loom", "loom − trainer", "95 % interval", "p (paired t)", "effect size (d)")
    rows: list[tuple[str, ...]] = [
        (
            measure,
            f"{of['trainer']:.4f}",
            f"{of['loom']:.4f}",
            f"{of['difference']:+.4f}",
            f"{of['low']:+.4f} … {of['high']:+.4f}",
            f"{of['p']:.2f}",
            f"{of['effect_size']:+.2f}",
        )
        for measure in ("accuracy", "loss")
        for of in (found[measure],)
    ]
    yield figures(header, rows)
    yield ""
    yield "![Training losses of the trainer engine and of loom, side by side](bf16.png)"
