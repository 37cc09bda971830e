"""Writes docs/robustness.md and its picture from what was kept. No number on that page is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.report.markdown.text import figures
from loraloom.wording import plural
from study.peers import LEAST_STEPS
from study.robustness.comparing import Accuracy, Difference, accuracy, difference, judged, right
from study.robustness.conditions import CHANGES, CLEAN, OTHER_SOURCE, TRAININGS
from study.robustness.contenders import HELD_OUT, epochs_for, held_out_of
from study.robustness.plan import ADAPTER, FULL, LORA, PEERS, REMEDIES, SVM
from study.robustness.trials import Trial, read_trials, read_truth

PICTURE = "robustness.png"
NAMES = {LORA: "loraloom", SVM: "TF-IDF + SVM", FULL: "full fine-tuning", ADAPTER: "the given adapter"}
_COLOURS = {LORA: "#1f5fbf", SVM: "#b3541e", FULL: "#4a7c3a", ADAPTER: "#777777"}
_INTRODUCTION = """\
# Robustness: texts and training rows that are worse than they should be

<!-- Made by `python -m study.robustness --page`; its text is in study/robustness/page.py. Don't edit it here. -->

What typos, case, truncation, another source, wrong labels, rare classes and few rows cost loraloom's LoRA adapter,
beside TF-IDF with a linear SVM and full fine-tuning of the same encoder by HF Trainer. AG News, {rows:,} training rows
of each of {seeds} seeds (each draws its own, the same for all three), {tests:,} test rows; "other source" is {others:,}
items of BBC News of 2022 and 2023, labelled by the section that they appeared in. Training rows
that are nearly test rows are left out for all. `python -m study.robustness --rows {rows} --test_rows {tests} --seeds
{seeds}` repeats all of it where `--out` names a new folder; what is kept is not trained again.

Made {dates} on {machine}, {cores} cores; loraloom at {revision}.

- **loraloom**: {recipe}.
- **Full fine-tuning**: {full}.
- The SVM and full fine-tuning are set up otherwise than [beside other tools](comparison.md), where each fills a given
  time.

Few rows are read more often than `num_train_epochs` says: see the table below.
{ours}
{passes}
An accuracy is in percent, the mean over seeds, with Wilson's 95 % interval for the test rows. A difference is in
percentage points on the same rows, the mean over seeds, with its 95 % interval over test rows by a bootstrap: another
sample of rows, not another seed ("few" where too few rows differ for one). **Bold** ones hold for every seed by
McNemar's exact test, in one direction, p < 0.05 after Holm's correction over their table. The others may be chance.
"""

_OURS = """\
"loraloom" is that one recipe (`study/robustness/recipe.yaml`), no default search: a search's own presets smooth labels,
warm up, switch the backbone's dropout off and pool by the mean over few rows alone, and it cuts texts at 128 tokens or
more ([defaults.md](defaults.md)).
"""

Flags = list[NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: a test set after a training, and what each contender made of it, over the same seeds."""

    name: str
    accuracies: Mapping[str, Accuracy]
    differences: Mapping[str, Difference]
    seeds: tuple[int, ...]


class Trials:
    """The trials that a study keeps in a folder, asked by contender, condition and set.

    `ours` is loraloom, or the adapter that was given in its place; `peers` are those of the others that were trained,
    and `every` is all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.trials, self.truth = read_trials(folder), read_truth(folder)
        self._by_place = {(trial.contender, trial.condition, trial.seed): trial for trial in self.trials}
        there = {trial.contender for trial in self.trials}
        self.ours = LORA if LORA in there else ADAPTER
        self.peers = tuple(peer for peer in PEERS if peer in there)
        self.every = self.ours, *self.peers

    def seeds(self, contenders: Sequence[str], condition: str, name: str) -> list[int]:
        """Seeds of which every contender has the set, so that they are compared in pairs."""
        each = [
            {seed for (who, where, seed), trial in self._by_place.items() if (who, where) == (one, condition)
             and name in trial.predictions}
            for one in contenders
        ]  # fmt: skip
        return sorted(set.intersection(*each)) if each else []

    def flags(self, contender: str, condition: str, name: str, seeds: Sequence[int]) -> Flags:
        """On which rows each seed's trial is right."""
        return [right(self._by_place[contender, condition, seed], name, self.truth) for seed in seeds]

    def line(self, words: str, condition: str, name: str, ours: str, peers: Sequence[str]) -> Line | None:
        """`ours` beside those of `peers` that have seeds in common with it, on the seeds that all of them have.

        None where there are none.
        """
        there = [peer for peer in peers if self.seeds((ours, peer), condition, name)]
        seeds = self.seeds((ours, *there), condition, name)
        if not seeds:
            return None
        own = self.flags(ours, condition, name, seeds)
        theirs = {peer: self.flags(peer, condition, name, seeds) for peer in there}
        accuracies = {ours: accuracy(own)} | {peer: accuracy(flags) for peer, flags in theirs.items()}
        return Line(words, accuracies, {peer: difference(own, flags) for peer, flags in theirs.items()}, tuple(seeds))


def page(folder: Path) -> str:
    """The page, of the trials in `folder`."""
    kept = Trials(folder)
    _refuse_mixed(kept.trials)
    tests, trainings = by_test_set(kept), by_training(kept)
    lines = [_introduction(kept, tests)]
    lines += [f"![Accuracy of each contender by test set and by training]({PICTURE})", ""]
    lines += [
        "## Test texts made worse",
        "",
        "All were trained on rows as they are.",
        "",
        _table(tests, kept),
        "",
    ]
    lines += _lost(tests, kept)
    if trainings:
        lines += ["## Training rows made worse", ""]
        lines += ["Tested on texts as they are; in the second half of the table, on the other source.", ""]
        lines += [_table(trainings, kept), ""]
    lines += list(_remedies(kept))
    return "\n".join(lines).rstrip() + "\n"


def by_test_set(kept: Trials) -> list[Line]:
    """A line for each test set, of contenders trained on rows as they are."""
    names = (CLEAN, *CHANGES, OTHER_SOURCE)
    return _judged([line for name in names if (line := kept.line(name, CLEAN, name, kept.ours, kept.peers))])


def by_training(kept: Trials) -> list[Line]:
    """A line for each training that is worse, first on the clean test set, then on the other source."""
    asked = [(name, condition) for name in (CLEAN, OTHER_SOURCE) for condition in TRAININGS if condition != CLEAN]
    found = []
    for name, condition in asked:
        words = condition if name == CLEAN else f"{condition}, {name}"
        if line := kept.line(words, condition, name, kept.ours, kept.peers):
            found.append(line)
    return _judged(found)


def _judged(lines: Sequence[Line]) -> list[Line]:
    """The lines, with differences corrected over all of them."""
    places = [(number, peer) for number, line in enumerate(lines) for peer in line.differences]
    found = judged([lines[number].differences[peer] for number, peer in places])
    by_place = dict(zip(places, found, strict=True))
    return [
        replace(line, differences={peer: by_place[number, peer] for peer in line.differences})
        for number, line in enumerate(lines)
    ]


def _introduction(kept: Trials, tests: Sequence[Line]) -> str:
    of = {trial.contender: trial for trial in kept.trials if trial.condition == CLEAN}
    first = kept.trials[0]
    dates = sorted({trial.machine["started"][:10] for trial in kept.trials})
    hardware = sorted({trial.machine["machine"]["processor"] for trial in kept.trials})
    revisions = sorted({(trial.machine["git_revision"] or "no revision")[:9] for trial in kept.trials})
    return _INTRODUCTION.format(
        rows=first.settings["train_rows"],
        seeds=max(len(line.seeds) for line in tests),
        tests=len(kept.truth[CLEAN]),
        others=len(kept.truth[OTHER_SOURCE]),
        dates=" and ".join(dict.fromkeys((dates[0], dates[-1]))),
        machine=", ".join(hardware),
        cores=first.machine["machine"]["cores"],
        revision=", ".join(revisions),
        recipe=_in_words(of[LORA].settings["recipe"]) if LORA in of else "an adapter that was given",
        ours=_OURS if LORA in of else "",
        full=_in_words({key: value for key, value in of[FULL].settings.items() if key not in _OF_STUDY})
        if FULL in of
        else "left out",
        passes="\n".join(_passes(kept.trials, len(np.unique(kept.truth[CLEAN])))),
    )


def _passes(trials: Sequence[Trial], classes: int) -> Iterator[str]:
    """What was trained on, and how often it was read: the settings' epochs are the least."""
    kinds = {LORA: "loraloom", FULL: NAMES[FULL]}
    found = {
        (trial.condition, trial.contender): _pass(trial, classes)
        for trial in sorted(trials, key=lambda trial: -trial.seed)  # the first seed's stay
        if trial.contender in kinds
    }
    there = [kind for kind in kinds if any(contender == kind for _, contender in found)]
    if not there:
        return
    yield f"Epochs are those of the settings, or as many as make {LEAST_STEPS} steps (`LEAST_STEPS`). loraloom holds"
    yield f"{100 * HELD_OUT:.0f} % of its rows out, as searches do, and trains on the others; full fine-tuning and the"
    yield "SVM train on all."
    yield ""
    conditions = {condition for condition, _ in found}
    yield figures(
        ["trained on", *(f"{kinds[kind]}: rows, epochs" for kind in there)],
        [
            [condition, *(found.get((condition, kind), "not run") for kind in there)]
            for condition in TRAININGS
            if condition in conditions
        ],
    )
    yield ""


def _pass(trial: Trial, classes: int) -> str:
    """The rows that a trial was trained on, and its epochs."""
    is_ours = trial.contender == LORA
    settings = trial.settings["recipe"].get("train", {}) if is_ours else trial.settings
    rows = trial.rows - (held_out_of(trial.rows, classes) if is_ours else 0)
    epochs, batch = settings.get("num_train_epochs", 1), settings.get("per_device_train_batch_size", 16)
    if isinstance(epochs, list | dict) or isinstance(batch, list | dict):
        return f"{rows:,}, as its search chose"
    return f"{rows:,}, {epochs_for(rows, epochs, batch):g}"


def _refuse_mixed(trials: Sequence[Trial]) -> None:
    """Trials on one page are of one study.

    Raises:
        ValueError: they are of different rows, or of different data, where that is known.
    """
    for name in ("train_rows", "test_rows", "data"):
        found = {trial.settings[name] for trial in trials if name in trial.settings}
        if len(found) > 1:
            raise ValueError(
                f"trials of different {name} ({', '.join(map(str, sorted(found)))}) make no page: remove some"
            )


_OF_STUDY = {"train_rows", "test_rows", "sets", "data"}


def _in_words(settings: Mapping[str, Any]) -> str:
    """Settings as in a recipe, sections run together."""
    flat = [
        (name, inner)
        for section, value in settings.items()
        for name, inner in (value.items() if isinstance(value, Mapping) else ((section, value),))
    ]
    return ", ".join(f"`{name}: {value}`" for name, value in flat)


def _table(lines: Sequence[Line], kept: Trials) -> str:
    head = ["", *(NAMES[one] for one in kept.every), *(f"loraloom − {NAMES[peer]}" for peer in kept.peers)]
    rows = []
    for line in lines:
        cells = [_accuracy(line.accuracies.get(one)) for one in kept.every]
        rows.append([_named(line, lines), *cells, *(_difference(line.differences.get(peer)) for peer in kept.peers)])
    return figures(head, rows)


def _named(line: Line, lines: Sequence[Line]) -> str:
    """With the number of its seeds where other lines have more."""
    fewer = len(line.seeds) < max(len(each.seeds) for each in lines)
    return f"{line.name} ({plural(len(line.seeds), 'seed')})" if fewer else line.name


def _accuracy(found: Accuracy | None) -> str:
    if found is None:
        return "not run"
    low, high = (100 * bound for bound in found.interval)
    return f"{100 * found.mean:.1f} ({low:.1f}–{high:.1f})"


def _difference(found: Difference | None) -> str:
    if found is None:
        return "not run"
    reach = "few" if found.interval is None else f"{100 * found.interval[0]:+.1f} … {100 * found.interval[1]:+.1f}"
    words = f"{100 * found.mean:+.1f} ({reach})"
    return f"**{words}**" if found.holds else words


def _lost(lines: Sequence[Line], kept: Trials) -> list[str]:
    """What each change costs each contender, in a sentence."""
    by_name = {line.name: line for line in lines}
    if CLEAN not in by_name:
        return []
    clean = by_name[CLEAN].accuracies
    said = []
    for name in (one for one in by_name if one != CLEAN and by_name[one].seeds == by_name[CLEAN].seeds):
        found = by_name[name].accuracies
        costs = [
            f"{NAMES[one]} {100 * (found[one].mean - clean[one].mean):+.1f}"
            for one in kept.every
            if one in found and one in clean
        ]
        said.append(f"- {name}: {', '.join(costs)}")
    same = "Where a change of case costs nothing at all, the tokenizer (and TF-IDF) lower-cases every text itself."
    return ["Against clean texts, in percentage points:", "", *said, "", same, ""]


def _remedies(kept: Trials) -> Iterator[str]:
    """Each remedy beside loraloom without it, where it should help and where it should do no harm."""
    asked = [(remedy, condition, name) for remedy in REMEDIES for condition, sets in remedy.asked for name in sets]
    lines = _judged(
        [
            line
            for remedy, condition, name in asked
            if (line := kept.line(_place(condition, name, remedy.words), condition, name, remedy.name, (kept.ours,)))
        ]
    )
    if not lines:
        return
    yield "## What helps"
    yield ""
    yield "loraloom's recipe with one change, beside the recipe as it is, on the same rows."
    yield ""
    rows = []
    by_words: dict[str, list[Difference]] = {}
    for line in lines:
        name = next(one for one in line.accuracies if one != kept.ours)
        by_words.setdefault(line.name.rsplit(": ", 1)[0], []).append(line.differences[kept.ours])
        cells = (
            _accuracy(line.accuracies[name]),
            _accuracy(line.accuracies[kept.ours]),
            _difference(line.differences[kept.ours]),
        )
        rows.append([_named(line, lines), *cells])
    yield figures(["", "with it", "without it", "difference"], rows)
    yield ""
    for words, found in by_words.items():
        helps, harms = (sum(each.holds and each.mean * sign > 0 for each in found) for sign in (1, -1))
        if helps and not harms:
            verdict = f"helps in {helps} of {len(found)} lines and harms in none"
        elif harms:
            verdict = f"harms in {harms} of {len(found)} lines" + f" and helps in {helps}" * bool(helps)
        else:
            verdict = "does nothing that could be told from chance here"
        yield f"- {words} {verdict}."
    yield ""


def _place(condition: str, name: str, words: str) -> str:
    where = [part for part in (condition, name) if part != CLEAN]
    return f"{words}: {', '.join(where) or CLEAN}"


def draw(folder: Path, place: Path) -> None:
    """The picture: a point for each contender, by test set and by training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kept = Trials(folder)
    trainings = [line for line in by_training(kept) if OTHER_SOURCE not in line.name]
    parts = [("Test texts made worse", by_test_set(kept))]
    parts += [("Training rows made worse", trainings)] if trainings else []
    heights = [len(lines) + 1 for _, lines in parts]
    figure, axes = pyplot.subplots(
        len(parts), 1, figsize=(8, 0.36 * sum(heights) + 1), height_ratios=heights, sharex=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for (title, lines), at in zip(parts, axes[:, 0], strict=True):
        for number, one in enumerate(kept.every):
            there = [(row, line.accuracies[one]) for row, line in enumerate(lines) if one in line.accuracies]
            means = np.array([100 * found.mean for _, found in there])
            bounds = np.array([[100 * bound for bound in found.interval] for _, found in there]).T
            at.errorbar(
                means,
                [row + 0.22 * (number - 1) for row, _ in there],
                xerr=np.abs(bounds - means),
                fmt="osD"[number],
                color=_COLOURS[one],
                markersize=5,
                elinewidth=1,
                label=NAMES[one],
            )
        at.set_yticks(range(len(lines)), [line.name for line in lines])
        at.set_ylim(len(lines) - 0.4, -0.6)
        at.set_title(title, loc="left", fontsize=10)
        at.grid(axis="x", color="#dddddd", linewidth=0.8)
        at.set_axisbelow(True)
        for side in ("top", "right", "left"):
            at.spines[side].set_visible(False)
        at.tick_params(left=False)
    axes[-1, 0].set_xlabel("accuracy, % (95 % interval)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(place, dpi=120)
    pyplot.close(figure)
