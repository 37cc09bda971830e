"""The learning curve: accuracy by rows, cap on parameters and encoder, and what is best in so many minutes.

    python -m study.curve --list                          the trials, and what each trains
    python -m study.curve --seconds 1800                  the demo encoder, the most telling trials first
    python -m study.curve --model FOLDER --name NAME      another encoder

Trials are one preset for each cap (study/presets.py), trained on 250, 1,000, 4,000, 16,000 and all rows (nested), with
as many epochs as rows allow: few rows are seen often. What was trained is kept in study/results/curve/NAME.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loraloom.intervals import Interval, wilson_interval
from loraloom.recipe import Recipe, read_recipe
from loraloom.report.markdown.text import table
from loraloom.study.durable import write_json
from loraloom.wording import plural
from study import agnews
from study.arguments import parser_of, refuse_trial_run, run
from study.outcomes import DISTURBED, Kept, Trained, marked
from study.presets import CAPS, best_preset
from study.trials import ALL_ROWS, Trial, header_of, key_of, make_trainer, train

RESULTS = Path(__file__).parent / "results" / "curve"
BASE = Path(__file__).parent / "claims" / "contest.yaml"
SEEDS = {250: (0, 1, 2), 1_000: (0, 1, 2), 4_000: (0, 1)}
"""Seeds where rows are so few that which they are and how weights begin matters; else seed 0."""
ORDER = ((None, 1), (4_000, 5), (1_000, 10), (16_000, 3), (250, 20), (16_000, 1), (None, 3))
"""Training rows (None: all) and epochs over them, the most telling first."""
MINUTES = 1, 5, 20, 60, 180
WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Point:
    """Trials of one encoder, cap, number of rows and of epochs: means over seeds; seconds are `Kept.seconds`.

    They are `disturbed` where others used the processor in one of the trainings, or nobody counted.
    """

    encoder: str
    cap: int
    trainable: int
    rows: int
    epochs: float
    accuracy: float
    interval: Interval
    seeds: int
    seconds: float
    disturbed: bool


@dataclass(frozen=True, slots=True)
class Curves:
    """The points of all encoders, and what is said of how they were measured."""

    points: tuple[Point, ...]
    about: tuple[dict[str, Any], ...]


def trials(recipe: Recipe, presets: dict[int, dict[str, Any]], rows: int, *, one_seed: bool = False) -> Iterator[Trial]:
    """The trials of these presets, the most telling first; `rows` are all training rows."""
    for number, epochs in ORDER:
        if number is not None and number > rows:
            continue
        for seed in SEEDS.get(number or rows, (0,))[: 1 if one_seed else None]:
            for cap in sorted(presets, reverse=True):
                yield _trial(recipe, presets[cap], number, rows, epochs, seed)


def _trial(recipe: Recipe, preset: dict[str, Any], number: int | None, rows: int, epochs: int, seed: int) -> Trial:
    steps = -(-(number or rows) // recipe.train.per_device_train_batch_size) * epochs
    point = {
        **preset,
        "data.max_train_samples": number,
        "train.num_train_epochs": epochs,
        "train.lr_scheduler_type": "linear",
        "train.warmup_steps": round(WARM_UP * steps),
        "train.seed": seed,
    }
    configuration = recipe.configuration(point)
    return Trial(key_of(configuration, recipe.configuration({})), configuration)


def read_curves(folder: Path) -> Curves | None:
    """What was trained of all encoders; None where nothing was."""
    kept = [Kept(path) for path in sorted(folder.glob("*.jsonl"))]
    found = [point for one in kept for point in points_of(one)]
    about = tuple(
        {name: value for name, value in one.header.items() if name != "labels"}
        | {"machines": one.machines, "plan": plan_of(one)}
        for one in kept
    )
    return Curves(tuple(found), about) if found else None


def points_of(kept: Kept) -> list[Point]:
    """One encoder's points, each by its trials of several seeds; caps that allow for no more share a preset."""
    groups: dict[str, list[Trained]] = {}
    for trained in kept.all():
        if trained.accuracy is not None:
            groups.setdefault(trained.key, []).append(trained)
    return [
        _point(kept, int(cap), own)
        for own in groups.values()
        for cap, size in kept.header["caps"].items()
        if own[0].trainable == int(size)
    ]


def plan_of(kept: Kept) -> list[dict[str, int]]:
    """Rows and epochs of `ORDER` for one encoder: how many trials of all caps and seeds are planned, and trained."""
    everything = int(kept.header["rows"][ALL_ROWS])
    trained = [(one.rows, round(one.epochs)) for one in kept.all() if one.accuracy is not None]
    return [
        {
            "rows": rows,
            "epochs": epochs,
            "planned": len(set(kept.header["caps"].values())) * len(SEEDS.get(rows, (0,))),
            "trained": trained.count((rows, epochs)),
        }
        for number, epochs in ORDER
        if (rows := number or everything) <= everything
    ]


def _point(kept: Kept, cap: int, trained: Sequence[Trained]) -> Point:
    accuracy = float(np.mean([one.accuracy for one in trained]))
    first = trained[0]
    return Point(
        encoder=str(kept.header["encoder"]),
        cap=cap,
        trainable=first.trainable,
        rows=first.rows,
        epochs=first.epochs,
        accuracy=accuracy,
        interval=wilson_interval(round(accuracy * len(kept.labels)), len(kept.labels)),
        seeds=len(trained),
        seconds=kept.seconds(trained),
        disturbed=any(one.is_disturbed for one in trained),
    )


def best_in(points: Sequence[Point], minutes: float, cap: int) -> Point | None:
    """The most accurate trial that ends in the time and fits the cap."""
    fitting = [point for point in points if point.seconds <= 60 * minutes and point.trainable <= cap]
    return max(fitting, key=lambda point: point.accuracy, default=None)


def minutes_of(points: Sequence[Point]) -> list[int]:
    """Those of `MINUTES` that are told apart: the first within which all trials end is the last one."""
    slowest = max(point.seconds for point in points)
    return [minutes for before, minutes in zip((0, *MINUTES), MINUTES, strict=False) if 60 * before < slowest]


def write_curves(curves: Curves | None, path: Path) -> None:
    """Writes the points, and the best for each time and cap, as JSON."""
    if curves is None:
        return
    found = {
        (minutes, cap): best_in(curves.points, minutes, cap) for cap in CAPS for minutes in minutes_of(curves.points)
    }
    best = [
        {"minutes": minutes, "within": cap, **asdict(one)} for (minutes, cap), one in found.items() if one is not None
    ]
    write_json(path, {"about": curves.about, "points": [asdict(point) for point in curves.points], "best": best})


def curve_section(curves: Curves, picture: Path, link: str) -> str:
    """The page's part on the learning curve, as Markdown; draws its picture."""
    draw(curves, picture)
    marks = [DISTURBED] if any(point.disturbed for point in curves.points) else []
    lines = [_TEXT.format(link=link), *_machine(curves), "", *marks, _table(curves), "", _measured(curves), ""]
    return "\n".join(lines)


_TEXT = """\
## What to choose: rows, minutes, parameters

![Accuracy by training rows, and the best in so many minutes]({link})

The left picture says what more labels bring, the right one what more minutes bring; lines of one colour that lie close
together say that parameters bring little. Times are of one training with its evaluation (the median over seeds, the
lower of two), the encoder in memory; a search takes several. Accuracy is on 3,000 AG News rows that nothing was trained
on. For each cap, one preset: all linear layers with the largest rank that fits, else query and value, else those of the
top layers; a linear head on the mean of the tokens, Adam, a linear schedule with warm-up. A bold figure
is the best of several on the rows that chose it: on new rows expect a little less.
"""


def _machine(curves: Curves) -> Iterator[str]:
    for one in curves.about:
        yield f"- {one['encoder']}: {' and '.join(one['machines'])}, {one['started'][:10]}. {_progress(one['plan'])}"


def _progress(plan: Sequence[Mapping[str, int]]) -> str:
    """How much of the plan is trained, and what is not."""
    planned, trained = (sum(part[name] for part in plan) for name in ("planned", "trained"))
    if trained >= planned:
        return f"All {planned} trials of the plan are trained."
    missing = [
        f"{part['rows']:,} rows for {plural(part['epochs'], 'epoch')} ({part['trained']} of {part['planned']})"
        for part in plan
        if part["trained"] < part["planned"]
    ]
    return (
        f"**{trained} of the plan's {planned} trials are trained**; the best of them need not be the best of all. "
        f"Not trained, or not all: {'; '.join(missing)}."
    )


def _table(curves: Curves) -> str:
    rows = [
        [plural(minutes, "minute"), *(_said(best_in(curves.points, minutes, cap)) for cap in CAPS)]
        for minutes in minutes_of(curves.points)
    ]
    return table(["you have", *(f"{cap:,} parameters" for cap in CAPS)], rows, numbers=(0,))


def _said(point: Point | None) -> str:
    if point is None:
        return "–"
    return (
        f"**{point.accuracy:.3f}** {point.encoder}, {point.rows:,} rows, {plural(round(point.epochs), 'epoch')}"
        + "*" * point.disturbed
    )


def _measured(curves: Curves) -> str:
    head = "encoder", "cap", "parameters", "rows", "epochs", "seeds", "accuracy", "95 % of rows", "seconds"
    rows = []
    for one in sorted(curves.points, key=lambda point: (point.encoder, point.cap, point.rows, point.epochs)):
        trained = f"{one.cap:,}", f"{one.trainable:,}", f"{one.rows:,}", f"{one.epochs:g}", str(one.seeds)
        scored = f"{one.accuracy:.4f}", f"{one.interval[0]:.3f}–{one.interval[1]:.3f}"
        rows.append((one.encoder, *trained, *scored, marked(f"{one.seconds:.0f}", one.disturbed)))
    return table(head, rows, numbers=(1, 2, 3, 4, 5, 6, 8))


def draw(curves: Curves, path: Path) -> None:
    """Left: accuracy by rows, a line for each encoder and cap. Right: the best in so many minutes."""
    from study.claims.pictures import COLOURS, finish, pyplot, save

    plots = pyplot()
    figure, (left, right) = plots.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    encoders = list(dict.fromkeys(point.encoder for point in curves.points))
    styles = dict(zip(CAPS, (":", "--", "-"), strict=True))
    for number, encoder in enumerate(encoders):
        for cap in CAPS:
            own = [point for point in curves.points if (point.encoder, point.cap) == (encoder, cap)]
            rows = sorted({point.rows for point in own})
            best = [max(100 * point.accuracy for point in own if point.rows == each) for each in rows]
            label = f"{encoder}, at most {cap:,}" if len(encoders) > 1 else f"at most {cap:,}"
            left.plot(rows, best, styles[cap] + "o", color=COLOURS[number % 3], ms=4, label=label)
    shown = minutes_of(curves.points)
    for cap in CAPS:
        found = {minutes: one for minutes in shown if (one := best_in(curves.points, minutes, cap)) is not None}
        values = [100 * one.accuracy for one in found.values()]
        right.plot(list(found), values, styles[cap] + "o", color="#444444", ms=4, label=f"at most {cap:,}")
        if cap == max(CAPS):
            _name_points(right, found, several=len(encoders) > 1)
    left.set_xscale("log")
    left.set_xlabel("labelled training rows")
    left.set_ylabel("accuracy on other rows, %")
    left.set_title("How accurate with so many labels", loc="left", fontsize=11)
    rows = sorted({point.rows for point in curves.points})
    left.set_xticks(rows, [f"{each:,}" for each in rows], fontsize=8)
    right.set_xscale("log")
    right.set_xticks(shown, [str(minutes) for minutes in shown])
    right.set_xlabel("minutes of one training")
    right.set_title("… and in so many minutes", loc="left", fontsize=11)
    for axes in (left, right):
        axes.minorticks_off()
        axes.legend(fontsize=8, frameon=False, title="parameters", title_fontsize=8, loc="lower right")
        finish(axes)
    save(figure, path)


def _name_points(axes: Any, found: Mapping[int, Point], *, several: bool) -> None:
    """Says at each time where another training is the best than before what it is, and by which of several encoders.

    To the left of its point: lines come from below and go on to the right.
    """
    said = None
    for minutes, one in found.items():
        words = f"{one.encoder}\n" * several + f"{one.rows:,} rows × {plural(round(one.epochs), 'epoch')}"
        if words != said:
            place = (minutes, 100 * one.accuracy)
            axes.annotate(words, place, xytext=(-2, 5), textcoords="offset points", fontsize=8, ha="right")
        said = words
    first, last = min(found), max(found)
    axes.set_xlim(first * (first / last) ** 0.5 / 2, 1.2 * last)  # for the words at the first point
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.1 * (high - low))  # for the words over the highest point


def main() -> None:
    parser = parser_of("study.curve", __doc__, RESULTS)
    parser.add_argument("--caps", type=int, nargs="+", choices=CAPS, default=CAPS, help="these caps alone")
    parser.add_argument("--one_seed", action="store_true", help="a seed of each, for an encoder that takes long")
    parser.add_argument("--most_rows", type=int, help="leave out trials on more training rows")
    run("study.curve", _do, parser.parse_args())


def _do(given: argparse.Namespace) -> None:
    refuse_trial_run(given, RESULTS)
    name = given.name or Path(given.model).name
    recipe = read_recipe(BASE, [f"backbone.model={given.model}"])
    data = agnews.load(given.rows)
    trainer, common = make_trainer(recipe, {ALL_ROWS: data}, given.runs)
    place = trainer.place(ALL_ROWS)
    presets = {cap: best_preset(place, recipe, cap) for cap in CAPS}
    caps = {cap: place.demands.parameters(recipe.configuration(preset)).trainable for cap, preset in presets.items()}
    chosen = {cap: presets[cap] for cap in given.caps}
    listed = trials(recipe, chosen, len(data.train), one_seed=given.one_seed)
    if given.most_rows:
        listed = (one for one in listed if trainer.train_rows(one.configuration, one.rows) <= given.most_rows)
    if given.list:
        for trial in listed:
            counted = place.demands.parameters(trial.configuration)
            print(f"{trial.key}, seed {trial.seed}: {counted.trainable:,} parameters")
        return
    given.results.mkdir(parents=True, exist_ok=True)
    common["caps"] = {str(cap): trainable for cap, trainable in caps.items()}
    kept = Kept(given.results / f"{name}.jsonl", header_of(name, data, common))
    done = train(listed, trainer, kept, given.seconds)
    print(f"{len(kept.all())} trials are kept in {kept.path}" + ("" if done else "; the same command goes on"))


if __name__ == "__main__":
    main()
