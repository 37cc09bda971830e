"""Using a saved adapter: `adapter.py` loads and predicts, `evaluate.py` scores a labelled file, `predict.py` files,
`submit.py` answers a contest, `export/` hands it over to what knows nothing of loraloom.

Everything an adapter's folder says is checked before it is used: digests, file kinds, labels, shapes, finite weights.
"""
