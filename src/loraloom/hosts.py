"""Servers' addresses: one that can't be listened on, and the one that a request asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loraloom.errors import LoraloomError, without_path


@contextmanager
def taking_address(host: str, port: int, options: str = "--port or --host") -> Iterator[None]:
    """Explains what is raised within, where an address is to be listened on; `options` name another one.

    Raises:
        LoraloomError: it can't be.
    """
    try:
        yield
    except (OSError, OverflowError, UnicodeError) as error:
        why = f"can't be listened on: {without_path(error)}"
        raise LoraloomError(f"{host}:{port}: {why}; choose another {options}") from None


def without_port(host: str) -> str:
    """A host as requests name it (`example.com:8443`, `[::1]:8000`), in lower case and without the port.

    A page of another site that has its name lead here sends its own (DNS rebinding).
    """
    host = host.strip().lower()
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
