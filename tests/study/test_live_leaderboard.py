"""The leaderboard kept as trials end is the one computed from all of them, and its file is at most a moment behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.errors import RunError
from loraloom.recipe.fields import Metric
from loraloom.study import live_leaderboard
from loraloom.study.leaderboard import leaderboard_csv, row, standings
from loraloom.study.live_leaderboard import LiveLeaderboard
from loraloom.study.record import TrialRecord
from tests.study.study_records import record

_AXES_OF = ["ab", "bc", "abc", "b", "acb"]
"""Of trials by their number: where axes depend on others, they name some, and those that end first name them first."""


@st.composite
def _records(draw: st.DrawFn) -> TrialRecord:
    state: Any = draw(st.sampled_from(("complete", "complete", "complete", "pruned", "failed")))
    accuracy = draw(st.sampled_from((0.1, 0.25, 0.3, 0.7)))
    number = draw(st.integers(0, 12))
    made = record(
        number,
        None if state == "failed" else accuracy,
        point={axis: draw(st.integers(1, 2)) for axis in _AXES_OF[number % len(_AXES_OF)]},
        state=state,
        reason=None if state == "complete" else "was poor",
        trainable=draw(st.sampled_from((1000, 2000))),
        macro_f1=1 - accuracy,
        train_rows=100,
        epochs=draw(st.sampled_from((0.5, 1.5, 2))),
    )
    two = made.configuration.with_fields(train={"num_train_epochs": 2})
    return made.model_copy(update={"configuration": two})


@given(st.lists(_records(), max_size=25), st.integers(0, 25), st.sampled_from(("accuracy", "macro_f1")))
def test_it_is_the_one_computed_whole(records: list[TrialRecord], known: int, metric: Metric) -> None:
    written: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_leaderboard, "write_text", lambda path, text: written.append(text))
        before = {one.number: one for one in records[:known]}
        with LiveLeaderboard(Path("leaderboard.csv"), metric, before.values()) as leaderboard:
            for one in records[known:]:
                leaderboard.add(one)
        leaderboard.write()
    latest = {one.number: one for one in records}
    whole = [latest[number] for number in sorted(latest)]
    assert leaderboard.standings == standings(whole, metric)
    assert leaderboard.finished == len(whole)
    assert written[-1] == leaderboard_csv(whole, metric)


def test_a_trial_of_other_axes_adds_their_columns(tmp_path: Path) -> None:
    path, records = tmp_path / "leaderboard.csv", [record(0, point={"lora.r": 2}), record(1, point={"train.seed": 3})]
    with LiveLeaderboard(path, "accuracy", records[:1]) as leaderboard:
        leaderboard.add(records[1])
    assert path.read_text(encoding="utf-8") == leaderboard_csv(records, "accuracy")


def test_each_row_is_formatted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formatted: list[int] = []

    def counted(one: TrialRecord, axes: tuple[str, ...]) -> str:
        formatted.append(one.number)
        return row(one, axes)

    monkeypatch.setattr(live_leaderboard, "row", counted)
    with LiveLeaderboard(tmp_path / "leaderboard.csv", "accuracy", [record(n) for n in range(20)]) as leaderboard:
        for number in range(20, 40):
            leaderboard.add(record(number))
    assert formatted == list(range(40))


class _Timer:
    """A timer that a test lets run out."""

    def __init__(self, wait: float, do: Callable[[], None]) -> None:
        self.wait, self.do, self.daemon, self.waits = wait, do, False, False
        _Timer.last = self

    def start(self) -> None:
        self.waits = True

    def cancel(self) -> None:
        self.waits = False

    last: _Timer


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Writing takes a second of a clock that stands still otherwise; the list holds its time."""
    now = [100.0]

    def write(path: Path, text: str) -> None:
        now[0] += 1
        path.write_text(text, encoding="utf-8")

    monkeypatch.setattr(live_leaderboard, "write_text", write)
    monkeypatch.setattr("loraloom.study.live_leaderboard.time.monotonic", lambda: now[0])
    monkeypatch.setattr("loraloom.study.live_leaderboard.threading.Timer", _Timer)
    return now


def _rows(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) - 1


def test_trials_that_end_in_quick_succession_are_written_together(tmp_path: Path, slow_disk: list[float]) -> None:
    path = tmp_path / "leaderboard.csv"
    with LiveLeaderboard(path, "accuracy", []) as leaderboard:
        for number in range(5):
            leaderboard.add(record(number))
        assert (_rows(path), _Timer.last.wait) == (1, live_leaderboard.PAUSE)
        _Timer.last.do()
        assert _rows(path) == 5


def test_a_trial_that_ends_after_the_pause_is_written_at_once(tmp_path: Path, slow_disk: list[float]) -> None:
    path = tmp_path / "leaderboard.csv"
    with LiveLeaderboard(path, "accuracy", []) as leaderboard:
        leaderboard.add(record(0))
        slow_disk[0] += live_leaderboard.PAUSE
        leaderboard.add(record(1))
        assert _rows(path) == 2


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_at_the_end_all_is_written_and_nothing_waits(
    tmp_path: Path, slow_disk: list[float], error: type[BaseException] | None
) -> None:
    path = tmp_path / "leaderboard.csv"

    def search() -> None:
        with LiveLeaderboard(path, "accuracy", []) as leaderboard:
            leaderboard.add(record(0))
            leaderboard.add(record(1))
            if error is not None:
                raise error

    if error is None:
        search()
    else:
        with pytest.raises(error):
            search()
    assert (_rows(path), _Timer.last.waits) == (2, False)


def test_a_full_disk_is_said_by_the_next_trial_to_end(
    tmp_path: Path, slow_disk: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    leaderboard = LiveLeaderboard(tmp_path / "leaderboard.csv", "accuracy", [])
    leaderboard.add(record(0))
    leaderboard.add(record(1))
    monkeypatch.setattr(live_leaderboard, "write_text", full)
    _Timer.last.do()
    with pytest.raises(OSError, match="No space left"):
        leaderboard.add(record(2))


def test_what_broke_a_search_off_is_not_hidden_by_a_folder_that_is_gone(tmp_path: Path) -> None:
    def search() -> None:
        with LiveLeaderboard(tmp_path / "gone" / "leaderboard.csv", "accuracy", []) as leaderboard:
            with pytest.raises(RunError, match="no such folder"):
                leaderboard.add(record(0))
            raise ValueError("why it broke off")

    with pytest.raises(ValueError, match="why it broke off"):
        search()
