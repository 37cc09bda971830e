"""Faults as tests: kills, signals, damaged files, failing system calls and power cuts, on real runs of real commands.

Quick ones are in `make test`; `make torture` does all of them, see docs/faults.md.
"""
