"""What browsers may do with our pages: how a policy names what stands in a page itself, and who a request asks for."""

from __future__ import annotations

import base64
import hashlib


def source_hash(text: str) -> str:
    """The SHA-256 of what stands between the tags, whose line ends a browser reads as LF whatever they were."""
    content = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"


def without_port(host: str) -> str:
    """A host as requests name it (`example.com:8443`, `[::1]:8000`), in lower case and without the port."""
    host = host.strip().lower()
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
