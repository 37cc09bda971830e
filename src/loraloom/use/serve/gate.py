"""What a request passes before its body is believed: host, key, media type, encoding, and every byte of it counted.

Pure ASGI, since what it guards against must not wait for the interface: an answer by 503 takes no parsing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException

from loraloom.hosts import without_port
from loraloom.use.serve.batching import Batcher, OverloadedError
from loraloom.use.serve.limits import MIB, Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/healthz", "/readyz"})
"""GET without a key: the demo page, which holds nothing, and what a load balancer asks."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Those that are logged: any word may stand in a request."""
BEGAN = "loraloom.began"
"""In a request's scope: when it arrived, by the monotonic clock."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
ENDING = (b"connection", b"close")
"""While the server ends: else a client sends its next request into a connection that is closed, and hears nothing."""
DROPPED_BYTES = 16 * MIB
"""Of a refused request's body, read and dropped: a client that still sends it would see a reset, and no answer."""
KEPT_BYTES = 64 * 1024
"""A refused request with a body of so many at most keeps its connection: a new one costs more than the refusal."""
_log = logging.getLogger("loraloom.serve")


class BodyRefusedError(HTTPException):
    """Why a body is not taken. FastAPI lets this one through where it reads bodies, and no other."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence, {"connection": "close"} | ({"retry-after": "1"} if status == 503 else {}))


class Gate:
    """Lets requests through to `app`, or says why not."""

    def __init__(self, app: App, settings: Settings, batcher: Batcher) -> None:
        self._app, self._settings, self._batcher = app, settings, batcher
        self._keys = tuple(_digest(key.encode()) for key in settings.access.keys)
        token = settings.access.admin_token
        self._admin = None if token is None else _digest(token.encode())
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        scope[BEGAN] = began

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                own = (*HEADERS, ENDING) if scope["app"].state.draining else HEADERS
                message["headers"] = [*message["headers"], *(pair for pair in own if pair[0] not in present)]
            await send(message)

        try:
            await self._let_through(scope, receive, answer)
        except Exception:
            status = status or 500  # it is answered outside of here
            raise
        except asyncio.CancelledError:
            if not scope["app"].state.draining:
                raise
            if status:
                return
            headers = {"connection": "close", "retry-after": "1"}
            for message in _refusal_by(503, "the server has ended before the answer; come again", headers):
                await answer(message)
        finally:
            method, route = _route(scope)
            seconds = time.monotonic() - began
            self._batcher.metrics.answered(route, status, seconds)
            _log.info("%s %s %d %.1f ms", method, route, status, seconds * 1e3)

    async def _let_through(self, scope: Scope, receive: Receive, answer: Send) -> None:
        refused = self._refusal(scope)
        if refused is not None:
            await self._refuse(scope, receive, answer, *refused)
            return
        counted = _Counted(self, receive)

        async def answer_whom_it_reaches(message: Message) -> None:
            """A client that still sends its body would lose the answer: the connection is closed after it."""
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if last and counted.refused:
                await self._answer_and_drop(receive, answer, message)
            else:
                await answer(message)

        try:
            await self._app(scope, counted, answer_whom_it_reaches)
        finally:
            self._held -= counted.held

    def take(self, size: int, total: int) -> None:
        """Counts a piece of a body.

        Raises:
            BodyRefusedError: it is too much, of itself or of all.
        """
        limits = self._settings.limits
        self._held += size
        if total > limits.body_bytes:
            self._batcher.metrics.rejected.labels("body").inc()
            raise BodyRefusedError(413, f"the body has more than {limits.body_bytes:,} bytes")
        if self._held > limits.bodies_bytes:
            self._batcher.metrics.rejected.labels("bodies").inc()
            raise BodyRefusedError(503, "too many bodies are being read; come again later")

    @property
    def receive_seconds(self) -> float:
        return self._settings.limits.receive_seconds

    @property
    def seconds(self) -> float:
        return self._settings.limits.seconds

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        headers = scope["headers"]
        access = self._settings.access
        if access.hosts and _host(headers) not in access.hosts:
            return 421, "this server does not answer to that name; see --allowed_host", {}
        if not self._may(scope):
            return 401, "a valid key is needed: Authorization: Bearer KEY", {"www-authenticate": "Bearer"}
        if scope["method"] != "POST":
            return None
        encoding = b",".join(_all(headers, b"content-encoding")).strip().lower()
        if encoding not in (b"", b"identity"):
            return 415, "compressed bodies are not taken", {"accept-encoding": "identity"}
        if _announced(scope) > self._settings.limits.body_bytes:
            self._batcher.metrics.rejected.labels("body").inc()
            return 413, f"the body has more than {self._settings.limits.body_bytes:,} bytes", {}
        if not scope["path"].startswith("/v1/adapters"):
            try:
                self._batcher.check_room(1)
            except OverloadedError as error:
                return 503, str(error), {"retry-after": str(error.seconds)}
        return None

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, sentence: str, headers: dict[str, str]
    ) -> None:
        length, kept = _announced(scope), _keeps_its_connection(scope)
        start, last = _refusal_by(status, sentence, headers if kept else {"connection": "close", **headers})
        await send(start)
        if kept or length > DROPPED_BYTES:
            await send(last)  # uvicorn drops what comes of the body before it looks for the next request
        else:
            await self._answer_and_drop(receive, send, last)

    async def _answer_and_drop(self, receive: Receive, send: Send, last: Message) -> None:
        """The last of an answer, and its end once the request's body has come: the connection is closed then."""
        await send({**last, "more_body": True})
        left, more = DROPPED_BYTES, True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.receive_seconds):
                    while more and left > 0:
                        message = await receive()
                        left -= len(message.get("body", b""))
                        more = message.get("more_body", False)
        finally:  # where the server ends, too
            await send({"type": "http.response.body", "body": b""})

    def _may(self, scope: Scope) -> bool:
        """Whether the request has a key that its route asks for; all keys are compared, each in constant time."""
        changes = scope["path"].startswith("/v1/adapters") and scope["method"] in ("POST", "DELETE")
        if changes and self._admin is not None:
            return hmac.compare_digest(_bearer(scope["headers"]), self._admin)
        if not self._keys or (scope["method"] in ("GET", "HEAD") and scope["path"] in OPEN):
            return True
        if scope["method"] == "OPTIONS" and self._settings.access.origins:
            return True
        given = _bearer(scope["headers"])
        accepted = [*self._keys, *([] if self._admin is None else [self._admin])]
        return any([hmac.compare_digest(given, key) for key in accepted])  # noqa: C419  # all of them, in equal time


class _Counted:
    """A request's body, counted as it comes, each piece within its time and all of it within the request's."""

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self._gate, self._receive = gate, receive
        self._whole = False
        self._until = asyncio.get_running_loop().time() + gate.seconds
        self.held = 0
        self.refused = False

    async def __call__(self) -> Message:
        if self._whole:  # who asks now waits for the client to go away
            return await self._receive()
        try:
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout_at(min(self._until, now + self._gate.receive_seconds)):
                message = await self._receive()
        except TimeoutError:
            raise BodyRefusedError(408, "the body did not come in time") from None
        if message["type"] == "http.disconnect":
            raise BodyRefusedError(499, "the client went away before its body was whole")
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.held += size
            try:
                self._gate.take(size, self.held)
            except BodyRefusedError:
                self.refused = message.get("more_body", False)
                raise
            self._whole = not message.get("more_body", False)
        return message


def _route(scope: Scope) -> tuple[str, str]:
    """A request's method and the route that took it, or why none did: no words that a client could choose.

    FastAPI names the routes that are ours. The one other is its own, of the description.
    """
    method = scope["method"] if scope["method"] in METHODS else "-"
    if (route := scope.get("route")) is not None:
        return method, route.path
    if "endpoint" in scope:
        return method, scope["app"].openapi_url
    return "-", "unknown" if "router" in scope else "refused"


def _refusal_by(status: int, sentence: str, headers: dict[str, str]) -> tuple[Message, Message]:
    """The start and the body of a refusal."""
    body = json.dumps({"error": sentence}).encode()
    own = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    pairs = [(name.encode(), value.encode()) for name, value in own.items()]
    start = {"type": "http.response.start", "status": status, "headers": pairs}
    return start, {"type": "http.response.body", "body": body}


def _announced(scope: Scope) -> int:
    """Bytes of the body, by its head."""
    length = _all(scope["headers"], b"content-length")
    return int(length[0][:20]) if length and length[0].isdigit() else 0


def _keeps_its_connection(scope: Scope) -> bool:
    """Whether another request may follow, which can be told from what is left of this one's body, which is short."""
    headers = scope["headers"]
    asked = {word.strip().lower() for value in _all(headers, b"connection") for word in value.split(b",")}
    ends = b"close" in asked or scope["http_version"] != "1.1" or scope["app"].state.draining
    unknown = any(_all(headers, name) for name in (b"transfer-encoding", b"expect"))
    return not ends and not unknown and _announced(scope) <= KEPT_BYTES


def _digest(secret: bytes) -> bytes:
    """Of equal length for all secrets, so that comparing tells nothing of theirs."""
    return hashlib.sha256(secret).digest()


def _bearer(headers: list[tuple[bytes, bytes]]) -> bytes:
    given = _all(headers, b"authorization")
    kind, _, value = (given[0] if len(given) == 1 else b"").partition(b" ")
    return _digest(value.strip() if kind.lower() == b"bearer" else b"")


def _host(headers: list[tuple[bytes, bytes]]) -> str:
    hosts = _all(headers, b"host")
    return without_port(hosts[0].decode("latin-1")) if len(hosts) == 1 else ""


def _all(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]
