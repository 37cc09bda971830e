"""The server itself: uvicorn on one address, which drains when it is told to end."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import uvicorn
from fastapi import FastAPI

from loraloom.collecting import settle
from loraloom.hosts import taking_address
from loraloom.use.serve.app import make_app
from loraloom.use.serve.limits import Limits, Settings
from loraloom.use.serve.protocol import patient
from loraloom.use.serve.registry import Registry

KEEP_ALIVE_SECONDS = 15
BACKLOG = 512
HEAD_BYTES = 64 * 1024
SWITCH_SECONDS = 0.0005
"""How long Python lets one thread go on where another waits; its 5 ms are a batch's time for a small encoder."""


class Server(uvicorn.Server):
    """Says that it is not ready any more as soon as it is told to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._served = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and Ctrl-C: no new connections, and requests under way are answered; a second Ctrl-C ends at once."""
        self._served.state.draining = True
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A socket with an address, on which nothing is heard yet; port 0 takes any that is free.

    Raises:
        LoraloomError: the address can't be taken.
    """
    with taking_address(host, port), ExitStack() as unless_bound:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # With TCP's number asyncio knows it for TCP, and has no answer wait 40 ms for a client's delayed ACK (Nagle).
        listening = unless_bound.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        unless_bound.pop_all()
        return listening


def make_server(registry: Registry, settings: Settings) -> Server:
    """A server of the registry's adapters."""
    app = make_app(registry, settings)
    return Server(_config(app, settings.limits), app)


def serve(registry: Registry, settings: Settings, listening: socket.socket, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers what is under way. `say` hears the address."""
    log_to_stderr()
    sys.setswitchinterval(SWITCH_SECONDS)
    server = make_server(registry, settings)
    settle()
    # From before it is said that it serves: what a signal raises in the midst of a start, as in an import, may be lost.
    with server.capture_signals():
        say(hear(listening))
        server.run(sockets=[listening])


def hear(listening: socket.socket) -> str:
    """From now on connections are taken; returns the address.

    Raises:
        LoraloomError: another process has taken it since it was bound, as two may be that do not listen yet.
    """
    host, port = listening.getsockname()[:2]
    with taking_address(host, port):
        listening.listen(BACKLOG)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def log_to_stderr() -> None:
    """A line for each request, with its time; no texts and no addresses."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("loraloom.serve").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno > logging.WARNING)


def _config(app: FastAPI, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=patient(limits.receive_seconds, limits.connections),
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(limits.drain_seconds),
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=BACKLOG,
    )
