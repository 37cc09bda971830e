"""Where a backbone may come from, and what is refused before anything is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, DataCollatorWithPadding, EsmConfig

from loraloom.backbone import sources
from loraloom.backbone.pretrained import load_pretrained
from loraloom.backbone.sources import Source
from loraloom.errors import BackboneError

_CONFIG = {"model_type": "bert", "hidden_size": 16}


def _folder(path: Path, *files: str, **config: Any) -> str:
    (path / "config.json").write_text(json.dumps(_CONFIG | config), encoding="utf-8")
    for name in files:
        (path / name).touch()
    return str(path)


def _no_connection(*_: Any) -> None:
    raise AssertionError("a connection was tried")


def test_a_folder_with_safetensors_is_found(tmp_path: Path) -> None:
    found = sources.find(_folder(tmp_path, "model.safetensors"))
    assert (found.location, found.local, found.revision) == (str(tmp_path), True, None)


def test_a_name_that_is_no_folder_is_one_of_the_hub() -> None:
    assert sources.find("roberta-base", "abc") == sources.Source("roberta-base", "roberta-base", "abc", False)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no config\.json; it is not a model's folder"):
        sources.find(str(tmp_path))


def test_a_configuration_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(BackboneError, match=r"config\.json: can't be read"):
        sources.find(str(tmp_path))


def test_a_folder_that_names_no_code_brings_none(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": None}))
    assert sources.find(folder).local


def test_a_folder_that_brings_code_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "model.safetensors", auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(BackboneError, match=r"brings code of its own \(auto_map\), which is never run"):
        sources.find(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackboneError, match=f"has only {name}, a pickle.*save the model as safetensors"):
        sources.find(_folder(tmp_path, name))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no model\.safetensors"):
        sources.find(_folder(tmp_path))


def test_a_folder_that_git_cloned_without_its_large_files_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "model.safetensors")
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(BackboneError, match=r"has model\.safetensors as a pointer of Git LFS alone; fetch"):
        sources.find(folder)


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
def test_a_model_with_an_adapter_beside_it_is_refused(tmp_path: Path, weights: str) -> None:
    """transformers would load it into the model, from a pickle too."""
    folder = _folder(tmp_path, "model.safetensors")
    (tmp_path / weights).write_bytes(b"anything")
    assert sources.find(folder).local
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"has a PEFT adapter beside its weights \(adapter_config\.json\)"):
        sources.find(folder)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "/" + "x" * 5000])
def test_a_path_that_is_no_folder_is_refused(model: str) -> None:
    with pytest.raises(BackboneError, match="is not a folder"):
        sources.find(model)


def test_a_file_of_a_model_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bert").mkdir()
    _folder(tmp_path / "bert", "model.safetensors")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError, match=r"'bert/model\.safetensors' is not a folder"):
        sources.find("bert/model.safetensors")


def test_a_hub_model_without_a_network_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    monkeypatch.setattr(socket.socket, "connect", _no_connection)
    with pytest.raises(BackboneError) as caught:
        sources.load_config(sources.find("nobody/no-such-model"))
    assert str(caught.value) == (
        "backbone.model: 'nobody/no-such-model' is not on this machine and the hub can't be reached; give the "
        "folder of a downloaded model, or model: demo (pip install 'loraloom[demo]')"
    )


def test_a_tokenizer_of_the_hub_without_a_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    monkeypatch.setattr(socket.socket, "connect", _no_connection)
    with pytest.raises(BackboneError, match="the hub can't be reached"):
        sources.load_tokenizer(sources.find("nobody/no-such-model"))


@pytest.mark.parametrize("reachable", [True, False])
def test_a_hub_model_is_asked_for_at_its_revision(monkeypatch: pytest.MonkeyPatch, reachable: bool) -> None:
    monkeypatch.setattr("loraloom.hub.reachable", lambda: reachable)
    for revision, asked in (("abc", "abc"), (None, "main")):
        assert sources.hub_arguments(sources.find("roberta-base", revision)) == {
            "trust_remote_code": False,
            "revision": asked,
            "local_files_only": not reachable,
        }
    assert sources.hub_arguments(sources.find("demo", "abc")) == {"trust_remote_code": False}


def test_the_pin_of_a_folder_changes_with_its_weights(tmp_path: Path) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors"))
    before = sources.pin(source)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert before.startswith("sha256:")
    assert sources.pin(source) != before


def test_weights_that_are_as_they_were_are_read_once_and_others_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, digest = list[str](), hashlib.file_digest

    def noted(file: Any, name: str) -> Any:
        read.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    monkeypatch.setattr(sources, "_SETTLED_SECONDS", 0.0)
    source, weights = sources.find(_folder(tmp_path, "model.safetensors")), tmp_path / "model.safetensors"
    weights.write_bytes(b"first")
    before = sources.pin(source)
    assert sources.pin(source) == before
    assert read.count(str(weights)) == 1
    stat = weights.stat()
    (tmp_path / "other").write_bytes(b"other")
    os.utime(tmp_path / "other", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "other").replace(weights)
    assert sources.pin(source) != before
    assert read.count(str(weights)) == 2
    monkeypatch.setattr(sources, "_SETTLED_SECONDS", 60.0)
    sources.pin(source)
    assert read.count(str(weights)) == 3


@pytest.mark.parametrize(
    "name", ["vocab.txt", "merges.txt", "bpe.codes", "spm.model", "sentencepiece.bpe.model", "added_tokens.json"]
)
def test_the_pin_of_a_folder_changes_with_the_files_that_its_tokenizer_is_made_of(tmp_path: Path, name: str) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors", name))
    before = sources.pin(source)
    (tmp_path / name).write_text("other", encoding="utf-8")
    assert sources.pin(source) != before
    (tmp_path / "tokenizer.json").touch()  # which holds all of it
    whole = sources.pin(source)
    (tmp_path / name).write_text("another", encoding="utf-8")
    assert sources.pin(source) == whole


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_the_pin_of_a_folder_changes_with_what_is_always_read(tmp_path: Path, name: str) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors", "tokenizer.json", "tokenizer_config.json"))
    before = sources.pin(source)
    (tmp_path / name).write_text("other", encoding="utf-8")
    assert sources.pin(source) != before


def test_the_pin_of_a_folder_does_not_change_with_its_readme(tmp_path: Path) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors"))
    before = sources.pin(source)
    (tmp_path / "README.md").write_text("words", encoding="utf-8")
    assert sources.pin(source) == before


def test_the_pin_of_a_folder_does_not_change_with_folders_in_it(tmp_path: Path) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors"))
    before = sources.pin(source)
    for name in ("tokenizer", "older.safetensors"):
        (tmp_path / name).mkdir()
    assert sources.pin(source) == before


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "qwen2"},
        {"model_type": "gpt2"},
        {"model_type": "mistral4"},
        {"model_type": "xlnet", "n_head": 2, "d_head": 8},
        {"model_type": "t5"},
        {"model_type": "bart"},
        {"model_type": "bert", "is_decoder": True},
    ],
    ids=lambda config: config["model_type"],
)
def test_a_decoder_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors", **config))
    with pytest.raises(BackboneError, match=rf"is a decoder \({config['model_type']}\), and texts are classified by"):
        sources.load_config(source)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "xlm-roberta", "mpnet", "distilbert", "modernbert"])
def test_an_encoder_is_not_taken_for_a_decoder(tmp_path: Path, kind: str) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors", model_type=kind))
    assert sources.load_config(source).model_type == kind


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "fnet"}, "is a fnet model, which reads padding as text, so that a prediction would depend on"),
        ({"model_type": "funnel"}, "is a funnel model, which reads padding as text, so that a prediction would depend"),
        ({"model_type": "convbert"}, "is a convbert model, which reads padding as text, so that a prediction"),
        ({"model_type": "canine"}, "is a canine model, which reads padding as text, so that a prediction"),
        ({"model_type": "mobilebert"}, "is a mobilebert model, which reads padding as text, so that a prediction"),
        ({"model_type": "nystromformer"}, "is a nystromformer model, which reads padding as text, so that a"),
        ({"model_type": "yoso"}, "is a yoso model, which reads padding as text, so that a prediction"),
        ({"model_type": "mra"}, "is a mra model, whose attention transformers takes for zero where a kernel"),
        ({"model_type": "clip_text_model"}, "is a decoder"),
        ({"model_type": "molmo2_text"}, "is a decoder"),
        (
            {"model_type": "roberta", "position_embedding_type": "relative_key_query"},
            "is a roberta model, whose positions are of type 'relative_key_query', which transformers does not compute",
        ),
        (
            {"model_type": "xlm-roberta", "pad_token_id": None},
            "whose positions are counted from the padding's id, and whose configuration states no pad_token_id; give",
        ),
        (
            {"model_type": "bert", "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            "is a bert model, whose weights are quantised, which are not read here; give another encoder",
        ),
        (
            {"model_type": "bert", "max_position_embeddings": 3},
            "is a bert model, which reads 3 tokens of a text, and 4 is the least data.max_length; give another encoder",
        ),
        ({"model_type": "perceiver"}, "is a perceiver model, whose configuration states no hidden_size; give another"),
    ],
    ids=[
        *("fnet", "funnel", "convbert", "canine", "mobilebert", "nystromformer", "yoso", "mra", "clip", "molmo2"),
        *("relative positions", "no padding", "quantised", "few positions", "perceiver"),
    ],
)
def test_an_encoder_that_can_not_be_used_is_refused(tmp_path: Path, config: dict[str, Any], why: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BackboneError, match=why):
        sources.load_config(sources.find(str(tmp_path)))


def test_a_configuration_of_another_kind_is_refused_by_its_field(tmp_path: Path) -> None:
    source = sources.find(_folder(tmp_path, "model.safetensors", hidden_size="16"))
    with pytest.raises(BackboneError, match="can't be read: Field 'hidden_size' expected int, got str"):
        sources.load_config(source)


def test_an_unknown_model_is_not_in_the_table() -> None:
    assert sources.known_config("nobody/no-such-model") is None


@pytest.mark.parametrize(
    ("kind", "padding", "room"),
    [
        ("bert", 0, 514),
        ("roberta", 1, 512),
        ("camembert", 1, 512),
        ("xmod", 5, 508),
        ("markuplm", 1, 512),
        ("mpnet", 0, 512),
    ],
)
def test_positions_that_begin_after_the_padding_are_no_room_for_tokens(kind: str, padding: int, room: int) -> None:
    config = SimpleNamespace(model_type=kind, pad_token_id=padding, max_position_embeddings=514)
    assert sources.longest(config) == room
    assert sources.longest(SimpleNamespace(model_type=kind)) is None


@pytest.mark.parametrize(("positions", "room"), [("absolute", 38), ("rotary", None)])
def test_esm_counts_its_positions_from_the_padding_where_it_has_a_table_of_them(
    positions: str, room: int | None
) -> None:
    config = EsmConfig(pad_token_id=1, max_position_embeddings=40, position_embedding_type=positions)
    assert sources.longest(config) == room


def test_what_a_model_was_saved_to_answer_with_is_not_asked_for(tmp_path: Path) -> None:
    flags = {"torchscript": True, "return_dict": False, "output_hidden_states": True, "output_attentions": True}
    config = sources.load_config(sources.find(_folder(tmp_path, "model.safetensors", **flags)))
    assert (config.return_dict, config.output_hidden_states, config.output_attentions) == (True, False, False)
    assert not getattr(config, "torchscript", False)


def test_how_attention_was_computed_where_a_model_was_saved_is_not_asked_for(tmp_path: Path) -> None:
    """As on a GPU with a package that is not here."""
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | {"attn_implementation": "flash_attention_2"}))
    found = sources.load_config(sources.find(str(tmp_path)))
    auto: Any = AutoModel
    assert auto.from_config(found).config._attn_implementation in ("sdpa", "eager")


def test_a_model_of_the_hub_that_is_a_pickle_is_refused_without_advice_that_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("x does not appear to have a file named model.safetensors. Please do not set `use_safetensors=`")

    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    monkeypatch.setattr(AutoModel, "from_pretrained", refuse)
    with pytest.raises(BackboneError, match=r"'some/old' has no model\.safetensors; download it, and save") as caught:
        load_pretrained(AutoModel, Source("some/old", "some/old", None, local=False), None, {})
    assert "do not set" not in str(caught.value)


def test_a_tokenizer_that_can_not_pad_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    padless = SimpleNamespace(pad_token_id=None)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: padless)
    with pytest.raises(BackboneError, match="names no padding token"):
        sources.load_tokenizer(sources.find("demo"))


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "modernbert", "esm"])
def test_a_model_without_its_tokenizer_is_refused(tmp_path: Path, kind: str) -> None:
    """transformers makes one that knows special tokens alone, by which a RoBERTa would read all texts as empty."""
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BackboneError, match=r"; save its tokenizer beside it \(tokenizer\.save_pretrained\)$"):
        sources.load_tokenizer(sources.find(str(tmp_path)))


def _with_tokenizer_fields(folder: Path, **fields: Any) -> sources.Source:
    """The demo model, with these fields in its tokenizer_config.json."""
    source = sources.find("demo")
    sources.load_tokenizer(source).save_pretrained(folder)
    written = folder / "tokenizer_config.json"
    written.write_text(json.dumps({**json.loads(written.read_text("utf-8")), **fields}), "utf-8")
    shutil.copy(Path(source.location) / "config.json", folder)
    shutil.copy(Path(source.location) / "model.safetensors", folder)
    return sources.find(str(folder))


def test_texts_are_padded_on_the_right_whatever_the_tokenizer_was_saved_with(tmp_path: Path) -> None:
    source = _with_tokenizer_fields(tmp_path, padding_side="left")
    assert AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"
    assert sources.load_tokenizer(source).padding_side == "right"


@pytest.mark.parametrize("names", [["input_ids"], ["attention_mask"], ["attention_mask", "input_ids"]])
def test_texts_and_their_masks_are_padded_whatever_the_tokenizer_says_that_a_model_takes(
    tmp_path: Path, names: list[str]
) -> None:
    source = _with_tokenizer_fields(tmp_path, model_input_names=names)
    collate = DataCollatorWithPadding(sources.load_tokenizer(source))
    batch = collate([{"input_ids": [5] * count, "attention_mask": [1] * count} for count in (3, 1)])
    assert batch["input_ids"].tolist() == [[5, 5, 5], [5, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("named", [{"AutoTokenizer": ["words.Words", None]}, ["words.Words", None]])
def test_a_tokenizer_that_brings_code_is_refused_and_not_replaced_by_a_stock_one(tmp_path: Path, named: object) -> None:
    source = _with_tokenizer_fields(tmp_path, auto_map=named)
    assert AutoTokenizer.from_pretrained(tmp_path).is_fast  # what transformers takes in its place
    with pytest.raises(BackboneError, match=r"code of its own \(tokenizer_config\.json's auto_map\)"):
        sources.load_tokenizer(source)


def test_a_number_type_of_a_newer_torch_and_a_list_for_fields_are_refused(tmp_path: Path) -> None:
    source = _with_tokenizer_fields(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(BackboneError, match=r"the tokenizer in .* can't be read: 'list' object"):
        sources.load_tokenizer(source)
    _folder(tmp_path, dtype="float3")
    with pytest.raises(BackboneError, match=r"the model in .* can't be read: .* no attribute 'float3'$"):
        sources.load_config(source)


def test_code_of_a_processor_is_no_matter_of_the_tokenizer(tmp_path: Path) -> None:
    source = _with_tokenizer_fields(tmp_path, auto_map={"AutoProcessor": "images.Images"})
    assert sources.load_tokenizer(source).is_fast


def test_what_who_loads_a_model_plainly_has_otherwise_is_told(tmp_path: Path) -> None:
    assert sources.corrected(sources.find("demo")) is None
    sparse = sources.find(_folder(tmp_path, "model.safetensors", model_type="big_bird"))
    assert sources.load_config(sparse).attention_type == "original_full"
    assert sources.corrected(sparse) == "attention_type 'block_sparse'"
