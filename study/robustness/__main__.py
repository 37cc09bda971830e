"""How robust loraloom is beside an SVM and full fine-tuning: `python -m study.robustness`.

Trains what is not yet kept in study/results/robustness/ and keeps it there, so that a run that was broken off goes on;
`--page` writes docs/robustness.md of what is kept. Full fine-tuning takes most of the time (`--without full`).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from loraloom.errors import LoraloomError
from loraloom.estimator.settings import only_written
from loraloom.recipe import read_recipe
from study.agnews_files import agnews_folder
from study.robustness.contenders import Adapter
from study.robustness.page import PICTURE, draw, page
from study.robustness.plan import FULL, LORA, SVM, Plan
from study.robustness.trials import done, drawn, keep_truth, read_rows, run

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "study" / "results" / "robustness"
PAGE = ROOT / "docs" / "robustness.md"
RECIPE = Path(__file__).with_name("recipe.yaml")


def main() -> None:
    try:
        sys.exit(_main(_parser().parse_args()))
    except (LoraloomError, OSError, ValueError) as error:
        print(f"study.robustness: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.robustness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = agnews_folder()
    parser.add_argument("--rows", type=int, default=2000, help="training rows of a seed (2000)")
    parser.add_argument("--test_rows", type=int, default=3000, help="test rows (3000)")
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds (2)")
    parser.add_argument(
        "--recipe", type=Path, default=RECIPE, help="loraloom's recipe, without rows (recipe.yaml here)"
    )
    parser.add_argument("--model", help="the encoder of loraloom and of full fine-tuning, in place of the recipe's")
    parser.add_argument("--seconds", type=float, help="budget.max_seconds of each of loraloom's trainings or searches")
    parser.add_argument("--adapter", type=Path, help="a trained adapter in place of loraloom's trainings")
    parser.add_argument("--without", action="append", default=[], choices=(SVM, FULL), help="leave one out")
    parser.add_argument("--data", type=Path, default=folder, help=f"train.csv, test.csv, robust.csv ({folder})")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where trials are kept (study/results/robustness)")
    parser.add_argument(
        "--page", type=Path, nargs="?", const=PAGE, help="write the page of what is kept; trains nothing"
    )
    return parser


def _main(given: argparse.Namespace) -> int:
    if given.page is not None:
        given.page.write_text(page(given.out), encoding="utf-8")
        draw(given.out, given.page.with_name(PICTURE))
        print(given.page)
        return 0
    for name in ("rows", "test_rows", "seeds"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name} {getattr(given, name)}: must be 1 or more")
    rows = read_rows(given.data, given.test_rows)
    plan = Plan(
        recipe=_recipe(given.recipe, given.model),
        rows=given.rows,
        test_rows=len(rows.of_clean),
        seeds=tuple(range(given.seeds)),
        data=rows.data,
        seconds=given.seconds,
        adapter=None if given.adapter is None else Adapter(given.adapter, rows.labels),
        without=[*given.without, *([] if given.adapter is None else [LORA])],
    )
    all_asked = list(plan.asked(tuple(rows.sets)))
    kept = {asked.path(given.out) for asked in all_asked if done(asked, given.out) is not None}
    keep_truth(rows, given.out)
    for asked in all_asked:
        words = f"{asked.name:18} {asked.condition:11} seed {asked.seed}"
        if asked.path(given.out) in kept:
            print(f"{words}: kept", flush=True)
            continue
        began = time.monotonic()
        try:
            part = drawn(rows, asked)
        except ValueError as error:
            print(f"{words}: left out: {error}", flush=True)
            continue
        trial = run(asked, part, rows, given.out)
        share = (trial.classes(asked.sets[0]) == rows.true(asked.sets[0])).mean()
        print(f"{words}: {share:.3f} of {asked.sets[0]}, {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _recipe(path: Path, model: str | None) -> dict[str, Any]:
    """The sections of a recipe as they are written, axes included.

    Raises:
        RecipeError: the file is none.
    """
    recipe = only_written(read_recipe(path))
    if model is not None:
        recipe["backbone"] = {**recipe.get("backbone", {}), "model": model}
    return recipe


if __name__ == "__main__":
    main()
