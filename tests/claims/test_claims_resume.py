"""A study that was broken off goes on: what is kept is not trained again, and other rows are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loraloom.data import load_data
from loraloom.errors import RunError
from loraloom.recipe import Data
from study.claims.design import read_design
from study.outcomes import Kept
from study.trials import ALL_ROWS, header_of, make_trainer, train


def test_what_is_kept_is_not_trained_again_and_is_what_the_adapter_says(tmp_path: Path) -> None:
    data = load_data(Data(dataset="demo"), seed=0)
    data = replace(
        data,
        train=data.train.take(range(48)),
        validation=data.validation.take(range(32)),
        test=data.test.take(range(16)),
    )
    design = read_design("six_layers", "demo")
    listed = [design.trial(design.table.claims[0], level, 0) for level in ("4", "1")]
    trainer, common = make_trainer(design.recipe, {ALL_ROWS: data}, tmp_path / "runs")
    header, path = header_of("demo", data, common), tmp_path / "demo.jsonl"

    assert train(listed[:1], trainer, Kept(path, header), None)
    first = path.read_text(encoding="utf-8").splitlines()
    kept = Kept(path, header)
    assert not train(listed, trainer, kept, -1.0)  # no time: nothing is begun
    assert train(listed, trainer, kept, None)
    assert path.read_text(encoding="utf-8").splitlines()[:2] == first

    one = Kept(path).get(listed[1].key, 0)
    assert one is not None
    assert one.accuracy == one.right(32).mean()
    correct, _ = trainer.tested(listed[1].key, listed[1].configuration, ALL_ROWS)
    assert len(correct) == 16
    with pytest.raises(RunError, match="is of another data"):
        Kept(path, header | {"data": "other rows"})
