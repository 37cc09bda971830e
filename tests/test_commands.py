"""How tests run commands."""

from __future__ import annotations

import pytest

from tests.commands import Commands


def test_of_a_command_that_hangs_it_is_told_where(commands: Commands) -> None:
    code = "def waiting():\n    import time\n    print(flush=True)\n    time.sleep(1_000)\nwaiting()"
    hangs = pytest.raises(TimeoutError, match=r"(?s)has not ended after 0\.1 s: .* in waiting\n")
    with commands.start(code=code) as child, hangs:
        child.line()
        child.wait(0.1)
