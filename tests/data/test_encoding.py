"""Token ids: cut, cached by content, and computed again where the cache is damaged."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from loraloom.data import Encoded, default_cache, encode, encoding, truncation_finding, unknown_finding
from loraloom.errors import LoraloomError

TEXTS = ("one two three four five six", "", "two", "one unseen word")
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "one", "two", "three", "four", "five", "six"]


def _tokenizer(vocabulary: list[str] = VOCABULARY) -> Any:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    build: Any = PreTrainedTokenizerFast
    return build(tokenizer_object=inner, **{"pad_token": "<pad>", "unk_token": "<unk>"})


def _files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def _same(one: Encoded, other: Encoded) -> bool:
    return list(one) == list(other) and one.cut == other.cut


@pytest.mark.parametrize("by_transformers", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_ids_are_those_of_the_tokenizer(by_transformers: bool, side: str) -> None:
    tokenizer = _tokenizer()
    tokenizer.truncation_side = side
    tokenizer.split_special_tokens = by_transformers
    texts = ["one five", *TEXTS, "six five four three"]
    encoded = encode(tokenizer, texts, max_length=5, cache=None)
    expected = tokenizer(texts, truncation=True, max_length=5)
    assert [row["input_ids"] for row in encoded] == expected["input_ids"]
    assert [row["attention_mask"] for row in encoded] == expected["attention_mask"]
    assert encoded.lengths.tolist() == [len(ids) for ids in tokenizer(texts)["input_ids"]]
    assert encoded.cut == 2


def test_rows_fit_the_collator() -> None:
    tokenizer = _tokenizer()
    encoded = encode(tokenizer, TEXTS, max_length=8, cache=None)
    batch = DataCollatorWithPadding(tokenizer)([encoded[0], encoded[-2]])
    assert batch["attention_mask"].sum(1).tolist() == [8, 3]


def test_rows_beyond_the_last_are_no_rows() -> None:
    encoded = encode(_tokenizer(), TEXTS, max_length=8, cache=None)
    with pytest.raises(IndexError):
        encoded[4]


def test_no_texts_are_no_rows() -> None:
    assert len(encode(_tokenizer(), (), max_length=8, cache=None)) == 0


def test_more_texts_than_a_chunk_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode(_tokenizer(), TEXTS * 5, max_length=5, cache=None)
    monkeypatch.setattr(encoding, "_CHUNK_ROWS", 3)
    assert _same(encode(_tokenizer(), TEXTS * 5, max_length=5, cache=None), whole)


def test_a_result_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _tokenizer()
    first = encode(tokenizer, TEXTS, max_length=5, cache=tmp_path)
    tokenizer(list(TEXTS), padding=True, truncation=True, max_length=3)  # leaves settings behind in it
    monkeypatch.setattr(encoding, "_tokenized", lambda *_: pytest.fail("was computed again"))
    assert _same(encode(tokenizer, TEXTS, max_length=5, cache=tmp_path), first)


def test_another_length_text_or_tokenizer_is_another_entry(tmp_path: Path) -> None:
    encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path)
    encode(_tokenizer(), TEXTS, max_length=6, cache=tmp_path)
    encode(_tokenizer(), TEXTS[:3], max_length=5, cache=tmp_path)
    encode(_tokenizer([*VOCABULARY, "unseen"]), TEXTS, max_length=5, cache=tmp_path)
    splitting = _tokenizer()
    splitting.split_special_tokens = True
    encode(splitting, TEXTS, max_length=5, cache=tmp_path)
    from_the_end = _tokenizer()
    from_the_end.truncation_side = "left"
    encode(from_the_end, TEXTS, max_length=5, cache=tmp_path)
    assert len(_files(tmp_path)) == 6


def test_a_result_of_other_code_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of the library may read texts otherwise, as predictions then do."""
    for version in ("1.0", "1.1", "1.1"):
        monkeypatch.setattr(encoding, "version_of", {"tokenizers": version}.__getitem__)
        encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path)
    assert len(_files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_entry_is_computed_again_and_replaced(tmp_path: Path, damage: str) -> None:
    first = encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path)
    (file,) = _files(tmp_path)
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    contents = {"flip": bytes(damaged), "cut": whole[:-9], "empty": b"", "other": b"no safetensors" * 9}
    file.write_bytes(contents[damage])
    assert _same(encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path), first)
    assert _files(tmp_path) == [file]
    assert file.read_bytes() == whole


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    first = encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path)
    (file,) = _files(tmp_path)
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        file.write_bytes(bytes(damaged))
        found = encoding._read(file)
        assert found is None or _same(found, first)


def test_a_cache_that_can_not_be_written_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert len(encode(_tokenizer(), TEXTS, max_length=5, cache=blocked)) == 4


def test_an_entry_in_whose_place_a_folder_is_is_done_without(tmp_path: Path) -> None:
    encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path)
    (entry,) = _files(tmp_path)
    entry.unlink()
    entry.mkdir()
    assert len(encode(_tokenizer(), TEXTS, max_length=5, cache=tmp_path)) == 4
    assert _files(tmp_path) == []


def test_cut_texts_are_a_finding() -> None:
    encoded = encode(_tokenizer(), TEXTS, max_length=5, cache=None)
    finding = truncation_finding(encoded, 5)
    assert finding is not None
    assert finding.severity == "warning"
    assert finding.sentence == "Training: 1 text (25 %) longer than data.max_length = 5 tokens: cut."
    few = truncation_finding(encode(_tokenizer(), TEXTS + TEXTS[1:] * 2, max_length=5, cache=None), 5)
    assert few is not None
    assert few.severity == "note"
    assert truncation_finding(encode(_tokenizer(), TEXTS, max_length=8, cache=None), 8) is None


def test_tokens_that_the_tokenizer_does_not_know_are_a_finding() -> None:
    tokenizer = _tokenizer()
    tokenizer.cls_token, tokenizer.sep_token = "<s>", "</s>"
    encoded = encode(tokenizer, ("ทีมชนะ", "one two", "one ทีม"), max_length=8, cache=None)
    finding = unknown_finding(encoded, tokenizer, "demo")
    assert finding is not None
    assert (finding.severity, finding.count) == ("warning", 2)
    assert finding.sentence == (
        "Training: 40 % of the tokens, in 2 texts, are unknown to 'demo', which reads them all alike: take an encoder "
        "that was pretrained on the language of these texts."
    )
    few = encode(tokenizer, ("one two three four five", "one two six five ทีม"), max_length=8, cache=None)
    assert unknown_finding(few, tokenizer, "demo") is None
    tokenizer.unk_token = None
    assert unknown_finding(encoded, tokenizer, "demo") is None


def test_what_was_read_longest_ago_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _tokenizer()
    encode(tokenizer, ("one",), max_length=8, cache=tmp_path)
    (first,) = _files(tmp_path)
    encode(tokenizer, ("two",), max_length=8, cache=tmp_path)
    (second,) = set(_files(tmp_path)) - {first}
    for age, path in enumerate((second, first)):
        os.utime(path, ns=(age, age))
    encode(tokenizer, ("two",), max_length=8, cache=tmp_path)  # reads it, so that `first` is the one to go
    monkeypatch.setattr(encoding, "MOST_BYTES", 2 * first.stat().st_size)
    encode(tokenizer, ("six",), max_length=8, cache=tmp_path)
    assert second in _files(tmp_path)
    assert first not in _files(tmp_path)
    assert len(_files(tmp_path)) == 2
    monkeypatch.setattr(encoding, "MOST_BYTES", 1)
    encode(tokenizer, ("one two",), max_length=8, cache=tmp_path)
    assert len(_files(tmp_path)) == 1


def test_a_share_that_is_not_whole_is_not_called_so() -> None:
    finding = truncation_finding(Encoded(np.zeros(0, np.int32), np.zeros(3_002, np.int64), cut=3_000), 5)
    assert finding is not None
    assert "(>99.9 %)" in finding.sentence


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("LORALOOM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "loraloom"
    monkeypatch.setenv("LORALOOM_CACHE", "~/tokens")
    assert default_cache() == tmp_path / "tokens"


def test_without_a_home_folder_the_cache_is_to_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LORALOOM_CACHE")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(LoraloomError, match=r"^~/\.cache/loraloom: .* name a folder in LORALOOM_CACHE$"):
        default_cache()
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
