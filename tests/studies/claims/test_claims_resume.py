"""A study that was broken off goes on: what is kept is not trained again, and other rows are refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loraloom.data import load_data
from loraloom.errors import DataError, RunError
from loraloom.recipe import Data
from loraloom.study.record import read_record
from study import training
from study.claims.__main__ import main
from study.claims.design import read_design
from study.machine import described
from study.outcomes import Kept, Trained
from study.trials import ALL_ROWS, header_of, make_trainer, train


def test_what_is_kept_is_not_trained_again_and_is_what_the_adapter_says(
    tiny_model: Path, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Data(train_file=str(rows_file), validation_share=0.2, max_length=16)
    data, design = load_data(rows, seed=0), read_design("six_layers", str(tiny_model))
    design = replace(design, recipe=design.recipe.model_copy(update={"data": rows}))
    listed = [design.trial(design.table.claims[0], level, 0) for level in ("4", "1")]
    trainer, common = make_trainer(design.recipe, {ALL_ROWS: data}, tmp_path / "runs")
    header, path = header_of("tiny", data, common), tmp_path / "tiny.jsonl"

    assert train(listed[:1], trainer, Kept(path, header), None)
    first = path.read_text(encoding="utf-8").splitlines()
    kept = Kept(path, header)
    assert not train(listed, trainer, kept, -1.0)  # no time: nothing is begun
    assert train(listed, trainer, kept, None)
    assert path.read_text(encoding="utf-8").splitlines()[:2] == first

    one = Kept(path).get(listed[1].key, 0)
    assert one is not None
    assert one.correct is not None
    assert one.accuracy is not None
    assert one.others_share is not None
    assert trainer.train(listed[1].key, listed[1].configuration, ALL_ROWS).others_share is None  # read, not trained
    assert (one.machine, one.git_revision) == (described()["machine"], described()["git_revision"])
    assert one.accuracy == one.right(len(data.validation)).mean()
    for changed in (replace(one, correct=one.correct[:4]), replace(one, accuracy=1 - one.accuracy)):
        with pytest.raises(DataError, match="it was changed"):
            changed.right(len(data.validation))
    correct, _ = trainer.tested(listed[1].key, listed[1].configuration, ALL_ROWS)
    assert len(correct) == len(data.test)
    with pytest.raises(RunError, match="is of another data"):
        Kept(path, header | {"data": "other rows"})
    with pytest.raises(RunError, match="is of another table"):
        Kept(path, header | {"table": "base_size"})

    kept.add(Trained(listed[0].key, 0, "failed", "no memory"))
    change = {"state": "failed", "reason": "no memory", "result": None}
    monkeypatch.setattr(training, "read_record", lambda folder: read_record(folder).model_copy(update=change))
    assert train(listed, trainer, kept, None)
    again = kept.get(listed[0].key, 0)
    assert again is not None
    assert again.accuracy == json.loads(first[1])["accuracy"]  # the same training, on the same machine


def test_a_pause_of_the_machine_is_no_time_of_a_trial(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "e.jsonl", {"machine": {"processor": "Processor", "cores": 2}})
    for seed, (train_seconds, evaluation) in enumerate([(20.0, 5.0), (21.0, 300.0), (400.0, 5.0)]):
        kept.add(
            Trained(
                "a", seed, "complete", accuracy=0.9, seconds=train_seconds + evaluation,
                train_seconds=train_seconds,
                curve=((1.0, 0.9, 0.9),), machine={"processor": "Another", "cores": 4} if seed else None,
            )
        )  # fmt: skip
    assert [kept.undisturbed(one) for one in kept.all()] == [25.0, 26.0, 405.0]
    assert all(one.is_disturbed for one in kept.all())  # nobody counted
    assert kept.seconds(kept.all()) == 26.0
    assert kept.seconds(kept.all()[1:]) == 26.0
    assert kept.machines == ("2 cores (Processor)", "4 cores (Another)")


def test_results_are_not_named_as_a_design(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["claims", "--table", "preset", "--name", "preset", "--rows", "8", "--results", "elsewhere"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--name preset: is a design's" in capsys.readouterr().err
