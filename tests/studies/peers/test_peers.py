"""The peers that need no more than loraloom's environment answer on a few rows that anybody could tell apart."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from loraloom.errors import DataError
from study.peers import PEERS, autogluon_tabular, autointent, logreg, probe, svm, tfidf
from study.peers.environments import python_of
from study.peers.regularization import Candidate, best_candidate, best_classifier
from study.peers.setfit import _few_of_each_class, _pairs_of_an_epoch
from study.peers.task import Task

WORDS = (("goal", "match", "team", "coach"), ("shares", "bank", "profit", "market"))


def task(folder: Path, *, seconds: float = 60.0, rows: int = 24) -> Task:
    texts = [" ".join(WORDS[row % 2][(row // 2 + step) % 4] for step in range(3)) for row in range(rows)]
    labels = [row % 2 for row in range(rows)]
    test = ["team match today", "bank profit today"]
    return Task(texts, labels, ["sport", "business"], test, "", seconds, time.time(), 0, 1, str(folder))


@pytest.mark.parametrize("peer", [svm, logreg], ids=["svm", "logreg"])
def test_it_answers_and_says_what_it_compared(peer: Any, tmp_path: Path) -> None:
    answer = peer.answer(task(tmp_path))
    assert answer.predictions == [0, 1]
    names = [f"{answer.settings['C']:g}, min_df {rare}" for rare in (1, 2)]
    assert set(names) <= set(answer.settings["compared"])
    assert answer.settings["min_df"] in (1, 2)


def test_the_better_features_are_taken_and_the_first_where_they_are_alike(tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC

    given = task(tmp_path)
    useful = np.array(given.labels, dtype=float)[:, None]
    candidates = [Candidate("none", 1.0, 0 * useful), Candidate("useful", 1.0, useful), Candidate("again", 1.0, useful)]
    best, final, scores = best_candidate(given, lambda strength: LinearSVC(C=strength), candidates, given.labels)
    assert best.name == "useful"
    assert final.predict([[0.0], [1.0]]).tolist() == [0, 1]
    assert list(scores) == ["none", "useful", "again"]


def test_comparing_ends_after_minutes_however_long_the_time_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "_COMPARING", 0.0)
    assert svm.answer(task(tmp_path, seconds=1e6)).settings["compared"] == {}


def test_without_time_the_first_choice_is_taken(tmp_path: Path) -> None:
    answer = svm.answer(task(tmp_path, seconds=0.0))
    assert (answer.predictions, answer.settings["C"], answer.settings["compared"]) == ([0, 1], 1.0, {})


def test_a_class_of_one_row_is_not_cross_validated(tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC

    features, labels = [[0.0], [1.0], [2.0]], [0, 0, 1]
    given = task(tmp_path)
    final, chosen = best_classifier(given, lambda strength: LinearSVC(C=strength), (1.0, 9.0), features, labels)
    assert chosen == {"C": 1.0, "compared": {}}
    assert final.predict([[2.0]]).tolist() == [1]


def test_a_probe_embeds_until_what_is_left_is_for_its_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, clock = task(tmp_path, rows=6000, seconds=100.0), [0.0]
    monkeypatch.setattr(Task, "remaining", lambda own: own.seconds - clock[0])
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    class Fitted:
        def fit(self, vectors: Any, labels: Any) -> None:
            assert len(vectors) == len(labels)
            clock[0] += len(vectors) / 5000

    def embedded(rows: Any) -> Any:
        clock[0] += len(rows) / 50
        return np.zeros((len(rows), 2))

    monkeypatch.setattr(probe, "_classifier", lambda _: Fitted())
    found = len(probe.embedded_in_time(given, np.arange(6000), embedded, 50.0))
    fitting = 1.5 * 12 * found / 5000
    assert abs(given.remaining() - probe._FIXED - fitting) < 6
    assert found > 3000
    given = task(tmp_path, rows=600, seconds=100.0)
    clock[0] = 0.0
    assert len(probe.embedded_in_time(given, np.arange(600), embedded, 50.0)) == 600


def test_setfit_teaches_by_as_many_rows_of_each_class_and_counts_its_pairs(tmp_path: Path) -> None:
    given = task(tmp_path, rows=300)
    taken = _few_of_each_class(given, np.arange(300))
    assert [sum(given.labels[row] == label for row in taken) for label in (0, 1)] == [64, 64]
    # two classes of 2 rows: 3 pairs alike in each, itself included, and 4 of both; as many of each kind
    assert _pairs_of_an_epoch([0, 0, 1, 1]) == 2 * 6


def test_what_is_not_installed_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALOOM_PEERS", str(tmp_path))
    with pytest.raises(DataError, match=r"setfit: is not installed; python -m study\.peers\.environments setfit"):
        python_of(PEERS["setfit"])


def test_an_environment_of_other_packages_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALOOM_PEERS", str(tmp_path))
    (tmp_path / "setfit").mkdir()
    (tmp_path / "setfit" / "ready.json").write_text('{"packages": ["setfit==0.1"]}')
    with pytest.raises(DataError, match="setfit: is not installed"):
        python_of(PEERS["setfit"])


def test_autointent_is_given_a_seed_that_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(side_effect=InterruptedError)
    fake, configs = ModuleType("autointent"), ModuleType("autointent.configs")
    fake.__dict__.update(Dataset=Mock(), Pipeline=Mock(from_preset=made))
    configs.__dict__.update(LoggingConfig=Mock(), get_default_embedder_config=Mock())
    monkeypatch.setitem(sys.modules, "autointent", fake)
    monkeypatch.setitem(sys.modules, "autointent.configs", configs)
    with pytest.raises(InterruptedError):
        autointent.answer(task(tmp_path))
    assert made.call_args.kwargs["seed"] > 0


def test_every_peer_is_a_module_of_its_name() -> None:
    folder = Path(autogluon_tabular.__file__).parent
    assert all((folder / f"{name}.py").is_file() for name in PEERS)
