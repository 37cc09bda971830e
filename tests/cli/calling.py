"""loraloom's commands called in this process, as a person calls them."""

from __future__ import annotations

import sys

import pytest

from loraloom import cli


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """The exit code of `loraloom ARGUMENTS`, and what it said on standard output and on standard error."""
    monkeypatch.setattr(sys, "argv", ["loraloom", *arguments])
    code = cli.run()
    said = capsys.readouterr()
    return code, said.out, said.err
