"""By which names requests may call the server: the image's health check asks 127.0.0.1, whatever names are given."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loraloom.cli.commands import app
from loraloom.use.serve.limits import Access

LOCAL = {"127.0.0.1", "localhost", "[::1]"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], LOCAL),
        (["--allowed_host", "A.org"], LOCAL | {"a.org"}),
        (["--allowed_host", "example.com:8443"], LOCAL | {"example.com"}),
        (
            ["--allowed_host", "2001:DB8::1", "--allowed_host", "[2001:db8::2]:80"],
            LOCAL | {"[2001:db8::1]", "[2001:db8::2]"},
        ),
        (["--host", "::1"], LOCAL),
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
    access, output = served(options, monkeypatch)
    assert access is not None, output
    assert set(access.hosts) == names


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://a.org", "https://a.org"),
        ("HTTPS://A.org:443", "https://a.org"),
        ("http://a.org:8080", "http://a.org:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("*", "*"),
        ("null", "null"),
    ],
)
def test_an_origin_is_compared_as_browsers_send_it(written: str, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    access, output = served(["--cors_origin", written], monkeypatch)
    assert access is not None, output
    assert access.origins == (sent,)


@pytest.mark.parametrize(
    "options",
    [
        ["--cors_origin", "https://a.org/"],
        ["--cors_origin", "https://a.org/page"],
        ["--cors_origin", "a.org"],
        ["--cors_origin", "https://"],
        ["--allowed_host", "https://a.org"],
        ["--allowed_host", "*.a.org"],
        ["--allowed_host", " "],
    ],
    ids=" ".join,
)
def test_what_no_request_can_say_is_refused(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    access, output = served(options, monkeypatch)
    assert access is None
    assert f"{options[0]}: {options[1]!r} is no " in output


@pytest.mark.parametrize(
    ("options", "place", "called"),
    [
        ([], "http://127.0.0.1:8000/", []),
        (["--host", "::1", "--allowed_host", "a.org"], "http://[::1]:8000/", []),
        (["--host", "192.0.2.1"], "http://192.0.2.1:8000/", []),  # it answers to any name
        (["--host", "192.0.2.1", "--allowed_host", "192.0.2.1"], "http://192.0.2.1:8000/", []),
        (["--host", "192.0.2.1", "--allowed_host", "A.org"], "http://192.0.2.1:8000/", ["host: a.org"]),
        (["--host", "0", "--allowed_host", "a.org"], "http://0.0.0.0:8000/", ["host: a.org"]),
    ],
)
def test_the_request_to_copy_calls_the_server_by_a_name_that_it_answers_to(
    options: list[str], place: str, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, output = served(options, monkeypatch, place)
    (line,) = [line for line in output.splitlines() if line.startswith("try: ")]
    words = shlex.split(line)
    assert words[1:4] == ["curl", "-s", f"{place}v1/classify"]
    assert [word for word in words if word.startswith("host: ")] == called


def test_the_request_to_copy_has_a_text_that_is_not_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    _, output = served(["--max_characters", "4"], monkeypatch)
    (line,) = [line for line in output.splitlines() if line.startswith("try: ")]
    assert json.loads(shlex.split(line)[-1])["texts"] == ["a te"]


def test_keys_and_a_folder_of_adapters_may_be_named_from_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "adapters").mkdir()
    for name in ("keys", "token"):
        (tmp_path / name).write_text(f"{name * 4}\n")
    options = ["--adapters_dir=~/adapters", "--admin_token_file=~/token", "--api_keys_file=~/keys"]
    access, output = served(options, monkeypatch)  # as a shell leaves them
    assert access is not None, output
    assert (access.adapters_dir, access.admin_token, access.keys) == (tmp_path / "adapters", "token" * 4, ("keys" * 4,))


def served(
    options: list[str], monkeypatch: pytest.MonkeyPatch, place: str = "http://127.0.0.1:8000/"
) -> tuple[Access | None, str]:
    """Who may ask the server that `loraloom serve` starts at `place` with these options, or None; what it says."""
    found: list[Any] = []

    def serve(registry: Any, settings: Any, listening: Any, say: Callable[[str], None]) -> None:
        found.append(settings)
        say(place)

    monkeypatch.setattr("loraloom.use.serve.registry.named_adapters", lambda adapters: [])
    monkeypatch.setattr("loraloom.use.serve.server.listen", lambda *_: io.BytesIO())
    monkeypatch.setattr("loraloom.use.serve.server.serve", serve)
    result = CliRunner().invoke(app, ["serve", "none", *options])
    return (found[0].access if found else None), f"{result.output}{result.exception or ''}"
