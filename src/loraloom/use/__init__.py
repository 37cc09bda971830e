"""Using a saved adapter: `adapter.py` loads and predicts, `evaluate.py` scores a labelled file, `predict.py` files.

Everything an adapter's folder says is checked before it is used: digests, file kinds, labels, shapes, finite weights.
"""
