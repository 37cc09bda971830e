"""Several adapters that predict together: their mean, their columns, and which of them have none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.random_adapters import save_random_adapter
from loraloom.errors import AdapterError
from loraloom.use.adapter import Classifier
from loraloom.use.backbones import Backbones, load
from loraloom.use.ensemble import _tokenisation, column_names, load_ensemble
from tests.use.predicted_files import LABELS, read_csv, run, sentences, write_rows


def test_an_ensemble_is_the_mean_of_probabilities_whatever_the_order_of_labels(
    folders: list[Path], tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "in.csv", 20)
    both = load_ensemble(folders[:2])
    run(both, source, tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    assert list(rows[0])[3:] == ["prediction", "confidence", "prediction_a", "prediction_b"]
    alone = [load(folder) for folder in folders[:2]]
    first, second = (own.predict_proba(sentences(20)) for own in alone)
    mean = (first + second[:, ::-1]) / 2
    assert [float(row["confidence"]) for row in rows] == pytest.approx(mean.max(axis=1).tolist(), abs=1e-4)
    assert [row["prediction"] for row in rows] == [LABELS[best] for best in mean.argmax(axis=1)]
    for own, name in zip(alone, "ab", strict=True):
        assert [row[f"prediction_{name}"] for row in rows] == own.predict(sentences(20))
    assert len(both.encoded(["the cat"])) == 1


def test_adapters_that_cut_texts_otherwise_have_token_ids_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    lengths, texts = {"short": 4, "long": 16}, sentences(20)
    places = [
        save_random_adapter(tmp_path / name, tiny_model, {"data": {"max_length": most}}, labels=LABELS, seed=most)
        for name, most in lengths.items()
    ]
    both = load_ensemble(places)
    encoded = both.encoded(texts)
    assert len(encoded) == 2
    for found, place in zip(both.probabilities(encoded), places, strict=True):
        np.testing.assert_allclose(found, load(place).predict_proba(texts), atol=1e-5)


def test_the_same_model_at_another_commit_may_cut_texts_otherwise(folders: list[Path]) -> None:
    own, other = (load(folders[0]) for _ in range(2))
    assert _tokenisation(own) == _tokenisation(other)
    other.record = own.record.model_copy(update={"backbone_revision": "another"})
    assert _tokenisation(own) != _tokenisation(other)


def test_adapters_of_texts_in_other_columns_have_the_column_named(tiny_model: Path, tmp_path: Path) -> None:
    places = [
        save_random_adapter(
            tmp_path / name, tiny_model, {"data": {"text_column": [name], "max_length": 16}}, labels=LABELS, seed=seed
        )
        for seed, name in enumerate(("body", "text"))
    ]
    both, source = load_ensemble(places), write_rows(tmp_path / "in.csv", 3)
    with pytest.raises(AdapterError, match="trained on different columns; name the text's by --text_column"):
        run(both, source, None)
    assert len(run(both, source, None, text_column="text")[1].splitlines()) == 3


def test_adapters_with_other_labels_have_no_mean(folders: list[Path]) -> None:
    with pytest.raises(
        AdapterError, match=r"/c: .* of .*/a \(only one of the two has 'tools'\), so .*; predict by each alone$"
    ):
        load_ensemble([folders[0], folders[2]])


def test_an_adapter_is_no_ensemble_with_a_copy_of_itself(folders: list[Path], tmp_path: Path) -> None:
    copied = shutil.copytree(folders[0], tmp_path / "best")
    for own in (copied, folders[0]):
        with pytest.raises(AdapterError, match=f"{own}: is the same adapter as .*/a; an ensemble is of different ones"):
            load_ensemble([*folders[:2], own])


def test_an_adapter_whose_place_another_takes_while_it_is_loaded_is_refused(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a search does that ends meanwhile: what was predicted by the one would be kept as the other's."""
    place, add = Path(shutil.copytree(folders[0], tmp_path / "best")), Backbones.add

    def replaced(self: Backbones, folder: Path) -> Classifier:
        found = add(self, folder)
        shutil.rmtree(place)
        shutil.copytree(folders[1], place)
        return found

    monkeypatch.setattr(Backbones, "add", replaced)
    with pytest.raises(
        AdapterError, match="best: another adapter took its place while it was loaded; give the command"
    ):
        load_ensemble([place])


def test_columns_are_named_by_as_much_of_a_path_as_tells_it_apart() -> None:
    assert column_names([Path("/runs/x"), Path("/runs/y")]) == ["x", "y"]
    assert column_names([Path("/runs/x/best"), Path("/runs/y/best")]) == ["x_best", "y_best"]
    assert column_names([Path("/")]) == [""]  # which is then found to be no adapter


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(AdapterError, match="a: no such folder"):
        load_ensemble([tmp_path / "a"])
