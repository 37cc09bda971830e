"""Trains, tests and judges the claims: `python -m study.claims`.

    python -m study.claims --list                       the trials of the design, without training
    python -m study.claims --seconds 1800               the most important claims, on the demo encoder
    python -m study.claims --test                       the test rows, once for each line of the results table
    python -m study.claims --similarity                 how alike texts are, and whether it matters
    python -m study.claims --page                       verdicts: study/results/claims.json and docs/study.md
    python -m study.claims --table base_size --model FOLDER --name all-mpnet-base-v2   (python -m study.mpnet FOLDER)

What was trained is kept in study/results/claims/NAME.jsonl, and not trained again: run it as often as there is time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from loraloom.errors import LoraloomError
from study import agnews
from study.arguments import parser_of, refuse_trial_run, run
from study.claims.design import TABLES, read_design
from study.claims.judging import judge
from study.claims.running import header_of_test, read_test_rows, reported, rows_of
from study.outcomes import Kept
from study.page import write_page
from study.trials import header_of, make_trainer, train

ROOT = Path(__file__).parent.parent.parent
RESULTS, DOCS = ROOT / "study" / "results" / "claims", ROOT / "docs"


def main() -> None:
    parser = parser_of("study.claims", __doc__, RESULTS)
    parser.add_argument("--table", choices=sorted(TABLES), default="six_layers", help="the design")
    parser.add_argument("--test", action="store_true", help="train nothing; read the test rows for what is reported")
    parser.add_argument("--similarity", action="store_true", help="measure how alike texts are, as the report does")
    parser.add_argument("--page", action="store_true", help="judge all that was trained, and write docs/study.md")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder that --page writes into")
    run("study.claims", _do, parser.parse_args())


def _do(given: argparse.Namespace) -> None:
    if given.page:
        write_page(given.results.parent, given.docs)
        return
    design = read_design(given.table, given.model)
    if given.list:
        for trial in design.trials(lambda _: None):
            print(f"{trial.key}, seed {trial.seed}")
        return
    refuse_trial_run(given, RESULTS)
    name = given.name or Path(given.model).name
    if name in TABLES:
        raise LoraloomError(f"--name {name}: is a design's; name the encoder (of --table {name}, or demo by default)")
    rows = design.table.rows
    data = agnews.load(given.rows or rows.train, given.rows or rows.compared)
    if given.similarity:
        from study.claims.similarity import measure

        measure(given.model, name, data, given.runs, given.results.parent / "similarity" / f"{name}.json")
        return
    trainer, common = make_trainer(design.recipe, rows_of(design, data), given.runs)
    given.results.mkdir(parents=True, exist_ok=True)
    stem = name if design.table.family == "contest" else f"{name}-{given.table}"
    kept = Kept(given.results / f"{stem}.jsonl", header_of(name, data, {"table": given.table, **common}))
    if given.test:
        tested = Kept(given.results / f"{stem}-test.jsonl", header_of_test(name, data, common))
        read_test_rows(reported(design, judge(design, kept), kept), trainer, tested)
        return
    done = train(design.trials(lambda trial: kept.accuracy(trial.key, trial.seed)), trainer, kept, given.seconds)
    print(f"{len(kept.all())} trials are kept in {kept.path}" + ("" if done else "; the same command goes on"))


if __name__ == "__main__":
    main()
