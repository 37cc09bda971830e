"""Which results of `study.first` may be compared, and what comes of it: ranks, and tests of every two tools.

Tools are ranked by accuracy on the same rows, in the same time, on machines of one kind. Every two are tested by
McNemar's exact test on the same test rows, with Holm's correction over all pairs of a table: which of them is the first
was seen on the same rows. What was measured of an earlier set-up of a tool is in no rank.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from loraloom.errors import DataError
from loraloom.intervals import holm, mcnemar
from study.first import RESULTS, is_earlier, machine_name, right_rows
from study.machine import refuse_mixed
from study.peers import OURS, PEERS
from study.peers.environments import RECORD
from study.sets import SETS

Results = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """Under which results are comparable."""

    seconds: int
    encoder: str
    rows: int  # 0: all
    seed: int
    machine: str

    def title(self) -> str:
        parts = [_clock(self.seconds)]
        parts += [f"encoder {self.encoder}"] if self.encoder else []
        parts += [f"{self.rows:,} training rows"] if self.rows else []
        parts += [f"seed {self.seed}"] if self.seed else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class PairedP:
    """McNemar's exact p of two tools, and the same corrected over all pairs of its table."""

    raw: float
    holm: float


def read_results(folder: Path = RESULTS) -> Results:
    """All results of a folder.

    Raises:
        DataError: one can't be read, or is of a set or peer that the study has not.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name == RECORD.name:
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            known = result["set"] in SETS and result["peer"] in PEERS
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: can't be read as a result ({error}); remove it, and measure it again") from None
        if not known:
            raise DataError(f"{path}: is of the set {result['set']!r} and the peer {result['peer']!r}; one is unknown")
        found.append(result)
    return found


def settings_of(results: Results) -> Iterator[tuple[Setting, Results]]:
    """Comparable results; those of tools without an encoder stand beside each encoder's."""
    kinds: dict[tuple[int, int, int, str], Results] = {}
    for result in results:
        machine = machine_name(result["machine"]["machine"])
        kind = (result["seconds"], result["asked_rows"] or 0, result["seed"], machine)
        kinds.setdefault(kind, []).append(result)
    for (seconds, rows, seed, machine), group in sorted(kinds.items()):
        refuse_mixed([result["machine"]["machine"] for result in group], machine)
        encoders = sorted({result["encoder"] for result in group if result["encoder"]}) or [""]
        for encoder in encoders:
            chosen = [result for result in group if result["encoder"] in (None, encoder)]
            yield Setting(seconds, encoder, rows, seed, machine), chosen


def reads_of(results: Results, name: str) -> tuple[int, int, int]:
    """How often loraloom's searches have read a set's test rows, how many were done again, at how many revisions."""
    ours = [result for result in results if (result["peer"], result["set"]) == (OURS, name)]
    earlier = [one for result in ours for one in result.get("earlier", [])]
    revisions = {one.get("git_revision") for one in (*(result["machine"] for result in ours), *earlier)}
    return len(ours) + len(earlier), len(earlier), len(revisions)


def pairs_of(results: Results) -> str:
    """CSV: McNemar's exact p of every two tools on the same test rows, as it is and corrected as on the page."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(
        ["setting", "machine", "set", "test", "a", "b", "accuracy_a", "accuracy_b", "p_uncorrected", "p_holm"]
    )
    for setting, group in settings_of(results):
        for name in SETS:
            answered = [result for result in group if result["set"] == name and result["state"] == "answered"]
            for test in dict.fromkeys(test for result in answered for test in result["tests"]):
                found = [result for result in answered if test in result["tests"]]
                for (a, b), p in p_of_pairs(found, test).items():
                    accuracies = [f"{found[place]['tests'][test]['accuracy']:.4f}" for place in (a, b)]
                    who = found[a]["peer"], found[b]["peer"]
                    figures = [*accuracies, f"{p.raw:.4g}", f"{p.holm:.4g}"]
                    writer.writerow([setting.title(), setting.machine, name, test, *who, *figures])
    return table.getvalue()


def mean_ranks(measured: dict[str, Results], tools: Sequence[str]) -> dict[str, float]:
    """The mean rank over the sets of each tool that answered on all of them, among these; a tool alone has none."""
    answered = {
        name: {
            result["peer"]: accuracy_of(result)
            for result in found
            if result["state"] == "answered" and not is_earlier(result)
        }
        for name, found in measured.items()
    }
    ranked = [tool for tool in tools if all(tool in found for found in answered.values())]
    if not answered or len(ranked) < 2:
        return {}
    ranks = [stats.rankdata([-found[tool] for tool in ranked]) for found in answered.values()]
    return {tool: float(np.mean([each[place] for each in ranks])) for place, tool in enumerate(ranked)}


def critical_difference(tools: int, sets: int) -> float:
    """How far apart two mean ranks of so many tools over so many sets lie where that is more than chance, at 5 %.

    Nemenyi's test of every two: Demšar, "Statistical comparisons of classifiers over multiple data sets", Journal of
    Machine Learning Research 7 (2006), 1-30, section 3.2.2.
    """
    quantile = float(stats.studentized_range.isf(0.05, tools, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(tools * (tools + 1) / (6 * sets))


def current_result(found: Results, tool: str) -> dict[str, Any] | None:
    """The tool's result, if it is of its set-up of now."""
    result = result_of(found, tool)
    return None if result is None or is_earlier(result) else result


def result_of(found: Results, tool: str) -> dict[str, Any] | None:
    return next((result for result in found if result["peer"] == tool), None)


def accuracy_of(result: dict[str, Any]) -> float:
    """Of a result with an answer."""
    return float(result["tests"]["test"]["accuracy"])


def p_of_pairs(answered: Results, test: str) -> dict[tuple[int, int], PairedP]:
    """Every two of these, by their places."""
    right = [right_rows(result["tests"][test]) for result in answered]
    pairs = list(combinations(range(len(right)), 2))
    raw = [mcnemar(right[a], right[b]) for a, b in pairs]
    return {pair: PairedP(own, corrected) for pair, own, corrected in zip(pairs, raw, holm(raw), strict=True)}


def _clock(seconds: int) -> str:
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
