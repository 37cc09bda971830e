"""A folder is checked before it is loaded."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DebertaV2Config

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom.errors import AdapterError, DataError
from loraloom.study.durable import MANIFEST, replacing_folder, write_manifest
from loraloom.use.adapter import unreplaced
from loraloom.use.backbones import Backbones
from loraloom.use.export import export
from loraloom.use.peft_weights import checked_weights
from tests.numerics.architectures import CONFIGS, save_model


@pytest.fixture(scope="module")
def best(untaught: Path) -> Path:
    return untaught


@pytest.fixture
def copy(best: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(best, tmp_path / "copy"))


def test_texts_of_any_length_and_number_are_predicted_in_order(best: Path) -> None:
    classifier = loraloom.load(best)
    texts = ["cat " * (n % 40) for n in range(150)]
    together = classifier.predict_proba(texts)
    alone = [classifier.predict_proba([text])[0] for text in texts[:20]]
    assert np.allclose(together[:20], alone, atol=2e-5)
    assert [p.label for p in classifier.stream(iter(texts))] == classifier.predict(texts)


@pytest.mark.parametrize("by_loom", [True, False])
def test_logits_of_many_texts_are_told_batch_by_batch(tmp_path: Path, *, by_loom: bool) -> None:
    config: Any = (
        CONFIGS["bert"]() if by_loom else DebertaV2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    model = save_model("bert", tmp_path / "model", config)
    classifier = loraloom.load(save_random_adapter(tmp_path / "adapter", model))
    done: list[int] = []
    encoded = classifier.encoded(["w1 w2 w3 w4 w5 w6"] * 700)  # 341 of them are a batch
    classifier.logits_of(encoded, done.append)
    assert done == [341, 682, 700]


def test_a_folder_that_another_adapter_takes_the_place_of_is_not_loaded_as_a_part_of_each(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a search ends while the backbone is loaded: the weights of one would answer by the labels of another."""
    place = Path(shutil.copytree(folders[0], tmp_path / "best"))

    def late(*arguments: Any) -> Any:
        with replacing_folder(place) as new:
            shutil.copytree(folders[1], new, dirs_exist_ok=True)
        return checked_weights(*arguments)

    monkeypatch.setattr("loraloom.use.backbones.checked_weights", late)
    with pytest.raises(AdapterError, match="best: was replaced while it was loaded; load it again"):
        Backbones().add(place)


@contextmanager
def products_of_fewer_bits() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("within", [partial(torch.autocast, "cpu"), products_of_fewer_bits], ids=["autocast", "bits"])
@pytest.mark.parametrize("by_loom", [True, False])
def test_what_a_program_has_fp32_computed_in_changes_no_answer(
    tmp_path: Path, within: Callable[[], AbstractContextManager[None]], *, by_loom: bool
) -> None:
    config: Any = (
        CONFIGS["bert"]() if by_loom else DebertaV2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    model = save_model("bert", tmp_path / "model", config)
    adapters = [save_random_adapter(tmp_path / f"adapter{seed}", model, seed=seed) for seed in (0, 1)]
    backbones, texts = Backbones(), ["w6 w7", "w8 w9 w10"]
    classifiers = [backbones.add(adapter) for adapter in adapters]
    encoded = [classifier.encoded(texts) for classifier in classifiers]
    alone, mixed = classifiers[0].logits(texts), backbones.logits(classifiers, encoded)
    with within():
        assert np.array_equal(classifiers[0].logits(texts), alone)
        assert np.array_equal(backbones.logits(classifiers, encoded), mixed)


def test_a_folder_that_is_replaced_while_its_files_are_compared_is_not_called_damaged(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is of the one, and the files are of the other."""
    place = Path(shutil.copytree(folders[0], tmp_path / "best"))

    def late(folder: Path) -> dict[str, str]:
        digests = json.loads((folder / MANIFEST).read_bytes())["sha256"]
        with replacing_folder(place) as new:
            shutil.copytree(folders[1], new, dirs_exist_ok=True)
        return dict(digests)

    monkeypatch.setattr("loraloom.study.durable._digests", late)
    with pytest.raises(AdapterError, match="best: was replaced while it was loaded; load it again"):
        Backbones().add(place)


@pytest.mark.parametrize("left", [True, False])
def test_what_is_wrong_with_a_folder_that_no_other_took_the_place_of_is_told(copy: Path, *, left: bool) -> None:
    def load() -> None:
        if not left:
            shutil.rmtree(copy)
        raise AdapterError("is broken")

    with pytest.raises(AdapterError, match="is broken"), unreplaced(copy):
        load()


def test_texts_longer_than_the_backbone_reads_are_refused_at_once(copy: Path) -> None:
    record = json.loads((copy / "trial.json").read_text())
    record["configuration"]["data"]["max_length"] = 1_000_000
    (copy / "trial.json").write_text(json.dumps(record))
    write_manifest(copy)
    with pytest.raises(AdapterError, match=r"data\.max_length is 1,000,000, and its backbone reads \d+ tokens"):
        loraloom.load(copy)


def test_a_frame_or_a_mapping_is_not_taken_for_the_names_of_its_columns(best: Path) -> None:
    named: Any = {"text": ["soup", "cat"]}
    frame: Any = pytest.importorskip("pandas").DataFrame(named)
    classifier = loraloom.load(best)
    for ask in (classifier.predict, lambda texts: next(classifier.stream(texts))):
        for asked in (frame, named):
            with pytest.raises(TypeError, match="of a frame, give one column"):
                ask(asked)
    assert classifier.predict(frame["text"]) == classifier.predict(["soup", "cat"])


def test_texts_may_be_in_whatever_gives_them_one_by_one(best: Path) -> None:
    classifier, texts = loraloom.load(best), ["soup", "cat", "a saw"]
    series: Any = pytest.importorskip("pandas").Series(texts, index=[2.5, 1.5, 0.5])
    others: list[Any] = [series, deque(texts), dict.fromkeys(texts).keys()]
    for given in others:
        assert classifier.predict_proba(given).tolist() == classifier.predict_proba(texts).tolist()


def test_what_is_no_text_among_texts_is_named(best: Path) -> None:
    texts: Any = ["soup", float("nan")]
    with pytest.raises(TypeError, match="a list of texts, and nan is none"):
        loraloom.load(best).predict(texts)


def test_one_text_instead_of_a_list_is_refused(best: Path) -> None:
    with pytest.raises(TypeError, match="a list of texts"):
        loraloom.load(best).predict("a text")
    with pytest.raises(TypeError, match="a list of texts"):
        next(loraloom.load(best).stream("a text"))
    with pytest.raises(TypeError, match="a list of texts"):
        loraloom.load(best).predict(text for text in ["a text"])  # type: ignore[arg-type]


def test_a_text_that_no_tokenizer_reads_is_named(best: Path) -> None:
    adapter = loraloom.load(best)
    for ask in (adapter.predict, adapter.predict_proba, lambda texts: list(adapter.stream(texts))):
        with pytest.raises(
            DataError, match=r"text '\\ud83d': has U\+D83D at character 0, which is no character of a text"
        ):
            ask(["caf\u00e9", json.loads('"\\ud83d"')])
        with pytest.raises(DataError, match=r"text 'so\\x00up': has U\+0000 at character 2"):
            ask(["so\0up"])


def test_a_backbone_in_fp32_serves_also_what_was_trained_in_bf16_but_not_the_other_way(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that is fast in bf16; what is added later brings no weights along."""
    monkeypatch.setattr("loraloom.engine.precision.choose_dtype", lambda train: "bf16")
    fine, coarse = (save_random_adapter(tmp_path / dtype, tiny_model, dtype=dtype) for dtype in ("fp32", "bf16"))
    backbones = Backbones()
    own, texts = backbones.add(fine), ["the cat near a dog", "soup"]
    other = backbones.add(coarse, only_known=True)
    assert (len(backbones), other.dtype) == (1, "fp32")
    assert other.predict_proba(texts).tolist() == own.predict_proba(texts).tolist()  # their weights are the same
    assert backbones.add(coarse).dtype == "bf16"
    backbones = Backbones()
    backbones.add(coarse)
    with pytest.raises(AdapterError, match="was trained in fp32, and its backbone is in memory in bf16 alone"):
        backbones.add(fine, only_known=True)


def test_for_what_was_trained_in_fp32_no_products_are_measured(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.engine.precision.measure", lambda: pytest.fail("which takes a while"))
    assert Backbones().add(save_random_adapter(tmp_path / "a", tiny_model, dtype="fp32")).dtype == "fp32"


def test_a_text_whose_numbers_overflow_is_named_unless_those_of_all_do(
    best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = loraloom.load(best)
    logits = np.ones((3, len(classifier.labels)), dtype=np.float32)
    monkeypatch.setattr(classifier, "forward", SimpleNamespace(logits=lambda *_: logits))
    logits[1:, 0] = np.inf, np.nan
    with pytest.raises(AdapterError, match="text 2 of 3 is one of which the adapter gives logits that are not"):
        classifier.predict(["cat", "dog", "cow"])
    logits[0] = np.nan
    with pytest.raises(AdapterError, match="its weights can't be used"):
        classifier.predict(["cat", "dog", "cow"])


def test_a_text_whose_numbers_overflow_is_not_said_to_be_a_fault_of_the_weights_nor_its_neighbours(
    best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server asks."""
    backbones = Backbones()
    classifier = backbones.add(best)
    whole = np.ones((2, len(classifier.labels)), dtype=np.float32)
    broken = whole.copy()
    broken[1, 0] = np.inf
    monkeypatch.setattr(backbones, "logits", lambda *_: [whole, broken])
    own, other = backbones.attempt([classifier] * 2, [classifier.encoded(["cat", "dog"])] * 2)
    assert own is whole
    assert str(other) == "of a text the adapter gives logits that are not finite"


def test_no_texts_give_no_predictions(best: Path) -> None:
    assert loraloom.load(best).predict([]) == []


def test_a_flipped_bit_is_found(copy: Path) -> None:
    file = copy / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(AdapterError, match="is damaged"):
        loraloom.load(copy)


@pytest.mark.parametrize("name", ["adapter_model.bin", "extra.pkl", "code.py"])
def test_what_could_hold_code_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"x")
    with pytest.raises(AdapterError, match="never loaded"):
        loraloom.load(copy)


@pytest.mark.parametrize("given", ["stopped", "stopped/best"])
def test_of_a_run_without_a_winner_it_is_said_how_to_go_on(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the hub asked for `stopped/best`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stopped" / "trials").mkdir(parents=True)
    (tmp_path / "stopped" / "recipe.yaml").touch()
    with pytest.raises(AdapterError, match=r"no winner yet; go on by: loraloom resume stopped, .* of stopped/trials"):
        loraloom.load(given)


def test_of_an_export_it_is_said_where_its_use_is_written(copy: Path) -> None:
    (copy / "trial.json").unlink()
    write_manifest(copy)
    with pytest.raises(
        AdapterError, match=r"has no trial\.json, so .* such as RUN/best \(an export is used as its README"
    ):
        loraloom.load(copy)


def test_of_a_folder_of_other_things_it_is_said_that_it_is_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "code.py").touch()
    with pytest.raises(AdapterError, match=r"has no trial\.json, so it is no adapter"):
        loraloom.load(tmp_path)


def test_of_the_folder_of_a_trial_that_failed_it_is_said_why_it_holds_no_adapter(copy: Path) -> None:
    record = json.loads((copy / "trial.json").read_text())
    failed = record | {"state": "failed", "reason": "the loss is not finite", "result": None}
    (copy / "trial.json").write_text(json.dumps(failed))
    (copy / "adapter_model.safetensors").unlink()
    write_manifest(copy)
    with pytest.raises(AdapterError, match=r"copy: holds no adapter: the trial failed \(the loss is not finite\)$"):
        loraloom.load(copy)


def test_a_lost_head_is_found(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, copy / "adapter_model.safetensors")
    write_manifest(copy)
    with pytest.raises(AdapterError, match="classifier"):
        loraloom.load(copy)


def test_another_backbone_is_found(copy: Path, tiny_model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "note": "changed"}))
    record = json.loads((copy / "trial.json").read_text())
    record["configuration"]["backbone"]["model"] = str(other)
    (copy / "trial.json").write_text(json.dumps(record))
    write_manifest(copy)
    with pytest.raises(AdapterError, match=r"was trained on another .*; bring back the files"):
        loraloom.load(copy)


def test_where_the_folder_of_its_backbone_is_not_here_it_is_said_what_to_bring_and_where(
    copy: Path, tmp_path: Path
) -> None:
    """As on another machine."""
    record = json.loads((copy / "trial.json").read_text())
    model, elsewhere = Path(record["configuration"]["backbone"]["model"]), tmp_path / "elsewhere" / "model"
    record["configuration"]["backbone"]["model"] = str(elsewhere)
    (copy / "trial.json").write_text(json.dumps(record))
    write_manifest(copy)
    uses: list[Callable[[Path], Any]] = [loraloom.load, partial(export, form="peft", out=tmp_path / "exported")]
    for use in uses:
        with pytest.raises(AdapterError) as refused:
            use(copy)
        said = f"{copy}: was trained on the model in {elsewhere}, which is not on this machine; put that folder, "
        assert str(refused.value).startswith(said)
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(model)
    assert len(loraloom.load(copy).predict(["cat"])) == 1
