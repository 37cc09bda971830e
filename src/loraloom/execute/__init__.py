"""Where trials run: `in_process.py`, one after another in this process; `workplace.py` holds what they share."""
