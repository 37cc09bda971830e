"""What the report of a large search costs: `python -m bench.report [--sizes 100,1000,10000]`.

Run folders of synthetic trials over the axes of `auto` are made: second seeds, failures and pruned trials among them,
four evaluations each, a tested winner. Each report is written by a process of its own, which is timed and whose peak of
resident memory is read. Its page is then opened by chromium: how long until it can be used, to sort, to filter (which
waits 120 ms for more typing) and to turn over the leaderboard, and the frames while it is scrolled from end to end.
Takes two minutes. Needs the extra `dev`, and chromium.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.chromium import executable, need_browser
from bench.measure import RESULTS, RUNS
from bench.synthetic import LABELS, confusion, drawn_point, synthetic_record
from loraloom.recipe import Recipe, dump_recipe, read_recipe
from loraloom.search.space import default_space
from loraloom.study.durable import MANIFEST, sha256, write_json
from loraloom.study.record import METRICS, RECORD, TEST_PREDICTIONS, Ended, Evaluation, Result, Score, TrialRecord
from study.machine import described
from study.others import Others

SIZES = (100, 1_000, 10_000)
RESULT = RESULTS / "report.json"
VALIDATION_ROWS, TEST_ROWS = 2_000, 1_000
SECOND_SEED = 10
"""Of so many trials one is the second seed of a configuration."""
ACTIONS = (
    "document.querySelectorAll('#board .sort')[1].click()",
    "const box = document.querySelector('[type=search]'); box.value = 'muon'; box.dispatchEvent(new Event('input'))",
    "document.querySelectorAll('.pages button')[1]?.click()",
)
STEP = """async () => {
  const from = performance.now();
  const table = document.querySelector('#board > tbody');
  let last = from;
  const seen = new MutationObserver(() => { document.body.offsetHeight; last = performance.now(); });
  seen.observe(table, { childList: true });
  ACTION;
  await new Promise(done => setTimeout(done, 1500));
  return last - from;
}"""
SCROLL = """async () => {
  const frames = []; let last = performance.now();
  const end = document.documentElement.scrollHeight - innerHeight;
  for (let at = 0; at < 120; at++) {
    scrollTo({top: end * at / 119, behavior: 'instant'});
    await new Promise(requestAnimationFrame);
    const now = performance.now(); frames.push(now - last); last = now;
  }
  frames.sort((a, b) => a - b);
  return [frames[60], frames[119]];
}"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one report: seconds, peak memory in 2^20 bytes, and the sizes of what was written in 10^6 bytes."""

    seconds: float
    peak_mb: float
    page_mb: float
    folder_mb: float


@dataclass(frozen=True, slots=True)
class Feel:
    """Of its page in a browser, in milliseconds; `frame` and `longest_frame` while it is scrolled from end to end."""

    usable: float
    sort: float
    filter: float
    turn: float
    frame: float
    longest_frame: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="trials in the run")
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result is written")
    given = parser.parse_args()
    need_browser(parser)
    RUNS.mkdir(exist_ok=True)  # where runs are made, and not a folder in memory
    lines, others = [], Others()
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix=".report-", dir=RUNS) as folder:
            run = fill(Path(folder) / "run", size)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                cost = process.submit(measure, run).result()
            lines.append({"trials": size, **asdict(cost), **asdict(browse(run / "report" / "index.html"))})
            print(json.dumps(lines[-1]), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"machine": described(), "others_share": others.share(), "axes": len(recipe_of(1).axes)}
    write_json(given.out, {**about, "lines": lines})


def recipe_of(trials: int) -> Recipe:
    """With the axes of `auto`: lists and ranges, some of them with conditions."""
    return default_space(
        read_recipe(
            {
                "data": {"dataset": "demo"},
                "backbone": {"model": "demo"},
                "search": {"sampler": "auto", "pruner": "none", "n_trials": trials, "seeds": 2},
                "provenance": {"data": {"name": "synthetic", "rows": {"train": 8_000, "validation": VALIDATION_ROWS}}},
            }
        )
    )


def fill(run: Path, trials: int) -> Path:
    """A run folder of `trials` synthetic trials, written without waiting for the disk."""
    recipe = recipe_of(trials)
    run.mkdir()
    (run / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    complete = []
    for number in range(trials):
        record = _record(recipe, number)
        _write(run / "trials" / f"{number:04d}", record)
        if record.state == "complete":
            complete.append(record)
    best = max(complete, key=lambda record: record.validation.accuracy)
    reached = best.validation.accuracy - 0.01
    tested = Result(validation=best.validation, test=_score(reached, TEST_ROWS))
    _write(run / "best", best.model_copy(update={"result": tested}), list(_predictions(reached)))
    return run


def _record(recipe: Recipe, number: int) -> TrialRecord:
    """A finished trial as training might have left it: of 50, one failed and four were pruned."""
    second = number % SECOND_SEED == 1
    chance = random.Random(number - second)  # noqa: S311
    point = drawn_point(recipe, chance)
    rank, own = point["lora.r"], random.Random(-number)  # noqa: S311
    state: Ended = "failed" if number % 50 == 49 else "pruned" if number % 50 >= 45 else "complete"
    reason = {"failed": f"out of memory at step {number}", "pruned": "halving: 3 of 6 were ahead after epoch 1"}
    accuracy = 0.8 + 0.1 * (1 - 1 / (1 + rank)) + 0.04 * chance.random() + 0.01 * own.random()
    return synthetic_record(
        recipe,
        number,
        point,
        None if state == "failed" else _score(accuracy, VALIDATION_ROWS),
        seconds=60 + rank + 9 * own.random(),
        seed=recipe.train.seed + second,
        state=state,
        reason=reason.get(state),
    )


def _score(accuracy: float, rows: int) -> Score:
    right = round(accuracy * rows)
    share, counts = right / rows, confusion(len(LABELS), rows, rows - right)
    return Score(examples=rows, accuracy=share, macro_f1=share - 0.01, loss=1 - share, confusion=counts)


def _evaluations(record: TrialRecord) -> Iterator[Evaluation]:
    reached = record.validation.accuracy
    for epoch in range(1, 5):
        accuracy = reached - 0.1 * 0.4**epoch
        yield Evaluation(
            step=100 * epoch,
            epoch=float(epoch),
            seconds=15.0 * epoch,
            learning_rate=1e-3 * (1 - epoch / 5),
            train_loss=1 - accuracy,
            train_accuracy=min(1.0, accuracy + 0.005 * epoch),
            validation_loss=1.1 - accuracy,
            validation_accuracy=accuracy,
            validation_macro_f1=accuracy,
        )


def _predictions(accuracy: float) -> Iterator[dict[str, Any]]:
    wrong = round((1 - accuracy) * TEST_ROWS)
    for row in range(TEST_ROWS):
        label = row % len(LABELS)
        prediction = (label + 1) % len(LABELS) if row < wrong else label
        shares = [0.1 if index != prediction else 0.7 for index in range(len(LABELS))]
        text = f"Row {row} of {LABELS[label]}."
        yield {"row": row, "text": text, "label": label, "prediction": prediction, "probabilities": shares}


def _write(folder: Path, record: TrialRecord, predictions: list[dict[str, Any]] | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(record.model_dump_json(), encoding="utf-8")
    if record.result:
        lines = (evaluation.model_dump_json() + "\n" for evaluation in _evaluations(record))
        (folder / METRICS).write_text("".join(lines), encoding="utf-8")
    if predictions:
        text = "".join(json.dumps(line) + "\n" for line in predictions)
        (folder / TEST_PREDICTIONS).write_text(text, encoding="utf-8")
    digests = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"sha256": digests}), encoding="utf-8")


def measure(run: Path) -> Cost:
    """Writes the report in this process, imports included in its time."""
    start = time.perf_counter()
    from loraloom.report.writing import write_report

    page = write_report(run)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    whole = sum(path.stat().st_size for path in page.parent.iterdir())
    return Cost(seconds, peak, page.stat().st_size / 1e6, whole / 1e6)


def browse(page_file: Path) -> Feel:
    """What chromium takes: until the page can be used, to sort, filter and turn over, and to scroll."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable())
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        page.goto(page_file.as_uri())
        usable = 1000 * (time.perf_counter() - start)
        steps = [page.evaluate(STEP.replace("ACTION", action)) for action in ACTIONS]
        frames = page.evaluate(SCROLL)
        browser.close()
    return Feel(usable, *steps, *frames)


if __name__ == "__main__":
    main()
