"""Speed and memory of loraloom beside HF Trainer + PEFT, measured side by side in one run: `make bench`.

`python -m bench.engines` measures and writes JSON, and so do `bench.accuracy` and `bench.ledger`;
`python -m bench.page` makes docs/performance.md of it.
"""
