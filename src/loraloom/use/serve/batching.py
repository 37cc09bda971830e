"""Micro-batches: texts of all requests and adapters that wait are computed together, as they wait, without delay.

While one batch is computed the next gathers, so that batches grow with the load by themselves: alone, a request waits
for nobody; under load the frozen products run over a full batch. A request of many texts takes turns with others: a
batch takes what fits of each and the rest goes to the end of the line.

The event loop gives work to a thread that makes tokens, of all that waits in one call; the model's thread takes its
next batch of them by itself, and the loop hears of a batch once. So the model never waits for the loop, which under
load has some requests to read and to answer before it comes round. Rejected: waiting some milliseconds for company,
which costs a lone request that time and gains nothing under load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Encoded
from loraloom.engine.loom.evaluation import TOKENS
from loraloom.errors import AdapterError, LoraloomError
from loraloom.use.backbones import Backbones
from loraloom.use.serve.metrics import Metrics
from loraloom.use.serve.registry import Served

ENCODED_CHARACTERS = 65_536
"""Of the texts that are tokenised in one call, about: who comes first does not wait long for a large one after him."""
STOP_SECONDS = 5.0
"""What a batch that does not end is waited for when the server goes down: the process ends with it."""
_UNREADABLE = "texts: of one the adapter's tokenizer makes no token, or one that its model has no embedding of"
_NOTHING = Encoded(np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int64), 0)
_log = logging.getLogger("loraloom.serve")


class OverloadedError(LoraloomError):
    """As many texts wait as may; come again in `seconds`."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__("too many texts are waiting; come again later")


class UnreadableTextError(LoraloomError):
    """Texts of which the tokenizer makes nothing, or a token that the adapter's model has not got: those in `rows`."""

    def __init__(self, rows: Collection[int]) -> None:
        self.rows = frozenset(rows)
        super().__init__(_UNREADABLE)


class NotComputedError(LoraloomError):
    """An adapter could not compute a text: its logits are not finite, or a fault of ours."""


class TimedOutError(LoraloomError):
    """The answer took longer than a request may."""


@dataclass(slots=True, eq=False)
class _Work:
    """A request's rows: how far they are computed, and who waits for them."""

    served: Served
    texts: Sequence[str]
    done: asyncio.Future[NDArray[np.float32]]
    encoded: Encoded
    logits: NDArray[np.float32]
    began: int = 0  # rows that were given out

    def tokens(self, row: int) -> int:
        return int(self.encoded.offsets[row + 1] - self.encoded.offsets[row])

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more: it was refused, or its client has gone or waited too long."""
        return self.done.done()


@dataclass(frozen=True, slots=True)
class _Piece:
    work: _Work
    start: int
    stop: int

    @property
    def rows(self) -> Encoded:
        return self.work.encoded.part(self.start, self.stop)


@dataclass(slots=True)
class _Pace:
    """Texts a second, as lately measured: what Retry-After is reckoned by."""

    texts_per_second: float = 50.0

    def saw(self, texts: int, seconds: float) -> None:
        self.texts_per_second += 0.1 * (texts / max(seconds, 1e-6) - self.texts_per_second)


@dataclass(slots=True)
class Batcher:
    """Computes logits of requests' texts. What is public is for the event loop's thread alone."""

    backbones: Backbones
    metrics: Metrics
    most_waiting: int
    waiting: int = 0
    """Texts that are tokenised, wait, or are computed."""
    busy_since: float | None = None
    device_lost: bool = False
    """Whether the GPU answers this process no more: every batch fails from then on."""
    _raw: SimpleQueue[_Work | None] = field(default_factory=SimpleQueue)
    _line: deque[_Work] = field(default_factory=deque)
    """What is tokenised: appended to by one thread, taken from by the other."""
    _arrived: Event = field(default_factory=Event)
    _stopping: bool = False
    _pace: _Pace = field(default_factory=_Pace)
    _loop: asyncio.AbstractEventLoop | None = None
    _threads: tuple[Thread, ...] = ()

    def start(self) -> None:
        """Begins to take work; within a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._threads = (
            Thread(target=self._make_tokens, name="tokens", daemon=True),
            Thread(target=self._compute, name="model", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Ends; who still waits is told so. The batch under way is computed to its end, if that comes soon."""
        self._stopping = True
        self._raw.put(None)
        self._arrived.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, STOP_SECONDS)
        while (work := self._line.popleft() if self._line else self._next_raw()) is not None:
            _fail(work, TimedOutError("the server is going down"))

    @property
    def alive(self) -> bool:
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def check_room(self, texts: int) -> None:
        """Raises OverloadedError where so many texts more would be too many. A lone request of the most is let in."""
        if self.waiting and self.waiting + texts > self.most_waiting:
            self.metrics.rejected.labels("overload").inc()
            raise OverloadedError(max(1, round(self.waiting / self._pace.texts_per_second)))

    async def logits(
        self, served: Served, texts: Sequence[str], seconds: float, began: float | None = None
    ) -> NDArray[np.float32]:
        """Logits (N, C) of texts, within `seconds` from `began` (by the monotonic clock; None: from now).

        Raises:
            OverloadedError: too many texts wait.
            TimedOutError: it took longer; what waited was dropped.
            UnreadableTextError: the adapter's model can't read a text.
            NotComputedError: the adapter can't compute a text.
        """
        self.check_room(len(texts))
        self.waiting += len(texts)
        self.metrics.waiting.set(self.waiting)
        empty = np.zeros((len(texts), len(served.classifier.labels)), dtype=np.float32)
        work = _Work(served, texts, asyncio.get_running_loop().create_future(), _NOTHING, empty)
        try:
            async with asyncio.timeout(seconds if began is None else began + seconds - time.monotonic()):
                self._raw.put(work)
                return await work.done
        except TimeoutError:
            self.metrics.rejected.labels("timeout").inc()
            raise TimedOutError(f"no answer within {seconds:g} seconds; what waited was dropped") from None
        finally:
            self.waiting -= len(texts)
            self.metrics.waiting.set(self.waiting)

    # The thread that makes tokens

    def _make_tokens(self) -> None:
        while not self._stopping and (first := self._raw.get()) is not None:
            together, characters = [first], sum(map(len, first.texts))
            while characters < ENCODED_CHARACTERS and (work := self._next_raw()) is not None:
                together.append(work)
                characters += sum(map(len, work.texts))
            by_classifier: dict[int, list[_Work]] = {}
            for work in together:
                if not work.given_up:
                    by_classifier.setdefault(id(work.served.classifier), []).append(work)
            for works in by_classifier.values():
                self._encode(works)

    def _next_raw(self) -> _Work | None:
        try:
            return self._raw.get_nowait()
        except Empty:
            return None

    def _encode(self, works: Sequence[_Work]) -> None:
        """Tokens of requests to one classifier, which then stand in the line; what breaks one is its own."""
        try:
            encoded = works[0].served.classifier.encoded([text for work in works for text in work.texts])
        except Exception as error:
            if len(works) > 1:
                for work in works:
                    self._encode([work])
                return
            _log.exception("a text could not be tokenised")
            self._tell(_fail, works[0], NotComputedError(f"the text could not be tokenised: {type(error).__name__}"))
            return
        start = 0
        for work in works:
            work.encoded = encoded.part(start, start := start + len(work.texts))
            if unreadable := work.served.classifier.unreadable(work.encoded):
                self._tell(_fail, work, UnreadableTextError(unreadable))
            else:
                self._line.append(work)
        self._arrived.set()

    # The thread of the model

    def _compute(self) -> None:
        while not self._stopping:
            self._arrived.wait()
            self._arrived.clear()
            while not self._stopping and (pieces := self._next_batch()):
                self.busy_since = began = time.monotonic()
                outcomes = self._attempt(pieces)
                self.busy_since = None
                self._tell(self._settle, pieces, outcomes, time.monotonic() - began)

    def _next_batch(self) -> list[_Piece]:
        """What fits of those who wait, first come first served; who has more to compute goes to the end of the line."""
        pieces: list[_Piece] = []
        room = TOKENS
        for _ in range(len(self._line)):
            work = self._line.popleft()
            if work.given_up:
                continue
            start = stop = work.began
            while stop < len(work.encoded) and (room >= work.tokens(stop) or not (pieces or stop > start)):
                room -= work.tokens(stop)
                stop += 1
            if stop == start:
                self._line.appendleft(work)
                break
            pieces.append(_Piece(work, start, stop))
            work.began = stop
            if stop < len(work.encoded):
                self._line.append(work)
        return pieces

    def _attempt(self, pieces: Sequence[_Piece]) -> list[NDArray[np.float32] | AdapterError]:
        """Logits of each piece; what breaks a batch is looked for piece by piece."""
        try:
            return self.backbones.attempt([piece.work.served.classifier for piece in pieces], [p.rows for p in pieces])
        except Exception as error:
            if len(pieces) > 1:
                return [outcome for piece in pieces for outcome in self._attempt([piece])]
            from loraloom.engine.device import device_is_lost

            _log.exception("a batch could not be computed")
            self.device_lost = self.device_lost or device_is_lost()
            return [AdapterError(f"the text could not be computed: {type(error).__name__}")]

    # The event loop

    def _tell(self, said: Callable[..., None], *what: object) -> None:
        """Has the event loop's thread do something."""
        assert self._loop is not None  # a thread that was started has one
        self._loop.call_soon_threadsafe(said, *what)

    def _settle(
        self, pieces: Sequence[_Piece], outcomes: Iterable[NDArray[np.float32] | AdapterError], seconds: float
    ) -> None:
        texts = sum(piece.stop - piece.start for piece in pieces)
        self._pace.saw(texts, seconds)
        self.metrics.batch(texts, len({piece.work.served for piece in pieces}), seconds)
        for piece, outcome in zip(pieces, outcomes, strict=True):
            work = piece.work
            if work.done.done():
                continue
            if isinstance(outcome, AdapterError):
                _fail(work, NotComputedError(str(outcome)))
                continue
            work.logits[piece.start : piece.stop] = outcome
            if piece.stop == len(work.encoded):
                work.done.set_result(work.logits)


def _fail(work: _Work, error: LoraloomError) -> None:
    if not work.done.done():
        work.done.set_exception(error)
