"""Changes of texts: the same for the same seed, as much as they say, and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.robustness.conditions import CHANGES, CLEAN, OTHER_SOURCE, sets_of
from study.robustness.texts import NEIGHBOURS, changed, first_half, first_words, with_typos, without_punctuation

TEXT = "Fears for T N pension after talks: Unions representing 5,000 workers at Turner say they're 'disappointed'."
TEXTS = [TEXT, "Wall St. Bears Claw Back Into the Black (Reuters)", "Über-Größe, naïve café", "", "12 + 3 = 15!"]


def edits(before: str, after: str) -> int:
    """The fewest insertions, deletions, replacements and swaps of neighbours (optimal string alignment)."""
    last: list[list[int]] = [list(range(len(after) + 1))]
    for i, sign in enumerate(before, 1):
        row = [i]
        for j, other in enumerate(after, 1):
            best = min(last[-1][j] + 1, row[-1] + 1, last[-1][j - 1] + (sign != other))
            if i > 1 and j > 1 and sign == after[j - 2] and before[i - 2] == other:
                best = min(best, last[-2][j - 2] + 1)
            row.append(best)
        last.append(row)
    return last[-1][-1]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_the_same_each_time_and_for_a_part_of_the_rows(name: str) -> None:
    once = changed(TEXTS, CHANGES[name], seed=3)
    assert once == changed(TEXTS, CHANGES[name], seed=3)
    assert once[:2] == changed(TEXTS[:2], CHANGES[name], seed=3)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.10])
def test_typos_are_as_many_as_the_share_asks_for(share: float) -> None:
    count = round(share * len(TEXT))
    found = [edits(TEXT, with_typos(TEXT, share, np.random.default_rng(seed))) for seed in range(50)]
    assert max(found) == count  # two edits may come to the same as one, so that some are fewer
    assert min(found) >= count - 2


@given(st.text(max_size=60), st.floats(0, 1), st.integers(0, 1000))
def test_typos_leave_alone_what_is_no_letter(text: str, share: float, seed: int) -> None:
    def kept(given: str) -> str:
        return "".join(sign for sign in given if not sign.isalpha())

    assert kept(with_typos(text, share, np.random.default_rng(seed))) == kept(text)


def test_typos_differ_by_seed_and_of_each_kind_there_are_some() -> None:
    found = {with_typos("abc xyz", 0.15, np.random.default_rng(seed)) for seed in range(400)}
    assert {"bac xyz", "bc xyz", "aabc xyz", "sbc xyz"} <= found
    assert "abc xyz" not in found


def test_neighbours_touch_each_other_on_the_keyboard() -> None:
    assert set(NEIGHBOURS["g"]) == set("tyfhvb")
    assert all(key in NEIGHBOURS[other] for key, others in NEIGHBOURS.items() for other in others)


def test_a_capital_stays_one() -> None:
    found = {with_typos("Q", 1.0, np.random.default_rng(seed)) for seed in range(200)}
    assert found <= {"", "QQ", "W", "A"}
    assert {"W", "A"} <= found


def test_truncation_keeps_the_first_words_as_they_are() -> None:
    text = "one  two,\tthree four five"
    assert first_words(text, 2) == "one  two,"
    assert first_words(text, 5) == first_words(text, 16) == text
    assert first_half(text) == "one  two,\tthree"
    assert first_half("") == ""
    assert first_half("one") == "one"


def test_punctuation_goes_and_all_else_stays() -> None:
    assert without_punctuation("It's $5, (3 < 4) – «naïve»…") == "Its $5 3 < 4  naïve"


@pytest.mark.parametrize("name", ["upper case", "lower case", "title case"])
def test_case_changes_nothing_but_case(name: str) -> None:
    assert [text.casefold() for text in changed(TEXTS, CHANGES[name], 0)] == [text.casefold() for text in TEXTS]


def test_sets_keep_their_rows_and_the_clean_ones_are_as_given() -> None:
    sets = sets_of(TEXTS, ["elsewhere"])
    assert sets[CLEAN] == TEXTS
    assert sets[OTHER_SOURCE] == ["elsewhere"]
    assert {len(texts) for name, texts in sets.items() if name != OTHER_SOURCE} == {len(TEXTS)}
    assert sets["first 16 words"][0] == " ".join(re.split(" ", TEXT)[:16])
    assert OTHER_SOURCE not in sets_of(TEXTS, [])
