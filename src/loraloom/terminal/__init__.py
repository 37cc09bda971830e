"""What a person sees in a terminal: `live.py` a run as it goes, `statement.py` a budget, `scores.py` an evaluation."""
