"""LoraClassifier: a search for the most accurate LoRA classifier within a budget, as a scikit-learn estimator.

X is one column of texts. The search chooses between configurations by rows that it holds out of X, and tests the
winner once on others, so that both are measured; give X_val and X_test to train on all of X.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import validate_data

from loraloom.data.tables import Table
from loraloom.estimator import saved
from loraloom.estimator.columns import classes_of, ids_among, table_of_rows, texts_of
from loraloom.estimator.saved import Kept
from loraloom.estimator.settings import named_by_parameters, recipe_of
from loraloom.machine import with_home
from loraloom.study.record import TrialRecord, read_record
from loraloom.use.class_shares import asked_shares

_FITTED = ("classes_", "record_", "partial_", "n_features_in_", "feature_names_in_", "_kept", "_columns")


class LoraClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of texts: a frozen encoder, adapted by LoRA, found by a search under hard limits.

    Parameters have the names and rules of a recipe's fields (`loraloom schema`); None leaves a field to `recipe`, or
    to its default. A list of values, or a range {"min": …, "max": …, "log": True}, makes an axis of the search (of
    target_modules and layers_to_transform a list of lists). `head` is the recipe's head.kind; all fields that are not
    listed here are set by `recipe`.

    Args:
        model: The encoder: a name on the hub, a folder, or "demo". By default roberta-base.
        recipe: A recipe's file, or a mapping of its sections, without rows; parameters are put over it.
        max_trainable_parameters: The most trainable parameters, head included. None: no cap.
        max_seconds: The time that fit may take, all included; the search is planned to fit it.
        validation_share: Of X, held out to choose by, and as much again to test the winner; by default 0.1.
        class_shares: How common the classes are in the texts that are predicted, where that is not as in y:
            "balanced", or a mapping of each class to its share, in any unit. It may be set after fit, which it leaves
            as it is.
        random_state: Seed of splits, weights, order and dropout; None is the recipe's, 42 by default. Without a
            time limit the same seed gives the same classifier. A RandomState is drawn from.
        run_dir: A new folder that keeps the whole run, with its report; by default only the winner is kept.
        allow_leak: Keep training rows that are near copies of held-out ones, which are else left out.
        verbose: Print what is found of the rows, and each trial.

    Attributes:
        classes_: Labels (C,), sorted, in the order of the columns of `predict_proba`.
        record_: What is known of the winner: its configuration, parameters, results on validation and test.
        partial_: Whether fit ended before its plan was done, by Ctrl-C or by a time limit.
        n_features_in_: 1, where X was two-dimensional; feature_names_in_ where it was a frame.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        recipe: Any = None,
        revision: Any = None,
        dropout: Any = None,
        r: Any = None,
        lora_alpha: Any = None,
        lora_dropout: Any = None,
        bias: Any = None,
        target_modules: Any = None,
        layers_to_transform: Any = None,
        use_rslora: Any = None,
        init_lora_weights: Any = None,
        head: Any = None,
        pooling: Any = None,
        optim: Any = None,
        learning_rate: Any = None,
        per_device_train_batch_size: Any = None,
        gradient_accumulation_steps: Any = None,
        num_train_epochs: Any = None,
        weight_decay: Any = None,
        lr_scheduler_type: Any = None,
        warmup_steps: Any = None,
        max_grad_norm: Any = None,
        label_smoothing_factor: Any = None,
        class_weight: Any = None,
        bf16: Any = None,
        fp16: Any = None,
        max_length: Any = None,
        validation_share: float | None = None,
        sampler: str | None = None,
        n_trials: int | None = None,
        pruner: str | None = None,
        seeds: int | None = None,
        metric: str | None = None,
        max_trainable_parameters: int | None = 1_000_000,
        max_seconds: float | None = None,
        max_memory_gb: float | None = None,
        engine: str | None = None,
        class_shares: Any = None,
        random_state: Any = None,
        run_dir: Path | str | None = None,
        allow_leak: bool = False,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.revision = revision
        self.dropout = dropout
        self.r = r
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.bias = bias
        self.target_modules = target_modules
        self.layers_to_transform = layers_to_transform
        self.use_rslora = use_rslora
        self.init_lora_weights = init_lora_weights
        self.head = head
        self.pooling = pooling
        self.optim = optim
        self.learning_rate = learning_rate
        self.per_device_train_batch_size = per_device_train_batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.num_train_epochs = num_train_epochs
        self.weight_decay = weight_decay
        self.lr_scheduler_type = lr_scheduler_type
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.label_smoothing_factor = label_smoothing_factor
        self.class_weight = class_weight
        self.bf16 = bf16
        self.fp16 = fp16
        self.max_length = max_length
        self.validation_share = validation_share
        self.sampler = sampler
        self.n_trials = n_trials
        self.pruner = pruner
        self.seeds = seeds
        self.metric = metric
        self.max_trainable_parameters = max_trainable_parameters
        self.max_seconds = max_seconds
        self.max_memory_gb = max_memory_gb
        self.engine = engine
        self.class_shares = class_shares
        self.random_state = random_state
        self.run_dir = run_dir
        self.allow_leak = allow_leak
        self.verbose = verbose

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        X_test: Any = None,  # noqa: N803
        y_test: Any = None,
    ) -> Self:
        """Searches, and keeps the winner. X: a column of N texts; y: N labels.

        Fits in threads of one process take turns, each with its `max_seconds` whole. The global random generators are
        left as they were. An error leaves what was fitted before as it was.

        Ctrl-C ends it after a step, with what was trained so far: the estimator is then fitted, `partial_` is True, and
        KeyboardInterrupt goes on. The second time ends it at once. Before anything was trained it leaves what was
        fitted before, as an error does.

        Raises:
            TypeError, ValueError: X or y is not what it must be.
            LoraloomError: what is wrong with parameters, rows or the model, in a sentence.
        """
        started = time.monotonic()
        from loraloom.estimator import fitting  # with the search, which using a saved one does without

        parameters = self.get_params(deep=False)
        with named_by_parameters(parameters):
            recipe = recipe_of(parameters)
        classes, ids = classes_of(y)
        if self.class_shares is not None:
            asked_shares(self.class_shares, [*map(str, classes)])  # refused now, and not when all is trained
        run_dir = None if self.run_dir is None else with_home(self.run_dir)
        held_out = {"validation": ("val", X_val, y_val), "test": ("test", X_test, y_test)}
        with self._unfitted():
            rows = {"train": table_of_rows("X and y", self._texts(X, reset=True), ids, classes)}
            rows |= self._held_out(held_out, classes)
            with named_by_parameters(parameters):
                fitted = fitting.fit(
                    recipe, rows, run_dir, started=started, allow_leak=self.allow_leak, verbose=self.verbose
                )
            self._keep(fitted.kept, fitted.record, classes)
            self.partial_ = fitted.interrupted or fitted.unfinished is not None
        if fitted.interrupted:
            lacks = f" ({fitted.unfinished})" if fitted.unfinished else ""
            raise KeyboardInterrupt(
                f"fit was stopped{lacks}; the estimator has the best so far: predict and save work, partial_ is True"
            )
        if fitted.doubt is not None:
            warnings.warn(fitted.doubt, ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The class (N,) of each text.

        Raises:
            TypeError, ValueError: X is no column of texts.
            AdapterError: the folder that this estimator was loaded from holds another adapter by now.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Probabilities (N, C), columns in the order of `classes_`; for `class_shares`, where these are given.

        Raises:
            TypeError, ValueError: X is no column of texts.
            OptionError: `class_shares` are none.
            AdapterError: the folder that this estimator was loaded from holds another adapter by now, or nothing that
                tells which class shares it expects.
        """
        classifier = self._checked().classifier
        if self.class_shares is not None:
            classifier = classifier.for_class_shares(self.class_shares)
        return classifier.predict_proba(self._texts(X))[:, self._columns]

    def save(self, path: Path | str) -> Path:
        """Writes the classifier into the folder `path`, whole or not at all; returns the folder.

        It is an adapter's folder as RUN/best is, with the classes and the parameters beside it: `LoraClassifier.load`
        and `loraloom.load` read it, without pickle and without what only training needs. A recipe's file is kept
        by what it holds; a parameter that can't be kept, such as a RandomState, is warned of.

        Raises:
            AdapterError: `path` holds something that is no saved estimator, or files beside one, is the folder that
                the process is in, or lies within the folder that this estimator was loaded from, or that holds another
                adapter by now.
        """
        kept = self._checked()
        by_column = self.classes_[np.argsort(self._columns)]
        names, count = getattr(self, "feature_names_in_", None), getattr(self, "n_features_in_", None)
        columns = count if names is None else list(map(str, names))
        folder = with_home(path)
        saved.save(kept, folder, by_column, self.get_params(deep=False), partial=self.partial_, columns=columns)
        return folder

    @classmethod
    def load(cls, path: Path | str, *, revision: str | None = None) -> Self:
        """The estimator that `save` wrote, or one of any adapter: a trial's folder, RUN/best, owner/name on the hub.

        Raises:
            AdapterError: the folder is none, is damaged, or holds what is not safe to load.
        """
        from loraloom.use.adapter import adapter_folder, read_adapter_record

        folder = adapter_folder(path, revision)
        kept = Kept(folder.absolute())  # before anything is read: what replaces the folder from now on is refused
        record = read_adapter_record(folder)
        by_column, parameters, partial, columns = saved.read(folder, record)
        known = cls._get_param_names()
        estimator = cls(**{name: value for name, value in parameters.items() if name in known})
        estimator._keep(kept, record, by_column)
        estimator.partial_ = partial
        if isinstance(columns, tuple):
            vars(estimator)["feature_names_in_"] = np.array(columns, dtype=object)
        if columns is not None:
            vars(estimator)["n_features_in_"] = columns if isinstance(columns, int) else len(columns)
        return estimator

    def push_to_hub(self, repo_id: str, *, private: bool = False, commit_message: str = "Add the classifier") -> str:
        """Saves the classifier to the hub's repository `repo_id` (owner/name); returns the commit's URL.

        Raises:
            AdapterError: the hub can't be reached, or refuses.
        """
        from loraloom.use.hub_adapter import push

        self._checked()
        with tempfile.TemporaryDirectory(prefix="loraloom-push-") as place:
            folder = self.save(Path(place) / "adapter")
            return push(folder, read_record(folder), repo_id, private=private, message=commit_message)

    @contextmanager
    def _unfitted(self) -> Iterator[None]:
        """Without what was fitted before, which an error or Ctrl-C gives back: what is refused costs no classifier."""
        before = {name: vars(self).pop(name) for name in _FITTED if name in vars(self)}
        if "_kept" in before:
            before["_kept"].let_go()  # it takes no memory from the training
        try:
            yield
        except BaseException:
            for name in _FITTED:
                vars(self).pop(name, None)
            vars(self).update(before)
            raise

    def _keep(self, kept: Kept, record: TrialRecord, by_column: NDArray[Any]) -> None:
        """Fitted state; `by_column` are the classes in the order of the adapter's logits."""
        self._columns = np.argsort(by_column, kind="stable")
        self.classes_ = by_column[self._columns]
        self._kept, self.record_ = kept, record

    def _checked(self) -> Kept:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments"
            )
        return self._kept

    def _texts(self, X: Any, *, reset: bool = False) -> list[str]:  # noqa: N803
        """X as texts; a frame's one column is remembered, and compared with that of fit."""
        texts = texts_of(X)
        if len(getattr(X, "shape", ())) == 2 and (reset or hasattr(self, "n_features_in_")):
            validate_data(self, X, reset=reset, skip_check_array=True)
        return texts

    def _held_out(self, given: Mapping[str, tuple[str, Any, Any]], classes: NDArray[Any]) -> dict[str, Table]:
        """By their split, the rows of those that are `given`: the ending of their arguments' names, X and y.

        Raises:
            TypeError, ValueError: X is given without y or y without X, or they are not what they must be.
        """
        rows = {}
        for split, (name, X, y) in given.items():  # noqa: N806
            if (X is None) != (y is None):
                raise ValueError(f"give both X_{name} and y_{name}, or neither")
            if X is not None:
                ids = ids_among(classes, y, f"y_{name}")
                rows[split] = table_of_rows(f"X_{name} and y_{name}", self._texts(X), ids, classes)
        return rows

    def __sklearn_is_fitted__(self) -> bool:
        return "_kept" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False  # but for one column: no table of numbers is meant
        return tags

    def __getstate__(self) -> Any:
        """Unfitted, as any estimator; weights are not pickled, since a pickle can run code where it is loaded."""
        if self.__sklearn_is_fitted__():
            raise TypeError(
                f"a fitted {type(self).__name__} is not pickled; save(folder) keeps it, and "
                f"{type(self).__name__}.load(folder) gives it back"
            )
        return super().__getstate__()
