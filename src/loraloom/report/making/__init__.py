"""How a run was made: its recipe, versions and machine, its commands, its plan beside what happened, its sources.

`making.py` puts together what the other files read; each of them bears a run without what it looks for.
"""

from loraloom.report.making.making import Making, making

__all__ = ["Making", "making"]
