"""What comes from outside, by the ten thousand: python -m tests.use.hostile; exits 1 where anything goes wrong.

Folders of adapters are changed and loaded; requests are made of the interface's own description and broken. Each case
is a function of its seed, which is printed with what went wrong. `--count 300` does fewer: of folders, of requests with
changed bytes, and of requests that break the interface's description; others keep to it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from loraloom.errors import AdapterError, BackboneError
from loraloom.study.durable import write_json, write_manifest
from loraloom.study.record import BLENDED, RECORD, read_record
from loraloom.use.backbones import load
from loraloom.use.tfidf import fit
from tests.use.mutations import mutated


def outcome_of(adapter: Path, folder: Path, seed: int) -> str | None:
    """What went wrong with one changed copy of `adapter`, made below `folder`; None where nothing did."""
    copy, canary = folder / f"mutated-{seed}", folder / "canary"
    done = mutated(adapter, copy, seed, canary)
    try:
        logits = load(copy).logits(["the cat near a dog", ""])
        problem = None if np.isfinite(logits).all() else f"{done}: logits that are not finite"
    except (AdapterError, BackboneError) as error:
        sentence = str(error)
        problem = None if sentence and "\n" not in sentence else f"{done}: not a sentence: {sentence!r}"
    except Exception as error:  # the very thing that is looked for
        problem = f"{done}: {type(error).__name__}: {error}"
    if canary.exists():
        problem = f"{done}: code was run"
    shutil.rmtree(copy)
    return problem


def blend_of(adapter: Path, out: Path) -> Path:
    """The folder `out`, made a copy of an adapter of three classes with TF-IDF of three rows beside it."""
    shutil.copytree(adapter, out)
    fit(["the cat", "some bread", "old saw"], np.arange(3), 3).write(out)
    record = read_record(out)
    write_json(out / RECORD, record.model_copy(update={"marks": (BLENDED,)}).model_dump(mode="json"))
    write_manifest(out)
    return out


def torture_folders(count: int, first: int) -> tuple[str, list[str]]:
    """What was done, and problems: `count` changed folders."""
    from bench.random_adapters import save_random_adapter
    from tests.conftest import write_model

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        adapter = save_random_adapter(folder / "adapter", write_model(folder / "model"), {"lora": {"r": 2}})
        kinds = adapter, blend_of(adapter, folder / "blend")
        problems = [
            f"folder, seed {seed}: {problem}"
            for seed in range(first, first + count)
            if (problem := outcome_of(kinds[seed % 2], folder, seed)) is not None
        ]
        return f"{count:,} changed folders", problems


def main() -> int:
    """Runs both, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1_000_000)
    asked = parser.parse_args()
    from tests.use.serve.malformed import torture_requests

    failures = 0
    for torture in (torture_folders, torture_requests):
        began = time.monotonic()
        done, problems = torture(asked.count, asked.seed)
        failures += len(problems)
        print(f"{done}: {time.monotonic() - began:.0f} s, {len(problems)} went wrong", flush=True)
        print(*problems[:50], sep="\n", end="\n" if problems else "")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
