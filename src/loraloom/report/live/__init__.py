"""`loraloom watch RUN`: the report of a run while it goes, served to this machine's browsers, and nothing written.

`state.py` says where the run is, `rendering.py` renders in memory, `server.py` serves.
"""

from loraloom.report.live.server import address, make_server

__all__ = ["address", "make_server"]
