"""What a checkpoint costs: its bytes, the seconds of one, and its share of the time at the pace of a search.

python -m bench.checkpoint [--seconds 45] [--engine loom trainer] [--model demo base]. Each case trains on AG News for
`--seconds` with checkpoints as a search writes them, then `COPIES` steps with one after each. Prints a table in
Markdown, with the machine and the date; docs/checkpoints.md has one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

from bench.agnews import need_agnews
from bench.cases import Work
from bench.measure import RUNS
from bench.texts import make_models, model_folder, read_data
from loraloom.engine import Engine, Job
from loraloom.engine.checkpoint import Rhythm
from loraloom.engine.loom import LoomEngine
from loraloom.engine.trainer import TrainerEngine
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Backbone, Data, Lora, Recipe, Train
from loraloom.study.record import CHECKPOINT
from study.machine import described

COPIES = 20
ROWS = 640
BATCH = 16
RANKS = {"demo": (4, 108), "base": (4, 11)}
"""Four, and the rank at which about a million parameters are trained."""
ENGINES: dict[str, Callable[..., Engine]] = {"loom": LoomEngine, "trainer": TrainerEngine}
HEADINGS = (
    "model",
    "engine",
    "parameters",
    "kB",
    "one, ms (median)",
    "one, ms (longest)",
    "written",
    "share of the time",
)


class Watched(Rhythm):
    """The pace of a search, or, with `every`, a checkpoint after each step; keeps what each one cost."""

    def __init__(self, *, every: bool) -> None:
        super().__init__(*((0, 1e9) if every else ()))
        self.begun = time.monotonic()
        self.costs: list[float] = []

    def keep(self, save: Callable[[], None]) -> None:
        """As the rhythm does."""
        start = time.perf_counter()
        super().keep(save)
        self.costs.append(time.perf_counter() - start)


def run(job: Job, engine: str, *, every: bool, stop: Callable[[Watched], bool]) -> Watched:
    """Trains a job until `stop`; leaves the checkpoint that a stop writes."""
    made: list[Watched] = []

    def rhythm() -> Watched:
        made.append(Watched(every=every))
        return made[-1]

    job.folder.mkdir()
    ENGINES[engine](rhythm=rhythm).train_pack([job], lambda *_: True, lambda: bool(made) and stop(made[-1]))
    return made[-1]


def measure(model: str, engine: str, rank: int, seconds: float, folder: Path) -> list[str]:
    """A line of the table."""
    job = job_of(model, rank, folder)
    passed = 0.0

    def late(rhythm: Watched) -> bool:
        nonlocal passed
        passed = time.monotonic() - rhythm.begun
        return passed >= seconds

    paced = run(replace(job, folder=folder / "paced"), engine, every=False, stop=late)
    each = run(replace(job, folder=folder / "each"), engine, every=True, stop=lambda own: len(own.costs) >= COPIES)
    newest = max((folder / "each" / CHECKPOINT).iterdir(), key=lambda path: int(path.name))
    return [
        model,
        engine,
        f"{job.expected_parameters:,}",
        f"{sum(path.stat().st_size for path in newest.iterdir()) / 1000:,.0f}",
        f"{median(each.costs) * 1000:.0f}",
        f"{max(each.costs) * 1000:.0f}",
        f"{len(paced.costs)} in {passed:.0f} s",
        f"{sum(paced.costs) / passed:.2%}",
    ]


def job_of(model: str, rank: int, folder: Path) -> Job:
    """A trial that would go on for a long time."""
    work = Work("base" if model == "base" else "demo", (ROWS, ROWS))
    recipe = Recipe(
        data=Data(max_length=work.max_length),
        backbone=Backbone(model=str(model_folder(work, folder.parent)), dropout="keep"),
        lora=Lora(r=rank, lora_alpha=16, bias="lora_only"),
        train=Train(optim="adamw", per_device_train_batch_size=BATCH, num_train_epochs=1000),
    )
    place = Workplace(recipe, read_data(work, ROWS), found=lambda finding: None)
    folder.mkdir()
    return place.job(0, recipe.configuration({}), folder)


def main() -> None:
    """Prints the table, line by line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--engine", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--model", nargs="+", choices=list(RANKS), default=list(RANKS))
    parser.add_argument("--tiny", action="store_true", help="a model of width 64 in the base model's place")
    chosen = parser.parse_args()
    need_agnews(parser)
    about = described()
    print(
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {about['machine']['processor']}, {torch.get_num_threads()} threads; "
        f"torch {torch.__version__}, transformers {about['packages']['transformers']}; loraloom at "
        f"{str(about['git_revision'])[:9]}.\n"
    )
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}", flush=True)
    RUNS.mkdir(exist_ok=True)  # where runs are written: a system may keep its temporary files in memory
    with tempfile.TemporaryDirectory(dir=RUNS) as name:
        folder = Path(name)
        make_models(folder, tiny=chosen.tiny)
        if chosen.tiny:
            (folder / "tiny").rename(folder / "base")
        for model in chosen.model:
            for engine in chosen.engine:
                for rank in RANKS[model]:
                    line = measure(model, engine, rank, chosen.seconds, folder / f"{model}-{engine}-{rank}")
                    print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
