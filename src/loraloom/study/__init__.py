"""What a run keeps: its folder and lock (`run.py`), its ledger (`ledger.py`: Optuna in SQLite), trials' records
(`record.py`), predictions of single rows (`evidence.py`) and its ranking (`leaderboard.py`).

Files are whole or absent (`durable.py`). Imports no torch.
"""
