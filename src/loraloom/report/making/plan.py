"""The plan as it was made when the search began, beside what was done of it; both by the rows that trials train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from loraloom.report.reading import RunRead
from loraloom.report.wording import listed
from loraloom.search.outlook import MOST_TRIALS
from loraloom.search.pace import named
from loraloom.study.record import TrialRecord
from loraloom.study.run import PLAN
from loraloom.study.sealed import read_sealed
from loraloom.wording import plural


@dataclass(frozen=True, slots=True)
class Step:
    """Trials on `rows` training rows: those planned (None: as many as the time allows), and what came of them."""

    rows: int
    whole: bool
    planned: int | None
    complete: int
    pruned: int
    failed: int
    seconds: float

    @property
    def done(self) -> int:
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, slots=True)
class PlanKept:
    """`steps` from the fewest rows to all; `sentence` says what was planned, what was had, and what is left out."""

    steps: tuple[Step, ...]
    sentence: str


def plan_kept(run: RunRead, problems: list[str]) -> PlanKept | None:
    """None where the run has no plan, or a damaged one, which is then named in `problems`."""
    path = run.path / PLAN
    try:
        kept = read_sealed(path)
        first = _mapping(kept.get("first"))
        planned = _planned(first)
        whole = int(first["train_rows"])
        done: dict[int, list[TrialRecord]] = {}
        for record in run.records:
            done.setdefault(whole if record.train_rows is None else record.train_rows, []).append(record)
        sentence = _sentence(run, first, whole, done) + _alone(kept, planned) + _left_out(kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        problems.append(f"{path}: can't be read: {error}; the plan is left out")
        return None
    steps = tuple(
        _step(rows, rows >= whole, planned.get(rows, 0), done.get(rows, ())) for rows in sorted({*planned, *done})
    )
    return PlanKept(steps, sentence)


def _planned(first: Mapping[str, Any]) -> dict[int, int]:
    """Trials by their rows; a rung and the finals may have the same."""
    planned: Counter[int] = Counter()
    leading = first.get("leading")
    for step in (*first["rungs"], first["finals"], *([leading] if leading else [])):
        planned[int(step["rows"])] += int(step["trials"])
    return dict(planned)


def _step(rows: int, whole: bool, planned: int, records: list[TrialRecord] | tuple[()]) -> Step:
    states = Counter(record.state for record in records)
    return Step(
        rows=rows,
        whole=whole,
        planned=None if planned >= MOST_TRIALS else planned,
        complete=states["complete"],
        pruned=states["pruned"],
        failed=states["failed"],
        seconds=sum(record.timings.seconds for record in records if record.timings),
    )


def _sentence(run: RunRead, first: Mapping[str, Any], whole: int, done: Collection[int]) -> str:
    """Finalists and seeds as planned, and what was had on the most rows that any trial was trained on."""
    seeds, finalists = int(first["seeds"]), first.get("finalists")
    rows = int(first["finals"]["rows"])
    on, each = _rows_in_words(rows, whole), plural(seeds, "seed")
    on_one_rung = sum(int(step["trials"]) for step in first["rungs"] if int(step["rows"]) == rows)
    if finalists is None:
        what = f"every configuration on {on}, with {each}"
    elif not on_one_rung:
        what = f"{plural(int(finalists), 'finalist')} on {on}, with {each}{' each' * (int(finalists) > 1)}"
    else:  # what finds the finalists trains on as many rows as they do: their first seed is among it
        found = (
            plural(on_one_rung, "configuration")
            if on_one_rung < MOST_TRIALS
            else "as many configurations as time allows"
        )
        what = f"{found} on {on}, with 1 seed{' each' * (on_one_rung > 1)}"
        what += f", and {plural(int(finalists), 'finalist')} of them with {each}" if seeds > 1 else ""
    planned = f"Planned when the search began: {what}"
    if not done:
        return f"{planned}. No trial has ended."
    most = max(done)
    by_point: dict[str, set[int]] = {}
    cut_short = 0
    for record in run.records:
        if record.state == "complete" and record.train_rows in (None, most):
            by_point.setdefault(record.point_key, set()).add(record.seed)
            cut_short += record.cut_short
    had = Counter(len(used) for used in by_point.values())
    reached = [
        f"{plural(number, 'configuration')} with {plural(count, 'seed')}" for count, number in sorted(had.items())
    ]
    cut = f"; the clock cut {plural(cut_short, 'trial')} of these short" if cut_short else ""
    return f"{planned}. Complete on {_rows_in_words(most, whole)}: {listed(reached) or 'none'}{cut}."


def _alone(kept: Mapping[str, Any], planned: Mapping[int, int]) -> str:
    """Why one configuration was planned for where others could be tried, and passes were by the clock."""
    others = kept.get("epochs") is not None and kept.get("configurations") != 1
    if not others or sum(planned.values()) != 1 or len(kept["rungs"]) != 1:
        return ""
    worth = "more rows or passes were taken to be worth more than trying others"
    return f" One configuration was to have all the time: {worth}."


def _left_out(kept: Mapping[str, Any]) -> str:
    """The models and lengths of texts that could not be measured, which a deadline left out."""
    left_out = {(str(model), int(length)): str(why) for model, length, why in kept.get("left_out", ())}
    return f" Left out, since it could not be measured: {named(left_out)}." if left_out else ""


def _rows_in_words(rows: int, whole: int) -> str:
    return f"all {whole:,} rows" if rows >= whole else f"{rows:,} of {whole:,} rows"


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError("it is not a plan")
    return given
