"""Who a request asks for. A page of another site that has its name lead here sends its own (DNS rebinding)."""

from __future__ import annotations


def without_port(host: str) -> str:
    """A host as requests name it (`example.com:8443`, `[::1]:8000`), in lower case and without the port."""
    host = host.strip().lower()
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
