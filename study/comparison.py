"""Makes docs/comparison.md of the results of `study.first`: no number on that page is typed by hand.

What may be compared, and what comes of it, is in `study/compared.py`. What was measured of an earlier set-up of a tool
is shown, marked, and ranked in no summary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loraloom.errors import DataError
from loraloom.intervals import paired_bootstrap
from loraloom.report.markdown.text import table
from loraloom.report.points import points
from loraloom.report.wording import p_value
from loraloom.study.durable import write_text
from loraloom.wording import plural
from study.compared import (
    PairedP,
    Results,
    Setting,
    accuracy_of,
    critical_difference,
    current_result,
    mean_ranks,
    p_of_pairs,
    pairs_of,
    read_results,
    reads_of,
    result_of,
    settings_of,
)
from study.first import DEMO, is_earlier, right_rows
from study.others import is_disturbed
from study.peers import OURS, PEERS
from study.peers.environments import RECORD
from study.sets import SETS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "comparison.md"
PAIRS = ROOT / "study" / "results" / "first_pairs.csv"
BASELINE = "svm"
"""What nobody should be worse than."""
_INTRODUCTION = """\
# Beside other tools

<!-- Made by `python -m study.first --page` of study/results/first/; its text is in study/comparison.py. -->

What a user would pick instead of loraloom, measured: the same training rows, the same encoder, the same machine, the
same wall clock.

{short}## How it was measured

These commands measure it again on your machine (with `--again`, where results of its processor stand here):

```sh
{commands}
```

- **A tool has so many seconds from the start of its process to its answer**: imports, loading, training and predicting
  all count (but for loraloom's compiled kernels, which a machine makes once). It is told how many, and is ended when
  they are over; what has not answered by then has no result.
- **It is given the texts of the test, not their labels**, once. Its answer is scored in another process.
- **Training rows that are in the test set, or nearly, are left out** for all, by the checks that a search makes itself.
- **Tools are set up as their makers advise**, see below; no other tool was tuned on a test set. One seed each.
  Those with an encoder cut a text at 128 tokens; loraloom's search compares a longer cut where texts are long (`bbc`).
  In the time that tools have here, one costs full fine-tuning more steps than it brings ([log.md](log.md), "Study").
- **loraloom's makers have seen test rows' figures**: {reads} default searches read AG News' test rows ({again} of them
  do not stand here any more, since they were measured again), at {revisions} of loraloom, and more were read for
  [the study](study.md) and [robustness](robustness.md); defaults were changed meanwhile. That long texts are cut later
  was decided by test rows of `bbc`, among others, that presets are not compared on the fewest of four rungs by `r8`,
  and that fewer than 1,000 rows end in a mean of seeds by `subj16`, `trec`, `sst2` and `banking77`
  ([log.md](log.md)). No default was chosen by {held}, whose figures were seen between changes of defaults too.{undone}
- **The encoder is the same for all that take one**: {encoders}.
- **Processors** are named as the system names them. Results of "AMD EPYC" without a family may be of more than one
  kind, of which the faster multiplies twice as fast as the other.
- **No search of three hours** was run.
- **Intervals** are at 95 %: of an accuracy Wilson's; of a difference the paired bootstrap's over test rows, of one
  training each, not corrected for the best of the others being chosen on these rows. **p** is McNemar's exact test
  against the first of the table on the same test rows, with Holm's correction over all pairs of the table, since the
  first is chosen on these rows: under 0.05 the first is ahead by more than the noise of the test rows, for one training
  each; another seed may say something else. Every two tools are in `study/results/first_pairs.csv`, with p as it is and
  corrected.
"""
_SHORT = """\
## In short

[{title}](#{anchor}): mean ranks by accuracy on {sets} sets, and the lowest difference from the SVM on any of them.

{table}

{ranks}

Each section below is of one time, one encoder and one processor. Of those of one time and encoder, the one with the
most results stands first.

"""
_MPNET = "`mpnet`, base-size, all-mpnet-base-v2 (`python -m study.mpnet FOLDER`)"
_ENCODERS = {"demo": "`demo`, 6 layers, of the extra `demo`", "mpnet": _MPNET}


def write_page(results: Path) -> str:
    """Writes the page and the table of all pairs, and says so."""
    environments = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    found = read_results(results)
    write_text(PAGE, page_of(found, environments))
    write_text(PAIRS, pairs_of(found))
    return f"{PAGE.relative_to(ROOT)} and {PAIRS.relative_to(ROOT)} are written"


def page_of(results: Results, environments: dict[str, Any]) -> str:
    """The page, from results that are comparable where they stand in one table."""
    named = sorted({result["encoder"] for result in results if result["encoder"]})
    encoders = "; ".join(_ENCODERS.get(name, f"`{name}`") for name in named) or "none was measured yet"
    sections = sorted(settings_of(results), key=_place)
    told = {"encoders": encoders, "commands": "\n".join(_commands(results)), "short": _in_short(sections)}
    parts = [_INTRODUCTION.format(**told, **_readings(results))]
    able = [name for name in PEERS if environments.get(name, {}).get("installed", True)]
    for setting, group in sections:
        parts.append("\n".join(_section(setting, group, able)))
    parts += ["\n".join(_tools(environments, results)), "\n".join(_sets({result["set"] for result in results}))]
    return "\n".join(parts) + "\n"


def _place(found: tuple[Setting, Results]) -> tuple[int, str, int, int, int, str]:
    """By time and encoder; of the machines that first where most was measured of tools as they are set up now."""
    setting, group = found
    current = sum(not is_earlier(result) for result in group)
    return setting.seconds, setting.encoder, setting.rows, setting.seed, -current, setting.machine


def _in_short(sections: Sequence[tuple[Setting, Results]]) -> str:
    """The ranks of the first section that has some, and how the sections are ordered; nothing where none has."""
    for setting, group in sections:
        measured, title = _by_set(group), _title(setting, group)
        ranks = mean_ranks(measured, list(PEERS)) if len(measured) > 1 else {}
        if ranks:
            ranked = sorted(ranks, key=ranks.__getitem__)
            lines = [(PEERS[tool].title, f"{ranks[tool]:.2f}", _worst(measured, tool)) for tool in ranked]
            found = table(("tool", "mean rank", f"worst − {PEERS[BASELINE].title}"), lines)
            on_ranks = _on_ranks(ranks, len(measured))
            return _SHORT.format(title=title, anchor=_anchor(title), sets=len(measured), table=found, ranks=on_ranks)
    return ""


def _title(setting: Setting, group: Results) -> str:
    return f"{setting.title()}, {group[0]['machine']['machine']['processor']}"


def _anchor(title: str) -> str:
    """Where the site has a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


def _by_set(group: Results) -> dict[str, Results]:
    """The results on each set that there are some of."""
    found = {name: [result for result in group if result["set"] == name] for name in SETS}
    return {name: results for name, results in found.items() if results}


def _commands(results: Results) -> Iterator[str]:
    """The commands that measure what is on the page, and that which writes it."""
    sets: dict[str, set[str]] = {}
    for setting, group in settings_of(results):
        options = f"--seconds {setting.seconds}"
        options += f" --encoder {setting.encoder}=FOLDER" if setting.encoder not in ("", DEMO) else ""
        options += f" --rows {setting.rows}" if setting.rows else ""
        options += f" --seed {setting.seed}" if setting.seed else ""
        sets.setdefault(options, set()).update(result["set"] for result in group)
    for options, measured in sets.items():
        yield f"python -m study.first --set {' '.join(name for name in SETS if name in measured)} {options}"
    yield "python -m study.first --page  # writes this page"


def _readings(results: Results) -> dict[str, Any]:
    """How often loraloom's searches have read AG News' test rows and those of the set held out."""
    reads, again, revisions = reads_of(results, "agnews")
    held = " and ".join(f"`{name}` ({_in_words(results, name)})" for name, each in SETS.items() if each.held_out)
    at = plural(revisions, "revision")
    later = sum(one["date"] > result["date"] for result in results for one in result.get("earlier", []))
    read = f"{plural(later, 'search')} read test rows too"
    undone = f"\n  Later than what stands here {read}, by planning that was undone." if later else ""
    return {"reads": reads, "again": again, "revisions": at, "held": held, "undone": undone}


def _in_words(results: Results, name: str) -> str:
    """How often the test rows of a set that is held out were read."""
    reads, _, revisions = reads_of(results, name)
    if not reads:
        return "not measured yet"
    return f"read by {plural(reads, 'default search')}, at {plural(revisions, 'revision')}"


def _section(setting: Setting, group: Results, able: Sequence[str]) -> Iterator[str]:
    machine = group[0]["machine"]["machine"]
    yield f"## {_title(setting, group)}\n"
    dates = sorted(result["date"][:10] for result in group)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB; {when}."
    if any(is_disturbed(result["others_share"]) for result in group):
        yield "Times marked * were taken while others used the processor, so that a tool had less than its time, or"
        yield "without a count of what others used."
    if earlier := [name for name in PEERS if any(is_earlier(one) for one in group if one["peer"] == name)]:
        yield "Results marked ‡ are of tools as they were set up before, and still to be measured as they are below."
        yield "They are in no mean rank, and in no difference from the SVM:"
        yield ""
        yield from (f"- {PEERS[name].title}: {PEERS[name].earlier}" for name in earlier)
    yield ""
    measured = _by_set(group)
    if len(measured) > 1:
        yield from _overview(measured)
    missing: dict[tuple[str, ...], list[str]] = {}
    for name, found in measured.items():
        tests = dict.fromkeys(test for result in found for test in result.get("tests", ()))
        for test in tests or ("test",):
            yield from _table(name, test, found)
        missing.setdefault(tuple(peer for peer in able if result_of(found, peer) is None), []).append(name)
    for peers, sets in missing.items():
        if peers:
            where = f" on {', '.join(sets)}" if len(missing) > 1 else ""
            yield f"Not run here{where}: {'; '.join(PEERS[peer].title for peer in peers)}."
            yield ""


def _overview(measured: dict[str, Results]) -> Iterator[str]:
    """Accuracy by set, mean ranks of tools that answered on every set, and the worst difference from the baseline."""
    tools = [name for name in PEERS if any(result_of(found, name) for found in measured.values())]
    held = [name for name in measured if SETS[name].held_out]
    ranks = mean_ranks(measured, tools)
    worst = {tool: _worst(measured, tool) for tool in tools}
    header = ["tool", *(f"{name}{' †' if name in held else ''}" for name in measured)]
    header += ["mean rank"] if ranks else []
    header += [f"worst − {PEERS[BASELINE].title}"] if any(worst.values()) else []
    lines = []
    for tool in sorted(tools, key=lambda tool: ranks.get(tool, len(tools) + 1.0)):
        cells = [PEERS[tool].title, *(_cell_of(result_of(found, tool)) for found in measured.values())]
        cells += [f"{ranks[tool]:.2f}" if tool in ranks else ""] if ranks else []
        cells += [worst[tool]] if any(worst.values()) else []
        lines.append(cells)
    yield "### All sets\n"
    yield table(header, lines)
    yield ""
    if ranks:
        yield "Ranks are by accuracy on the test rows, of tools that answered on all its sets as they are set up now;"
        yield "equal ones share one."
        yield _on_ranks(ranks, len(measured))
    if held:
        yield "† held out: no default of loraloom was chosen by this set."
    yield ""


def _on_ranks(ranks: Mapping[str, float], sets: int) -> str:
    """What chance makes of mean ranks, and from whose that of the first is told by them."""
    apart, (first, *others) = critical_difference(len(ranks), sets), sorted(ranks, key=ranks.__getitem__)
    beyond = [PEERS[tool].title for tool in others if ranks[tool] - ranks[first] >= apart]
    told = f"From the first so far: {'; '.join(beyond)}." if beyond else "None is so far from the first."
    return (
        f"By Nemenyi's test (5 %) mean ranks of {len(ranks)} tools over {sets} sets are told apart where they differ "
        f"by {apart:.2f} or more. {told}"
    )


def _cell_of(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run"
    mark = " ‡" if is_earlier(result) else ""
    return (f"{accuracy_of(result):.4f}" if result["state"] == "answered" else "no answer") + mark


def _worst(measured: dict[str, Results], tool: str) -> str:
    """The lowest difference from the baseline over the sets where both have an answer, as they are set up now."""
    differences = []
    for name, found in measured.items():
        baseline, own = (current_result(found, each) for each in (BASELINE, tool))
        if own is not None and own["state"] != "answered":
            return "no answer"
        if own is not None and baseline is not None and baseline["state"] == "answered":
            differences.append((accuracy_of(own) - accuracy_of(baseline), name))
    if not differences or tool == BASELINE:
        return ""
    lowest, name = min(differences)
    return f"{points(lowest)} ({name})"


def _named(result: dict[str, Any]) -> str:
    """The tool's title, marked where the result is of an earlier set-up."""
    return PEERS[result["peer"]].title + (" ‡" if is_earlier(result) else "")


def _table(name: str, test: str, found: Results) -> Iterator[str]:
    """One test set: who is how good, in which time, and whether the first is first by more than chance."""
    answered = sorted(
        (result for result in found if test in result.get("tests", ())),
        key=lambda result: -result["tests"][test]["accuracy"],
    )
    yield f"### {name}{'' if test == 'test' else f', {test}'}\n"
    if answered:
        if len({result["data"] for result in answered}) > 1:
            raise DataError(f"{name}: results are of different rows; measure again with --again what is older")
        rows, train = answered[0]["tests"][test]["rows"], answered[0]["rows"]
        yield f"{SETS[name].about} {train:,} training rows, {rows:,} test rows; fingerprint {answered[0]['data'][:8]}."
    pairs = p_of_pairs(answered, test)
    places = [place for place, result in enumerate(answered) if result["peer"] == OURS]
    if places and len(answered) > 1:
        other = 1 if places[0] == 0 else 0
        yield _against(answered[places[0]], answered[other], test, pairs[min(places[0], other), max(places[0], other)])
    yield ""
    p_values = [pairs[0, place].holm if place else None for place in range(len(answered))]
    lines = []
    for place, (result, p) in enumerate(zip(answered, p_values, strict=True), start=1):
        scored = result["tests"][test]
        low, high = scored["interval"]
        cells = [str(place), _named(result), f"{scored['accuracy']:.4f}", f"{low:.4f} … {high:.4f}"]
        cells += [
            f"{scored['macro_f1']:.4f}",
            _p(p),
            f"{result['taken_seconds']:,.0f}{'*' if is_disturbed(result['others_share']) else ''}",
        ]
        lines.append([*cells, f"{result['peak_mb']:,.0f}"])
    for result in found:
        if result["state"] != "answered":
            said = f"{result['state']}: {_cell(result['reason'] or '')}"
            lines.append(["", _named(result), said, "", "", "", f"{result['taken_seconds']:,.0f}", ""])
    yield table(("", "tool", "accuracy", "95 %", "macro-F1", "p", "s", "peak, MiB"), lines)
    yield ""


def _against(ours: dict[str, Any], other: dict[str, Any], test: str, p: PairedP) -> str:
    """loraloom beside the best of the others."""
    a, b = right_rows(ours["tests"][test]), right_rows(other["tests"][test])
    interval = paired_bootstrap(a, b)
    difference = points(ours["tests"][test]["accuracy"] - other["tests"][test]["accuracy"], interval)
    span = "" if interval is None else f", 95 % {points(interval[0], interval)} … {points(interval[1], interval)}"
    return f"loraloom − {_named(other)}: {difference}{span}, {p_value(p.holm)}."


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _tools(environments: dict[str, Any], results: Results) -> Iterator[str]:
    """How each was set up, and why one is missing."""
    yield "## The tools\n"
    lines = []
    for peer in PEERS.values():
        made = environments.get(peer.name)
        if not peer.packages:
            state = "with loraloom"
        elif made is None:
            state = "not tried"
        else:
            state = ", ".join(peer.packages) if made["installed"] else f"not installed: {_cell(made['reason'])}"
        answered = any(result["peer"] == peer.name and result["state"] == "answered" for result in results)
        lines.append([peer.title, _cell(peer.advice), state, "yes" if answered else "no"])
    yield table(("tool", "set up by", "installed", "measured"), lines)
    yield "\n`python -m study.peers.environments` installs those that need an environment of their own.\n"


def _sets(measured: Collection[str]) -> Iterator[str]:
    """Where the rows are from."""
    yield "## The sets\n"
    lines = []
    for each in SETS.values():
        places = dict.fromkeys(
            f"[{file.repository}](https://github.com/{file.repository}/tree/{file.commit})" for file in each.files
        )
        source = ", ".join(places) or ("the extra `demo`" if each.name == "bbc" else "`LORALOOM_AGNEWS`")
        marks = ["yes" if each.held_out else "", "yes" if each.name in measured else "not yet"]
        lines.append([each.name, each.kind, _cell(each.about), source, each.license, each.split, *marks])
    yield table(("set", "kind", "what", "from", "licence", "split", "held out", "measured"), lines)
    yield "\n`python -m study.sets` reads those that can be had and says how many rows each has after the checks."
    yield "AG News doesn't come along: `LORALOOM_AGNEWS` names a folder of train.csv, test.csv and, if there is one,"
    yield "robust.csv (another source), each with a header and the columns `text` and `label`, the class's name. Other"
    yield "rows than those above have another fingerprint; results go into a folder of their own (`--results`), so"
    yield "that no table has both. A set that can't be had is left out of `--set all`."


def _cell(text: str) -> str:
    """Text as text: what others wrote can't open a column, a tag or a link."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\`*_[]|":
        escaped = escaped.replace(sign, f"\\{sign}")
    return " ".join(escaped.split())
