"""`loraloom serve`: adapters behind HTTP, one backbone in memory for all of its adapters.

A request passes `protocol.py` (slow and too many connections), `gate.py` (keys, hosts, body bytes, overload), `app.py`
(the interface), `batching.py` (rows of all requests and adapters in one pass) and `loraloom.use.backbones`.
"""
