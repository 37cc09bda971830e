"""fastText: hyperparameters by its own optimization on held-out rows, then trained with them on all rows."""

from __future__ import annotations

import random
import re
from pathlib import Path

from study.peers.task import Answer, Task

_SHARE = 0.1
_TUNING = 0.7
"""Of the time that is left, for its optimization: one training with what it found, on all rows, comes after it."""
_PUNCTUATION = re.compile(r"([.!?,'/()])")


def answer(task: Task) -> Answer:
    import fasttext  # the package: imports are absolute

    folder = Path(task.folder)
    rows = [f"__label__{label} {_plain(text)}" for text, label in zip(task.texts, task.labels, strict=True)]
    random.Random(task.seed).shuffle(rows)  # noqa: S311
    held = max(1, round(_SHARE * len(rows)))
    for name, part in (("all", rows), ("held", rows[:held]), ("rest", rows[held:])):
        (folder / name).write_text("\n".join(part) + "\n", encoding="utf-8")

    tuned = fasttext.train_supervised(
        str(folder / "rest"),
        autotuneValidationFile=str(folder / "held"),
        autotuneDuration=int(max(5, _TUNING * task.remaining())),
        thread=task.threads,
        seed=task.seed,
        verbose=0,
    )
    found = tuned.f.getArgs()
    names = ("lr", "dim", "ws", "epoch", "minCount", "minn", "maxn", "wordNgrams", "bucket")
    settings = {name: getattr(found, name) for name in names}
    final = fasttext.train_supervised(
        str(folder / "all"), **settings, loss=found.loss.name, thread=task.threads, seed=task.seed, verbose=0
    )
    labels, _ = final.predict([_plain(text) for text in task.test])
    predictions = [int(label[0].removeprefix("__label__")) if label else 0 for label in labels]
    return Answer(predictions, settings | {"loss": found.loss.name})


def _plain(text: str) -> str:
    """One line in lower case, with a space on both sides of punctuation, as its tutorial does."""
    return " ".join(_PUNCTUATION.sub(r" \1 ", text.lower()).split())
