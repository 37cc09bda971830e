"""What browsers may do with our pages: how a policy names what stands in a page itself."""

from __future__ import annotations

import base64
import hashlib


def source_hash(text: str) -> str:
    """The SHA-256 of what stands between the tags, whose line ends a browser reads as LF whatever they were."""
    content = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"
