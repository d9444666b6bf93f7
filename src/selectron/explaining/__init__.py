"""Why a model predicts what it does, as queries over a user's rows.

- :mod:`~selectron.explaining.importance`: how much worse predictions get when a column says nothing.
- :mod:`~selectron.explaining.attribution`: what each column adds to the prediction of each row.
- :mod:`~selectron.explaining.dependence`: what is predicted, on average, if a column had another value.
"""
