"""Planted label noise in real text, and how much of it is named: `python -m bench.label_noise`, a minute or two.

BBC News's training rows are embedded once by the frozen demo model. Then, for each share, labels are turned to another
class at random, the rows are cross-fitted as the report does, and confident learning names some. Precision is the share
of the named that were turned, recall the share of the turned that are named; `by C` is what other strengths of the
regression would give. BBC News has label errors of its own, which count against precision here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from loraloom.backbone import sources
from loraloom.data import load_data
from loraloom.data.overlap import text_key
from loraloom.metrics import log_loss
from loraloom.recipe import read_recipe
from loraloom.report.failures.suspects import confident_learning
from loraloom.use.cross_fitting import PENALTY, out_of_fold
from loraloom.use.embedding import Embedder

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
PENALTIES = (1.0, 10.0, 100.0)
SHOWN = 12
"""Rows that the page shows at first."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.label_noise", description=__doc__)
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/demo.yaml"), help="its data and model")
    given = parser.parse_args()
    recipe = read_recipe(given.recipe)
    seed = recipe.train.seed
    data = load_data(recipe.data, seed=seed)
    model = recipe.values("backbone.model")[0]
    vectors = Embedder(sources.find(model, None), recipe.data.max_length).embed(data.train.texts)
    groups = np.unique([text_key(text) for text in data.train.texts], return_inverse=True)[1]
    classes = len(data.labels)
    print(f"{data.name}, {len(vectors):,} training rows, embedded by {model}; C is {PENALTY:g} in the report\n")
    print("| turned | C | right of true labels | log loss | named | precision | recall | turned of the first 12 |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for share in SHARES:
        generator = np.random.default_rng(1)
        turned = generator.random(len(vectors)) < share
        drawn = (data.train.labels + generator.integers(1, classes, len(vectors))) % classes
        labels = np.where(turned, drawn, data.train.labels)
        for penalty in PENALTIES:
            found = out_of_fold(vectors, labels, groups, classes, seed, penalty=penalty)
            assert found is not None  # there is no deadline
            named = confident_learning(labels, found).rows
            right = (found.argmax(axis=1) == data.train.labels).mean()
            cells = [f"{100 * share:.0f} %", f"{penalty:g}", f"{right:.3f}", f"{log_loss(labels, found):.3f}"]
            hits = int(turned[named].sum())
            cells += [f"{len(named)}", f"{hits / max(1, len(named)):.2f}", f"{hits / max(1, int(turned.sum())):.2f}"]
            print(f"| {' | '.join([*cells, str(int(turned[named[:SHOWN]].sum()))])} |", flush=True)


if __name__ == "__main__":
    main()
