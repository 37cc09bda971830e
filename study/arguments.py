"""What the study's commands that train have in common: their arguments, and how a fault of the user's is said."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from loraloom.errors import LoraloomError
from study.trials import RUNS


def parser_of(module: str, about: str | None, results: Path) -> argparse.ArgumentParser:
    """Which encoder, how long, on how many rows, and where what was trained is kept; `results` by default."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="the encoder: demo, a folder, or a name on the hub")
    parser.add_argument("--name", help="under which its results are kept; by default the model's, or its folder's")
    parser.add_argument("--seconds", type=float, help="begin no trial that would end later; by default all are trained")
    parser.add_argument("--rows", type=int, help="of as many rows alone: a trial run, with --results")
    parser.add_argument("--results", type=Path, default=results, help="the folder of results")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of the trials' adapters")
    parser.add_argument("--list", action="store_true", help="list the trials, and train nothing")
    return parser


def run(module: str, do: Callable[[argparse.Namespace], None], given: argparse.Namespace) -> None:
    """Does what the arguments ask for; a fault of the user's is a sentence, and exit code 2; Ctrl-C is 130."""
    try:
        do(given)
    except LoraloomError as error:
        print(f"{module}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"{module}: stopped; what was trained is kept, and the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None


def refuse_trial_run(given: argparse.Namespace, results: Path) -> None:
    """Trial runs are not kept with the study's own `results`.

    Raises:
        LoraloomError: fewer rows are asked for, and no folder of their own.
    """
    if given.rows and given.results == results:
        raise LoraloomError("--rows: is for a trial run; name another folder for it by --results")
