"""The command line: `commands.py` is the table of commands, `entry.py` what surrounds each of them.

Imports no torch, and of the library only what is as quick (errors, the shipped recipes' names, the clock): `--help`
answers at once.
"""

import loraloom.cli.beginning  # noqa: F401  # before the others, whose time counts
from loraloom.cli.commands import app
from loraloom.cli.entry import main, run

__all__ = ["app", "main", "run"]
