"""Whether the hub can be reached, told in a moment: its client takes half a minute of retries to say no."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit


def reachable() -> bool:
    """False where the user asked to stay offline, or the hub's name can't be resolved and no proxy is set."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True
