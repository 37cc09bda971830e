"""What the report says of similarity, computed from RUN/similarity/ and the winner's test predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import RunError
from loraloom.intervals import holm
from loraloom.report.reading import Best, RunRead
from loraloom.report.similarity.nearest import nearest
from loraloom.report.similarity.rank import RankSlope, rank_slope
from loraloom.report.similarity.second import Answered, on_second
from loraloom.report.similarity.trend import Trend, trend
from loraloom.report.similarity.two_sample import TwoSample, two_sample
from loraloom.report.similarity.verdicts import Verdict, on_difference, on_rank, on_trend
from loraloom.report.wording import listed
from loraloom.study.embeddings import Embedded, Embeddings, SecondAbout, embeddings_key, read_embeddings
from loraloom.wording import plural

NOT_MADE = (
    "no embeddings of its rows were kept. `loraloom report RUN` makes them where the model and the data can be had"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of texts compared; `p` is corrected for the tests of this section (Holm)."""

    names: tuple[str, str]
    result: TwoSample | None
    p: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """How far the rows `numbers` (N,) of a set are from the nearest training row; `correct` (N,) where it is known.

    `again` (N,) marks copies of texts before them, where that was kept.
    """

    name: str
    numbers: NDArray[np.int64]
    distances: NDArray[np.float64]
    correct: NDArray[np.bool_] | None = None
    again: NDArray[np.bool_] | None = None

    @property
    def answered(self) -> Answered:
        """Of different texts: copies are no further evidence."""
        if self.again is None:
            return self.distances, self.correct
        return self.distances[~self.again], None if self.correct is None else self.correct[~self.again]

    @property
    def tenths(self) -> tuple[float, float, float]:
        """Distances that a tenth, a half and nine tenths of the rows are within."""
        low, middle, high = np.quantile(self.distances, (0.1, 0.5, 0.9))
        return float(low), float(middle), float(high)


@dataclass(frozen=True, slots=True)
class OnTrend:
    """A trend with its corrected p and its verdict."""

    trend: Trend
    p: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """`second` is the file that was compared, `on_second` what the winner does on it; both may be None.

    `copies_known`: of texts that a set has several times one is compared, which an earlier version did not keep.
    `lacking` says why what was asked for last is not among what was kept.
    """

    model: str
    how: str
    copies_known: bool
    lacking: str | None
    tests: int
    comparisons: tuple[Comparison, ...]
    distances: tuple[Distances, ...]
    trends: tuple[OnTrend, ...]
    rank: RankSlope | None
    on_rank: Verdict
    second: SecondAbout | None
    on_second: str | None


def similarity(
    run: RunRead, problems: list[str], why_not: str | None = None, *, computed: bool = True, second: bool = True
) -> Similarity | str:
    """The section's findings, or why there are none; `why_not` says what could not be embedded, and why.

    Where it is not to be `computed`, which takes a few seconds, nothing that was kept is read. A second file whose
    embeddings are kept is compared where `second` asks for it.
    """
    if not computed:
        return why_not or "it was left out"
    if run.best is None:
        return "it takes a tested winner, and the search has none yet"
    try:
        kept = read_embeddings(run.path)
    except RunError as error:
        problems.append(str(error))
        return why_not or "what was kept of it can't be read (see above); `loraloom report RUN` makes it anew"
    if kept is None:
        return why_not or NOT_MADE
    if kept.key != embeddings_key(run.recipe, run.best.record):
        return why_not or "what was kept of it is of another winner; `loraloom report RUN` makes it anew"
    if min(len(kept.train), len(kept.test)) < 2:
        return "there are too few rows"
    return _computed(run, run.best, kept if second else replace(kept, second=None), why_not)


def _computed(run: RunRead, best: Best, kept: Embeddings, why_not: str | None) -> Similarity:
    training, seed = kept.train.vectors, run.recipe.train.seed
    sets = [
        Distances("training", kept.train.numbers, nearest(training, training, others=True)),
        _test(best, kept),
    ]
    pairs: list[tuple[tuple[str, str], Embedded, Embedded]] = [(("training", "test"), kept.train, kept.test)]
    second = kept.second
    if second is not None:
        name = second.about.file
        distances = nearest(second.embedded.vectors, training)
        predicted_by = second.about.winner, second.about.soup_of
        usable = second.correct if predicted_by == (best.record.number, best.record.soup_of) else None
        sets.append(Distances(name, second.embedded.numbers, distances, usable, second.embedded.again))
        pairs += [((each, name), own, second.embedded) for each, own in (("training", kept.train), ("test", kept.test))]
    results = [two_sample(one.different, other.different, seed) for _, one, other in pairs]
    answered = [each.answered for each in sets]
    trends = [
        trend(each.name, distances, correct)
        for each, (distances, correct) in zip(sets, answered, strict=True)
        if correct is not None
    ]
    validation = nearest(kept.validation.vectors, training) if len(kept.validation) else np.zeros(0)
    rank = rank_slope(run, kept.validation, validation)
    raw = [
        *(found.p if found else None for found in results),
        *(found.slope.p if found.slope else None for found in trends),
        None if isinstance(rank, str) else rank.p,
    ]
    corrected = holm(raw)
    return Similarity(
        model=kept.key.model,
        how=_how(kept),
        copies_known=all(one.again is not None for _, *both in pairs for one in both),
        lacking=why_not,
        tests=sum(p is not None for p in raw),
        comparisons=tuple(
            Comparison(names, found, p, on_difference(found, p, (len(one.different), len(other.different))))
            for (names, one, other), found, p in zip(pairs, results, corrected, strict=False)
        ),
        distances=tuple(sets),
        trends=tuple(
            OnTrend(found, p, on_trend(found, p)) for found, p in zip(trends, corrected[len(pairs) :], strict=False)
        ),
        rank=None if isinstance(rank, str) else rank,
        on_rank=on_rank(rank, corrected[-1]),
        second=second.about if second else None,
        on_second=on_second(second.about, answered[1], answered[2], copies=len(sets[2].numbers) - len(answered[2][0]))
        if second
        else None,
    )


def _test(best: Best, kept: Embeddings) -> Distances:
    """Distances of the test rows, and whether the winner is right about each, where it left its predictions."""
    test = kept.test
    distances = nearest(test.vectors, kept.train.vectors)
    right = {row.row: row.is_right for row in best.predictions}
    known = np.array([int(number) in right for number in test.numbers], dtype=np.bool_)
    if not known.any():
        return Distances("test", test.numbers, distances)
    numbers, again = test.numbers[known], None if test.again is None else test.again[known]
    correct = np.array([right[int(number)] for number in numbers], dtype=np.bool_)
    return Distances("test", numbers, distances[known], correct, again)


def _how(kept: Embeddings) -> str:
    splits = {"training": kept.train, "test": kept.test, "validation": kept.validation}
    parts = [(name, len(part), part.rows) for name, part in splits.items()]
    if kept.second:
        about = kept.second.about
        parts.append((about.file, len(kept.second.embedded), about.rows))
    rows = [
        plural(of, f"{name} row")
        if embedded == of
        else f"{embedded:,} of {plural(of, f'{name} row')} (a part stratified by class)"
        for name, embedded, of in parts
    ]
    return listed(rows)
