"""Full fine-tuning: all weights of the encoder, by HF Trainer."""

from __future__ import annotations

from typing import Any

from study.peers.task import Answer, Task

_WIDE = 768
RATES, EPOCHS = (3e-5, 5e-5, 2e-5), 3.0
"""Of encoders of this width or wider; the first rate is taken where only one can be tried (Devlin et al. 2019, A.3)."""
SMALL_RATES, SMALL_EPOCHS = (1e-4, 3e-4, 5e-5), 4.0
"""Of narrower ones (Turc et al. 2019, "Well-Read Students Learn Better", as their models' page has it)."""
_HELD_SHARE, _MOST_HELD = 0.1, 1000


def answer(task: Task) -> Answer:
    from study.peers import training

    tokenizer = training.tokenizer_of(task)
    rows = training.encoded(tokenizer, task.texts, task, task.labels)
    test = training.encoded(tokenizer, task.test, task)
    model = training.classifier_of(task)
    speed = training.speed_of(model, tokenizer, rows)
    keep = speed.predicting(len(test)) + 5

    def setting(rate: float, epochs: float) -> training.Setting:
        return training.Setting(rate, epochs, "linear", warmup=0.1)

    wide = model.config.hidden_size >= _WIDE
    rates = RATES if wide else SMALL_RATES
    epochs = training.few_rows_epochs(len(rows), EPOCHS if wide else SMALL_EPOCHS)
    whole = len(rates) * (speed.training(len(rows), epochs) + speed.predicting(_MOST_HELD) + 10) + keep
    if whole > task.remaining() or len(rows) < 20 * len(task.classes):
        one = setting(rates[0], epochs)
        trainer, done = training.train(task, model, tokenizer, rows, one, speed, keep=keep)
        return Answer(training.predictions_of(trainer, test), {"rate": one.rate, **done})

    chosen, held = _held_out(task, rows)
    compared: dict[str, float] = {}
    best: tuple[float, Any, dict[str, Any]] | None = None
    for rate in rates:
        trainer, done = training.train(
            task, training.classifier_of(task), tokenizer, chosen, setting(rate, epochs), speed, keep=keep
        )
        found = training.predictions_of(trainer, held)
        right = sum(label == row["labels"] for label, row in zip(found, held, strict=True)) / len(held)
        compared[f"{rate:g}"] = round(right, 4)
        if best is None or right > best[0]:
            best = right, trainer, {"rate": rate, **done}
    assert best is not None
    return Answer(training.predictions_of(best[1], test), {**best[2], "compared": compared, "held_out": len(held)})


def _held_out(task: Task, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from sklearn.model_selection import train_test_split

    held = min(_MOST_HELD, round(_HELD_SHARE * len(rows)))
    chosen, kept = train_test_split(rows, test_size=held, stratify=task.labels, random_state=task.seed)
    return chosen, kept
