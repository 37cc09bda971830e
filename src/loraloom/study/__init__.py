"""The run folder: its ledger (Optuna in SQLite), trial folders, lock and leaderboard. Imports no torch."""
