"""By which names requests may call the server: the image's health check asks 127.0.0.1, whatever names are given."""

from __future__ import annotations

import io
from typing import Any

import pytest
from typer.testing import CliRunner

from loraloom.cli.commands import app

LOCAL = {"127.0.0.1", "localhost", "[::1]"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], LOCAL),
        (["--allowed_host", "A.org"], LOCAL | {"a.org"}),
        (["--host", "192.0.2.1"], set()),  # any
        (
            ["--host", "192.0.2.1", "--allowed_host", "A.org"],
            LOCAL | {"a.org"},
        ),
    ],
)
def test_local_names_stay_allowed_beside_those_given(
    options: list[str], names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr("loraloom.use.serve.registry.named_adapters", lambda adapters: [])
    monkeypatch.setattr("loraloom.use.serve.server.listen", lambda *_: io.BytesIO())
    monkeypatch.setattr("loraloom.use.serve.server.serve", lambda registry, settings, *_: found.append(settings))
    result = CliRunner().invoke(app, ["serve", "none", *options])
    assert result.exit_code == 0, result.output
    assert set(found[0].access.hosts) == names
