"""Micro-batches: texts of all requests and adapters that wait are computed together, as they wait, without delay.

While one batch is computed the next gathers, so that batches grow with the load by themselves: alone, a request waits
for nobody; under load the frozen products run over a full batch. Tokens are made by one thread and the model runs in
another; the event loop does neither. A request of many texts takes turns with others: a batch takes what fits of each
and the rest goes to the end of the line. Rejected: waiting some milliseconds for company, which costs a lone request
that time and gains nothing under load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Encoded
from loraloom.engine.loom.evaluation import TOKENS
from loraloom.errors import AdapterError, LoraloomError
from loraloom.use.backbones import Backbones
from loraloom.use.serve.metrics import Metrics
from loraloom.use.serve.registry import Served

_log = logging.getLogger("loraloom.serve")


class OverloadedError(LoraloomError):
    """As many texts wait as may; come again in `seconds`."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__("too many texts are waiting; come again later")


class EmptyTextError(LoraloomError):
    """A text of which nothing is left to classify."""


class NotComputedError(LoraloomError):
    """An adapter could not compute a text: its logits are not finite, or a fault of ours."""


class TimedOutError(LoraloomError):
    """The answer took longer than a request may."""


@dataclass(slots=True, eq=False)
class _Work:
    """A request's rows: how far they are computed, and who waits for them."""

    served: Served
    encoded: Encoded
    done: asyncio.Future[NDArray[np.float32]]
    logits: NDArray[np.float32]
    began: int = 0  # rows that were given out
    dropped: bool = False

    def tokens(self, row: int) -> int:
        return int(self.encoded.offsets[row + 1] - self.encoded.offsets[row])


@dataclass(frozen=True, slots=True)
class _Piece:
    work: _Work
    start: int
    stop: int

    @property
    def rows(self) -> Encoded:
        offsets = self.work.encoded.offsets[self.start : self.stop + 1]
        return Encoded(self.work.encoded.input_ids[offsets[0] : offsets[-1]], offsets - offsets[0], 0)


@dataclass(slots=True)
class _Pace:
    """Texts a second, as lately measured: what Retry-After is reckoned by."""

    texts_per_second: float = 50.0

    def saw(self, texts: int, seconds: float) -> None:
        self.texts_per_second += 0.1 * (texts / max(seconds, 1e-6) - self.texts_per_second)


@dataclass(slots=True)
class Batcher:
    """Computes logits of requests' texts. All but `start` and `stop` is for the event loop's thread alone."""

    backbones: Backbones
    metrics: Metrics
    most_waiting: int
    waiting: int = 0
    """Texts that are tokenised, wait, or are computed."""
    busy_since: float | None = None
    _line: deque[_Work] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _pace: _Pace = field(default_factory=_Pace)
    _worker: asyncio.Task[None] | None = None
    _tokens: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "tokens"))
    _model: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "model"))

    def start(self) -> None:
        """Begins to take work; within a running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Ends; who still waits is told so."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for work in self._line:
            if not work.done.done():
                work.done.set_exception(TimedOutError("the server is going down"))
        self._tokens.shutdown(cancel_futures=True)
        self._model.shutdown(cancel_futures=True)

    @property
    def alive(self) -> bool:
        return self._worker is not None and not self._worker.done()

    def check_room(self, texts: int) -> None:
        """Raises OverloadedError where so many texts more would be too many. A lone request of the most is let in."""
        if self.waiting and self.waiting + texts > self.most_waiting:
            self.metrics.rejected.labels("overload").inc()
            raise OverloadedError(max(1, round(self.waiting / self._pace.texts_per_second)))

    async def logits(self, served: Served, texts: Sequence[str], seconds: float) -> NDArray[np.float32]:
        """Logits (N, C) of texts.

        Raises:
            OverloadedError: too many texts wait.
            TimedOutError: it took longer than `seconds`; what waited was dropped.
            EmptyTextError: a text has no tokens.
            NotComputedError: the adapter can't compute a text.
        """
        self.check_room(len(texts))
        self.waiting += len(texts)
        self.metrics.waiting.set(self.waiting)
        work: _Work | None = None
        try:
            async with asyncio.timeout(seconds):
                loop = asyncio.get_running_loop()
                encoded = await loop.run_in_executor(self._tokens, served.classifier.encoded, list(texts))
                if not np.diff(encoded.offsets).all():
                    raise EmptyTextError("texts: the adapter's tokenizer makes no token of one of them")
                empty = np.zeros((len(texts), len(served.classifier.labels)), dtype=np.float32)
                work = _Work(served, encoded, loop.create_future(), empty)
                self._line.append(work)
                self._arrived.set()
                return await work.done
        except TimeoutError:
            self.metrics.rejected.labels("timeout").inc()
            raise TimedOutError(f"no answer within {seconds:g} seconds; what waited was dropped") from None
        finally:
            if work is not None:
                work.dropped = True
            self.waiting -= len(texts)
            self.metrics.waiting.set(self.waiting)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            pieces = self._next_batch()
            if not pieces:
                self._arrived.clear()
                continue
            self.busy_since = began = time.monotonic()
            outcomes = await loop.run_in_executor(self._model, self._attempt, pieces)
            seconds, texts = time.monotonic() - began, sum(piece.stop - piece.start for piece in pieces)
            self.busy_since = None
            self._pace.saw(texts, seconds)
            self.metrics.batch(texts, len({piece.work.served for piece in pieces}), seconds)
            for piece, outcome in zip(pieces, outcomes, strict=True):
                _settle(piece, outcome)

    def _next_batch(self) -> list[_Piece]:
        """What fits of those who wait, first come first served; who has more to compute goes to the end of the line."""
        pieces: list[_Piece] = []
        room = TOKENS
        for _ in range(len(self._line)):
            work = self._line.popleft()
            if work.dropped or work.done.done():
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
        """Logits of each piece, in the model's thread; what breaks a batch is looked for piece by piece."""
        try:
            return self.backbones.attempt([piece.work.served.classifier for piece in pieces], [p.rows for p in pieces])
        except Exception as error:
            if len(pieces) > 1:
                return [outcome for piece in pieces for outcome in self._attempt([piece])]
            _log.exception("a batch could not be computed")
            return [AdapterError(f"the text could not be computed: {type(error).__name__}")]


def _settle(piece: _Piece, outcome: NDArray[np.float32] | AdapterError) -> None:
    work = piece.work
    if work.done.done():
        return
    if isinstance(outcome, AdapterError):
        work.done.set_exception(NotComputedError(str(outcome)))
        return
    work.logits[piece.start : piece.stop] = outcome
    if piece.stop == len(work.encoded):
        work.done.set_result(work.logits)
