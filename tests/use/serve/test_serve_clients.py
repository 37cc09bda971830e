"""Clients that are slow, silent, gone or too many, on raw sockets; and what SIGTERM does to requests under way."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom.errors import LoraloomError
from loraloom.use.serve.limits import Limits, Settings
from loraloom.use.serve.protocol import PatientProtocol
from loraloom.use.serve.registry import Registry
from loraloom.use.serve.server import hear, listen
from tests.commands import Commands, wait_for
from tests.use.serve.servers import Running, running

BODY = json.dumps({"texts": ["a cat"]}).encode()
POST = b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@contextmanager
def connected(server: Running) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """A status and a body of known length."""
    status, _, body = read_with_headers(connection)
    return status, body


def read_with_headers(connection: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """A status, its headers by names in small letters, and a body of known length."""
    file = connection.makefile("rb")
    status, headers = int(file.readline().split()[1]), {}
    while line := file.readline().strip():
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return status, headers, file.read(int(headers.get(b"content-length", 0)))


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.fixture(scope="module")
def server(alone: Registry) -> Iterator[Running]:
    with running(alone, Settings(Limits(body_bytes=10_000, bodies_bytes=15_000, connections=20))) as made:
        yield made


@pytest.fixture(scope="module")
def impatient(alone: Registry) -> Iterator[Running]:
    with running(alone, Settings(Limits(body_bytes=10_000, receive_seconds=0.2))) as made:
        yield made


@pytest.fixture
def held(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Whether a batch has begun, and what lets it go on."""
    begun, go = threading.Event(), threading.Event()
    attempt = server.batcher.backbones.attempt

    def waiting(classifiers: Sequence[Any], encoded: Sequence[Any]) -> Any:
        begun.set()
        assert go.wait(60)
        return attempt(classifiers, encoded)

    monkeypatch.setattr(server.batcher.backbones, "attempt", waiting)
    yield begun, go
    go.set()


def test_a_chunked_body_is_answered(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(
            POST + b"transfer-encoding: chunked\r\n\r\n" + chunk(BODY[:5]) + chunk(BODY[5:]) + chunk(b"")
        )
        assert read_answer(connection)[0] == 200


def test_a_chunked_body_without_end_is_cut_off_where_it_is_too_long(impatient: Running) -> None:
    with connected(impatient) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n" + 11 * chunk(b" " * 1000))
        answer = read_all(connection)
        assert b" 413 " in answer
        assert b"more than 10,000 bytes" in answer


def test_who_still_sends_a_chunked_body_gets_the_answer_and_no_reset(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(50):
            connection.sendall(chunk(b" " * 100_000))
        status, answer = read_answer(connection)
        assert (status, json.loads(answer)) == (413, {"error": "the body has more than 10,000 bytes"})
        connection.sendall(chunk(b""))
        assert read_all(connection) == b""


def test_a_body_that_is_announced_too_long_is_refused_before_it_comes(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(POST + b"content-length: 1000000000\r\n\r\n")
        assert b" 413 " in read_all(connection)


def test_who_still_sends_a_refused_body_gets_the_answer_and_no_reset(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(POST + b"content-length: 5000000\r\n\r\n")
        assert connection.recv(1, socket.MSG_PEEK)
        connection.sendall(b" " * 5_000_000)
        status, answer = read_answer(connection)
        assert (status, json.loads(answer)) == (413, {"error": "the body has more than 10,000 bytes"})
        assert read_all(connection) == b""


def test_what_still_comes_of_a_short_refused_body_is_not_taken_for_the_next_request(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(POST + f"content-encoding: gzip\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY[:5])
        assert read_answer(connection)[0] == 415
        connection.sendall(BODY[5:] + b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"transfer-encoding: chunked",
        b"content-length: 9\r\nexpect: 100-continue",
        b"content-length: 9\r\nconnection: te, Close",
    ],
)
def test_a_refused_body_that_no_request_may_follow_is_read_before_its_connection_ends(
    server: Running, head: bytes
) -> None:
    with connected(server) as connection:
        connection.sendall(POST + b"content-encoding: gzip\r\n" + head + b"\r\n\r\n")
        status, headers, _ = read_with_headers(connection)
        assert (status, headers[b"connection"]) == (415, b"close")
        connection.sendall(chunk(b"") if b"chunked" in head else BODY[:9])
        assert connection.recv(1) == b""  # the end, and no reset


def test_a_short_refused_body_that_stops_is_given_up(impatient: Running) -> None:
    with connected(impatient) as connection:
        connection.sendall(POST + b"content-encoding: gzip\r\ncontent-length: 100\r\n\r\n" + BODY)
        assert read_answer(connection)[0] == 415
        connection.sendall(b" ")  # from here on uvicorn's own time for the next request does not run
        assert read_all(connection) == b""


def test_bodies_that_are_read_at_one_time_have_a_limit_together(server: Running) -> None:
    with connected(server) as first, connected(server) as second:
        first.sendall(POST + b"content-length: 9999\r\n\r\n" + b" " * 9000)
        while server_held(server) < 9000:
            time.sleep(0)
        second.sendall(POST + b"content-length: 9999\r\n\r\n" + b" " * 9000)
        assert read_answer(second)[0] == 503
    while server_held(server) > 0:
        time.sleep(0)


def server_held(server: Running) -> int:
    """Bytes of bodies that the gate counts."""
    gate: Any = server.server._served.middleware_stack
    while not hasattr(gate, "_held"):
        gate = gate.app
    held: int = gate._held
    return held


def test_a_body_that_stops_is_given_up(impatient: Running) -> None:
    with connected(impatient) as connection:
        connection.sendall(POST + b"content-length: 100\r\n\r\n" + BODY)
        assert b" 408 " in read_all(connection)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cl", POST + b"x: y"])
def test_a_head_that_does_not_come_is_not_waited_for(impatient: Running, sent: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(sent)
        assert read_all(connection) == b""


def test_a_second_head_on_a_kept_connection_is_not_waited_for_either(impatient: Running) -> None:
    with connected(impatient) as connection:
        connection.sendall(POST + f"content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert read_answer(connection)[0] == 200
        connection.sendall(b"GET /healthz HT")
        assert read_all(connection) == b""


def test_who_does_not_read_the_answers_is_cut_off(impatient: Running) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((impatient.host, impatient.port))
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" * 500)
        assert connection.recv(1, socket.MSG_PEEK)  # it is connected, and may have been cut off by now
        while impatient.server.server_state.connections:
            time.sleep(0)


@pytest.mark.parametrize("unread", [(1_000_000, 900_000, 400_000, 390_000), (100_000, 50_000, 25_000, 12_501)])
def test_a_slow_reader_is_waited_for_as_long_as_it_reads(unread: tuple[int, ...]) -> None:
    left, looks, aborted = iter(unread), [], []
    protocol: Any = PatientProtocol.__new__(PatientProtocol)
    protocol.flow = SimpleNamespace(pause_writing=lambda: None)
    protocol.loop = SimpleNamespace(call_later=lambda _, look, left: looks.append(partial(look, left)))
    protocol.transport = SimpleNamespace(
        get_write_buffer_size=lambda: next(left), abort=lambda: aborted.append(len(looks))
    )
    protocol.pause_writing()
    for _ in range(3):
        looks[-1]()
    assert aborted == [3]


def test_too_many_connections_are_closed_and_let_in_again(server: Running) -> None:
    many = [socket.create_connection((server.host, server.port), timeout=60) for _ in range(25)]
    closed = [connection for connection in many[20:] if read_all(connection) == b""]
    assert len(closed) == 5
    many[19].sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert read_answer(many[19])[0] == 200
    for connection in many:
        connection.close()
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_answer(connection)[0] == 200


def test_answers_do_not_wait_for_a_clients_acknowledgement(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_answer(connection)[0] == 200
        (kept,) = [each.transport.get_extra_info("socket") for each in server.server.server_state.connections]
        assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_least_rest_of_an_answer_that_is_not_read_is_heard_of(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_answer(connection)[0] == 200
        (kept,) = server.server.server_state.connections
        assert kept.transport.get_write_buffer_limits() == (0, 0)


def test_who_has_read_all_is_looked_at_no_more() -> None:
    protocol: Any = PatientProtocol.__new__(PatientProtocol)
    protocol.flow = SimpleNamespace(pause_writing=lambda: None, resume_writing=lambda: None)
    ended: list[int] = []
    protocol.loop = SimpleNamespace(call_later=lambda *_: SimpleNamespace(cancel=lambda: ended.append(1)))
    protocol.transport = SimpleNamespace(get_write_buffer_size=lambda: 10)
    protocol.pause_writing()
    protocol.resume_writing()
    protocol.resume_writing()  # as uvicorn does when the connection is lost
    assert ended == [1]


def test_who_goes_away_waits_no_more(server: Running, held: tuple[threading.Event, threading.Event]) -> None:
    begun, go = held
    request = POST + f"content-length: {len(BODY)}\r\n\r\n".encode() + BODY
    with connected(server) as first:
        first.sendall(request)
        assert begun.wait(60)
        with connected(server) as gone:
            gone.sendall(request)
            while server.batcher.waiting < 2:
                time.sleep(0)
        while server.batcher.waiting > 1:
            time.sleep(0)
        go.set()
        assert read_answer(first)[0] == 200


def test_overload_is_answered_at_once_with_a_time_to_come_again(
    server: Running, held: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = held
    monkeypatch.setattr(server.batcher, "most_waiting", 1)
    request = POST + f"content-length: {len(BODY)}\r\n\r\n".encode() + BODY
    with connected(server) as first, connected(server) as second, connected(server) as health:
        first.sendall(request)
        assert begun.wait(60)
        second.sendall(request)
        status, headers, _ = read_with_headers(second)
        assert status == 503
        assert b"retry-after" in headers
        second.sendall(request)  # by the same connection, on which nothing is left of the first
        assert read_answer(second)[0] == 503
        health.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert read_answer(health)[0] == 200
        go.set()
        assert read_answer(first)[0] == 200


def test_what_is_not_done_when_the_server_ends_is_answered_503(
    alone: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client still sends a body, and has as long as a request may take: longer than the server's end."""
    with ExitStack() as ending:
        with running(alone, Settings(Limits(drain_seconds=1))) as server:
            connection = ending.enter_context(connected(server))
            connection.sendall(POST + b"content-length: 500\r\n\r\n{")
            wait_for(lambda: bool(server.server.server_state.tasks))
            server.server.handle_exit(signal.SIGTERM, None)
        status, body = read_answer(connection)
    assert (status, json.loads(body)) == (503, {"error": "the server has ended before the answer; come again"})
    assert not [record for record in caplog.records if record.exc_info]


def test_what_is_refused_and_still_sends_when_the_server_ends_leaves_no_error_in_its_log(
    alone: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as ending:
        with running(alone, Settings(Limits(drain_seconds=1))) as server:
            connection = ending.enter_context(connected(server))
            connection.sendall(POST + b"content-length: 2000000\r\n\r\n")
            assert read_answer(connection)[0] == 413
            server.server.handle_exit(signal.SIGTERM, None)
        assert read_all(connection) == b""
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "Cancel 1 running task(s), timeout graceful shutdown exceeded"
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_drains(commands: Commands, adapter_folders: dict[str, Path], number: int) -> None:
    with commands.start("serve", *adapter_folders.values(), "--port", "0") as serving:
        said = serving.line()
        assert "3 adapters at http://127.0.0.1:" in said
        port = int(said.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            body = json.dumps({"adapter": "food", "texts": ["a cat"] * 200}).encode()
            connection.sendall(POST + f"content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # it is under way
            serving.send(number)
            connection.sendall(body)
            status, answer = read_answer(connection)
        assert (status, len(json.loads(answer)["results"])) == (200, 200)
        ended = serving.wait(120)
    assert ended.code == 0, ended.err
    assert ended.err.startswith("loading 3 adapters\n")
    assert f"try: curl -s http://127.0.0.1:{port}/v1/classify -H 'content-type: application/json' -d '{{" in ended.err
    assert not ended.traceback


def test_a_signal_that_comes_as_its_address_is_told_is_heard_once_it_has_drained(commands: Commands) -> None:
    code = """
import os, signal
from loraloom.use.serve import server
from loraloom.use.serve.limits import Settings
from loraloom.use.serve.registry import Registry

def heard(*_):
    print("closed" if listening.fileno() < 0 else "open", flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, heard)
listening = server.listen("127.0.0.1", 0)
server.serve(Registry(None), Settings(), listening, lambda _: signal.raise_signal(signal.SIGTERM))
"""
    with commands.start(code=code) as serving:
        assert serving.line() == "closed"
        assert serving.wait(60).code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no such folder"),
        (["{food}", "--host", "256.0.0.1"], "can't be listened on"),
        (["{food}", "--adapters_dir", "."], "both"),
        (["{food}", "--api_keys_file", "nowhere"], "can't be read"),
        (["a={food}", "a={tools}"], "taken"),
        (["{food}", "--class_shares", "sweet=1"], "'salty' has no share"),
        ([], "ADAPTER"),
    ],
)
def test_the_command_says_what_is_wrong(
    commands: Commands, adapter_folders: dict[str, Path], arguments: list[str], says: str
) -> None:
    given = [argument.format(**adapter_folders) for argument in arguments]
    ended = commands.run("serve", *given, "--port", "0")
    assert ended.code == 2
    assert says in ended.err
    assert not ended.traceback


def test_of_two_servers_that_have_bound_one_address_the_second_is_told() -> None:
    with closing(listen("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with closing(listen("127.0.0.1", port)) as second:  # as long as the first still loads its adapters
            assert hear(first) == f"http://127.0.0.1:{port}/"
            with pytest.raises(LoraloomError, match=f"127.0.0.1:{port}: can.t be listened on: Address already in use"):
                hear(second)


def test_a_socket_whose_address_is_taken_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    with closing(listen("127.0.0.1", 0)) as first:
        hear(first)
        monkeypatch.setattr(socket, "socket", Noted)
        with pytest.raises(LoraloomError, match=r"can't be listened on: Address already in use"):
            listen(*first.getsockname())
    assert [one.fileno() for one in made] == [-1]


def test_what_is_no_http_is_refused_as_all_else_is(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")  # without a host
        said = connection.makefile("rb").read()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-content-type-options: nosniff" in head.lower()
    assert set(json.loads(body)) == {"error"}


def test_a_body_that_breaks_before_its_answer_is_answered_by_that(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(server) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n")
        said = read_all(connection)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"its head is not whole" in said
    while server.server.server_state.tasks:
        time.sleep(0)
    assert "Fatal error" not in caplog.text


def test_a_body_that_breaks_after_its_answer_ends_the_connection_alone(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"zz\r\n")
        with contextlib.suppress(ConnectionError):
            while connection.recv(4096):
                pass
    assert "Fatal error" not in caplog.text
