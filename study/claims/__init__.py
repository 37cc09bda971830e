"""The contest's claims: what was said of rank, epochs, optimizers and the rest, measured one factor at a time.

contest.yaml is the point around which all is varied, six_layers.yaml and base_size.yaml are the designs. `python -m
study.claims --help` says how they are run.
"""
