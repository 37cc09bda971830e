"""optuna-dashboard on a run's ledger, read-only: while the search goes, and after it.

A click on "delete study" would take the ledger with it, and a note would be written to it by a second process. So
SQLite opens it read-only, and all requests but GET are refused with a sentence. Rejected: serving a copy, which doesn't
show a search that goes on. A query holds SQLite's shared lock for milliseconds, for which the driver's commit waits.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_address
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from loraloom.errors import MissingExtraError, RunError, first_line, is_installed
from loraloom.hosts import taking_address, without_port
from loraloom.study.run import LEDGER, Run

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
READ_ONLY = "a run's study is read-only here: loraloom alone writes its ledger"


def make_dashboard(path: Path, host: str, port: int) -> WSGIServer:
    """A server of the dashboard of the run in `path`; `serve_forever` serves. Port 0 takes any that is free.

    Raises:
        RunError: there is no run, or its ledger can't be read.
        MissingExtraError: optuna-dashboard is not installed.
        LoraloomError: the address can't be taken.
    """
    run = Run(path)
    if not is_installed("optuna_dashboard"):
        raise MissingExtraError("loraloom dashboard", "dashboard")
    app = read_only(_app(run))
    with taking_address(host, port):
        server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    own = str(server.server_address[0])
    if ip_address(own).is_loopback:
        server.set_app(asked_as((own, host.lower(), "localhost"), app))
    return server


def address(server: WSGIServer) -> str:
    """Where a browser finds it."""
    host, port = server.server_address[:2]
    name = host.decode() if isinstance(host, bytes) else str(host)
    return f"http://{name}:{port}/dashboard"


def read_only(app: App) -> App:
    """`app` for those who only look."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": READ_ONLY}).encode()]

    return guarded


def asked_as(names: Collection[str], app: App) -> App:
    """`app` for who asks for it by these names, and not by one that was made to lead here (DNS rebinding)."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if without_port(environ.get("HTTP_HOST", "")) in names:
            return app(environ, start_response)
        start_response("421 Misdirected Request", [("Content-Type", "application/json")])
        return [json.dumps({"reason": f"ask for this by {' or '.join(dict.fromkeys(names))}"}).encode()]

    return guarded


def _app(run: Run) -> App:
    """The dashboard of the ledger, and of the one that a resume of a damaged run puts in its place."""
    ledger = (run.path / LEDGER).absolute()
    if not ledger.is_file():
        raise RunError(f"{ledger}: there is no study yet; it is begun with the first trial")
    file, app = ledger.stat().st_ino, _dashboard(run, ledger)

    def of_now(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal file, app
        with contextlib.suppress(OSError, RunError):  # the folder is gone
            if (now := ledger.stat().st_ino) != file:
                file, app = now, _dashboard(run, ledger)
        return app(environ, start_response)

    return of_now


def _dashboard(run: Run, ledger: Path) -> App:
    """A page asks for all trials every ten seconds: those that ended are read once, since many take seconds."""
    import optuna
    from optuna_dashboard import wsgi
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        _finish_broken_write(run, ledger)
        storage = optuna.storages.RDBStorage(
            "sqlite://",
            engine_kwargs={"creator": lambda: _open(ledger), "poolclass": NullPool},
            skip_table_creation=True,
        )
        app: App = wsgi(optuna.storages.get_storage(storage))
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        database = error.__cause__ or error
        cause = getattr(database, "orig", None) or database
        raise RunError(f"{ledger}: the ledger can't be read: {first_line(cause)}") from None
    return app


def _open(ledger: Path) -> sqlite3.Connection:
    """Read-only; each request has a thread and a connection of its own."""
    return sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=60, check_same_thread=False)


def _finish_broken_write(run: Run, ledger: Path) -> None:
    """Where a kill came in the midst of a write, has SQLite undo it, as `resume` would: who only reads can't.

    A journal beside the ledger of a run that is in use is its search's, and is left alone.
    """
    if not ledger.with_name(f"{ledger.name}-journal").exists():
        return
    try:
        with run.locked():
            connection = sqlite3.connect(ledger, timeout=60)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()
    except RunError:
        return


class _Server(ThreadingMixIn, WSGIServer):
    """A browser asks for many things at once."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Left out: one sentence said all."""
