"""uvicorn's HTTP/1.1 protocol with an end to its patience: for heads, for answers to be read, for many connections.

uvicorn waits for a head forever: a client that sends a byte a minute, or none, would keep a connection as long as it
likes (Slowloris). So would one that does not read its answer, also where the connection is to be closed: asyncio closes
after what it holds is written. Bodies have their own time, in `gate.py`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from loraloom.use.serve.gate import HEADERS

READ_BYTES = 64 * 1024


class PatientProtocol(H11Protocol):
    """Closes connections whose head does not come, or whose answer is not read, within `seconds`; those beyond `most`.

    Of an answer, what the system's own buffers take counts as read. What they don't must come down by a half, or by
    `READ_BYTES`, in each `seconds`: a slow line may have it all, and a client that only pretends to read may not.
    """

    seconds: ClassVar[float] = 10.0
    most: ClassVar[int] = 1024
    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begins to wait for a head."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)  # the least rest of an answer is heard of
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """A head that is whole ends the waiting; one that has only begun does not."""
        super().data_received(data)
        if self._under_way():
            self._stop_waiting()
        elif self._head is None and not self.transport.is_closing():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused as all else is; where an answer has begun there is no room for another."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(
                {"error": "the request can't be read: it is not HTTP/1.1, or its head is not whole"}
            ).encode()
            about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            head = h11.Response(status_code=400, headers=[*about, (b"connection", b"close"), *HEADERS])
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """Between requests uvicorn's own keep-alive time counts; what is left of a refused body has a head's."""
        self._stop_waiting()
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._await_head()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._await_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has read all."""
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._stop_waiting()
        self._forget_unread()
        super().connection_lost(exc)

    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _await_reading(self, left: int) -> None:
        self._unread = self.loop.call_later(self.seconds, self._look_at_unread, left)

    def _look_at_unread(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left > max(before / 2, before - READ_BYTES):
            self.transport.abort()
        else:
            self._await_reading(left)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        self._head = None
        if not self._under_way() and not self.transport.is_closing():
            self.transport.abort()


def patient(seconds: float, most: int) -> type[PatientProtocol]:
    """The protocol with these limits."""
    return type("Patient", (PatientProtocol,), {"seconds": seconds, "most": most})
