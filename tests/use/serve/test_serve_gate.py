"""What is refused before an application hears of it, without a model and without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loraloom.use.serve.batching import OverloadedError
from loraloom.use.serve.gate import KEPT_BYTES, BodyRefusedError, Gate
from loraloom.use.serve.limits import Access, Limits, Settings
from loraloom.use.serve.metrics import Metrics

KEY, OTHER, TOKEN = "k" * 20, "o" * 20, "t" * 20
Headers = Sequence[tuple[str, str]]


@dataclass
class _Gated:
    """A gate before an application that reads all of a body and answers 200."""

    settings: Settings = field(default_factory=Settings)
    overloaded: bool = False
    draining: bool = False

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.sent: list[dict[str, Any]] = []
        batcher: Any = SimpleNamespace(metrics=self.metrics, check_room=self._check_room)
        self.gate = Gate(self._answer, self.settings, batcher)

    def _check_room(self, texts: int) -> None:
        if self.overloaded:
            raise OverloadedError(7)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        status, more = 200, True
        try:
            while more:
                more = (await receive()).get("more_body", False)
        except BodyRefusedError as error:
            status = error.status_code
        await send({"type": "http.response.start", "status": status, "headers": [(b"cache-control", b"private")]})
        await send({"type": "http.response.body", "body": b""})

    def asked(
        self,
        method: str,
        path: str,
        headers: Headers = (),
        pieces: Sequence[bytes] = (b"",),
        version: str = "1.1",
        pause: float = 0.0,
    ) -> int:
        """The status of the answer, whose messages are `sent`; `pause` are seconds before each piece."""
        app = SimpleNamespace(state=SimpleNamespace(draining=self.draining))
        pairs = [(name.encode(), value.encode()) for name, value in headers]
        scope: Any = {"type": "http", "method": method, "path": path, "headers": pairs, "http_version": version}
        coming = list(pieces)

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(pause)
            body = coming.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(coming)}

        async def send(message: Any) -> None:
            self.sent.append(message)

        self.sent.clear()
        asyncio.run(self.gate({**scope, "app": app}, receive, send))
        return cast(int, self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Those of the last answer, none of them twice."""
        pairs = self.sent[0]["headers"]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)


def _bearing(*keys: str) -> Headers:
    return [("authorization", key) for key in keys]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", [], 200),
        ("HEAD", "/healthz", [], 200),
        ("POST", "/healthz", [], 401),
        ("GET", "/metrics", [], 401),
        ("OPTIONS", "/v1/classify", [], 401),  # no other origin is given
        ("POST", "/v1/classify", _bearing(f"Bearer {OTHER}"), 200),
        ("POST", "/v1/classify", _bearing(f"bearer  {KEY} "), 200),
        ("POST", "/v1/classify", _bearing(f"Bearer {TOKEN}"), 200),
        ("POST", "/v1/classify", _bearing(f"Bearer {KEY}", f"Bearer {KEY}"), 401),
        ("POST", "/v1/classify", _bearing(KEY), 401),
        ("GET", "/v1/adapters", _bearing(f"Bearer {KEY}"), 200),
        ("POST", "/v1/adapters", _bearing(f"Bearer {KEY}"), 401),
        ("DELETE", "/v1/adapters/a", _bearing(f"Bearer {KEY}"), 401),
        ("DELETE", "/v1/adapters/a", _bearing(f"Bearer {TOKEN}"), 200),
    ],
)
def test_who_has_no_key_for_what_is_asked_is_refused(method: str, path: str, headers: Headers, status: int) -> None:
    gated = _Gated(Settings(access=Access(keys=(KEY, OTHER), admin_token=TOKEN)))
    assert gated.asked(method, path, headers) == status


@pytest.mark.parametrize(("path", "method", "status"), [("/v1/classify", "POST", 200), ("/v1/adapters", "POST", 401)])
def test_a_token_alone_is_asked_for_changes_alone(path: str, method: str, status: int) -> None:
    assert _Gated(Settings(access=Access(admin_token=TOKEN))).asked(method, path) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("host", "a.org:80")], 200),
        ([("host", "b.org")], 421),
        ([], 421),
        ([("host", "a.org"), ("host", "a.org")], 421),
    ],
)
def test_a_request_says_by_one_allowed_name_whom_it_asks(headers: Headers, status: int) -> None:
    assert _Gated(Settings(access=Access(hosts=("a.org",)))).asked("GET", "/healthz", headers) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("content-encoding", "Identity")], 200),
        ([("content-encoding", "gzip")], 415),
        ([("content-encoding", "identity"), ("content-encoding", "gzip")], 415),
        ([("content-length", "10")], 200),
        ([("content-length", "11")], 413),
        ([("content-length", "9" * 5000)], 413),
        ([("content-length", "-11")], 200),
    ],
)
def test_a_body_is_judged_by_its_head(headers: Headers, status: int) -> None:
    gated = _Gated(Settings(Limits(body_bytes=10)))
    assert gated.asked("POST", "/v1/classify", headers, [b"x" * 10]) == status
    assert gated.asked("GET", "/v1/adapters", headers) == 200  # whose body nobody reads


def test_a_body_is_counted_as_it_comes_and_no_more_once_it_is_answered() -> None:
    gated = _Gated(Settings(Limits(body_bytes=10, bodies_bytes=10)))
    for _ in range(2):
        assert gated.asked("POST", "/v1/classify", pieces=[b"x" * 5, b"x" * 5]) == 200
        assert gated.asked("POST", "/v1/classify", pieces=[b"x" * 5, b"x" * 6]) == 413
    lesser = _Gated(Settings(Limits(body_bytes=10, bodies_bytes=9)))
    assert lesser.asked("POST", "/v1/classify", pieces=[b"x" * 9]) == 200
    assert lesser.asked("POST", "/v1/classify", pieces=[b"x" * 10]) == 503
    assert b'loraloom_rejected_total{reason="body"} 2.0' in gated.metrics.as_text()
    assert b'loraloom_rejected_total{reason="bodies"} 1.0' in lesser.metrics.as_text()


def test_a_body_that_comes_bit_by_bit_has_the_time_of_its_request() -> None:
    gated = _Gated(Settings(Limits(seconds=0.3, receive_seconds=60)))
    assert gated.asked("POST", "/v1/classify", pieces=[b" "] * 40, pause=0.05) == 408


def test_a_fault_of_the_application_is_counted_as_what_it_is_answered_by() -> None:
    gated = _Gated()

    async def broken(*_: Any) -> None:
        raise RuntimeError

    gated.gate._app = broken
    with pytest.raises(RuntimeError):
        gated.asked("POST", "/v1/classify")
    assert b'loraloom_requests_total{route="refused",status="500"} 1.0' in gated.metrics.as_text()


def test_where_too_many_texts_wait_all_but_changes_of_adapters_are_told_when_to_come_again() -> None:
    gated = _Gated(overloaded=True)
    assert gated.asked("POST", "/v1/adapters") == 200
    assert gated.asked("GET", "/metrics") == 200
    assert gated.asked("POST", "/v1/classify") == 503
    assert gated.headers[b"retry-after"] == b"7"
    assert "come again later" in json.loads(gated.sent[1]["body"])["error"]


@pytest.mark.parametrize(
    ("headers", "version", "draining", "kept"),
    [
        ([], "1.1", False, True),
        ([("content-length", str(KEPT_BYTES))], "1.1", False, True),
        ([("content-length", str(KEPT_BYTES + 1))], "1.1", False, False),
        ([("connection", "keep-alive, Close")], "1.1", False, False),
        ([("transfer-encoding", "chunked")], "1.1", False, False),
        ([("expect", "100-continue")], "1.1", False, False),
        ([], "1.0", False, False),
        ([], "1.1", True, False),
    ],
)
def test_a_refusal_keeps_the_connection_where_the_end_of_a_short_body_is_known(
    headers: Headers, version: str, draining: bool, kept: bool
) -> None:
    gated = _Gated(Settings(access=Access(keys=(KEY,))), draining=draining)
    assert gated.asked("POST", "/v1/classify", headers, version=version) == 401
    assert (gated.headers.get(b"connection") != b"close") == kept
    assert not gated.sent[-1].get("more_body")


def test_every_answer_has_the_headers_that_it_lacks() -> None:
    gated = _Gated(Settings(Limits(body_bytes=1)))
    assert gated.asked("GET", "/metrics") == 200
    assert (gated.headers[b"x-content-type-options"], gated.headers[b"cache-control"]) == (b"nosniff", b"private")
    assert gated.asked("POST", "/v1/classify", [("content-length", "2")]) == 413
    assert (gated.headers[b"x-content-type-options"], gated.headers[b"cache-control"]) == (b"nosniff", b"no-store")


@pytest.mark.parametrize(("draining", "said"), [(True, b"close"), (False, None)])
def test_while_the_server_ends_an_answer_says_that_its_connection_ends(draining: bool, said: bytes | None) -> None:
    gated = _Gated(draining=draining)
    assert gated.asked("POST", "/v1/classify") == 200
    assert gated.headers.get(b"connection") == said
