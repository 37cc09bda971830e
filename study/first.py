"""Who is first in accuracy for the time: every peer on the same rows, on this machine, within the same wall clock.

    python -m study.first --set agnews --seconds 1200                         all peers, one after another
    python -m study.first --set trec banking77 --seconds 300 --peers svm,loraloom
    python -m study.first --set agnews --seconds 3600 --encoder mpnet=FOLDER  another encoder, for all that take one
                                                                              (python -m study.mpnet FOLDER)
    python -m study.first --page                                              docs/comparison.md, from the results

Each result is a file of its own in study/results/first/, and is not made again where it is there (`--again` does),
but where its peer has been set up in another way since. Of `--set all`, a set that can't be had is left out, and that
is said; results on other rows, as of another AG News, go into a folder of their own (`--results`, with `--page` too).

A peer is given the test's texts alone, once, and its answer is scored here: labels of test rows are in no process that
trains. What has no answer in time, or fails, is kept as such, with its reason. Let nothing else run meanwhile: what
others took of the processor is in the result, and the page marks what was measured on a busy machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.data.text_data import Split, fingerprint
from loraloom.errors import DataError, LoraloomError
from loraloom.intervals import wilson_interval
from loraloom.machine import read_machine
from loraloom.metrics import class_scores, confusion
from loraloom.study.durable import write_json
from study.machine import described, refuse_mixed
from study.others import Others
from study.peers import LEAST_STEPS, PEERS
from study.peers.environments import RECORD, python_of
from study.peers.running import Outcome, run
from study.right_rows import packed, unpacked
from study.sets import SETS, Rows, load

RESULTS = RECORD.parent
DEMO = "demo"
_NAME = re.compile(r"[a-z0-9][a-z0-9.]*", re.ASCII)


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    try:
        if given.page:
            from study.comparison import write_page

            print(write_page(given.results))
            return
        if not given.sets or given.seconds is None:
            parser.error("--set and --seconds are needed (or --page)")
        _measure_all(given)
    except LoraloomError as error:
        print(f"study.first: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.first", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", dest="sets", nargs="+", metavar="SET", help=f"some of {', '.join(SETS)}; or all")
    parser.add_argument("--seconds", type=_positive, help="from a peer's start to its answer, after which it is ended")
    parser.add_argument("--peers", help=f"some of {','.join(PEERS)}, by commas; by default all that are installed")
    parser.add_argument("--rows", type=int, help="train on a stratified part of as many rows; by default on all")
    parser.add_argument("--encoder", default=DEMO, metavar="NAME=FOLDER", help="by default demo, the 6-layer one")
    parser.add_argument("--seed", type=int, default=0, help="of each peer (0)")
    parser.add_argument("--again", action="store_true", help="measure again what has a result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (study/results/first)")
    parser.add_argument("--page", action="store_true", help="write docs/comparison.md from the results")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; it must be 1 or more")
    return int(text)


def _measure_all(given: argparse.Namespace) -> None:
    names, encoder = _peers(given.peers), _encoder(given.encoder)
    wanted = list(SETS) if given.sets == ["all"] else given.sets
    machine = described()
    given.results.mkdir(parents=True, exist_ok=True)
    of_its_name = given.results.glob(f"*-{machine_name(machine['machine'])}.json")
    there = [json.loads(file.read_text(encoding="utf-8")) for file in of_its_name]
    refuse_mixed([machine["machine"], *(result["machine"]["machine"] for result in there)], str(given.results))
    for set_name in wanted:
        try:
            rows = load(set_name, given.rows)
        except LoraloomError as error:
            if wanted == given.sets:
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        _refuse_other_rows(rows, given, there)
        for name in names:
            file = given.results / file_name(set_name, given, name, encoder[0], machine["machine"])
            if not given.again and file.is_file() and not is_earlier(json.loads(file.read_text(encoding="utf-8"))):
                print(f"{file.name}: is there", flush=True)
                continue
            earlier = _earlier(file)
            result = measure(name, rows, given.seconds, encoder, given.seed, given.rows)
            write_json(file, result | {"machine": machine, "earlier": earlier})
            print(f"{set_name}, {PEERS[name].title}: {_in_words(result)}", flush=True)


def _earlier(file: Path) -> list[dict[str, Any]]:
    """The results that a file had: test rows were read for each of them too."""
    if not file.is_file():
        return []
    before = json.loads(file.read_text(encoding="utf-8"))
    accuracies = {test: found["accuracy"] for test, found in before.get("tests", {}).items()}
    one = {"date": before["date"], "git_revision": before["machine"].get("git_revision"), "accuracy": accuracies}
    return [*before.get("earlier", []), one]


def _refuse_other_rows(rows: Rows, given: argparse.Namespace, there: Sequence[dict[str, Any]]) -> None:
    """Results that stand in one table are of the same rows.

    Raises:
        DataError: one of this set is of others.
    """
    own = [result["data"] for result in there if (result["set"], result["asked_rows"]) == (rows.name, given.rows)]
    if other := set(own) - {_fingerprint(rows)}:
        raise DataError(
            f"{given.results}: has results of {rows.name} on other rows (fingerprint {other.pop()[:8]}, where these "
            f"have {_fingerprint(rows)[:8]}); name another folder by --results"
        )


def is_earlier(result: dict[str, Any]) -> bool:
    """Whether a result is of an earlier set-up of its peer, and would be another by the one of now.

    A probe that had all rows would not, nor full fine-tuning of as many steps as few rows have since its third.
    """
    settings, setup = result.get("settings", {}), result.get("setup", 1)
    has_all = settings.get("rows_embedded") == result["rows"]
    has_steps = setup == 2 and settings.get("planned_steps", 0) >= LEAST_STEPS
    return bool(setup < PEERS[result["peer"]].setup) and not has_all and not has_steps


def _peers(asked: str | None) -> list[str]:
    """Those asked for, each of which must be installed; by default those that are.

    Raises:
        DataError: one is unknown, or is not installed.
    """
    if asked is not None:
        names = [name.strip() for name in asked.split(",") if name.strip()]
        if unknown := [name for name in names if name not in PEERS]:
            raise DataError(f"--peers {unknown[0]}: is none; they are {', '.join(PEERS)}")
        for name in names:
            python_of(PEERS[name])
        return names
    able = []
    for name, peer in PEERS.items():
        try:
            python_of(peer)
        except DataError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            able.append(name)
    return able


def _encoder(given: str) -> tuple[str, str]:
    """Its name and its folder.

    Raises:
        LoraloomError: it is neither `demo` nor NAME=FOLDER, or the folder has no model.
    """
    if given == DEMO:
        return DEMO, sources.find(DEMO).location
    name, separator, folder = given.partition("=")
    if not separator or not _NAME.fullmatch(name) or name == DEMO:
        raise DataError(f"--encoder {given}: must be demo, or NAME=FOLDER with a short name in lower case")
    found = sources.find(str(Path(folder).expanduser().absolute()))
    return name, found.location


def file_name(set_name: str, given: argparse.Namespace, peer: str, encoder: str, machine: dict[str, Any]) -> str:
    """One for each set, peer, time, encoder, seed, number of rows and kind of machine."""
    parts = [set_name, peer, f"{given.seconds}s"]
    parts += [encoder] if PEERS[peer].encoder else []
    parts += [f"{given.rows}rows"] if given.rows is not None else []
    parts += [f"seed{given.seed}"] if given.seed else []
    return "-".join([*parts, machine_name(machine)]) + ".json"


def machine_name(machine: dict[str, Any]) -> str:
    """A short name for machines of one kind: `2cores-3f9a1c`."""
    kind = f"{machine['processor']}, {machine['cores']}"
    return f"{machine['cores']}cores-{hashlib.sha256(kind.encode()).hexdigest()[:6]}"


def measure(
    name: str, rows: Rows, seconds: int, encoder: tuple[str, str], seed: int, asked_rows: int | None = None
) -> dict[str, Any]:
    """Asks a peer and scores its answer."""
    peer = PEERS[name]
    tests = list(rows.tests.items())
    others = Others()
    outcome = run(
        name,
        {
            "texts": list(rows.train.texts),
            "labels": rows.train.labels.tolist(),
            "classes": list(rows.labels),
            "test": [text for _, test in tests for text in test.texts],
            "encoder": encoder[1] if peer.encoder else "",
            "seconds": float(seconds),
            "seed": seed,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or read_machine().logical_cores),
        },
    )
    result = {
        "set": rows.name,
        "peer": name,
        "setup": peer.setup,
        "seconds": seconds,
        "encoder": encoder[0] if peer.encoder else None,
        "seed": seed,
        "rows": len(rows.train),
        "asked_rows": asked_rows,
        "data": _fingerprint(rows),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "others_share": others.share(),
        "state": outcome.state,
        "taken_seconds": round(outcome.seconds, 1),
    }
    return result | _answered(outcome, tests, len(rows.labels))


def _fingerprint(rows: Rows) -> str:
    return fingerprint(rows.labels, (rows.train, *rows.tests.values()))


def _answered(outcome: Outcome, tests: Sequence[tuple[str, Split]], classes: int) -> dict[str, Any]:
    answer = outcome.answer
    if answer is None:
        return {"reason": outcome.reason}
    predictions = np.array(answer["predictions"], dtype=np.int64)
    scored, start = {}, 0
    for name, test in tests:
        scored[name] = score(test.labels, predictions[start : start + len(test)], classes)
        start += len(test)
    return {name: answer[name] for name in ("peak_mb", "settings", "packages")} | {"tests": scored}


def score(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """What is kept of predictions: figures, which rows are right (for paired tests), and a digest of all of them."""
    counts = confusion(labels, predictions, classes)
    correct = int(counts.trace())
    macro = [each.f1 for each in class_scores(counts) if each.f1 is not None]
    return {
        "rows": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "interval": wilson_interval(correct, len(labels)),
        "macro_f1": float(np.mean(macro)),
        "predictions_sha256": hashlib.sha256(predictions.astype("<i8").tobytes()).hexdigest(),
        "right": packed(labels == predictions).hex(),
    }


def right_rows(scored: dict[str, Any]) -> NDArray[np.bool_]:
    """(rows,) whether each is right, of what `score` kept.

    Raises:
        DataError: they are not as many as the rest says.
    """
    return unpacked(bytes.fromhex(scored["right"]), scored["rows"], scored["correct"], "a result")


def _in_words(result: dict[str, Any]) -> str:
    if result["state"] != "answered":
        return f"{result['state']} after {result['taken_seconds']:,.0f} s: {result['reason']}"
    figures = ", ".join(f"{name} {scored['accuracy']:.4f}" for name, scored in result["tests"].items())
    return f"{figures}, {result['taken_seconds']:,.0f} s, {result['peak_mb']:,.0f} MiB"


if __name__ == "__main__":
    main()
