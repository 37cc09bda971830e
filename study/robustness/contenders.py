"""Who is compared: loraloom, TF-IDF with a linear SVM, and full fine-tuning of the same encoder by HF Trainer.

Each is fitted to texts and labels and then gives classes (N,) of texts. The SVM and full fine-tuning train on all rows;
loraloom holds a tenth of them out, as its users' searches do, so that its results pay for that.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.data.sampling import part_rows
from study.peers import LEAST_STEPS
from study.peers.regularization import FOLDS, best_classifier
from study.peers.svm import STRENGTHS
from study.peers.task import Task
from study.robustness.conditions import TrainingRows, with_typo_copies

Predict = Callable[[Sequence[str]], NDArray[np.int64]]
HELD_OUT = 0.1


class Contender(Protocol):
    """What is trained and asked. `settings` says how, for the record."""

    @property
    def settings(self) -> dict[str, Any]: ...

    def fit(self, rows: TrainingRows, classes: int, seed: int) -> Predict: ...


def held_out_of(rows: int, classes: int) -> int:
    """How many of its rows loraloom holds out: a tenth, or one of each class."""
    return max(classes, round(HELD_OUT * rows))


def epochs_for(rows: int, epochs: float, batch: int) -> float:
    """`epochs`, or as many as make `LEAST_STEPS` steps."""
    return float(max(epochs, math.ceil(LEAST_STEPS / math.ceil(rows / batch))))


@dataclass(frozen=True)
class Svm:
    """TF-IDF of words and pairs of words, and scikit-learn's LinearSVC, its C by cross-validation."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"tfidf": {"ngram_range": [1, 2], "sublinear_tf": True}, "C": list(STRENGTHS), "folds": FOLDS}

    def fit(self, rows: TrainingRows, classes: int, seed: int) -> Predict:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        features, labels = vectorizer.fit_transform(rows.texts), rows.labels.tolist()
        no_limit = Task([], [], [], [], "", math.inf, time.time(), seed, threads=1, folder="")
        model, _ = best_classifier(
            no_limit, lambda strength: LinearSVC(C=strength, random_state=seed), STRENGTHS, features, labels
        )
        return lambda texts: np.asarray(model.predict(vectorizer.transform(texts)), dtype=np.int64)


@dataclass(frozen=True)
class Lora:
    """`LoraClassifier` on a recipe: one training of its configuration, or a search of `seconds` where it has axes.

    `train` are fields of the recipe's train section that differ; with `typo_copies`, the rows are also trained on with
    typos in so many of their characters. `class_shares` are told to it when it predicts.
    """

    recipe: Mapping[str, Any]
    seconds: float | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    typo_copies: float = 0.0
    class_shares: Sequence[str] = ()

    @property
    def settings(self) -> dict[str, Any]:
        copies = {"typo_copies": self.typo_copies} if self.typo_copies else {}
        told = {"class_shares": self.class_shares} if self.class_shares else {}
        return {"recipe": {**self.recipe, "train": self._train}, "seconds": self.seconds, **copies, **told}

    @property
    def _train(self) -> dict[str, Any]:
        return {**self.recipe.get("train", {}), **self.train}

    def fit(self, rows: TrainingRows, classes: int, seed: int) -> Predict:
        from loraloom import LoraClassifier

        held_out = part_rows(rows.labels, held_out_of(len(rows.labels), classes), seed)
        validation = rows.take(held_out)
        kept = rows.take(np.setdiff1d(np.arange(len(rows.labels)), held_out))
        if self.typo_copies:
            kept = with_typo_copies(kept, self.typo_copies, seed)
        train = self._train
        batch, epochs = train.get("per_device_train_batch_size", 16), train.get("num_train_epochs", 1)
        if not isinstance(epochs, list | dict) and not isinstance(batch, list | dict):
            train["num_train_epochs"] = epochs_for(len(kept.labels), epochs, batch)
        classifier = LoraClassifier(
            recipe={**self.recipe, "train": train},
            max_seconds=self.seconds,
            class_shares=self.class_shares or None,
            random_state=seed,
        )
        held = {"val": (list(validation.texts), validation.labels)}
        held["test"] = held["val"]  # its own test is not used here, so that none of our test rows go into it
        given = {f"{name}_{split}": part for split, both in held.items() for name, part in zip("Xy", both, strict=True)}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)  # that validation and test are the same rows
            classifier.fit(list(kept.texts), kept.labels, **given)
        return lambda texts: np.asarray(classifier.predict(list(texts)), dtype=np.int64)


@dataclass(frozen=True)
class Adapter:
    """A trained adapter as it is, for `--adapter`; its labels are those of the rows, in the order of their names."""

    folder: Path
    labels: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        return {"adapter": str(self.folder)}

    def fit(self, rows: TrainingRows, classes: int, seed: int) -> Predict:
        del rows, classes, seed
        import loraloom

        classifier = loraloom.load(self.folder)
        if sorted(classifier.labels) != sorted(self.labels):
            raise ValueError(f"{self.folder}: its labels are {classifier.labels}, the rows' are {self.labels}")
        own = np.array([self.labels.index(label) for label in classifier.labels])
        return lambda texts: own[classifier.logits(list(texts)).argmax(axis=1)]


@dataclass(frozen=True)
class FullFineTuning:
    """Every weight of the encoder and its head, by HF Trainer: linear schedule, warm-up, length-grouped batches."""

    model: str
    max_length: int
    learning_rate: float = 1e-4
    epochs: float = 2
    batch: int = 16

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "max_length": self.max_length,
            "learning_rate": self.learning_rate,
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": self.batch,
            "lr_scheduler_type": "linear",
            "warmup_ratio": 0.06,
            "weight_decay": 0.01,
        }

    def fit(self, rows: TrainingRows, classes: int, seed: int) -> Predict:
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
            PrinterCallback,
            Trainer,
            TrainingArguments,
            set_seed,
        )

        from loraloom.backbone import sources
        from loraloom.backbone.quiet import quietly
        from loraloom.engine.device import device
        from loraloom.engine.precision import choose_dtype
        from loraloom.recipe import Train

        set_seed(seed)
        folder = sources.find(self.model).location
        tokenizer = AutoTokenizer.from_pretrained(folder)
        with quietly():
            model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=classes)
        epochs = epochs_for(len(rows.labels), self.epochs, self.batch)
        steps = epochs * math.ceil(len(rows.labels) / self.batch)

        def encoded(texts: Sequence[str]) -> list[dict[str, Any]]:
            found = tokenizer(list(texts), truncation=True, max_length=self.max_length)
            return [{name: found[name][row] for name in found} for row in range(len(texts))]

        train = [row | {"labels": int(label)} for row, label in zip(encoded(rows.texts), rows.labels, strict=True)]
        with tempfile.TemporaryDirectory() as place:
            trainer = Trainer(
                model=model,
                args=TrainingArguments(
                    output_dir=place,
                    per_device_train_batch_size=self.batch,
                    per_device_eval_batch_size=64,
                    num_train_epochs=epochs,
                    learning_rate=self.learning_rate,
                    lr_scheduler_type="linear",
                    warmup_steps=round(0.06 * steps),
                    weight_decay=0.01,
                    seed=seed,
                    use_cpu=device().type == "cpu",
                    bf16=choose_dtype(Train()) == "bf16",
                    train_sampling_strategy="group_by_length",
                    save_strategy="no",
                    logging_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    dataloader_pin_memory=False,
                ),
                train_dataset=cast(Any, train),
                data_collator=DataCollatorWithPadding(tokenizer),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        # HF Trainer would group the rows that it predicts by length, too, and give their logits in that order.
        trainer.args.train_sampling_strategy = "random"

        def predict(texts: Sequence[str]) -> NDArray[np.int64]:
            order = np.argsort([len(text) for text in texts], kind="stable")  # batches of like length
            logits = trainer.predict(cast(Any, encoded([texts[row] for row in order]))).predictions
            found = np.empty(len(texts), dtype=np.int64)
            found[order] = np.asarray(logits).argmax(axis=1)
            return found

        return predict
