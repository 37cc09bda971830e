"""Batches of requests: what passes together, who waits for whom, and what becomes of those who give up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from loraloom.data import Encoded
from loraloom.engine.loom.evaluation import TOKENS
from loraloom.errors import AdapterError
from loraloom.use.serve import batching
from loraloom.use.serve.batching import (
    Batcher,
    NotComputedError,
    OverloadedError,
    TimedOutError,
    UnreadableTextError,
)
from loraloom.use.serve.metrics import Metrics
from loraloom.use.serve.registry import Served


class Counting:
    """A classifier of two labels whose logits are a text's number of tokens and its first letter."""

    labels = ("a", "b")

    def encoded(self, texts: Sequence[str]) -> Encoded:
        lengths = [len(text) for text in texts]
        ids = np.array([ord(sign) for text in texts for sign in text], dtype=np.int32)
        return Encoded(ids, np.append(0, np.cumsum(lengths)).astype(np.int64), 0)

    def unreadable(self, encoded: Encoded) -> dict[int, str]:
        return dict.fromkeys(encoded.beyond(ord("~")), "~")


@dataclass
class Gated:
    """Backbones that compute when they are let."""

    batches: list[list[int]] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def attempt(
        self, classifiers: Sequence[Any], encoded: Sequence[Encoded]
    ) -> list[NDArray[np.float32] | AdapterError]:
        self.batches.append([len(rows) for rows in encoded])
        self.begun.release()
        assert self.go.acquire(timeout=60)
        if any((rows.input_ids == ord("!")).any() for rows in encoded):
            raise RuntimeError("broken")
        return [self._one(rows) for rows in encoded]

    def _one(self, rows: Encoded) -> NDArray[np.float32] | AdapterError:
        if (rows.input_ids == ord("?")).any():
            return AdapterError("not finite")
        firsts = rows.input_ids[rows.offsets[:-1]]
        return np.stack([np.diff(rows.offsets), firsts], axis=1).astype(np.float32)


def run(work: Callable[[Batcher, Gated], Coroutine[Any, Any, None]], most: int = 100) -> None:
    async def whole() -> None:
        backbones = Gated()
        batcher = Batcher(cast(Any, backbones), Metrics(), most)
        batcher.start()
        try:
            await work(batcher, backbones)
        finally:
            backbones.go.release(1000)
            await batcher.stop()

    asyncio.run(whole())


def ask(batcher: Batcher, texts: Sequence[str], began: float | None = None) -> asyncio.Task[NDArray[np.float32]]:
    served = Served("one", cast(Any, Counting()))
    return asyncio.create_task(batcher.logits(served, texts, 60, began))


async def begun(held: Gated | Slow) -> None:
    assert await asyncio.to_thread(held.begun.acquire, timeout=60)


async def in_line(batcher: Batcher, count: int) -> None:
    while sum(not work.given_up for work in batcher._line.copy()) < count:  # the thread of tokens appends to it
        await asyncio.sleep(0)


def test_what_arrives_while_a_batch_is_computed_is_the_next_batch() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["aa"])
        await begun(backbones)
        others = [ask(batcher, ["b" * size, "c"]) for size in range(1, 9)]
        await in_line(batcher, 8)
        backbones.go.release(2)
        assert (await first).tolist() == [[2, ord("a")]]
        for size, other in enumerate(others, start=1):
            assert (await other).tolist() == [[size, ord("b")], [1, ord("c")]]
        assert backbones.batches == [[1], [2] * 8]
        for said in (b"batch_texts_sum 17.0", b"batch_adapters_sum 9.0", b"batch_seconds_count 2.0"):
            assert b"loraloom_" + said in batcher.metrics.as_text()

    run(work)


def test_a_request_of_many_texts_takes_turns_with_others() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        long = "x" * (TOKENS // 4)
        first = ask(batcher, ["a"])
        await begun(backbones)
        many = ask(batcher, [long] * 10)
        await in_line(batcher, 1)
        small = ask(batcher, ["bb"])
        await in_line(batcher, 2)
        backbones.go.release(2)
        await first
        await begun(backbones)
        await begun(backbones)
        assert backbones.batches == [[1], [4], [1, 3]]
        backbones.go.release(10)
        assert (await small).tolist() == [[2, ord("b")]]
        assert (await many)[:, 0].tolist() == [len(long)] * 10

    run(work)


def test_a_text_longer_than_a_batch_passes_by_itself() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(5)
        assert len(await ask(batcher, ["x" * (TOKENS + 1), "y"])) == 2

    run(work)


def test_too_many_waiting_texts_are_refused_and_let_in_again() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"] * 7)
        await begun(backbones)
        batcher._pace.texts_per_second = 0.5
        with pytest.raises(OverloadedError) as refused:
            await ask(batcher, ["b"] * 4)
        assert refused.value.seconds == 14
        batcher._pace.texts_per_second = 1e6
        with pytest.raises(OverloadedError) as refused:
            await ask(batcher, ["b"] * 4)
        assert refused.value.seconds == 1
        small = ask(batcher, ["b"] * 3)
        await in_line(batcher, 1)
        assert batcher.waiting == 10
        assert b"loraloom_waiting_texts 10.0" in batcher.metrics.as_text()
        assert b'loraloom_rejected_total{reason="overload"} 2.0' in batcher.metrics.as_text()
        backbones.go.release(9)
        await asyncio.gather(first, small)
        assert batcher.waiting == 0
        assert b"loraloom_waiting_texts 0.0" in batcher.metrics.as_text()
        assert len(await ask(batcher, ["b"] * 25)) == 25  # alone, a request may be larger

    run(work, most=10)


def test_who_waits_too_long_is_told_so_and_never_computed() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"])
        await begun(backbones)
        with pytest.raises(TimedOutError, match="no answer within 60 seconds"):
            await ask(batcher, ["b"], began=time.monotonic() - 59.99)
        assert batcher.waiting == 1
        assert b'loraloom_rejected_total{reason="timeout"} 1.0' in batcher.metrics.as_text()
        last = ask(batcher, ["c"] * 2)
        await in_line(batcher, 1)
        backbones.go.release(5)
        await asyncio.gather(first, last)
        assert backbones.batches == [[1], [2]]

    run(work)


def test_who_goes_away_is_dropped() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"])
        await begun(backbones)
        gone = ask(batcher, ["b"])
        await in_line(batcher, 1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        last = ask(batcher, ["c"])
        await in_line(batcher, 1)
        backbones.go.release(5)
        await asyncio.gather(first, last)
        assert backbones.batches == [[1], [1]]

    run(work)


def test_who_goes_away_while_it_is_computed_costs_no_neighbour_its_answer() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"])
        await begun(backbones)
        gone, last = ask(batcher, ["b"]), ask(batcher, ["c"])
        await in_line(batcher, 2)
        backbones.go.release(1)
        await first
        await begun(backbones)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        backbones.go.release(1)
        assert (await asyncio.wait_for(last, 20)).tolist() == [[1, ord("c")]]
        assert backbones.batches == [[1], [1, 1]]

    run(work)


def test_it_is_busy_while_a_batch_is_computed_and_its_pace_is_measured() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        before = time.monotonic()
        asked = ask(batcher, ["a"])
        await begun(backbones)
        assert batcher.busy_since is not None
        assert before <= batcher.busy_since <= time.monotonic()
        backbones.go.release(1)
        await asked
        assert batcher.busy_since is None
        assert batcher._pace != batching._Pace()

    run(work)


@pytest.mark.parametrize("texts", ["b?c", "b!c", "!b", "b!"])
def test_what_breaks_for_one_does_not_for_its_neighbours(texts: str) -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"])
        await begun(backbones)
        others = [ask(batcher, [text]) for text in texts]
        await in_line(batcher, len(texts))
        backbones.go.release(9)
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert [isinstance(each, NotComputedError) for each in found] == [text in "?!" for text in f"a{texts}"]
        assert batcher.alive
        assert not batcher.device_lost

    run(work)


def test_a_gpu_that_is_lost_is_noted_where_a_batch_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.engine.device.device_is_lost", lambda: True)

    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        with pytest.raises(NotComputedError, match="RuntimeError"):
            await ask(batcher, ["!"])
        assert batcher.device_lost

    run(work)


def test_the_pace_by_which_clients_come_again_follows_what_is_measured() -> None:
    pace = batching._Pace()
    pace.saw(200, 2.0)
    assert pace.texts_per_second == pytest.approx(55)


def test_a_text_that_the_model_can_not_read_is_refused_and_its_neighbours_are_not() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        unreadable, other = ask(batcher, ["a", "b~"]), ask(batcher, ["c"])
        with pytest.raises(UnreadableTextError, match="one that its model has no embedding of"):
            await unreadable
        assert (await other).tolist() == [[1, ord("c")]]
        assert batcher.waiting == 0
        assert backbones.batches == [[1]]

    run(work)


@dataclass
class Slow(Counting):
    """A tokenizer that is held, and notes what it was given in one call."""

    calls: list[list[str]] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def encoded(self, texts: Sequence[str]) -> Encoded:
        self.calls.append(list(texts))
        self.begun.release()
        assert self.go.acquire(timeout=60)
        if "%" in "".join(texts):
            raise RuntimeError("broken")
        return super().encoded(texts)


def ask_of(batcher: Batcher, classifier: Slow, texts: Sequence[str]) -> asyncio.Task[NDArray[np.float32]]:
    return asyncio.create_task(batcher.logits(Served("one", cast(Any, classifier)), texts, 60))


async def without_tokens(batcher: Batcher, count: int) -> None:
    while batcher._raw.qsize() < count:
        await asyncio.sleep(0)


def test_what_waits_for_tokens_is_tokenised_in_one_call() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        slow = Slow()
        asked = [ask_of(batcher, slow, ["a"])]
        await begun(slow)
        asked += [ask_of(batcher, slow, texts) for texts in (["bb", "c"], ["ddd"])]
        await without_tokens(batcher, 2)
        slow.go.release(2)
        found = await asyncio.gather(*asked)
        assert slow.calls == [["a"], ["bb", "c", "ddd"]]
        assert [each.tolist() for each in found] == [
            [[1, ord("a")]],
            [[2, ord("b")], [1, ord("c")]],
            [[3, ord("d")]],
        ]

    run(work)


def test_texts_beyond_so_many_characters_wait_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "ENCODED_CHARACTERS", 3)

    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        slow = Slow()
        asked = [ask_of(batcher, slow, ["aaa"])]
        await begun(slow)
        asked += [ask_of(batcher, slow, texts) for texts in (["b"], ["cc", "d"], ["e"])]
        await without_tokens(batcher, 3)
        slow.go.release(9)
        await asyncio.gather(*asked)
        assert slow.calls == [["aaa"], ["b", "cc", "d"], ["e"]]

    run(work)


def test_who_goes_away_before_there_are_tokens_is_not_tokenised() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        slow = Slow()
        first = ask_of(batcher, slow, ["a"])
        await begun(slow)
        gone, last = ask_of(batcher, slow, ["b"]), ask_of(batcher, slow, ["c"])
        await without_tokens(batcher, 2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        slow.go.release(9)
        await asyncio.gather(first, last)
        assert slow.calls == [["a"], ["c"]]

    run(work)


def test_each_classifier_tokenises_its_own_texts() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        first, second = Slow(), Slow()
        asked = [ask_of(batcher, first, ["a"])]
        await begun(first)
        asked += [ask_of(batcher, *own) for own in ((second, ["bb"]), (first, ["c"]), (second, ["d"]))]
        await without_tokens(batcher, 3)
        for slow in (first, second):
            slow.go.release(9)
        found = await asyncio.gather(*asked)
        assert (first.calls, second.calls) == ([["a"], ["c"]], [["bb", "d"]])
        assert [each.tolist() for each in found[1:]] == [[[2, ord("b")]], [[1, ord("c")]], [[1, ord("d")]]]

    run(work)


@pytest.mark.parametrize("texts", ["b%c", "b%", "%b"])
def test_a_text_that_breaks_the_tokenizer_breaks_no_neighbour(texts: str) -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        backbones.go.release(9)
        slow = Slow()
        asked = [ask_of(batcher, slow, ["a"])]
        await begun(slow)
        asked += [ask_of(batcher, slow, [text]) for text in texts]
        await without_tokens(batcher, len(texts))
        slow.go.release(9)
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(each, NotComputedError) for each in found] == [text == "%" for text in f"a{texts}"]
        assert batcher.alive

    run(work)


def test_the_model_does_not_wait_for_the_event_loop() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"])
        await begun(backbones)
        second = ask(batcher, ["b"])
        await in_line(batcher, 1)
        backbones.go.release(1)
        assert backbones.begun.acquire(timeout=60)  # of the second batch, while the loop stands here
        backbones.go.release(1)
        await asyncio.gather(first, second)

    run(work)


def test_a_batch_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "STOP_SECONDS", 0.1)

    async def work(batcher: Batcher, backbones: Gated) -> None:
        asked = ask(batcher, ["a"])
        await begun(backbones)
        await asyncio.wait_for(batcher.stop(), 10)
        asked.cancel()

    run(work)


async def begun_to_end(batcher: Batcher) -> asyncio.Task[None]:
    ending = asyncio.create_task(batcher.stop())
    while not batcher._stopping:
        await asyncio.sleep(0)
    return ending


def test_who_waits_when_it_ends_is_told_so() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        first = ask(batcher, ["a"])
        await begun(backbones)
        second = ask(batcher, ["b"])
        await in_line(batcher, 1)
        ending = await begun_to_end(batcher)
        backbones.go.release(1)
        await ending
        assert (await first).tolist() == [[1, ord("a")]]
        with pytest.raises(TimedOutError, match="going down"):
            await second
        assert not batcher.alive

    run(work)


def test_who_waits_for_tokens_when_it_ends_is_told_so() -> None:
    async def work(batcher: Batcher, backbones: Gated) -> None:
        slow = Slow()
        first = ask_of(batcher, slow, ["a"])
        await begun(slow)
        second = ask_of(batcher, slow, ["b"])
        await without_tokens(batcher, 1)
        ending = await begun_to_end(batcher)
        slow.go.release(9)
        await ending
        for asked in (first, second):
            with pytest.raises(TimedOutError, match="going down"):
                await asked
        assert slow.calls == [["a"]]

    run(work)
