"""Changes of training rows: exactly as many labels as they say, exactly the ratio, and no text touched."""

from __future__ import annotations

import numpy as np
import pytest

from study.robustness.conditions import TRAININGS, TrainingRows, with_typo_copies
from study.robustness.rows import few, skewed, with_noise

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 200)).astype(np.int64)
ROWS = TrainingRows(tuple(f"some text number {row}" for row in range(len(LABELS))), LABELS)


@pytest.mark.parametrize("share", [0.05, 0.10, 0.20])
def test_noise_turns_exactly_its_share_and_each_to_another_class(share: float) -> None:
    noisy = with_noise(LABELS, share, 4, seed=1)
    assert (noisy != LABELS).sum() == round(share * len(LABELS))
    assert set(np.unique(noisy)) == {0, 1, 2, 3}


def test_noise_turns_every_class_to_every_other() -> None:
    noisy = with_noise(LABELS, 0.5, 4, seed=1)
    assert len({(int(a), int(b)) for a, b in zip(LABELS, noisy, strict=True) if a != b}) == 12


@pytest.mark.parametrize(("ratio", "sizes"), [(10, [20, 43, 93, 200]), (100, [2, 9, 43, 200])])
def test_skew_has_its_ratio_and_classes_fall_geometrically(ratio: int, sizes: list[int]) -> None:
    kept = skewed(LABELS, ratio, 4, seed=5)
    assert sorted(np.bincount(LABELS[kept], minlength=4).tolist()) == sizes
    assert (np.diff(kept) > 0).all()


def test_which_class_is_rare_is_drawn() -> None:
    rarest = {int(np.bincount(LABELS[skewed(LABELS, 10, 4, seed)]).argmin()) for seed in range(30)}
    assert rarest == {0, 1, 2, 3}


def test_few_rows_are_as_many_of_each_class() -> None:
    assert np.bincount(LABELS[few(LABELS, 16, 4, seed=2)]).tolist() == [16] * 4


def test_what_the_rows_do_not_suffice_for_is_refused() -> None:
    with pytest.raises(ValueError, match="1:1000 needs 1000 rows of each class; one has 200"):
        skewed(LABELS, 1000, 4, seed=0)
    with pytest.raises(ValueError, match="500 of each class are asked for; one has 200"):
        few(LABELS, 500, 4, seed=0)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_is_the_same_for_its_seed_and_changes_no_text(name: str) -> None:
    found, again, other = (TRAININGS[name](ROWS, 4, seed) for seed in (7, 7, 8))
    assert found.texts == again.texts
    assert (found.labels == again.labels).all()
    before = dict(zip(ROWS.texts, ROWS.labels, strict=True))
    assert set(found.texts) <= set(before)
    if "noise" not in name:  # a row that is kept keeps its label
        assert all(before[text] == label for text, label in zip(found.texts, found.labels, strict=True))
    if name != "clean":
        assert found.texts != other.texts or (found.labels != other.labels).any()


def test_typo_copies_stand_beside_the_rows_with_their_labels() -> None:
    both = with_typo_copies(ROWS, 0.1, seed=0)
    count = len(ROWS.labels)
    assert both.texts[:count] == ROWS.texts
    assert (both.labels == np.concatenate([ROWS.labels, ROWS.labels])).all()
    assert all(a != b for a, b in zip(both.texts[count:], ROWS.texts, strict=True))
