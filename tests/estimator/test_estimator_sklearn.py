"""scikit-learn's own checks, and its tools around the estimator.

scikit-learn leaves estimators of texts out of its checks: its tables are of numbers. So they are run twice: on
LoraClassifier as it is, and all of them on `OfNumbers`, which writes each row of numbers as words and is else the same.
What they ask of it is little training, and often of the same rows: that a search of the same recipe and rows comes to
the same is said in test_estimator_fitting.py.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import SkipTestWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

from loraloom import LoraClassifier
from loraloom.data.tables import Table
from loraloom.estimator import fitting
from loraloom.estimator.fitting import Fitted
from loraloom.recipe import Recipe
from tests.commands import Commands
from tests.conftest import FILLER, WORDS
from tests.estimator.conftest import LABELS, TEXTS, numbers, tiny

EXPECTED_FAILED_CHECKS = {
    "check_class_weight_classifiers": "class_weight is the recipe's: 'none' or 'balanced', not a weight for each class",
    "check_estimators_pickle": "a fitted one is not pickled: save() keeps it, as safetensors and JSON",
}
"""Of all checks of scikit-learn, on `OfNumbers`, those that LoraClassifier fails on purpose, and why."""


VOCABULARY = [*(word for words in WORDS.values() for word in words), *FILLER]


class OfNumbers(LoraClassifier):
    """A row of numbers is read as words, two for each: its bin of a half, and where in it; all else is its parent's."""

    def _texts(self, X: Any, *, reset: bool = False) -> list[str]:  # noqa: N803
        table = np.asarray(validate_data(self, X, reset=reset), dtype=np.float64)
        halves = np.clip(np.floor(2 * table) + 6, 0, 11).astype(int)  # (N, D)
        within = np.floor(10 * (2 * table % 1)).astype(int)
        places = np.stack([halves + 12 * np.arange(table.shape[1]), within], axis=2) % len(VOCABULARY)
        return [" ".join(VOCABULARY[place] for place in row.ravel()) for row in places]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        tags.classifier_tags.poor_score = True  # words hide what numbers say of each other
        return tags


def results(estimator: LoraClassifier, expected: dict[str, str]) -> list[dict[str, Any]]:
    return list(check_estimator(estimator, expected_failed_checks=expected, on_skip=None, on_fail=None))


def test_the_estimator_passes_the_checks_that_scikit_learn_has_for_texts(tiny_model: Path) -> None:
    with pytest.warns(SkipTestWarning, match="requires input"):
        done = results(tiny(tiny_model), {})
    assert {check["check_name"]: check["status"] for check in done} == {"check_estimator_cloneable": "passed"}


@pytest.fixture
def searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe is searched once on the same rows."""
    search, found = fitting.fit, dict[str, Fitted]()

    def once(recipe: Recipe, rows: dict[str, Table], *given: Any, **named: Any) -> Fitted:
        cells = {name: {column: table.cells(column) for column in table.columns} for name, table in rows.items()}
        key = f"{recipe.model_dump_json()} {cells}"
        if key not in found:
            found[key] = search(recipe, rows, *given, **named)
        return found[key]

    monkeypatch.setattr(fitting, "fit", once)


@pytest.mark.usefixtures("searched_once")
def test_of_all_checks_exactly_those_fail_that_are_listed_with_a_reason(tiny_model: Path) -> None:
    short = {"num_train_epochs": 1, "per_device_train_batch_size": 32}
    estimator = OfNumbers(**tiny(tiny_model, allow_leak=True, **short).get_params())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = results(estimator, EXPECTED_FAILED_CHECKS)
    failed = {check["check_name"]: check["exception"] for check in done if check["status"] in ("failed", "xfail")}
    assert set(failed) == set(EXPECTED_FAILED_CHECKS), failed
    assert sum(check["status"] == "passed" for check in done) > 40


def test_a_grid_search_over_parameters_finds_one_and_refits(tiny_model: Path) -> None:
    grid = GridSearchCV(tiny(tiny_model), {"num_train_epochs": [1, 10], "r": [np.int64(2)]}, cv=2).fit(TEXTS, LABELS)
    assert grid.best_params_["num_train_epochs"] == 10
    assert grid.score(TEXTS, LABELS) > 0.9
    assert grid.classes_.tolist() == ["animals", "food", "tools"]


def test_cross_validation_takes_arrays_and_series(tiny_model: Path) -> None:
    for column in (np.array(TEXTS, dtype=object), pd.Series(TEXTS, index=range(7, 7 + len(TEXTS)))):
        assert cross_val_score(tiny(tiny_model), column, LABELS, cv=2).mean() > 0.6


def test_a_pipeline_may_choose_the_column_and_set_its_output(tiny_model: Path) -> None:
    frame = pd.DataFrame({"number": range(len(TEXTS)), "text": TEXTS})
    chosen = ColumnTransformer([("text", "passthrough", ["text"])], verbose_feature_names_out=False)
    pipeline = Pipeline([("choose", chosen), ("classify", tiny(tiny_model))]).set_output(transform="pandas")
    assert pipeline.fit(frame, LABELS).score(frame, LABELS) > 0.8
    classifier = pipeline.named_steps["classify"]
    assert (classifier.n_features_in_, classifier.feature_names_in_.tolist()) == (1, ["text"])
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[["text"]].rename(columns={"text": "body"}))
    assert classifier.predict(frame["text"]).tolist() == pipeline.predict(frame).tolist()


def test_calibration_fits_clones_and_takes_a_fitted_one(tiny_model: Path, fitted: LoraClassifier) -> None:
    calibrated = CalibratedClassifierCV(tiny(tiny_model), cv=2, method="sigmoid").fit(TEXTS, LABELS)
    assert calibrated.predict_proba(TEXTS).shape == (len(TEXTS), 3)
    prefit = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid").fit(TEXTS, numbers())
    assert prefit.classes_.tolist() == [4, 5, 30]
    assert (prefit.predict(TEXTS) == numbers()).mean() > 0.9


def test_a_clone_has_the_parameters_and_is_not_fitted(fitted: LoraClassifier) -> None:
    check_is_fitted(fitted)
    other = clone(fitted)
    assert other.get_params() == fitted.get_params()
    assert not hasattr(other, "classes_")
    assert set(vars(other)) == set(other.get_params())


GRID = """
import multiprocessing, sys
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV
from tests.estimator.conftest import LABELS, TEXTS, tiny
multiprocessing.set_start_method("fork")  # Python 3.14 has another by default
with parallel_config(backend="multiprocessing"):
    search = GridSearchCV(tiny(sys.argv[1]), {"num_train_epochs": [1, 2]}, cv=2, n_jobs=2).fit(TEXTS, LABELS)
print(len(search.predict(TEXTS)))
"""


def test_trials_of_a_grid_run_in_worker_processes(commands: Commands, tiny_model: Path, tmp_path: Path) -> None:
    """Forks: two of joblib's own processes would import all anew. Nothing is left of what they fitted."""
    ended = commands.start(tiny_model, code=GRID, environment={"TMPDIR": str(tmp_path)}).wait()
    assert (ended.code, ended.out.split()) == (0, [str(len(TEXTS))]), ended.err
    assert not list(tmp_path.glob("loraloom-*"))
