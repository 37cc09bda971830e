"""A tiny encoder with a tokenizer of its own, and rows that it can learn: enough for every part to be run for real."""

from __future__ import annotations

import csv
import gc
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.commands import Commands

if os.environ.get("LORALOOM_TEST_DEVICE") != "cuda":  # what is promised to the bit is promised on a processor
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny products gain nothing from threads, and lose much to waiting
for _name in ("LORALOOM_PREFIX_GB", "SLURM_JOB_END_TIME", "SLURM_JOB_START_TIME"):  # or searches would end with a job
    os.environ.pop(_name, None)
# The hub is nowhere, and nothing is there of what a person has of it: it has a stand-in, tests/use/hub_server.py.
NO_HUB = Path(__file__).parents[1] / "build" / "no-hub"
os.environ |= {"HF_ENDPOINT": "https://hub.invalid", "HF_HOME": str(NO_HUB)}
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell script's background, where no Ctrl-C arrives
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's; in CI the same are drawn each time, as by Hypothesis' own profile.
settings.register_profile("tests", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None)
settings.load_profile("tests")

WORDS = {
    "animals": ["cat", "dog", "horse", "cow", "bird"],
    "food": ["bread", "cheese", "soup", "rice", "apple"],
    "tools": ["hammer", "saw", "drill", "wrench", "nail"],
}
FILLER = ["the", "a", "near", "with", "some", "old", "new", "and", "very", "small"]


def pytest_collection() -> None:
    """Nothing that is imported is garbage; looking for it took half of the time that collecting all tests took."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leaves what was imported out of garbage collections, which take half a second with it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@contextmanager
def unheard() -> Iterator[None]:
    """Nothing is heard of a proxy, nor of how a terminal is to be drawn on; what pytest itself heard stays."""
    proxies = [f"{scheme}_proxy" for scheme in ("all", "http", "https")]
    drawing = "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"
    with pytest.MonkeyPatch.context() as patch:
        for name in (*proxies, *map(str.upper, proxies), *drawing):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _unheard() -> Iterator[None]:
    with unheard():
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache in which nothing lies from earlier tests but compiled kernels, which are keyed by their source."""
    from loraloom.data import default_cache

    cache, kernels = tmp_path_factory.getbasetemp() / "cache", default_cache() / "kernels"
    cache.mkdir(exist_ok=True)
    kernels.mkdir(parents=True, exist_ok=True)
    (cache / "kernels").symlink_to(kernels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORALOOM_CACHE", str(cache))
        yield


@pytest.fixture(autouse=True, scope="session")
def _unsynced() -> Iterator[None]:
    """Nothing waits for the disk: what a power cut leaves is tested with processes of their own (tests/faults/)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr("loraloom.study.ledger.SYNCHRONOUS", "OFF")
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_garbage_sought() -> Iterator[None]:
    """HF Trainer asks for a garbage collection at each training's end: half of what training a tiny model took."""
    with pytest.MonkeyPatch.context() as patch:
        if memory := sys.modules.get("accelerate.utils.memory"):  # importing it would take longer than most tests
            patch.setattr(memory, "gc", SimpleNamespace(collect=lambda: 0))
        yield


@pytest.fixture(autouse=True, scope="session")
def _migrations_read_once() -> Iterator[None]:
    """Optuna reads all of its migrations when a ledger is opened, and twice when one is made: most of what either took.

    A process of a user's does so once.
    """
    from optuna.storages._rdb.storage import _VersionManager

    read, found = _VersionManager._create_alembic_script, list[Any]()

    def once(manager: _VersionManager) -> Any:
        if not found:
            found.append(read(manager))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", once)
        yield


@pytest.fixture(autouse=True)
def _own_sigterm() -> Iterator[None]:
    """A command that was run in this process ignores SIGTERM from its end on; what later tests start would too."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands in processes of their own that need not import anything: for tests of anything but how they start."""
    from tests.commands import Commands
    from tests.faults.shim import compile_shim, compiler

    scratch = tmp_path_factory.mktemp("commands")
    with Commands(scratch, preload=compile_shim(scratch) if compiler() else None) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium. For a module: longer than that, playwright's event loop would stand in others' way."""
    from tests.report.browser import chromium

    with chromium() as found:
        yield found


@contextmanager
def without_pictures() -> Iterator[None]:
    """Reports have no pictures, as where the extra `report` is missing: they take more time than a tiny search."""
    with pytest.MonkeyPatch.context() as patch:  # of its own: a test may undo what it has patched itself
        patch.setitem(sys.modules, "matplotlib", None)
        yield


@pytest.fixture
def no_pictures() -> Iterator[None]:
    with without_pictures():
        yield


@pytest.fixture
def no_report() -> Iterator[None]:
    """Runs end without a report, also those that are gone on with: it takes a quarter of a tiny search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loraloom.conclusion._report", lambda *_: None)
        yield


def make_rows(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, label) rows, each with a word or two of its class among filler; no two are equal."""
    generator = random.Random(seed)  # noqa: S311
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = list(WORDS)[len(rows) % len(WORDS)]
        words = generator.choices(WORDS[label], k=2) + generator.choices(FILLER, k=generator.randint(3, 9))
        generator.shuffle(words)
        rows.setdefault(" ".join(words), label)
    return list(rows.items())


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "model")


def write_model(folder: Path) -> Path:
    """A 2-layer BERT (D = 32) of random weights and a word-level tokenizer, in `folder`."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = [*special, *FILLER, *(word for words in WORDS.values() for word in words)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", make_rows(150, seed=1))


@pytest.fixture
def tiny_recipe(tiny_model: Path, rows_file: Path) -> dict[str, Any]:
    return make_recipe(tiny_model, rows_file)


@pytest.fixture
def recipe_file(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """The same as a file, for commands."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe))
    return path


def make_recipe(model: Path, rows: Path) -> dict[str, Any]:
    """A recipe of one configuration that trains in about a second, in fp32."""
    return {
        "data": {"train_file": str(rows), "validation_share": 0.2, "max_length": 16},
        "backbone": {"model": str(model), "dropout": "off"},
        "lora": {"r": 2},
        "train": {"learning_rate": 0.02, "num_train_epochs": 2, "bf16": False},
    }
