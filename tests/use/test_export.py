"""What is handed over does what the adapter does, says so by measurement, and runs where loraloom is not."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom import intervals
from loraloom.backbone.sources import find, load_tokenizer, pin
from loraloom.engine.adapted import add_lora, build_base
from loraloom.errors import AdapterError, DataError, LoraloomError, MissingExtraError
from loraloom.recipe import Head
from loraloom.study.durable import replacing_folder, verify_manifest, write_manifest
from loraloom.study.evidence import LONGEST_TEXT, KeptRow
from loraloom.study.record import CARD, CONFIG, RECORD, REFITTED, SOUP_OF, WEIGHTS, read_record
from loraloom.use.export import export
from loraloom.use.export.card import FORMS, _is_chosen, size
from loraloom.use.export.exporting import _notes
from loraloom.use.export.expressible import refuse_head
from loraloom.use.export.measuring import TOLERANCE, Measured, measure, refuse_other
from loraloom.use.export.onnx_folder import (
    FP32,
    INT8,
    LABELS,
    TOKENIZER,
    OnnxFolder,
    _simplify,
    _write_tokenizer,
    write_onnx,
)
from loraloom.use.export.peft_folder import PeftFolder, write_peft
from loraloom.use.export.subject import Rows, Subject, load_subject, rows_of
from loraloom.use.export.transformers_folder import TransformersFolder, write_transformers
from tests.conftest import make_rows, write_csv
from tests.numerics.architectures import CONFIGS, QV, make_job, save_model
from tests.study.study_records import record
from tests.use.tested_adapters import add_test_result

ARCHITECTURES = ("bert", "roberta", "distilbert", "mpnet", "electra", "modernbert")
LABEL_NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True, scope="module")
def _operators_read_once() -> Iterator[None]:
    """torch reads at each export how operators are written, a tenth of its time. A process of a user's does so once."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    registry: Any = ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "from_torchlib", staticmethod(cache(registry.from_torchlib)))
        yield


def words(seed: int) -> tuple[str, ...]:
    """Texts of one word to more than the model takes, of the tiny models' own words."""
    generator = np.random.default_rng(seed)
    return tuple(" ".join(f"w{w}" for w in generator.integers(5, 60, size)) for size in (1, 2, 9, 40, 3, 17, 1, 30))


def subject_of(
    architecture: str, place: Path, head: str = "native", pooling: str = "native", layers: int = 2
) -> Subject:
    """An adapter over a tiny model, its LoRA far from zero."""
    usual = CONFIGS[architecture]()
    layered = {"n_layers" if architecture == "distilbert" else "num_hidden_layers": layers}
    folder = save_model(architecture, place / "model", type(usual)(**{**usual.to_dict(), **layered}))
    recipe = {
        "lora": {"r": 2, "bias": "all", "target_modules": QV[architecture]},
        "head": {"kind": head, "pooling": pooling},
        "data": {"max_length": 30},
        "train": {"bf16": False},
    }
    job = make_job(folder, place / "adapter", recipe)
    model = add_lora(build_base(job), job).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    about = record(0).model_copy(
        update={"configuration": job.configuration, "labels": LABEL_NAMES, "label_codes": LABEL_NAMES}
    )
    texts = words(seed=4)
    rows = Rows("words", texts, np.zeros(len(texts), dtype=np.int64))
    return Subject(place / "adapter", about, job.source, model, load_tokenizer(job.source), rows)


def assert_close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_is_the_adapter(architecture: str, tmp_path: Path) -> None:
    subject = subject_of(architecture, tmp_path)
    expected = subject.logits(subject.rows.texts)
    with (
        pytest.warns(UserWarning, match="disabling adapter layers with bias"),
        cast(Any, subject.model).disable_adapter(),
    ):
        assert np.abs(subject.logits(subject.rows.texts) - expected).max() > 0.01 * np.abs(expected).max()
    (tmp_path / "merged").mkdir()
    write_transformers(subject, tmp_path / "merged")
    assert_close(TransformersFolder(tmp_path / "merged", LABEL_NAMES).logits(subject.rows.texts), expected)


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "electra", "modernbert"])
def test_onnx_is_the_adapter(architecture: str, tmp_path: Path) -> None:
    """Of one layer, since torch traces each for seconds, but for ModernBERT: its second has a window.

    That of MPNet is `beside`, and of BERT `onnx`, which `export` compares.
    """
    subject = subject_of(architecture, tmp_path, layers=2 if architecture == "modernbert" else 1)
    expected = subject.logits(subject.rows.texts)
    (tmp_path / "onnx").mkdir()
    write_onnx(subject, tmp_path / "onnx")
    assert_close(OnnxFolder(tmp_path / "onnx").logits(subject.rows.texts), expected)


def test_onnx_is_refused_where_the_tokenizer_splits_special_tokens_and_merged_does_so_too(tmp_path: Path) -> None:
    subject = subject_of("bert", tmp_path)
    about = tmp_path / "model" / "tokenizer_config.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"split_special_tokens": True}))
    subject = replace(subject, tokenizer=load_tokenizer(subject.source))
    texts = ("w5 [SEP] w6", "w5 w6")
    expected = subject.logits(texts)
    (tmp_path / "onnx").mkdir()
    with pytest.raises(LoraloomError, match=r"splits special tokens .* tokenizer\.json can't say; .* --format merged"):
        write_onnx(subject, tmp_path / "onnx")
    (tmp_path / "merged").mkdir()
    write_transformers(subject, tmp_path / "merged")
    assert_close(TransformersFolder(tmp_path / "merged", LABEL_NAMES).logits(texts), expected)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float32]]:
    """An ONNX folder as of a large model, whose head transformers has not, moved after it was written; its logits."""
    place = tmp_path_factory.mktemp("beside")
    subject = subject_of("mpnet", place, head="linear", pooling="mean", layers=1)
    expected = subject.logits(subject.rows.texts)
    (place / "onnx").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loraloom.use.export.onnx_folder._MOST_INLINE", 0)
        write_onnx(subject, place / "onnx")
    return (place / "onnx").rename(place / "moved"), expected


def test_onnx_has_heads_that_transformers_has_not(beside: tuple[Path, NDArray[np.float32]]) -> None:
    folder, expected = beside
    assert_close(OnnxFolder(folder).logits(words(seed=4)), expected)


def test_large_weights_lie_beside_the_graph(beside: tuple[Path, NDArray[np.float32]]) -> None:
    folder, expected = beside
    assert {f"{FP32}.data", f"{INT8}.data"} <= {path.name for path in folder.iterdir()}
    assert np.abs(OnnxFolder(folder, INT8).logits(words(seed=4)) - expected).max() < 0.2 * np.abs(expected).max()


@pytest.fixture(scope="module")
def best(taught: Path) -> Path:
    return taught


@pytest.fixture(scope="module")
def onnx(best: Path) -> Path:
    out = best.parent.parent / "onnx"
    export(best, "onnx", out)
    return out


def examples(card: str) -> list[str]:
    """Blocks of Python in a card."""
    return [block.partition("```")[0] for block in card.split("```python\n")[1:]]


def test_the_cards_example_gives_the_labels_where_neither_torch_nor_loraloom_is(best: Path, onnx: Path) -> None:
    texts = [text for text, _ in make_rows(40, seed=9)] + ["cat dog " * 30]
    (example,) = examples((onnx / CARD).read_text(encoding="utf-8"))
    assert len(example.strip().splitlines()) <= 15
    code = example.replace("this/folder", str(onnx)).replace('["a text", "another"]', repr(texts))
    blocked = "import sys\nfor name in ('torch', 'transformers', 'peft', 'loraloom'): sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(loraloom.load(best).predict(texts))


def test_an_onnx_export_has_four_files_a_card_and_a_manifest_and_no_place_of_this_machine(onnx: Path) -> None:
    assert {path.name for path in onnx.iterdir()} == {FP32, INT8, TOKENIZER, LABELS, CARD, "manifest.json"}
    verify_manifest(onnx)
    for path in onnx.iterdir():
        content = path.read_bytes()
        for place in (str(Path(loraloom.__file__).parent), str(onnx.parent), "site-packages"):
            assert place.encode() not in content, path
    quantized = (onnx / INT8).read_bytes()
    assert b"DynamicQuantizeLinear" in quantized
    assert b"MatMulInteger" in quantized


def test_the_card_has_the_results_the_labels_the_measurements_and_what_is_not_known(onnx: Path) -> None:
    card = ModelCard.load(onnx / CARD)
    assert (card.data.library_name, card.data.pipeline_tag) == ("onnx", "text-classification")
    assert card.data.eval_results is not None
    assert {one.dataset_split for one in card.data.eval_results} == {"validation", "test"}
    for said in ("`animals`", "ONNX fp32", "ONNX int8", "95 % interval", "Licence of the base model: not stated"):
        assert said in card.text


def test_merged_is_a_plain_transformers_folder(best: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    exported = export(best, "merged", tmp_path / "merged")
    texts = [text for text, _ in make_rows(40, seed=9)] + ["cat dog " * 60]
    classify = cast(Any, pipeline)("text-classification", str(tmp_path / "merged"), truncation=True)
    assert [found["label"] for found in classify(texts)] == loraloom.load(best).predict(texts)
    with safe_open(tmp_path / "merged" / "model.safetensors", "pt") as file:
        merged = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert exported.measured[0].bytes == 4 * (merged + read_record(best).counts.lora)  # no head is counted twice
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["label2id"] == {"animals": 0, "food": 1, "tools": 2}
    assert json.loads((tmp_path / "merged" / "tokenizer_config.json").read_text())["model_max_length"] == 16
    assert exported.measured[1].exact
    verify_manifest(tmp_path / "merged")


@pytest.mark.filterwarnings("ignore")  # PEFT's own, as a process of a user's shows or hides them
def test_peft_is_the_adapters_two_files_that_peft_loads_without_loraloom(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = export(best, "peft", tmp_path / "peft")
    names = {path.name for path in (tmp_path / "peft").iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", CARD, "manifest.json"}
    assert exported.measured[1].exact
    assert exported.measured[1].bytes == sum((tmp_path / "peft" / name).stat().st_size for name in (WEIGHTS, CONFIG))
    told = exported.as_json()
    for one, own in zip(told["measured"], exported.measured, strict=True):
        values = own.name, own.bytes, own.rows, own.accuracy, list(own.accuracy_interval)
        assert [*one.values()] == [*values, own.same_labels, own.difference, own.p, own.texts_per_second]
    assert (told["format"], told["rows"]) == ("peft", "the validation rows of its run")
    assert told["notes"] == [*exported.notes]
    assert exported.notes == ("The size of PEFT alone is without its base model, which that of the adapter includes.",)
    card = (tmp_path / "peft" / CARD).read_text(encoding="utf-8")
    assert "adapter_config.json is a folder of the machine that wrote this: elsewhere, name the base model's" in card
    (example,) = examples(card)
    (expected,) = loraloom.load(best).predict(["cat dog bird"])
    capsys.readouterr()
    for name in [name for name in sys.modules if name.partition(".")[0] == "loraloom"]:
        monkeypatch.setitem(sys.modules, name, None)
    exec(example.replace("this/folder", str(tmp_path / "peft")).replace("…", "cat dog bird"), {})  # noqa: S102
    assert capsys.readouterr().out.strip() == expected


def test_rows_may_be_given_and_an_adapter_away_from_its_run_needs_them(best: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(best, tmp_path / "alone")
    with pytest.raises(DataError, match="--rows"):
        export(alone, "peft", tmp_path / "out")
    file = write_csv(tmp_path / "given.csv", make_rows(30, seed=5))
    exported = export(alone, "peft", tmp_path / "out", rows=file)
    assert exported.measured[0].rows == 30
    card = ModelCard.load(tmp_path / "out" / CARD).text
    assert "given.csv" in card
    assert "The run that it comes from was not at hand" in card
    assert "Licence of the data: not stated" in card


@pytest.mark.filterwarnings("ignore")  # PEFT's own, as a process of a user's shows or hides them
def test_peft_is_the_adapter_over_a_base_model_with_a_head_of_other_classes(tiny_model: Path, tmp_path: Path) -> None:
    base, load = shutil.copytree(tiny_model, tmp_path / "base"), cast(Any, AutoModelForSequenceClassification)
    load.from_pretrained(tiny_model, num_labels=5).save_pretrained(base)
    adapter = save_random_adapter(tmp_path / "adapter", base, labels=("animals", "food", "tools"))
    add_test_result(adapter)
    rows = write_csv(tmp_path / "given.csv", make_rows(30, seed=5))
    assert export(adapter, "peft", tmp_path / "peft", rows=rows).measured[1].exact


def test_peft_names_the_base_model_where_it_is_now_and_its_card_says_so_of_a_folder_alone(
    adapter: Path, tmp_path: Path
) -> None:
    source = SimpleNamespace(location="/now", local=True)
    subject: Any = SimpleNamespace(folder=adapter, record=record(0), source=source)
    write_peft(subject, tmp_path)
    before, after = (json.loads((folder / CONFIG).read_text()) for folder in (adapter, tmp_path))
    assert after == before | {"base_model_name_or_path": "/now"}
    assert (tmp_path / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()
    assert len(FORMS["peft"](subject).limits) == 1
    source.local = False
    assert FORMS["peft"](subject).limits == ()


@pytest.mark.filterwarnings("ignore")  # PEFT's own, as a process of a user's shows or hides them
def test_an_adapter_of_a_run_that_can_not_be_read_is_exported_with_a_card_that_says_so(
    best: Path, tmp_path: Path
) -> None:
    run, rows = shutil.copytree(best.parent, tmp_path / "run"), write_csv(tmp_path / "given.csv", make_rows(30, seed=5))
    (run / "recipe.yaml").write_text("lora: [")
    export(run / "best", "peft", tmp_path / "peft", rows=rows)
    assert "The run that it comes from was not at hand" in (tmp_path / "peft" / CARD).read_text(encoding="utf-8")


@pytest.mark.parametrize(("form", "written"), [("merged", TransformersFolder), ("peft", PeftFolder)])
@pytest.mark.filterwarnings("ignore")  # PEFT's own, as a process of a user's shows or hides them
def test_what_does_not_do_what_the_adapter_does_is_not_written(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, written: Any
) -> None:
    def slightly_wrong(self: Any, texts: Sequence[str]) -> NDArray[np.float32]:
        return cast(NDArray[np.float32], right(self, texts) * np.float32(1.001))

    right = written.logits
    monkeypatch.setattr(written, "logits", slightly_wrong)
    with pytest.raises(LoraloomError, match="differs from the adapter"):
        export(best, form, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("file", "written"), [(FP32, False), (INT8, True)])
def test_of_onnx_the_form_in_fp32_must_be_the_adapter_and_the_one_in_int8_need_not(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, written: bool
) -> None:
    """Without torch's tracing, which takes long: the forms answer as the adapter does, one of them by other signs."""
    subjects: list[Subject] = []

    class Formed:
        def __init__(self, folder: Path, name: str) -> None:
            self._sign = np.float32(-1 if name == file else 1)

        def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return subjects[0].logits(texts) * self._sign

    monkeypatch.setattr("loraloom.use.export.exporting.write_onnx", lambda subject, folder: subjects.append(subject))
    monkeypatch.setattr("loraloom.use.export.exporting.OnnxFolder", Formed)
    if not written:
        with pytest.raises(LoraloomError, match="ONNX fp32: differs from the adapter"):
            export(best, "onnx", tmp_path / "onnx")
        return
    exported = export(best, "onnx", tmp_path / "onnx")
    assert [one.name for one in exported.measured] == ["adapter", "ONNX fp32", "ONNX int8"]
    assert [one.exact for one in exported.measured] == [True, True, False]
    assert [note.partition(" gives")[0] for note in exported.notes] == ["ONNX int8"]


@pytest.mark.parametrize(
    ("form", "kind", "pooling", "own", "refused"),
    [
        ("merged", "native", "native", None, None),
        ("merged", "linear", "native", None, "head.kind is linear"),
        ("merged", "native", "mean", None, "head.pooling is mean"),
        ("merged", "native", "mean", "cls", None),
        ("peft", "native", "mean", "cls", "merged can as well"),
        ("peft", "native", "mean", "mean", None),
        ("peft", "linear", "mean", "mean", "head.kind is linear"),
        ("onnx", "linear", "mean", None, None),
    ],
)
def test_heads_that_would_mean_something_else_are_refused(
    form: str, kind: Any, pooling: Any, own: str | None, refused: str | None
) -> None:
    class Config:
        classifier_pooling = own

    head = Head(kind=kind, pooling=pooling)
    if refused is None:
        refuse_head(form, head, Config() if own else object(), "RUN/best")
        return
    with pytest.raises(AdapterError, match=refused) as error:
        refuse_head(form, head, Config() if own else object(), "RUN/best")
    assert "--format onnx" in str(error.value)


@pytest.mark.parametrize(
    ("file", "saved", "said"),
    [
        ("config.json", {"return_dict": False}, "return_dict false"),
        ("tokenizer_config.json", {"padding_side": "left"}, "padding_side 'left'"),
    ],
)
def test_peft_is_refused_over_a_base_model_that_loraloom_corrects_and_merged_is_the_adapter(
    best: Path, tiny_model: Path, tmp_path: Path, file: str, saved: dict[str, Any], said: str
) -> None:
    base, alone = shutil.copytree(tiny_model, tmp_path / "base"), shutil.copytree(best, tmp_path / "alone")
    (base / file).write_text(json.dumps(json.loads((base / file).read_text()) | saved))
    about = json.loads((alone / RECORD).read_text())
    about["configuration"]["backbone"]["model"] = str(base)
    about["backbone_revision"] = pin(find(str(base)))
    (alone / RECORD).write_text(json.dumps(about))
    write_manifest(alone)
    rows = write_csv(tmp_path / "given.csv", make_rows(30, seed=5))
    with pytest.raises(AdapterError, match=rf"was saved with {said}, .* by --format merged or --format onnx"):
        export(alone, "peft", tmp_path / "peft", rows=rows)
    assert export(alone, "merged", tmp_path / "merged", rows=rows).measured[1].exact


def test_modernberts_pooling_is_kept_in_its_configuration(tmp_path: Path) -> None:
    subject = subject_of("modernbert", tmp_path, pooling="mean")
    expected = subject.logits(subject.rows.texts)
    (tmp_path / "merged").mkdir()
    write_transformers(subject, tmp_path / "merged")
    assert_close(TransformersFolder(tmp_path / "merged", LABEL_NAMES).logits(subject.rows.texts), expected)


def test_a_folder_that_is_there_is_not_written_over(best: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("mine", "link"):
        with pytest.raises(LoraloomError, match="is there already"):
            export(best, "merged", tmp_path / name)
    with pytest.raises(LoraloomError, match="link: is a link to nothing"):
        export(best, "merged", tmp_path / "link" / "new")


def test_an_adapter_whose_place_another_takes_meanwhile_is_not_exported(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, rows = Path(shutil.copytree(best, tmp_path / "best")), write_csv(tmp_path / "rows.csv", make_rows(8, seed=5))

    def late(*arguments: Any) -> Subject:
        with replacing_folder(place) as new:
            shutil.copytree(best, new, dirs_exist_ok=True)
        return load_subject(*arguments)

    monkeypatch.setattr("loraloom.use.export.exporting.load_subject", late)
    with pytest.raises(AdapterError, match="best: was replaced while it was loaded; load it again"):
        export(place, "peft", tmp_path / "out", rows=rows)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("transformers.modeling_utils.safe_save_file", SafetensorError("I/O error: Permission denied (os error 13)")),
        ("tokenizers.Tokenizer.save", Exception("Permission denied (os error 13)")),
    ],
    ids=["safetensors", "tokenizers"],
)
def test_what_can_not_be_written_is_an_error_of_the_system_whichever_library_says_it(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(function, refused)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*/merged'"):
        export(best, "merged", tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "onnxscript" else found(name, *more)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'loraloom\[export\]'"):
        export(best, "onnx", tmp_path / "onnx")


def test_a_model_that_torch_can_not_export_is_told_by_its_cause_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> None:
        print("def forward(self): ...", file=sys.stderr)
        try:
            raise ValueError("could not guard on u1\nmore of it")
        except ValueError as error:
            raise RuntimeError("\x1b[96mThis is step 1/3\x1b[0m of exporting. Next steps:\n- …") from error

    monkeypatch.setattr("torch.onnx.export", failing)
    subject = subject_of("bert", tmp_path)
    capsys.readouterr()
    with pytest.raises(LoraloomError, match=r"torch can't export this model to ONNX: could not guard on u1$"):
        write_onnx(subject, tmp_path)
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_not_said_to_be_what_torch_can_not_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("torch.onnx.export", full)
    with pytest.raises(OSError, match="No space left"):
        write_onnx(subject_of("bert", tmp_path), tmp_path)


def test_what_onnxruntime_can_not_write_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise ValueError("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf serialization failed.")

    monkeypatch.setattr("onnxruntime.InferenceSession", full)
    with pytest.raises(LoraloomError, match=r"^model\.onnx: onnxruntime can't write it: .*; see whether the disk has"):
        _simplify(tmp_path / "traced.onnx", tmp_path / FP32, beside=False)


def test_texts_that_the_run_kept_cut_are_no_rows_to_measure_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label is that of the whole text; what was kept of it may be of another class."""
    texts = ["short", "x" * LONGEST_TEXT, "y" * (LONGEST_TEXT - 1)]
    kept = {row: KeptRow(row=row, text=text, label=0) for row, text in enumerate(texts)}
    monkeypatch.setattr("loraloom.use.export.subject.run_of", lambda folder: tmp_path)
    monkeypatch.setattr("loraloom.use.export.subject.read_rows", lambda run, classes: kept)
    rows = rows_of(tmp_path, record(0), None, None, None)
    assert rows.texts == (texts[0], texts[2])
    assert "without 1 of 5,000 characters or more" in rows.name
    del kept[0], kept[2]
    with pytest.raises(DataError, match=r"kept no whole text .* name a labelled file by --rows"):
        rows_of(tmp_path, record(0), None, None, None)


def test_what_a_form_costs_is_its_accuracy_less_the_adapter_s() -> None:
    logits = np.zeros((100, 2), np.float32)
    own = Measured("the adapter", 1, 100, 0.90, (0.85, 0.95), 100, 0.0, 1.0, 1.0, logits)
    worse = replace(own, name="int8", accuracy=0.88, same_labels=96, difference=0.5, p=0.5)
    (note,) = _notes((own, worse))
    assert note.startswith("int8 gives another label in 4 of 100 rows; its accuracy differs by -2.0 points")


@pytest.mark.parametrize(
    ("p", "same", "difference", "said"),
    [
        (0.051, 96, 0.5, r"int8 gives another label in 4 of 100 rows; .*, which is not shown to matter \(p = 0\.05"),
        (0.049, 96, 0.5, r"int8 gives another label in 4 of 100 rows; .*, which is more than noise \(p = 0\.0"),
        (1.0, 100, 0.5, r"int8 gives the same label in all 100 rows, its logits differ\.$"),
        (1.0, 100, TOLERANCE, None),
    ],
)
def test_of_a_form_that_is_another_function_it_is_said_what_that_changes(
    p: float, same: int, difference: float, said: str | None
) -> None:
    own = Measured("the adapter", 1, 100, 0.90, (0.85, 0.95), 100, 0.0, 1.0, 1.0, np.zeros((100, 2), np.float32))
    notes = _notes((own, replace(own, name="int8", same_labels=same, difference=difference, p=p)))
    assert len(notes) == (said is not None)
    assert said is None or re.match(said, notes[0])


@pytest.mark.parametrize(("each", "rounds"), [(0.125, 4), (0.3, 2), (2.0, 1)])
def test_few_rows_are_timed_until_that_says_something(
    monkeypatch: pytest.MonkeyPatch, each: float, rounds: int
) -> None:
    now, asked = [0.0], list[int]()

    def logits_of(texts: Sequence[str]) -> NDArray[np.float32]:
        now[0] += each
        asked.append(len(texts))
        return np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    found = measure("adapter", 8, logits_of, Rows("two", ("a", "b"), np.array([0, 1])))
    assert len(asked) == 1 + rounds  # the first is to warm up
    assert found.texts_per_second == pytest.approx(2 / each)


def test_a_form_is_measured_by_the_rows_labels_and_beside_the_adapter() -> None:
    rows = Rows("four", ("a", "b", "c", "d"), np.array([0, 1, 1, 0]))
    own = np.array([[2, 0], [0, 2], [0, -4], [1, 0]], np.float32)
    other = own.copy()
    other[1] = 0.5, 0.0

    def measured(logits: NDArray[np.float32]) -> Measured:
        return measure("it", 7, lambda texts: logits[: len(texts)], rows, own)

    alone = measure("adapter", 8, lambda texts: own[: len(texts)], rows)
    assert (alone.bytes, alone.rows, alone.accuracy, alone.same_labels, alone.p) == (8, 4, 0.75, 4, 1.0)
    assert (alone.difference, alone.exact) == (0.0, True)
    assert alone.accuracy_interval == intervals.wilson_interval(3, 4)
    found = measured(other)
    assert (found.name, found.accuracy, found.same_labels, found.difference) == ("it", 0.5, 3, 0.5)
    assert found.p == intervals.mcnemar(np.array([1, 0, 0, 1], bool), np.array([1, 1, 0, 1], bool))
    refuse_other(measured(own * np.float32(1 + 0.9 * TOLERANCE)))
    with pytest.raises(LoraloomError, match=r"another label in 0 of 4 rows, logits by up to 2\.0e-04 of the largest"):
        refuse_other(measured(own * np.float32(1 + 2 * TOLERANCE)))
    with pytest.raises(LoraloomError, match="it: gives logits that are not finite; nothing was written"):
        measured(np.where(own == 2, np.inf, own).astype(np.float32))


def test_of_many_kept_rows_a_thousand_are_measured_from_the_first_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {row: KeptRow(row=row, text=f"{row}", label=row % 3) for row in range(2_500)}
    monkeypatch.setattr("loraloom.use.export.subject.run_of", lambda folder: tmp_path)
    monkeypatch.setattr("loraloom.use.export.subject.read_rows", lambda run, classes: kept)
    own = record(0)
    rows = rows_of(tmp_path, own, None, None, None)
    chosen = [int(text) for text in rows.texts]
    assert (len(set(chosen)), chosen[0], chosen[-1]) == (1_000, 0, 2_499)
    assert {after - before for before, after in pairwise(chosen)} == {2, 3}
    assert rows.labels.tolist() == [row % 3 for row in chosen]
    assert rows.name == "the validation rows of its run"
    refitted = own.model_copy(update={"marks": (REFITTED,)})
    assert rows_of(tmp_path, refitted, None, None, None).name.endswith("of its run, which it was trained on")


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_file_cuts_on_the_side_on_which_the_model_has_its_texts_cut(tmp_path: Path, side: str) -> None:
    from tokenizers import Tokenizer

    subject = subject_of("bert", tmp_path)
    subject.tokenizer.truncation_side = side
    _write_tokenizer(subject, tmp_path / TOKENIZER)
    texts = [" ".join(f"w{word}" for word in range(5, 45)), "w5 w6"]
    found = Tokenizer.from_file(str(tmp_path / TOKENIZER)).encode_batch(texts)
    expected = subject.tokenizer(texts, truncation=True, max_length=30, padding=True)
    assert [one.ids for one in found] == expected["input_ids"]
    assert [one.attention_mask for one in found] == expected["attention_mask"]


def test_what_can_not_be_exported_is_refused_before_a_model_is_loaded(
    best: Path, adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = save_random_adapter(tmp_path / "linear", tiny_model, {"head": {"kind": "linear"}})
    add_test_result(linear)
    monkeypatch.setattr("loraloom.use.export.exporting.load_subject", lambda *_: pytest.fail("loaded"))
    with pytest.raises(LoraloomError, match="--format tflite: there is no such format; it must be merged, onnx, peft"):
        export(best, "tflite", tmp_path / "out")
    with pytest.raises(AdapterError, match="has no result, so that a model card could not say how good it is"):
        export(adapter, "peft", tmp_path / "out")
    for form in ("merged", "peft"):
        with pytest.raises(
            AdapterError, match=r"linear: its classifier is not one that plain .*: head\.kind is linear"
        ):
            export(linear, form, tmp_path / "out", rows=tmp_path / "none.csv")
    assert list(tmp_path.iterdir()) == [linear]


@pytest.mark.parametrize(
    ("place", "number", "mixed", "chosen"),
    [
        ("best", 4, False, True),
        ("trials/0003", 3, False, True),
        ("trials/0004", 4, False, False),
        ("trials/0003", 3, True, False),  # one of the seeds whose mean was chosen
        ("refit", 3, True, True),
    ],
)
def test_a_card_knows_what_the_search_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: int, mixed: bool, chosen: bool
) -> None:
    own = record(3).model_copy(update={"marks": (f"{SOUP_OF}3, 5",) if mixed else ()})
    monkeypatch.setattr("loraloom.use.export.card.read_record", lambda folder: own)
    subject: Any = SimpleNamespace(folder=tmp_path / place, record=record(number))
    assert _is_chosen(tmp_path, subject) == chosen


def test_sizes_are_said_in_megabytes_until_they_would_be_a_thousand() -> None:
    assert [size(number) for number in (40_000, 999_499_999, 999_500_000)] == ["0.0 MB", "999.5 MB", "1.00 GB"]
