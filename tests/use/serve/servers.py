"""Servers for tests: the application in this process, or a real server on a port of its own in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from loraloom.use.class_shares import ClassShares
from loraloom.use.serve.app import make_app
from loraloom.use.serve.limits import Settings
from loraloom.use.serve.registry import Registry
from loraloom.use.serve.server import Server, listen, make_server

RECIPES: dict[str, dict[str, Any]] = {
    "animals": {"lora": {"r": 2, "bias": "lora_only"}, "head": {"kind": "native"}},
    "food": {"lora": {"r": 4, "bias": "none"}, "head": {"kind": "linear", "pooling": "mean"}},
    "tools": {"lora": {"r": 1, "bias": "all"}, "head": {"kind": "linear"}},
}
LABELS = {"animals": ("cat", "dog", "<b>cow</b>"), "food": ("sweet", "salty"), "tools": ("a", "b", "c", "d")}


@dataclass(frozen=True)
class Running:
    """A server that runs in a thread."""

    server: Server
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def batcher(self) -> Any:
        return self.server._served.state.batcher


@contextmanager
def client_of(registry: Registry, settings: Settings | None = None) -> Iterator[TestClient]:
    """The application itself; what it raises and does not answer is raised here."""
    with TestClient(make_app(registry, settings or Settings())) as client:
        yield client


@contextmanager
def running(registry: Registry, settings: Settings | None = None) -> Iterator[Running]:
    """A real server on a free port, which drains at the end."""
    listening = listen("127.0.0.1", 0)
    server = make_server(registry, settings or Settings())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    started = threading.Event()
    startup = server.startup

    async def noted(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = noted  # type: ignore[method-assign]
    thread.start()
    try:
        assert started.wait(120)
        yield Running(server, *listening.getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive(), "the server did not end"


def load_registry(folders: dict[str, Path], class_shares: ClassShares | None = None) -> Registry:
    """The adapters in `folders` by their names."""
    registry = Registry(class_shares)
    for name, folder in folders.items():
        registry.add(name, folder)
    return registry
