"""An estimator is kept as an adapter's folder, and not as a pickle."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom import LoraClassifier
from loraloom.errors import AdapterError, BackboneError, BudgetError, OptionError, RecipeError
from loraloom.estimator import saved
from loraloom.estimator.settings import recipe_of
from loraloom.study.durable import verify_manifest, write_manifest
from loraloom.use.ensemble import load_ensemble
from tests.estimator.conftest import TEXTS, numbers, tiny
from tests.use.hub_server import hub_server, speak_to
from tests.use.tested_adapters import add_test_result

TRAINING_ONLY = ("optuna", "sqlalchemy", "datasets", "statsmodels", "matplotlib", "transformers.trainer")


def test_a_saved_classifier_comes_back_with_its_classes_and_parameters(fitted: LoraClassifier, tmp_path: Path) -> None:
    assert fitted.save(tmp_path / "kept") == tmp_path / "kept"
    loaded = LoraClassifier.load(tmp_path / "kept")
    assert loaded.classes_.tolist() == [4, 5, 30]
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert loaded.predict_proba(TEXTS).tolist() == fitted.predict_proba(TEXTS).tolist()
    assert loaded.get_params() == fitted.get_params()
    assert loaded.score(TEXTS, numbers()) == fitted.score(TEXTS, numbers())


def test_probabilities_are_for_the_class_shares_that_are_given_before_or_after_fit(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, folder = fitted.predict_proba(TEXTS), fitted.save(tmp_path / "kept")
    ensemble = load_ensemble([folder], class_shares=["30=1", "4=0", "5=3"])
    columns = [ensemble.labels.index(label) for label in ("4", "5", "30")]
    expected = ensemble.probabilities(ensemble.encoded(TEXTS))[0][:, columns]
    shares = {30: 1, np.int64(4): 0, 5: 3}
    monkeypatch.setattr(fitted, "class_shares", shares)
    assert fitted.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-12)
    assert fitted.predict(TEXTS).tolist() == fitted.classes_[expected.argmax(axis=1)].tolist()
    assert set(fitted.predict(TEXTS)) == {5, 30}
    assert clone(fitted).class_shares == shares
    loaded = LoraClassifier.load(fitted.save(tmp_path / "told"))
    assert loaded.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-12)
    assert loaded.get_params()["class_shares"] == {"30": 1, "4": 0, "5": 3}
    assert loaded.set_params(class_shares=None).predict_proba(TEXTS).tolist() == plain.tolist()
    monkeypatch.setattr(fitted, "class_shares", pd.Series(shares))
    counted = LoraClassifier.load(fitted.save(tmp_path / "counted"))
    assert counted.class_shares == {"30": 1, "4": 0, "5": 3}


def test_class_shares_that_are_none_are_refused_before_anything_is_trained(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match="'9' is none of the labels; they are '4', '5', '30'"):
        tiny(tiny_model, class_shares={9: 1}).fit(TEXTS, numbers())


@pytest.mark.parametrize(("name", "wrong"), [("r", 0), ("class_shares", {9: 1})])
def test_a_parameter_that_is_refused_costs_nothing_that_was_fitted(
    fitted: LoraClassifier, tmp_path: Path, name: str, wrong: Any
) -> None:
    loaded = LoraClassifier.load(fitted.save(tmp_path / "kept"))
    before = loaded.get_params()[name]
    with pytest.raises((RecipeError, OptionError)):
        loaded.set_params(**{name: wrong}).fit(TEXTS, numbers())
    assert loaded.set_params(**{name: before}).predict(TEXTS).tolist() == fitted.predict(TEXTS).tolist()


@pytest.mark.parametrize(
    ("parameters", "rows", "error"),
    [
        ({}, {"X": [None, *TEXTS[1:]]}, ValueError),
        ({}, {"X_val": TEXTS}, ValueError),
        ({}, {"X_test": TEXTS, "y_test": [*numbers()[1:], 9]}, ValueError),
        ({"model": "./nowhere"}, {}, BackboneError),
        ({"max_trainable_parameters": 1}, {}, BudgetError),
    ],
)
def test_what_a_second_fit_refuses_costs_nothing_that_was_fitted(
    fitted: LoraClassifier, tmp_path: Path, parameters: dict[str, Any], rows: dict[str, Any], error: type[Exception]
) -> None:
    loaded = LoraClassifier.load(fitted.save(tmp_path / "kept"))
    expected, record = loaded.predict(TEXTS).tolist(), loaded.record_
    with pytest.raises(error):
        loaded.set_params(**parameters).fit(**{"X": pd.DataFrame({"text": TEXTS}), "y": numbers(), **rows})
    assert (loaded.predict(TEXTS).tolist(), loaded.record_, loaded.partial_) == (expected, record, False)
    assert not hasattr(loaded, "n_features_in_")


def test_a_loaded_one_knows_the_column_that_it_was_fitted_on(tiny_model: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"body": TEXTS})
    tiny(tiny_model, num_train_epochs=1).fit(frame, numbers()).save(tmp_path / "kept")
    loaded: Any = LoraClassifier.load(tmp_path / "kept")
    assert (loaded.n_features_in_, loaded.feature_names_in_.tolist()) == (1, ["body"])
    assert len(loaded.predict(frame)) == len(TEXTS)
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"body": "title"}))


def test_numbers_that_scikit_learn_gives_classes_are_not_told_as_the_sources_codes(
    fitted: LoraClassifier, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "kept")
    record = loraloom.load(tmp_path / "kept").record
    assert record.labels == record.label_codes == ("4", "5", "30")


def test_a_loaded_one_works_from_any_folder(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    loaded = LoraClassifier.load("kept")
    monkeypatch.chdir("/")
    assert loaded.predict(TEXTS[:2]).tolist() == fitted.predict(TEXTS[:2]).tolist()


def test_one_may_be_kept_in_the_home_folder_and_named_from_there(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert fitted.save("~/kept") == tmp_path / "home" / "kept"
    assert LoraClassifier.load("~/kept").predict(TEXTS).tolist() == fitted.predict(TEXTS).tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_link_to_a_saved_one_stays_a_link(fitted: LoraClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "v3")
    (tmp_path / "latest").symlink_to("v3")
    for _ in range(2):
        fitted.save(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "v3"]


def test_a_folder_that_was_replaced_answers_for_no_estimator_that_was_loaded_from_it_before(
    fitted: LoraClassifier, tiny_model: Path, tmp_path: Path
) -> None:
    folder = fitted.save(tmp_path / "kept")
    used, unused, same = (LoraClassifier.load(folder) for _ in range(3))
    before = used.predict(TEXTS).tolist()
    same.set_params(verbose=True).save(folder)  # which changes the parameters alone
    assert same.predict(TEXTS).tolist() == before
    other = tiny(tiny_model, num_train_epochs=1).fit(TEXTS, numbers() % 29)
    other.save(folder)
    with pytest.raises(AdapterError, match="holds another adapter than when this estimator was made of it"):
        unused.predict(TEXTS)
    for estimator in (used, unused):
        with pytest.raises(AdapterError, match="holds another adapter"):
            estimator.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert used.predict(TEXTS).tolist() == before
    shutil.rmtree(folder)
    with pytest.raises(AdapterError, match="is no longer there"):
        used.save(tmp_path / "copy")


def test_one_that_its_run_tests_after_it_was_loaded_answers(fitted: LoraClassifier, tmp_path: Path) -> None:
    loaded = LoraClassifier.load(fitted.save(tmp_path / "kept"))
    add_test_result(tmp_path / "kept")
    assert loaded.predict(TEXTS[:3]).tolist() == fitted.predict(TEXTS[:3]).tolist()


def test_the_folder_is_an_adapters_without_rows(fitted: LoraClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    verify_manifest(tmp_path / "kept")
    adapter = loraloom.load(tmp_path / "kept")
    assert adapter.labels == ("4", "5", "30")
    assert adapter.card.startswith("---\n")
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names - {"temperature.json"} == {
        *("README.md", "adapter_config.json", "adapter_model.safetensors", "class_shares.json", "estimator.json"),
        *("manifest.json", "trial.json"),
    }


@pytest.mark.usefixtures("no_report")
def test_a_searchs_winner_becomes_an_estimator_with_its_classes_sorted(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run")
    record = loraloom.load(tmp_path / "run" / "best").record
    unsorted = record.model_copy(update={"labels": ("tools", "food", "animals")})
    estimator = LoraClassifier()
    estimator._keep(LoraClassifier.load(tmp_path / "run" / "best")._kept, unsorted, np.array(unsorted.labels))
    assert estimator.classes_.tolist() == ["animals", "food", "tools"]
    by_class = LoraClassifier.load(tmp_path / "run" / "best").predict_proba(TEXTS)
    assert estimator.predict_proba(TEXTS).tolist() == by_class[:, ::-1].tolist()


@pytest.mark.parametrize(
    "classes",
    [
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        np.array([False, True]),
        np.array([0.0, 1.0]),
        np.array([1, 2], dtype=np.int8),
    ],
    ids=lambda classes: str(classes.dtype),
)
def test_classes_of_every_kind_come_back(
    classes: Any, fitted: LoraClassifier, tmp_path: Path, tiny_model: Path
) -> None:
    record = fitted.record_.model_copy(update={"labels": tuple(str(label) for label in classes)})
    saved.save(fitted._kept, tmp_path / "kept", classes, {"model": "demo", "run_dir": tmp_path / "run"})
    found, parameters, partial, _ = saved.read(tmp_path / "kept", record)
    assert not partial
    assert found.dtype == classes.dtype
    assert found.tolist() == classes.tolist()
    assert parameters == {"model": "demo"}


def test_grids_of_numpy_come_back_as_lists(fitted: LoraClassifier, tmp_path: Path) -> None:
    grids = {
        "r": np.array([4, 8]),
        "learning_rate": np.logspace(-3, -2, 2),
        "lora_alpha": [np.int64(8)],
        "num_train_epochs": {"min": np.int64(1), "max": 2},
        "n_trials": np.int64(3),
    }
    saved.save(fitted._kept, tmp_path / "kept", fitted.classes_, grids)
    assert saved.read(tmp_path / "kept", fitted.record_)[1] == {
        "r": [4, 8],
        "learning_rate": [0.001, 0.01],
        "lora_alpha": [8],
        "num_train_epochs": {"min": 1, "max": 2},
        "n_trials": 3,
    }


def test_of_a_runs_recipe_nothing_is_kept_that_tells_of_its_rows(fitted: LoraClassifier, tmp_path: Path) -> None:
    recipe = {"train": {"seed": 1}, "provenance": {"data": {"findings": [{"examples": ["a text of a row"]}]}}}
    saved.save(fitted._kept, tmp_path / "kept", fitted.classes_, {"recipe": recipe})
    assert saved.read(tmp_path / "kept", fitted.record_)[1] == {"recipe": {"train": {"seed": 1}}}
    assert "provenance" in recipe


def test_classes_that_would_take_all_memory_as_an_array_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved._array("<U9", ["a", "b" * 9], count=2).tolist() == ["a", "b" * 9]
    monkeypatch.setattr(saved, "MOST_CHARACTERS", 17)
    with pytest.raises(ValueError, match="its classes are too long"):
        saved._array("<U9", ["a", "b" * 9], count=2)


def test_an_adapter_whose_labels_are_in_any_order_is_saved_with_that_of_its_logits(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = save_random_adapter(tmp_path / "adapter", tiny_model, labels=("b", "c", "a"))
    loaded = LoraClassifier.load(folder)
    assert loaded.classes_.tolist() == ["a", "b", "c"]
    again = LoraClassifier.load(loaded.save(tmp_path / "saved"))
    assert again.predict(TEXTS).tolist() == loaded.predict(TEXTS).tolist() == loraloom.load(folder).predict(TEXTS)
    assert again.predict_proba(TEXTS).tolist() == loaded.predict_proba(TEXTS).tolist()


def test_whether_fit_was_cut_short_comes_back(fitted: LoraClassifier, tmp_path: Path) -> None:
    saved.save(fitted._kept, tmp_path / "kept", fitted.classes_, {}, partial=True)
    assert LoraClassifier.load(tmp_path / "kept").partial_
    assert not LoraClassifier.load(fitted.save(tmp_path / "whole")).partial_
    assert fitted.record_.result is not None
    short = fitted.record_.model_copy(update={"epochs": 1.0})
    assert saved.read(tmp_path, short)[2]  # of a trial's folder, which has no estimator.json


@pytest.mark.parametrize("kind", [str, Path])
def test_a_recipes_file_comes_back_as_what_it_holds(fitted: LoraClassifier, tmp_path: Path, kind: type) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("train: {weight_decay: [0.1, 0.3]}\n")
    saved.save(fitted._kept, tmp_path / "kept", fitted.classes_, {"recipe": kind(file)})
    file.unlink()
    loaded = LoraClassifier.load(tmp_path / "kept")
    assert loaded.recipe == {"train": {"weight_decay": [0.1, 0.3]}}
    assert recipe_of(clone(loaded).get_params()).axes["train.weight_decay"] is not None


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"random_state": np.random.RandomState(1)}, r"random_state: can't be saved \(it is RandomState"),
        ({"recipe": "gone.yaml"}, r"recipe: can't be saved \(gone\.yaml"),
        ({"learning_rate": float("nan")}, r"learning_rate: can't be saved"),
    ],
)
def test_parameters_that_can_not_be_kept_are_warned_of(
    fitted: LoraClassifier, tmp_path: Path, parameters: dict[str, Any], said: str
) -> None:
    with pytest.warns(UserWarning, match=said):
        saved.save(fitted._kept, tmp_path / "kept", fitted.classes_, parameters)
    assert saved.read(tmp_path / "kept", fitted.record_)[1] == {}


def test_a_name_that_is_too_long_for_a_folder_is_refused_in_a_sentence() -> None:
    for load in (LoraClassifier.load, loraloom.load):
        with pytest.raises(AdapterError, match=r"aaa: can't be read: File name too long$"):
            load("a" * 5_000)


def test_what_is_no_saved_estimator_is_not_written_over(fitted: LoraClassifier, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AdapterError, match="is not empty, and is no estimator"):
        fitted.save(tmp_path)
    fitted.save(tmp_path / "kept")
    fitted.save(tmp_path / "kept")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_folder_that_one_is_in_is_not_replaced(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in (".", tmp_path / "here"):
        with pytest.raises(AdapterError, match="is the folder that you are in; name one in it"):
            fitted.save(place)
    assert fitted.save("kept") == Path("kept")
    assert [path.name for path in Path.cwd().iterdir()] == ["kept"]


def test_nothing_is_saved_within_the_folder_of_the_adapter_that_is_saved(
    fitted: LoraClassifier, tmp_path: Path
) -> None:
    folder = fitted.save(tmp_path / "kept")
    (tmp_path / "link").symlink_to("kept")
    loaded = LoraClassifier.load(folder)
    for place in (folder / "copy", tmp_path / "link" / "a" / "b"):
        with pytest.raises(
            AdapterError, match=f"^{place}: lies within {folder}, the adapter's own folder; choose another"
        ):
            loaded.save(place)
    loaded.save(folder)
    verify_manifest(folder)
    assert not [path.name for path in folder.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["notes.txt", ".git/HEAD", "plots/"])
def test_what_lies_beside_a_saved_estimator_is_not_lost_by_saving_another(
    fitted: LoraClassifier, tmp_path: Path, name: str
) -> None:
    folder = fitted.save(tmp_path / "kept")
    (folder / name).parent.mkdir(exist_ok=True)
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).write_text("mine")
    with pytest.raises(AdapterError, match=f"{name.rstrip('/')}: is no part of the estimator"):
        fitted.save(folder)
    assert (folder / name).exists()
    assert LoraClassifier.load(folder).predict(TEXTS[:2]).tolist() == fitted.predict(TEXTS[:2]).tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"classes": {"dtype": "O8,(object)", "values": [4, 5, 30]}},
        {"classes": {"dtype": "<i8", "values": [4, 5, 31]}},
        {"classes": {"dtype": "object", "values": [4, 5, {"30": 1}]}},
        {"classes": {"dtype": "object", "values": [4, 5, "30"]}},
        {"classes": {"dtype": "<U999999", "values": ["4"] * 5000}},
        {"classes": {"dtype": "<U2", "values": ["4", "5", "3" * 8_000_000]}},
        {"classes": [4, 5, 30]},
        {"parameters": None},
    ],
)
def test_classes_that_are_not_the_adapters_are_refused(
    fitted: LoraClassifier, tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = fitted.save(tmp_path / "kept")
    about = json.loads((folder / "estimator.json").read_text())
    (folder / "estimator.json").write_text(json.dumps(about | change))
    with pytest.raises(AdapterError, match="is damaged"):
        LoraClassifier.load(folder)
    write_manifest(folder)
    with pytest.raises(AdapterError, match=r"estimator\.json: (can't be read|does not belong)"):
        LoraClassifier.load(folder)


def test_weights_that_are_one_large_hole_are_refused_before_they_are_read(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> str:
        raise AssertionError(f"{path} is read")

    folder = fitted.save(tmp_path / "kept")
    with (folder / "adapter_model.safetensors").open("r+b") as file:
        file.truncate(2**40)
    monkeypatch.setattr("loraloom.use.adapter_checks.sha256", read)
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors: has 1,099,511,627,776 bytes"):
        LoraClassifier.load(folder)


def test_an_estimator_of_another_format_is_said_to_be_of_another_version(
    fitted: LoraClassifier, tmp_path: Path
) -> None:
    folder = fitted.save(tmp_path / "kept")
    about = json.loads((folder / "estimator.json").read_text())
    (folder / "estimator.json").write_text(json.dumps({**about, "format": 2, "classes": "in another file"}))
    write_manifest(folder)
    with pytest.raises(AdapterError, match=r"another version of loraloom wrote it \(format 2, this one has 1\)"):
        LoraClassifier.load(folder)


def test_a_further_key_of_the_same_format_is_passed_over(fitted: LoraClassifier, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "kept")
    about = json.loads((folder / "estimator.json").read_text())
    about["classes"]["named"] = about["named"] = True
    (folder / "estimator.json").write_text(json.dumps(about))
    write_manifest(folder)
    assert LoraClassifier.load(folder).predict(TEXTS).tolist() == fitted.predict(TEXTS).tolist()


def test_an_unfitted_one_is_pickled_and_a_fitted_one_says_what_to_do_instead(
    fitted: LoraClassifier, tiny_model: Path, tmp_path: Path
) -> None:
    unfitted = tiny(tiny_model)
    joblib.dump(unfitted, tmp_path / "unfitted")
    pickled = pickle.loads(pickle.dumps(unfitted))  # noqa: S301  # its own
    for other in (pickled, joblib.load(tmp_path / "unfitted"), clone(fitted)):
        assert other.get_params() == unfitted.get_params()
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"is not pickled; save\(folder\) keeps it"):
            attempt(fitted)


def test_using_a_saved_one_imports_nothing_that_only_training_needs(fitted: LoraClassifier, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "kept")
    code = (
        "import sys, loraloom\n"
        "assert not {'torch', 'sklearn'} & set(sys.modules)\n"
        "for load in loraloom.load, loraloom.LoraClassifier.load:\n"
        f"    print(len(load({str(folder)!r}).predict_proba(['the cat near a dog'])[0]))\n"
        f"    print(*[name for name in {TRAINING_ONLY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "3"]


@pytest.mark.filterwarnings("ignore:the backbone of this adapter is a folder of this machine")
def test_a_classifier_goes_to_the_hub_and_back_with_its_classes(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        fitted.push_to_hub("someone/words", commit_message="Words by number")
        assert hub.messages == ["Words by number"]
        loaded = LoraClassifier.load("someone/words")
        assert loaded.classes_.tolist() == [4, 5, 30]
        assert loaded.predict(TEXTS).tolist() == fitted.predict(TEXTS).tolist()
        assert loraloom.load("someone/words").labels == ("4", "5", "30")
        tested = LoraClassifier.load(fitted.save(tmp_path / "kept"))
        add_test_result(tmp_path / "kept")  # as by a resume that has the time for more rows
        tested.push_to_hub("someone/words")
        assert loraloom.load("someone/words").record.result == loraloom.load(tmp_path / "kept").record.result


@pytest.mark.filterwarnings("ignore:the backbone of this adapter is a folder of this machine")
def test_a_pushed_classifier_names_no_place_of_this_machine_but_the_model_that_won(
    fitted: LoraClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    won, loaded = fitted.get_params()["model"], LoraClassifier.load(fitted.save(tmp_path / "kept"))
    models = [won, "/here/another"]
    loaded.set_params(
        model=models,
        recipe={"backbone": {"model": models}, "data": {"test_file": "/here/test.csv", "max_length": 16}},
    )
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        loaded.push_to_hub("someone/words")
        pushed = json.loads(hub.repositories["someone/words"].commits[-1][1]["estimator.json"])["parameters"]
    assert pushed["model"] == won
    assert pushed["recipe"] == {"backbone": {"model": won}, "data": {"max_length": 16}}
