"""A server of one run's report for this machine alone: GET and HEAD of a closed list of names, nothing else.

What is served is looked up by its exact name in what was rendered: no path is ever made of a request, so none leads
out. A page of another site that has its name resolve to this machine (DNS rebinding) sends its own Host, and is
refused. Standard library; rejected: a web framework, which this does not need.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from loraloom.errors import LoraloomError
from loraloom.hosts import taking_address, without_port
from loraloom.report.live.rendering import LiveReport, Rendered
from loraloom.report.live.shell import POLICY, WAITING_POLICY, shell, waiting
from loraloom.report.live.state import State, is_awaited
from loraloom.report.wording import clean
from loraloom.study.run import Run
from loraloom.wording import plural

HOST = "127.0.0.1"
_TYPES = {".html": "text/html; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".png": "image/png"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_FRAMED = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"


class WatchServer(ThreadingHTTPServer):
    """Serves `report`, the run called `name`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, run: Path, port: int) -> None:
        self.report, self.name = LiveReport(run), run.resolve().name
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def make_server(run: Path, port: int) -> WatchServer:
    """A server of the report of the run in `run`, which may be yet to come; `serve_forever` serves.

    Port 0 takes any that is free.

    Raises:
        RunError: `run` is something else than a run.
        LoraloomError: the port can't be taken.
    """
    if not is_awaited(run):
        Run(run)
    with taking_address(HOST, port, "--port"):
        return WatchServer(run, port)


def address(server: WatchServer) -> str:
    """Where a browser finds it."""
    return f"http://{HOST}:{server.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: WatchServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "loraloom", ""
    timeout = 30
    refused_methods: ClassVar = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")

    def do_GET(self) -> None:
        """Answers, or says why not."""
        if not self._is_ours():
            self._plain(HTTPStatus.MISDIRECTED_REQUEST, f"ask for this by {HOST} or localhost")
            return
        place = self.path.partition("?")[0]
        state = self.server.report.state()
        if state.name == "waiting" and place in ("/", "/status"):
            self._wait(place, state)
            return
        if place == "/" and self.server.report.is_being_made():
            self._wait(place, state, "The report is being made.")
            return
        try:
            rendered = self.server.report.latest()
        except LoraloomError as error:
            self._plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        if place == "/":
            state = self.server.report.state()
            self._page(shell(clean(self.server.name), state, self._detail(rendered), rendered.version), POLICY)
        elif place == "/status":
            self._status(self.server.report.state(), self._detail(rendered), rendered.version)
        elif place.startswith("/report/") and (name := place.removeprefix("/report/")) in rendered.files:
            self._file(name, rendered)
        else:
            self._plain(HTTPStatus.NOT_FOUND, "there is no such file in the report")

    def _wait(self, place: str, state: State, detail: str = "") -> None:
        if place == "/":
            self._page(waiting(clean(self.server.name), state, detail), WAITING_POLICY)
        else:
            self._status(state)

    def do_HEAD(self) -> None:
        """As GET, without what it asks for."""
        self.do_GET()

    def __getattr__(self, name: str) -> Any:
        """Every other method is refused by one function."""
        if name.startswith("do_") and name.removeprefix("do_") in self.refused_methods:
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.close_connection = True  # its body is not read
        self._plain(HTTPStatus.METHOD_NOT_ALLOWED, "the run is only shown here", {"Allow": "GET, HEAD"})

    def _is_ours(self) -> bool:
        """Whether the request names this server, and not a name that was made to lead here."""
        hosts = self.headers.get_all("Host") or []  # of any port, which may be forwarded to ours
        return len(hosts) == 1 and without_port(hosts[0]) in (HOST, "localhost")

    def _page(self, page: str, policy: str) -> None:
        self._send(HTTPStatus.OK, _TYPES[".html"], page.encode(), {"Content-Security-Policy": policy})

    def _status(self, state: State, detail: str = "", version: str = "") -> None:
        told = {"sentence": state.sentence, "goes_on": state.goes_on, "detail": detail, "version": version}
        self._send(HTTPStatus.OK, "application/json", json.dumps(told).encode())

    def _detail(self, rendered: Rendered) -> str:
        trouble = self.server.report.trouble
        shown = f"The report has {plural(rendered.trials, 'finished trial')}."
        if trouble is not None:
            return f"{shown} It could not be renewed: {clean(trouble)}"
        return f"{shown} A newer one follows." if self.server.report.is_behind() else shown

    def _file(self, name: str, rendered: Rendered) -> None:
        tag = f'"{rendered.version}"'
        headers = {"ETag": tag, "Content-Security-Policy": _FRAMED}
        if self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, None, b"", headers)
            return
        self._send(
            HTTPStatus.OK, _TYPES.get(Path(name).suffix, "application/octet-stream"), rendered.files[name], headers
        )

    def _plain(self, status: HTTPStatus, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{clean(sentence)}\n".encode(), headers)

    def _send(
        self, status: HTTPStatus, kind: str | None, content: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        if kind is not None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and kind is not None:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Says nothing of each request."""
