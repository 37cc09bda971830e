"""TF-IDF's part of a blend: what it says, how it is blended, and what of its files is refused."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer, strip_accents_unicode
from sklearn.linear_model import LogisticRegression

from loraloom.data.overlap import is_unspaced
from loraloom.errors import AdapterError, UnblendableError
from loraloom.metrics import softmax
from loraloom.use import tfidf
from loraloom.use.tfidf import PART, Tfidf, _without_accents, _words, blended, fit, read
from tests.conftest import WORDS, make_rows


def rows_of(classes: int) -> tuple[list[str], np.ndarray]:
    labels = sorted(WORDS)[:classes]
    rows = [(text, labels.index(label)) for text, label in make_rows(120, seed=3) if label in labels]
    return [text for text, _ in rows], np.array([label for _, label in rows])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a classifier of three classes."""
    fit(*rows_of(3), 3).write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns_tfidf_under_logistic_regression(classes: int) -> None:
    texts, labels = rows_of(classes)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode")
    regression = LogisticRegression(C=tfidf.STRENGTH, max_iter=300).fit(vectorizer.fit_transform(texts), labels)
    asked = [*texts[:9], "Càt NEAR a hammer hammer", "", "?!"]
    own = fit(texts, labels, classes)
    np.testing.assert_allclose(
        own.log_probabilities(asked), regression.predict_log_proba(vectorizer.transform(asked)), atol=1e-4
    )
    assert own.terms == tuple(vectorizer.get_feature_names_out())
    assert own.parameters == (len(own.terms) + 1) * classes


def test_it_comes_back_from_its_files_as_it_was(folder: Path) -> None:
    texts, labels = rows_of(3)
    assert np.array_equal(read(folder, 3).log_probabilities(texts), fit(texts, labels, 3).log_probabilities(texts))


def test_what_is_blended_are_logarithms_in_their_parts() -> None:
    logits, said = np.array([[2.0, 0.0, -1.0]]), np.log(np.array([[0.2, 0.7, 0.1]], dtype=np.float32))
    product = softmax(logits) ** (1 - PART) * np.exp(said) ** PART
    assert PART == 1 / 3  # as the report and the model card say in words
    np.testing.assert_allclose(softmax(blended(logits, said)), product / product.sum(), rtol=1e-6)
    assert np.array_equal(blended(logits + 100, said), blended(logits, said))


def test_long_words_and_rare_ones_beyond_the_most_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, labels = rows_of(2)
    texts[0] += f" {64 * 'x'} {65 * 'x'}"
    terms = fit(texts, labels, 2).terms
    assert (64 * "x" in terms, 65 * "x" in terms) == (True, False)
    monkeypatch.setattr(tfidf, "MOST_TERMS", 7)
    assert len(fit(texts, labels, 2).terms) <= 7
    monkeypatch.setattr(tfidf, "MOST_WEIGHTS", 11)
    assert len(fit(texts, labels, 2).terms) <= 5


def test_marks_are_of_their_word_and_scripts_without_spaces_have_a_word_for_each_character() -> None:
    terms = fit(["किताब_१ स्त्री", "上证指数涨3%", "データ"], np.array([0, 1, 1]), 2).terms
    assert set(terms) == {
        *("किताब_१", "सतरी", "किताब_१ सतरी"),  # without the mark that joins, as é is e
        *("上", "证", "指", "数", "涨", "上 证", "证 指", "指 数", "数 涨"),
        *("テ", "ー", "タ", "テ ー", "ー タ"),
    }


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Mn", "Mc", "Me"])))
@example("snake_case a_ __ ½ x² naïve")
def test_other_words_are_scikit_learns(text: str) -> None:
    text = _without_accents(text)
    assume(not any(unicodedata.combining(sign) or is_unspaced(sign) for sign in text))
    assert _words(text) == CountVectorizer().build_tokenizer()(text)


def test_of_no_texts_it_says_nothing(folder: Path) -> None:
    assert read(folder, 3).log_probabilities([]).shape == (0, 3)


@given(st.text(st.characters(codec="utf-8")))
@example("İ ΑΣ Ǖber ™ 각 \u0f73\u0f73 e\u0323\u0301")
def test_accents_are_left_out_as_scikit_learn_does(text: str) -> None:
    assert _without_accents(text) == strip_accents_unicode(text)


def test_a_row_of_accents_is_read_sign_by_sign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python orders a row of accents in time that grows by its square, in which a server answers nobody."""
    normalize, read_at_once = unicodedata.normalize, []

    def noted(form: Any, text: str) -> str:
        read_at_once.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", noted)
    read(folder, 3).log_probabilities(["\u0f77" + 100 * "\u0f73" + "ỡ"])
    assert set(read_at_once) <= {1}


def test_rows_without_words_or_without_a_class_are_refused() -> None:
    for texts in (["?", "a b"], [80 * "x", 40 * "नमस्ते"]):
        with pytest.raises(UnblendableError, match="no training text holds a word of 2 to 64 letters"):
            fit(texts, np.array([0, 1]), 2)
    with pytest.raises(UnblendableError, match="a class has no training row"):
        fit(*rows_of(2), 3)


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (None, "can't be read: No such file"),
        ("{", "can't be read"),
        ({"terms": "cat"}, "can't be read"),
        ({"terms": ["cat"], "code": 1}, "can't be read"),
        ({"terms": []}, "holds no terms"),
        ({"terms": ["cat", "cat"]}, "or one of them twice"),
    ],
)
def test_terms_that_are_none_are_refused(folder: Path, terms: object, why: str) -> None:
    path = folder / "tfidf.json"
    if terms is None:
        path.unlink()
    else:
        path.write_text(terms if isinstance(terms, str) else json.dumps(terms))
    with pytest.raises(AdapterError, match=rf"tfidf\.json: .*{why}"):
        read(folder, 3)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("weights", np.zeros((2, 3), np.float32), r"weights is of shape \[2, 3\], not \[\d+, 3\]"),
        ("bias", np.zeros(3, np.float64), "bias is of type F64"),
        ("bias", np.array([0, np.nan, 0], np.float32), "not finite: bias"),
        ("more", np.zeros(1, np.float32), "holds 'more', which no such adapter has"),
    ],
)
def test_arrays_that_are_none_are_refused(folder: Path, name: str, value: np.ndarray, why: str) -> None:
    path = folder / "tfidf.safetensors"
    save_file(load_file(path) | {name: value}, path)
    with pytest.raises(AdapterError, match=why):
        read(folder, 3)


def test_frequencies_that_are_none_and_a_file_cut_short_are_refused(folder: Path) -> None:
    path = folder / "tfidf.safetensors"
    held = load_file(path)
    save_file(held | {"idf": np.append(held["idf"][1:], np.float32(-1))}, path)
    with pytest.raises(AdapterError, match="no inverse document frequency"):
        read(folder, 3)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(AdapterError, match="can't be read"):
        read(folder, 3)


def test_it_is_of_as_many_classes_as_its_adapter(folder: Path) -> None:
    assert isinstance(read(folder, 3), Tfidf)
    with pytest.raises(AdapterError, match="weights is of shape"):
        read(folder, 4)
