"""Work done ahead in a thread: an iterator whose next items are made while the ones before are used.

For work that leaves the interpreter's lock alone: tokenising (Rust, on several cores), reading and decompressing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_LOOK_SECONDS = 0.1


class Ahead(Generic[T]):
    """Items of an iterator, at most `most` of them waiting. What it raises is raised after the items before."""

    def __init__(self, items: Iterator[T], most: int) -> None:
        self._waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(most)
        self._closed = threading.Event()
        self._over = False
        threading.Thread(target=self._work, args=(items,), daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self.within(None)

    def within(self, seconds: float | None) -> T:
        """The next item.

        Raises:
            StopIteration: there is none.
            queue.Empty: none came within `seconds`.
        """
        if self._over:
            raise StopIteration
        is_item, value = self._waiting.get(timeout=seconds)
        if is_item:
            return value  # type: ignore[return-value]
        self._over = True
        if isinstance(value, BaseException):
            raise value
        raise StopIteration

    def close(self) -> None:
        """Has the thread end after the item that it is at."""
        self._closed.set()

    def _work(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                self._put((True, item))
                if self._closed.is_set():
                    return
        except BaseException as error:  # it belongs to whoever asks for the next item
            self._put((False, error))
        else:
            self._put((False, None))

    def _put(self, value: tuple[bool, T | BaseException | None]) -> None:
        while not self._closed.is_set():
            try:
                self._waiting.put(value, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return
