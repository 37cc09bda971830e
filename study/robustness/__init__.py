"""How accuracy holds where texts or training rows are worse than they should be: `python -m study.robustness`.

`texts.py` and `rows.py` make things worse, `conditions.py` names how much, `contenders.py` are trained as `plan.py`
says, `trials.py` is what is kept of each, `comparing.py` has the statistics and `page.py` writes docs/robustness.md.
"""
