"""A linear classifier of a text's words and pairs of words, whose answers are blended into an adapter's.

What an encoder reads as alike, words may tell apart, and the other way round: the two are wrong on other rows. Blended
are logarithms of probabilities, of which an adapter has two parts and TF-IDF one (a logarithmic opinion pool: Genest
and Zidek 1986). Fitting it takes seconds, of 200,000 rows minutes, and answering is quick beside the encoder; neither
is part of what is trained of the adapter, so that no cap of trainable parameters counts it.

By `study/blends.py` a mean of probabilities does as well, half of TF-IDF is worse, and parts by which the validation
rows are likeliest are not better: few rows can't tell them.
"""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import log_softmax

from loraloom.data.overlap import WordCharacters, is_unspaced
from loraloom.errors import AdapterError, UnblendableError, without_path
from loraloom.recipe.problems import reason_of
from loraloom.study.durable import write_json
from loraloom.use.adapter_checks import SCORES, TERMS, read_weights

PART = 1 / 3
"""Of TF-IDF in what is blended."""
MOST_TERMS = 2**17
MOST_WEIGHTS = 2**23
"""Of many classes there are fewer terms: fitting takes some 300 bytes for a weight."""
LONGEST_TERM = 64
"""Characters; longer ones are addresses and the like, and of no use to other texts."""
STRENGTH = 30.0
"""C of the logistic regression: the inverse of its regularisation."""
_STEPS = 300
_CHARACTERS = WordCharacters({ord("_"): ord("_")})
"""Of scikit-learn's words, but that marks are letters: those of Hindi stand within words, which fell apart by them."""

Floats = NDArray[np.float32]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[str, ...]


class Tfidf:
    """V terms, with what each says of C classes."""

    def __init__(self, terms: Sequence[str], idf: Floats, weights: Floats, bias: Floats) -> None:
        """`idf` (V,) are inverse document frequencies, `weights` (V, C) and `bias` (C,) the regression's."""
        from sklearn.feature_extraction.text import TfidfTransformer

        self.terms, self._idf, self._weights, self._bias = tuple(terms), idf, weights, bias
        self._counter = _counter(vocabulary=self.terms)
        self._weigher = TfidfTransformer(sublinear_tf=True)
        self._weigher.idf_ = idf

    @property
    def parameters(self) -> int:
        """How many numbers the regression has."""
        return self._weights.size + self._bias.size

    def log_probabilities(self, texts: Sequence[str]) -> Floats:
        """Natural logarithms (N, C) of the classes' probabilities; a text of no known term has what its bias says."""
        if not len(texts):  # which scikit-learn refuses
            return np.zeros((0, len(self._bias)), dtype=np.float32)
        features = self._weigher.transform(self._counter.transform(texts), copy=False)
        return np.asarray(log_softmax(features @ self._weights + self._bias, axis=1), dtype=np.float32)

    def write(self, folder: Path) -> None:
        """Writes its two files into an adapter's folder."""
        from safetensors.numpy import save_file

        write_json(folder / TERMS, _Kept(terms=self.terms).model_dump())
        save_file({"idf": self._idf, "weights": self._weights, "bias": self._bias}, folder / SCORES)


def blended(logits: ArrayLike, log_probabilities: Floats) -> Floats:
    """An adapter's logits (N, C) with what TF-IDF says of the same rows."""
    own = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return np.asarray((1 - PART) * own + PART * log_probabilities, dtype=np.float32)


def fit(texts: Sequence[str], labels: NDArray[np.int64], classes: int) -> Tfidf:
    """Fits it to N texts and their `labels` (N,), each of 0 to `classes` - 1.

    Raises:
        UnblendableError: the texts hold no word that is to be counted, or a class has none of them.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < classes:
        raise UnblendableError("a class has no training row, of which TF-IDF could learn nothing")
    counter = _counter(max_features=max(1, min(MOST_TERMS, MOST_WEIGHTS // classes)))
    none = UnblendableError(f"no training text holds a word of 2 to {LONGEST_TERM} letters, which TF-IDF goes by")
    try:
        counts = counter.fit_transform(texts)
    except ValueError:  # an empty vocabulary
        raise none from None
    terms = counter.get_feature_names_out()
    short = np.array([len(term) <= LONGEST_TERM for term in terms])
    if not short.any():
        raise none
    weigher = TfidfTransformer(sublinear_tf=True)
    features = weigher.fit_transform(counts[:, short])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression = LogisticRegression(C=STRENGTH, max_iter=_STEPS).fit(features, labels)
    weights, bias = regression.coef_.T, regression.intercept_
    if classes == 2:  # scikit-learn keeps the second class's alone
        weights, bias = np.hstack([0 * weights, weights]), np.append(0, bias)
    of_32 = [np.ascontiguousarray(values, dtype=np.float32) for values in (weigher.idf_, weights, bias)]
    return Tfidf(terms[short].tolist(), *of_32)


def read(folder: Path, classes: int) -> Tfidf:
    """What `Tfidf.write` wrote into an adapter's folder, whose JSON was found to be of a sane size.

    Raises:
        AdapterError: it is missing, can't be read, or is none of `classes` classes.
    """
    path = folder / SCORES
    try:
        terms = _Kept.model_validate(json.loads((folder / TERMS).read_bytes())).terms
    except ValidationError as error:
        raise AdapterError(f"{folder / TERMS}: can't be read: {reason_of(error)}") from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"{folder / TERMS}: can't be read: {without_path(error)}") from None
    if not terms or len(set(terms)) < len(terms):
        raise AdapterError(f"{folder / TERMS}: holds no terms, or one of them twice")
    count = len(terms)
    shapes = {"idf": (count,), "weights": (count, classes), "bias": (classes,)}
    held = read_weights(path, {name: (name, shape) for name, shape in shapes.items()})
    found = {name: values.numpy().copy() for name, values in held.items()}  # torch's are the file's own memory
    if not (found["idf"] > 0).all():
        raise AdapterError(f"{path}: idf holds what is no inverse document frequency")
    return Tfidf(terms, **found)


def _counter(**options: Any) -> Any:
    """Counts words of two letters and more, single characters where words have no space between, and neighbours."""
    from sklearn.feature_extraction.text import CountVectorizer

    words: dict[str, Any] = {"strip_accents": _without_accents, "tokenizer": _words, "token_pattern": None}
    return CountVectorizer(ngram_range=(1, 2), **words, **options)


def _words(text: str) -> list[str]:
    return [word for word in text.translate(_CHARACTERS).split() if len(word) > 1 or is_unspaced(word)]


def _without_accents(text: str) -> str:
    """What scikit-learn's "unicode" gives, whose time grows by the square of a text's accents in a row."""
    return text if text.isascii() else "".join(map(_without_accent, text))


@lru_cache(maxsize=2**16)
def _without_accent(character: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
