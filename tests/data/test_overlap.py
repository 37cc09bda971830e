"""Equal texts and near copies, against an oracle that compares every pair."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.data import overlap
from loraloom.data.overlap import Keys, near_copies, text_key, words_of
from tests.pages import text_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Wall St. Bears", "wall  st, BEARS!"),
        ("ÉCOLE", "école"),
        ("e\u0301cole", "école"),
        ("ΣΟΦΙΑ", "σοφια"),
        ("don't", "dont"),
        ("x" + "\n" + "1", "X 1"),
        ("Love it ❤️", "love it"),
        ("❤️ 1️⃣", "1"),
        ("葛\U000e0100", "葛"),
        ("STRASSE", "Straße"),
        ("２０２３年　ＡＢＣ", "2023年 abc"),
        ("ﾃﾞｰﾀ", "データ"),
        ("か\u3099", "が"),
        ("\ufb01nal", "final"),
        ("it´s Windows™", "its windows"),
        ("𝐇𝐞𝐥𝐥𝐨 ℕ", "hello n"),
        ("½ ⑴ Ŀ", "1/2 (1) L·"),
        ("コーヒー・カップ", "コーヒーカップ"),
    ],
)
def test_texts_of_the_same_letters_and_digits_are_equal(one: str, other: str) -> None:
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        ("1", "2"),
        ("!", "?"),
        ("कि", "की"),
        ("猫", "犬"),
        ("🙂", "🙁"),
        ("✔️", "✖️"),
        ("*️⃣", "#️⃣"),
        ("1️⃣", "2️⃣"),
    ],
)
def test_other_texts_are_not_equal(one: str, other: str) -> None:
    assert text_key(one) != text_key(other)


def test_keys_that_are_kept_are_those_of_each_text() -> None:
    texts = ["Wall St. Bears", "wall  st, BEARS!", "ＡＢＣ ﾃﾞｰﾀ", " ? ", "", "苹果公司"]
    assert Keys().of(texts) == [text_key(text) for text in texts]


def test_words_of_ascii_are_those_of_the_same_text_beside_what_is_not_ascii() -> None:
    text = "".join(f" X{chr(code)}y{chr(code)} " for code in range(128))
    assert [*words_of(text), "é"] == words_of(f"{text} é")


def test_words_of_another_form_are_the_same_words() -> None:
    assert words_of("ﾃﾞｰﾀ") == words_of("データ") == ["デ", "ー", "タ"]
    assert words_of("𝐀½") == words_of("a1⁄2") == ["a1", "2"]


@pytest.mark.parametrize(
    "script",
    [
        "苹果公司今天发布了新款手机价格比去年上涨百分之十分析师认为",
        "ประเทศไทยเป็นประเทศที่ตั้งอยู่ในเอเชียตะวันออกเฉียงใต้มีประชากร",
    ],
)
def test_near_copies_are_found_in_scripts_that_do_not_space_words(script: str) -> None:
    text = script * 3
    assert near_copies([text + script[0]], [text]) == {0: (0,)}
    assert near_copies([script[::-1] * 3], [text]) == {}


def _grams_of(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def _oracle(texts: list[str], held_out: list[str]) -> dict[int, tuple[int, ...]]:
    found = {}
    for row, text in enumerate(texts):
        grams = _grams_of(text)
        alike = tuple(
            number
            for number, other in enumerate(map(_grams_of, held_out))
            if grams | other and Fraction(len(grams & other), len(grams | other)) > Fraction(9, 10)
        )
        if alike:
            found[row] = alike
    return found


BASE = [f"w{number}" for number in range(120)]
EDITS = st.lists(st.tuples(st.integers(0, 119), st.sampled_from(["other", "x", ""])), max_size=4)


@st.composite
def _texts(draw: st.DrawFn) -> list[str]:
    """Parts of one long text with a few words changed: near copies, and nearly near ones."""
    texts = []
    for _ in range(draw(st.integers(0, 8))):
        start, length = draw(st.integers(0, 6)), draw(st.integers(0, 114))
        words = list(BASE)
        for place, word in draw(EDITS):
            words[place] = word
        texts.append(" ".join(words[start : start + length]))
    return texts


@given(_texts(), _texts())
def test_near_copies_are_those_of_the_oracle(texts: list[str], held_out: list[str]) -> None:
    assert near_copies(texts, held_out) == _oracle(texts, held_out)


@given(st.lists(st.text("ab ", max_size=60), max_size=8), st.lists(st.text("ab ", max_size=60), max_size=8))
def test_near_copies_of_repetitive_texts_are_those_of_the_oracle(texts: list[str], held_out: list[str]) -> None:
    assert near_copies(texts, held_out) == _oracle(texts, held_out)


def test_a_similarity_of_nine_tenths_exactly_is_no_near_copy() -> None:
    words = [f"w{number}" for number in range(23)]  # 19 5-grams, of which 18 are shared by a text of 22 words
    assert near_copies([" ".join(words[:22])], [" ".join(words)]) == {0: (0,)}
    ten, nine = " ".join(words[:14]), " ".join(words[:13])  # 5-grams
    assert near_copies([ten], [nine]) == near_copies([nine], [ten]) == {}


def test_a_5_gram_that_a_row_repeats_is_counted_once() -> None:
    held_out = [f"{word} " * 40 + f"{end} {end}" for end in "xyz" for word in "ab"]  # of 3 distinct ones each
    assert near_copies(["a a a a a", "b b b b b"], held_out) == {}


def test_no_5_gram_reaches_from_one_row_into_the_next() -> None:
    whole, parts = " ".join(BASE[:20]), [" ".join(BASE[:14]), " ".join(BASE[14:20])]
    assert near_copies(parts, [whole]) == near_copies([whole], parts) == {}


def test_texts_of_fewer_than_five_words_have_no_near_copies() -> None:
    assert near_copies(["one two three four"], ["one two three four"]) == {}


@pytest.mark.parametrize("at_once", [0, 150])
def test_near_copies_are_the_same_however_many_words_are_looked_at_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [" ".join(BASE[start : start + 100]) for start in range(6)]
    monkeypatch.setattr(overlap, "_BATCH_WORDS", at_once)
    assert near_copies(texts, texts[:3]) == _oracle(texts, texts[:3])


def test_hashes_are_drawn_anew_until_no_two_5_grams_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(BASE[start : start + 100]) for start in range(6)]
    found, draw = near_copies(texts, texts[:3]), overlap._factors
    monkeypatch.setattr(overlap, "_factors", lambda attempt: draw(attempt) * np.uint64(attempt > 1))
    assert near_copies(texts, texts[:3]) == found == _oracle(texts, texts[:3])


def test_5_grams_of_one_hash_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_factors", lambda attempt: np.zeros(5, dtype=np.uint64))
    assert near_copies(["b c d e a", "a b c d e"], ["a b c d e"]) == {1: (0,)}


@pytest.mark.parametrize(("words", "copies"), [(23, {}), (24, {0: (0,)})])
def test_near_copies_are_what_the_page_on_data_says(words: int, copies: dict[int, tuple[int, ...]]) -> None:
    """Of two texts that differ in their last word the runs but one of each are in both."""
    said = "over nine tenths of the runs of five words in either stand in both"
    shared, either = words - 5, words - 3
    text = [f"w{number}" for number in range(words)]
    assert near_copies([" ".join(text)], [" ".join([*text[:-1], "other"])]) == copies
    assert (shared / either > 0.9) is bool(copies)
    assert said in text_of("docs/data.md")
