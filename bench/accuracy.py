"""Whether bf16 in loom means what bf16 means in the reference: `python -m bench.accuracy`.

Trains one configuration of the demo recipe by both engines with the same seeds, and compares final validation
accuracies and losses, paired by seed: the mean difference with its 95 % interval, Student's t test, and the effect
size (Cohen's d of the paired differences). Orders of rows and dropout masks differ between the engines, weights at
the start do not. The loss curves are drawn beside each other. Takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

from bench.measure import RESULTS, ROOT
from loraloom.data import load_data
from loraloom.execute.in_process import choose_engine
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Recipe, read_recipe
from loraloom.study.durable import write_json
from loraloom.study.record import Evaluation
from study.machine import described

RESULT = RESULTS / "accuracy.json"
PICTURE = ROOT / "docs" / "bf16.png"
POINT = ("lora.r=8", "lora.lora_alpha=16", "lora.bias=lora_only", "train.optim=adam", "train.learning_rate=0.002")
ENGINES = "trainer", "loom"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    recipe = read_recipe(ROOT / "recipes" / "demo.yaml", [*POINT, "train.bf16=true"])
    place = Workplace(recipe, load_data(recipe.data, seed=42), found=lambda finding: None)
    runs = {name: [_run(name, recipe, place, seed) for seed in range(given.seeds)] for name in ENGINES}
    result = {
        "machine": described(),
        "point": POINT,
        "runs": {
            name: [[line.model_dump(exclude={"trace"}) for line in run] for run in runs[name]] for name in ENGINES
        },
        "accuracy": _compared([[run[-1].validation_accuracy for run in runs[name]] for name in ENGINES]),
        "loss": _compared([[run[-1].validation_loss for run in runs[name]] for name in ENGINES]),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.out, result)
    if given.out == RESULT:  # the picture is of the results that are kept
        _draw(runs)
    for measure in ("accuracy", "loss"):
        said = result[measure]
        assert isinstance(said, dict)
        print(f"{measure}: " + ", ".join(f"{name} {value:.4f}" for name, value in said.items()))


def _run(name: str, recipe: Recipe, place: Workplace, seed: int) -> list[Evaluation]:
    """One seed by one engine: its evaluations."""
    engine = choose_engine(recipe.model_copy(update={"engine": name})).engine
    configuration = recipe.configuration({}).with_fields(train={"seed": seed})
    lines: list[Evaluation] = []
    with tempfile.TemporaryDirectory() as folder:
        job = place.job(seed, configuration, Path(folder))
        engine.train_pack([job], lambda job, line: lines.append(line) or True)  # type: ignore[func-returns-value]
    print(f"{name}, seed {seed}: validation accuracy {lines[-1].validation_accuracy:.4f}", flush=True)
    return lines


def _compared(values: list[list[float]]) -> dict[str, float]:
    """Means of both, and their paired difference (loom less trainer)."""
    trainer, loom = (np.array(each) for each in values)
    difference = loom - trainer
    deviation = float(difference.std(ddof=1))
    margin = float(stats.t.ppf(0.975, len(difference) - 1)) * deviation / len(difference) ** 0.5
    test = stats.ttest_rel(loom, trainer)
    return {
        "trainer": float(trainer.mean()),
        "loom": float(loom.mean()),
        "difference": float(difference.mean()),
        "low": float(difference.mean()) - margin,
        "high": float(difference.mean()) + margin,
        "p": float(test.pvalue),
        "effect_size": float(difference.mean()) / deviation if deviation else 0.0,
    }


def _draw(runs: dict[str, list[list[Evaluation]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    for name, at in zip(ENGINES, axes, strict=True):
        for run in runs[name]:
            trace = [point for line in run for point in line.trace]
            at.plot([step for step, _, _ in trace], [loss for _, loss, _ in trace], lw=0.8, alpha=0.7)
        at.set_title(name)
        at.set_xlabel("step")
    axes[0].set_ylabel("training loss")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
