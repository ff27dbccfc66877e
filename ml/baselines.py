"""What a model must beat: logistic regressions on few columns or on all, and the base rate. Each gives probabilities.

Recency only, RFM, all features, previous response rate: they differ in their columns alone, which the specification
names.
"""

from typing import Protocol, Self

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ml.preprocessing import Preprocessor
from ml.specification import ALL_FEATURES, Labels, Scores, Specification

BASE_RATE = "base_rate"


class Baseline(Protocol):
    """Anything that learns from rows and gives probabilities."""

    def fit(self, frame: pd.DataFrame, label: Labels) -> Self:
        """Learns from feature rows and their labels, shape (rows,)."""
        ...

    def predict(self, frame: pd.DataFrame) -> Scores:
        """Probabilities, shape (rows,)."""
        ...


class BaseRate:
    """Everyone has the rate of the rows trained on."""

    def fit(self, frame: pd.DataFrame, label: Labels) -> Self:
        """Takes the rate."""
        self.rate_ = float(label.mean())
        return self

    def predict(self, frame: pd.DataFrame) -> Scores:
        """The rate, for every row."""
        return np.full(len(frame), self.rate_)


class LogisticBaseline:
    """Logistic regression on standardised columns, unknowns at the median: what a good analyst tries first."""

    def __init__(self, specification: Specification, columns: tuple[str, ...]) -> None:
        self.specification = specification
        self.columns = columns

    def fit(self, frame: pd.DataFrame, label: Labels) -> Self:
        """Learns scaling and coefficients.

        Raises:
            ValueError: A column is missing, infinite or no number, or none varies.
        """
        spec = self.specification
        if self.columns != ALL_FEATURES:
            keep = {"categorical", "zero_if_null"}
            narrowed = {name: tuple(c for c in getattr(spec, name) if c in self.columns) for name in keep}
            spec = spec.model_copy(update={"features": self.columns, **narrowed})
        self.preprocessor_ = Preprocessor(spec).fit(frame)
        self.pipeline_: Pipeline = make_pipeline(
            SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-8)
        )
        self.pipeline_.fit(self.preprocessor_.transform(frame), label)
        return self

    def predict(self, frame: pd.DataFrame) -> Scores:
        """Probabilities, shape (rows,)."""
        return np.asarray(self.pipeline_.predict_proba(self.preprocessor_.transform(frame))[:, 1], dtype=np.float64)


def baselines(specification: Specification) -> dict[str, Baseline]:
    """The base rate and the specification's own, by name, not fitted yet."""
    made: dict[str, Baseline] = {BASE_RATE: BaseRate()}
    for name, columns in specification.baselines.items():
        made[name] = LogisticBaseline(specification, tuple(columns))
    return made
