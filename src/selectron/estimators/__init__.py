"""scikit-learn estimators with a database in memory behind them.

>>> from selectron.estimators import SelectronClassifier
>>> classifier = SelectronClassifier(hidden=[], random_state=0)
>>> classifier.fit([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]).predict([[-1.0], [4.0]]).tolist()
['a', 'b']
"""

from selectron.errors import MissingLibraryError

try:
    import sklearn  # noqa: F401 - whether it is there
except ImportError as error:
    raise MissingLibraryError(
        "The estimators are scikit-learn's, which is not installed.", hint="pip install 'selectron[sklearn]'"
    ) from error

from selectron.estimators.classifier import SelectronClassifier
from selectron.estimators.regressor import SelectronRegressor

__all__ = ["SelectronClassifier", "SelectronRegressor"]
