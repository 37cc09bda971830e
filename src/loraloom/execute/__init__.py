"""A search under way: `driver.py` has what is proposed trained and recorded, as `planning.py` plans the time.

Trials run in this process (`in_process.py`), in others of this machine (`workers.py`) or of a Ray cluster
(`ray_cluster.py`), which `pool.py` gives them to; `workplace.py` holds what they share.
"""
