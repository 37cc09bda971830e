"""The scikit-learn estimator: a whole search behind fit, an adapter behind predict.

`classifier.py` is what a user sees; `columns.py` reads X and y, `settings.py` makes a recipe of parameters,
`fitting.py` runs the search and keeps what it has found, `saved.py` keeps the classes beside an adapter.
"""

from loraloom.estimator.classifier import LoraClassifier

__all__ = ["LoraClassifier"]
