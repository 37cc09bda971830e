"""Malformed requests to a real server: by schemathesis from the interface's description, and bytes that are no HTTP.

Whatever comes, the answer is one that the description names, never 500, never a traceback, nor is one in the server's
log where the client has no answer; and memory does not grow.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from loraloom.use.serve.limits import Access, Limits, Settings
from loraloom.use.serve.registry import Registry
from tests.use.serve.servers import Running, load_registry, running

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TOKEN = "t" * 20
GROWTH_MB = 100
"""That a process may grow by from the first thousand requests to the last: caches of libraries, no more."""


class _Faults(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.found.append(f"logged: {self.format(record)}"[-2000:])


@contextmanager
def faults_logged() -> Iterator[list[str]]:
    """What is logged meanwhile as an error, or with an exception: a connection that ends by one has no answer."""
    noted = _Faults()
    logging.getLogger().addHandler(noted)
    try:
        yield noted.found
    finally:
        logging.getLogger().removeHandler(noted)


def by_description(server: Running, count: int, first: int, sent: Counter[str] | None = None) -> list[str]:
    """Sends `count` requests that break the description, and some more that keep to it; returns what went wrong.

    `sent` counts them, as "negative" and "positive". What takes no body can't be broken.
    """
    sent = Counter() if sent is None else sent
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations: list[Any] = [cast(Any, found).ok() for found in schema.get_all_operations()]
    each = max(1, count // sum(bool(operation.body) for operation in operations))
    problems = []
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _one(server, operation, mode, each, first, sent)
            except Exception as error:  # the very thing that is looked for
                problems.append(f"{operation.label}, {mode.value}: {error}"[:2000])
    return problems


def _one(server: Running, operation: Any, mode: GenerationMode, count: int, first: int, sent: Counter[str]) -> None:
    try:
        strategy = operation.as_strategy(generation_mode=mode)
    except schemathesis.errors.SchemathesisError:
        return
    headers = {"authorization": f"Bearer {TOKEN}"} if "/v1/adapters" in operation.path else {}

    @seed(first)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Any) -> None:
        sent[mode.value] += 1
        answer = case.call(base_url=server.url, headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS, headers=headers)
        assert "Traceback" not in answer.text, answer.text

    try:
        ask()
    except Exception as error:
        if type(error).__name__ != "Unsatisfiable":  # nothing can break what takes no parameter
            raise


def by_bytes(server: Running, count: int, first: int) -> list[str]:
    """Sends `count` requests, some bytes of each body changed, often the head's too; returns what went wrong.

    A change may leave a sound request, as of a letter of a text: few do.
    """
    problems = []
    for number in range(first, first + count):
        problem = _changed(server, random.Random(number))  # noqa: S311
        if problem is not None:
            problems.append(f"request, seed {number}: {problem}")
    return problems


_PATHS = (
    "/v1/classify",
    "/v1/explain",
    "/",
    "/models/animals",
    "/v1/adapters",
    "/v1/none",
    "//",
    "/%00",
    "/models/%2e%2e",
)
_BODIES: tuple[Any, ...] = (
    {"adapter": "animals", "texts": ["the cat", ""]}, {"adapter": "animals", "text": "the cat near a dog"},
    {"inputs": "the cat", "parameters": {"top_k": 2}}, {"inputs": ["a", "b"]}, {"name": "x", "folder": "food"},
)  # fmt: skip
_HEADS = (
    "content-type: application/json", "content-type: text/plain", "content-type: multipart/form-data; boundary=x",
    "content-type: application/json; charset=utf-16", "content-encoding: gzip", "transfer-encoding: chunked",
    "transfer-encoding: gzip, chunked", "expect: 100-continue", "content-length: -1", "content-length: 99999999999",
    "content-length: 5", "content-length: 5, 6", "host: evil.example", "authorization: Bearer \xff", "x: " + "y" * 9000,
    "connection: upgrade", "upgrade: websocket", "upgrade: h2c", "range: bytes=0-", "origin: null", "te: trailers",
)  # fmt: skip


def _changed(server: Running, generator: random.Random) -> str | None:
    body = bytearray(json.dumps(generator.choice(_BODIES)).encode())
    for _ in range(generator.choice((1, 1, 1, 2, 10))):
        place = generator.randrange(len(body) + 1)
        match generator.randrange(4):
            case 0:
                body[place : place + 1] = bytes([generator.randrange(256)])
            case 1:
                del body[place : place + generator.randrange(9)]
            case 2:
                body[place:place] = body[: generator.randrange(30)]
            case 3:
                body[place:place] = generator.choice(
                    (b"\\ud800", b"NaN", b"1e999", b"[" * 3000, b"\xff", b'"', b"9" * 5000)
                )
    method = generator.choice(
        ("POST", "POST", "POST", "POST", "PUT", "GET", "HEAD", "OPTIONS", "TRACE", "P\u00d6ST", "")
    )
    heads = [generator.choice(_HEADS) for _ in range(generator.randrange(3))]
    if not any(head.startswith(("content-length", "transfer")) for head in heads) and generator.random() < 0.9:
        heads.append(f"content-length: {len(body)}")
    if not any(head.startswith("content-type") for head in heads) and generator.random() < 0.9:
        heads.append("content-type: application/json")
    version = generator.choice(("HTTP/1.1",) * 9 + ("HTTP/1.0", "HTTP/3", ""))
    line = f"{method} {generator.choice(_PATHS)} {version}"
    head = "\r\n".join([line, "host: localhost", "connection: close", *heads])
    sent = head.encode("latin-1", "replace") + b"\r\n\r\n" + bytes(body)
    if generator.random() < 0.05:
        sent = generator.randbytes(len(sent))
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        connection.sendall(sent)
        answer = b""
        while True:
            try:
                piece = connection.recv(65536)
            except ConnectionError:
                break
            if not piece:
                break
            answer += piece
    if b"Traceback" in answer or b'File "' in answer:
        return f"a traceback: {answer[:300]!r}"
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
    return f"{line!r} was answered {status}: {answer[:300]!r}" if status >= 500 and status != 503 else None


def is_well(server: Running) -> str | None:
    """Whether the server still does its work, and holds nothing of what was sent."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    body = json.dumps({"adapter": "animals", "texts": ["the cat"]})
    connection.request("POST", "/v1/classify", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    connection.close()
    if answer.status != 200:
        return f"a sound request was answered {answer.status}"
    waiting = server.batcher.waiting
    return f"{waiting} texts still count as waiting" if waiting else None


def settings_of(folder: Path) -> Settings:
    """Small limits, so that they are reached; bodies that never end are given up soon."""
    limits = Limits(body_bytes=20_000, texts=20, characters=5000, receive_seconds=0.5)
    return Settings(limits, Access(admin_token=TOKEN, adapters_dir=folder))


def torture_requests(count: int, first: int) -> tuple[str, list[str]]:
    """What was done, and problems, with whether the server grew: `count` changed requests, as many by description."""
    from bench.random_adapters import save_random_adapter
    from tests.conftest import write_model
    from tests.use.serve.servers import LABELS, RECIPES

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = write_model(folder / "model")
        folders = {
            name: save_random_adapter(folder / "adapters" / name, model, recipe, labels=LABELS[name])
            for name, recipe in RECIPES.items()
        }
        registry: Registry = load_registry(folders)
        with running(registry, settings_of(folder / "adapters")) as server, faults_logged() as faults:
            sent: Counter[str] = Counter()
            fifth = count // 5
            problems = by_bytes(server, fifth, first) + by_description(server, fifth, first, sent)
            before = resident_mb()
            problems += by_bytes(server, count - fifth, first + count)
            problems += by_description(server, count - fifth, first + 1, sent)
            grown = resident_mb() - before
            if grown > GROWTH_MB:
                problems.append(f"the process grew by {grown:.0f} MB")
            if (problem := is_well(server)) is not None:
                problems.append(problem)
            problems += faults
    done = (
        f"{count:,} changed requests, {sent['negative']:,} that break the description and {sent['positive']:,} that "
        f"keep to it; the process grew by {grown:.0f} MB after the first fifth"
    )
    return done, problems


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6
