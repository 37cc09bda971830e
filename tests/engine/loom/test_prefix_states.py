"""Whose trials read kept states, that reading them changes nothing, and what is said where none can be kept."""

from __future__ import annotations

import errno
import fcntl
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import loraloom
from loraloom.data import Encoded
from loraloom.engine import Job
from loraloom.engine.checkpoint import HaltError
from loraloom.engine.loom import LoomEngine, prefix_file, prefix_states
from loraloom.engine.loom.encoder import Encoder
from loraloom.engine.loom.frozen import FrozenEncoder
from loraloom.engine.loom.ops import PlainOps
from loraloom.engine.loom.prefix_file import PAGE, PrefixFile
from loraloom.engine.loom.prefix_states import PrefixStates, read
from loraloom.engine.loom.tokens import Ints
from loraloom.study.record import WEIGHTS, Evaluation, read_metrics
from tests.engine.broken_off import contents, hear
from tests.numerics.architectures import CONFIGS, make_job, save_model
from tests.numerics.tolerances import TOLERANCES

WEIGHTS_OF_MODEL = "model.safetensors"
TOP: dict[str, Any] = {
    "lora": {"r": 2, "lora_dropout": 0.2, "layers_to_transform": [1]},
    "train": {"bf16": False, "learning_rate": 0.02, "per_device_train_batch_size": 4},
}


def train(job: Job) -> list[str]:
    """Trains a job in an engine of its own; returns what was noted."""
    notes: list[str] = []
    (outcome,) = LoomEngine().train_pack([job], hear, note=notes.append)
    assert outcome.state == "complete"
    return notes


def halted(*_: object) -> None:
    """In an evaluation's place: it is broken off."""
    raise HaltError


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("*.prefix"))


def test_a_trial_that_reads_kept_states_is_bit_for_bit_the_one_that_filled_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filling, reading = (make_job(model, tmp_path / name, TOP) for name in ("filling", "reading"))
    assert train(filling) == []
    assert len(files(tmp_path)) == 2
    monkeypatch.setattr(Encoder, "prefix", lambda *_: pytest.fail("computed again"))
    train(reading)
    assert contents(reading.folder) == contents(filling.folder)


def test_a_process_reads_kept_states_through_once_for_all_its_packs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_job(model, tmp_path / "filling", TOP))
    verified: list[int] = []
    verify = PrefixFile._verify

    def counted(file: PrefixFile, row: int, start: int, end: int) -> bool:
        verified.append(row)
        return verify(file, row, start, end)

    monkeypatch.setattr(PrefixFile, "_verify", counted)
    engine = LoomEngine()
    jobs = [make_job(model, tmp_path / name, TOP) for name in ("one", "two")]
    engine.train_pack(jobs[:1], hear)
    looked_at = len(verified)
    assert looked_at == len(jobs[0].rows.train) + len(jobs[0].rows.validation)
    engine.train_pack(jobs[1:], hear)
    assert len(verified) == looked_at
    assert contents(jobs[1].folder) == contents(jobs[0].folder)


def test_a_whole_file_is_looked_at_by_all_who_read_it_at_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_job(model, tmp_path / "filling", TOP))
    monkeypatch.setattr(prefix_states, "only_filler", lambda *_: pytest.fail("one after another"))
    train(make_job(model, tmp_path / "reading", TOP))


@pytest.mark.parametrize("ended_by", ["stop", "deadline"])
def test_a_process_s_first_look_at_kept_states_ends_at_a_stop_and_at_the_deadline(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    train(make_job(model, tmp_path / "filling", TOP))
    job, looked_at = make_job(model, tmp_path / "job", TOP), list[int]()
    verify = PrefixFile._verify

    def counted(file: PrefixFile, row: int, start: int, end: int) -> bool:
        looked_at.append(row)
        return verify(file, row, start, end)

    monkeypatch.setattr(PrefixFile, "_verify", counted)
    monkeypatch.setattr(prefix_states, "LOOK_ROWS", 4)

    def stop() -> bool:
        return ended_by == "stop" and bool(looked_at)

    if ended_by == "deadline":
        job = replace(job, deadline=time.monotonic() + 3600)
        monkeypatch.setattr(prefix_states, "_late", lambda deadline: deadline is not None and bool(looked_at))
    (outcome,) = LoomEngine().train_pack([job], hear, stop)
    assert outcome.state == ("stopped" if ended_by == "stop" else "complete")
    assert looked_at == [0, 1, 2, 3]


def test_what_states_took_is_told_with_the_rows_that_had_none_before(model: Path, tmp_path: Path) -> None:
    jobs = [make_job(model, tmp_path / name, TOP) for name in ("filling", "reading")]
    jobs.append(make_job(model, tmp_path / "dropping", TOP, dropout="keep"))
    engine = LoomEngine()
    filling, reading, dropping = (engine.train_pack([job], hear)[0].timings for job in jobs)
    assert filling is not None
    assert filling.prefix_rows == len(jobs[0].rows.train) + len(jobs[0].rows.validation)
    assert reading is not None
    assert (reading.prefix_rows, reading.prefix_seconds > 0) == (0, True)
    assert dropping is not None
    assert (dropping.prefix_rows, dropping.prefix_seconds) == (None, 0)


def test_states_of_held_out_rows_alone_are_not_taken_for_those_of_training(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, engine = make_job(model, tmp_path / "job", TOP), LoomEngine()
    whole = PrefixStates.of

    def no_room(self: PrefixStates, encoded: Encoded, *others: Any) -> PrefixFile | None:
        return None if encoded is job.rows.train else whole(self, encoded, *others)

    monkeypatch.setattr(PrefixStates, "of", no_room)
    shares: list[bool] = []

    def counted(*_: Any, prefix_kept: bool) -> float:
        shares.append(prefix_kept)
        return 1.0

    monkeypatch.setattr(FrozenEncoder, "flops_per_token", counted)
    timings = engine.train_pack([job], hear)[0].timings
    assert timings is not None
    assert timings.prefix_rows is None
    assert set(shares) == {False}


@pytest.mark.usefixtures("plain_torch")
def test_joined_trials_that_read_kept_states_are_those_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other batch sizes, of other numbers of batches a step, and of other lengths."""
    own: list[dict[str, Any]] = [
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 4, "num_train_epochs": 1},
        {"per_device_train_batch_size": 7, "num_train_epochs": 3},
    ]
    common = {"bf16": False, "optim": "sgd", "learning_rate": 0.02, "num_train_epochs": 2}
    recipes = [TOP | {"train": common | train | {"seed": seed}} for seed, train in enumerate(own)]
    alone = [make_job(model, tmp_path / f"alone {number}", recipe) for number, recipe in enumerate(recipes)]
    together = [make_job(model, tmp_path / f"joined {number}", recipe) for number, recipe in enumerate(recipes)]
    for job in alone:
        train(job)
    widths: list[int] = []

    def counted(files: Sequence[PrefixFile], *others: Any) -> Tensor | None:
        widths.append(len(files))
        return read(files, *others)

    monkeypatch.setattr("loraloom.engine.loom.engine.read", counted)
    engine = LoomEngine()
    group = engine._group([engine._begin(job) for job in together])
    engine._take_turns([group], hear, lambda: None)
    engine._prefixes.close()
    assert {1, 2, 3} <= set(widths)  # evaluated, without the one that has ended, and all
    for job, joined in zip(alone, together, strict=True):
        lines = [read_metrics(of.folder) for of in (job, joined)]
        losses = [[(line.train_loss, line.validation_loss) for line in own] for own in lines]
        assert np.allclose(losses[1], losses[0], rtol=0, atol=TOLERANCES.sgd.losses)
        weights, found = (load_file(of.folder / WEIGHTS) for of in (job, joined))
        for name, weight in weights.items():
            assert torch.allclose(found[name], weight, rtol=0, atol=TOLERANCES.sgd.weights), name


def test_the_share_of_peak_is_of_the_work_of_all_steps_where_a_trial_goes_on_with_an_evaluation(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, engine, evaluate = make_job(model, tmp_path / "job", TOP), LoomEngine(), LoomEngine._evaluate

    monkeypatch.setattr("loraloom.engine.loom.trial.gemm_peak", lambda _: 1e15)
    monkeypatch.setattr(LoomEngine, "_evaluate", halted)
    assert engine.train_pack([job], hear)[0].state == "stopped"
    monkeypatch.setattr(LoomEngine, "_evaluate", evaluate)
    timings = engine.train_pack([job], hear)[0].timings
    assert timings is not None
    told = [(line.peak_share, line.tokens_per_second) for line in read_metrics(job.folder)]
    told.append((timings.peak_share, timings.tokens_per_second))
    assert len(told) > 2
    of_a_token = [share / tokens for share, tokens in told if share is not None and tokens is not None]
    assert of_a_token == pytest.approx([of_a_token[-1]] * len(told))


@pytest.mark.parametrize(
    ("dropout", "lora"), [("keep", {}), ("off", {"bias": "all"}), ("off", {"layers_to_transform": None})]
)
def test_nothing_is_kept_where_a_backbone_drops_or_its_lowest_layer_is_trained(
    model: Path, tmp_path: Path, dropout: str, lora: dict[str, Any]
) -> None:
    train(make_job(model, tmp_path / "job", TOP | {"lora": TOP["lora"] | lora}, dropout=dropout))
    assert files(tmp_path) == []


def test_without_room_by_choice_nothing_is_kept_or_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOM_PREFIX_GB", "0")
    assert train(make_job(model, tmp_path / "job", TOP)) == []
    assert files(tmp_path) == []


@pytest.mark.usefixtures("plain_torch")
@pytest.mark.parametrize(
    ("of", "name", "other"),
    [
        (PlainOps, "name", "other"),
        (torch, "get_num_threads", lambda: 99),
        (prefix_states, "version_of", lambda package: f"other {package}"),
    ],
    ids=["operations", "threads", "transformers"],
)
def test_what_was_computed_otherwise_is_not_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Any, name: str, other: Any
) -> None:
    monkeypatch.setattr(prefix_states, "_versions", prefix_states._versions.__wrapped__)
    train(make_job(model, tmp_path / "one", TOP))
    monkeypatch.setattr(of, name, other)
    train(make_job(model, tmp_path / "two", TOP))
    assert len(files(tmp_path)) == 4


def test_states_that_enter_another_layer_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS["bert"]()
    config.num_hidden_layers = 3
    folder, of_layer = save_model("bert", tmp_path / "model", config), TOP["lora"] | {"layers_to_transform": [2]}
    for cache, layers in (("own", TOP["lora"]), ("cache", of_layer), ("cache", TOP["lora"])):
        monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path / cache))
        job = make_job(folder, tmp_path / f"{cache} {layers['layers_to_transform']}", TOP | {"lora": layers})
        train(job)
    assert len(files(tmp_path)) == 4
    assert contents(job.folder) == contents(tmp_path / "own [1]")


@pytest.mark.parametrize(
    "mended", ["engine/loom/ops.py", "engine/loom/kernels/gemm.cpp", "engine/linear.py", "backbone/anatomy.py"]
)
def test_what_other_code_of_the_same_version_computed_is_not_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mended: str
) -> None:
    train(make_job(model, tmp_path / "one", TOP))
    package = tmp_path / "loraloom"
    for folder in ("backbone", "engine"):
        shutil.copytree(Path(loraloom.__file__).parent / folder, package / folder)
    monkeypatch.setattr(prefix_states, "_PACKAGE", package)
    monkeypatch.setattr(prefix_states, "_versions", prefix_states._versions.__wrapped__)
    train(make_job(model, tmp_path / "copied", TOP))
    assert len(files(tmp_path)) == 2
    (package / mended).write_text((package / mended).read_text() + "\n")
    train(make_job(model, tmp_path / "two", TOP))
    assert len(files(tmp_path)) == 4


def test_what_other_weights_in_the_same_folder_computed_is_not_read(model: Path, tmp_path: Path) -> None:
    train(make_job(model, tmp_path / "first", TOP))
    train(make_job(model, tmp_path / "again", TOP))
    assert len(files(tmp_path)) == 2  # of the rows to train on, and of those held out
    weights = load_file(model / WEIGHTS_OF_MODEL)
    save_file({name: 2 * tensor for name, tensor in weights.items()}, model / WEIGHTS_OF_MODEL, {"format": "pt"})
    second = make_job(model, tmp_path / "second", TOP)
    train(second)
    assert len(files(tmp_path)) == 4
    shutil.rmtree(tmp_path / "cache")
    alone = make_job(model, tmp_path / "alone", TOP)
    train(alone)
    assert contents(second.folder) == contents(alone.folder)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def row_by_row(lengths: Ints) -> Ints:
    """Batches of one row each."""
    return np.arange(len(lengths))[:, None]


@pytest.mark.parametrize(("failing", "computed"), [("disk", 2), ("states", 4)])
def test_what_can_t_be_kept_is_not_computed_beyond_a_batch_of_each_split(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, computed: int
) -> None:
    """Where the disk failed, by the first trial alone; where states are not finite, by each."""
    if failing == "disk":
        monkeypatch.setattr(PrefixFile, "_put", no_space)
    else:
        monkeypatch.setattr(prefix_file, "_is_finite", lambda _: False)
    monkeypatch.setattr(prefix_states, "by_length", row_by_row)
    engine = LoomEngine()
    for name in ("one", "two"):
        timings = engine.train_pack([make_job(model, tmp_path / name, TOP)], hear)[0].timings
        assert timings is not None
        assert timings.prefix_rows is None
    assert engine._prefixes.computed == computed


def test_a_fill_that_the_deadline_ends_leaves_its_rows_and_the_rest_of_them_to_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, kept, locks = LoomEngine(), list[int](), list[Path]()

    def others_fill(job: Job, evaluation: Evaluation) -> bool:
        for lock in (tmp_path / "cache").rglob("*.filling"):
            with lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locks.append(lock)
        pages = [path.read_bytes()[PAGE : 2 * PAGE] for path in files(tmp_path)]  # of marks, zero where there is none
        kept.append(sum(int(np.frombuffer(page, "<u4")[::2].sum()) for page in pages))
        return True

    monkeypatch.setattr(prefix_states, "by_length", row_by_row)
    monkeypatch.setattr(prefix_states, "_late", lambda deadline: engine._prefixes.computed > 2)
    engine.train_pack([make_job(model, tmp_path / "job", TOP)], others_fill)
    assert engine._prefixes.computed == 3
    assert set(kept) == {3}
    assert locks


def test_a_fill_that_is_stopped_leaves_its_rows(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_states, "by_length", row_by_row)
    engine, jobs = LoomEngine(), [make_job(model, tmp_path / name, TOP) for name in ("stopped", "whole")]
    (outcome,) = engine.train_pack(jobs[:1], hear, lambda: engine._prefixes.computed > 2)
    assert (outcome.state, engine._prefixes.computed) == ("stopped", 3)
    engine.train_pack(jobs[1:], hear)
    assert engine._prefixes.computed == len(jobs[1].rows.train) + len(jobs[1].rows.validation)


def test_a_fill_after_an_evaluation_that_a_resume_begins_with_is_stopped_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another node, where no states are kept yet."""
    monkeypatch.setattr(prefix_states, "by_length", row_by_row)
    alone, job = (make_job(model, tmp_path / name, TOP) for name in ("alone", "job"))
    train(alone)
    with monkeypatch.context() as patched:
        patched.setattr(LoomEngine, "_evaluate", halted)
        assert LoomEngine().train_pack([job], hear)[0].state == "stopped"
    shutil.rmtree(tmp_path / "cache")
    engine, held_out = LoomEngine(), len(job.rows.validation)
    (outcome,) = engine.train_pack([job], hear, lambda: engine._prefixes.computed > held_out + 2)
    assert (outcome.state, engine._prefixes.computed) == ("stopped", held_out + 3)
    train(job)
    assert contents(job.folder) == contents(alone.folder)


@pytest.mark.parametrize("failing", ["budget", "disk"])
def test_why_states_can_t_be_kept_is_said_once_for_a_split(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    if failing == "budget":
        monkeypatch.setenv("LORALOOM_PREFIX_GB", "1e-9")
    else:
        monkeypatch.setattr(PrefixFile, "_put", no_space)
    engine, notes = LoomEngine(), list[str]()
    for name in ("one", "two"):
        engine.train_pack([make_job(model, tmp_path / name, TOP)], hear, note=notes.append)
    assert len(notes) == 2
    reason = "are allowed" if failing == "budget" else "No space left on device"
    assert all("computed in every pass" in note and reason in note for note in notes)
