"""Terminals that have hung up are let go of, and nothing else is."""

from __future__ import annotations

import os
import pty
import socket
from pathlib import Path

import pytest

from loraloom.terminal.hang_up import let_go


def test_what_is_written_to_a_terminal_that_has_hung_up_is_dropped() -> None:
    ours, theirs = pty.openpty()
    assert not let_go(theirs)
    os.close(ours)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(theirs, b"a word")
    assert let_go(theirs)
    assert os.write(theirs, b"a word") == 6
    os.close(theirs)


def test_a_pipe_a_socket_and_a_file_are_never_let_go_of(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, (tmp_path / "log").open("w") as log:
        assert not let_go(writing, theirs.fileno(), log.fileno())
    os.close(writing)
    assert not let_go(writing)
