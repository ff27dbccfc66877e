"""From a frame of features to the matrices that models take.

Learned once in `fit`, kept in the artefact, the same for training and scoring. Numbers stay as they are (NaN is
unknown; trees take it, for the regression it is the middle). A category becomes one 0/1 column per level; unknown and
unseen levels are zero in all of them. What never varies is left out, and said.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.validation import check_is_fitted

from ml.specification import Specification, require_columns

Matrix = npt.NDArray[np.float64]

MAX_LEVELS = 50
NORMAL_SCORE_LIMIT = 3.0
QUANTILE_SAMPLE = 20_000


def finite_numbers(frame: pd.DataFrame, column: str, what: str) -> Matrix:
    """A column as floats, NULL as NaN.

    Raises:
        ValueError: It is infinite somewhere, or holds something that is no number.
    """
    values = frame[column]
    if types.is_datetime64_any_dtype(values.dtype) or isinstance(values.dtype, pd.CategoricalDtype):
        raise ValueError(
            f"{what}: feature {column} is of type {values.dtype}; make it a number of days, or name it in `categorical`"
        )
    try:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise ValueError(
            f"{what}: feature {column} holds something that is no number; name it in `categorical`, or leave it out"
        ) from None
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise ValueError(
            f"{what}: feature {column} is infinite in {infinite} of {len(frame)} rows;"
            " look for a division by zero where it is made"
        )
    return numbers


def _level(value: Any) -> str:
    # 3, 3.0 and "3" are one level: a NULL elsewhere in the column turns integers into floats.
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


class Preprocessor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Columns of a frame to a matrix.

    Attributes:
        features_: The columns it reads.
        levels_: Levels of each category, most frequent first.
        medians_: Median of each number among the rows trained on.
        columns_: The feature behind each column of the matrix.
        column_levels_: The level behind it, None for a number.
        notes_: What was left out, and why.
    """

    def __init__(self, specification: Specification) -> None:
        self.specification = specification

    def fit(self, frame: pd.DataFrame, y: None = None) -> Self:
        """Learns levels, medians and which columns vary.

        Raises:
            ValueError: A column is missing, infinite or no number; or none varies.
        """
        spec = self.specification
        self.features_ = spec.feature_columns(frame)
        require_columns(frame, list(self.features_), spec.name)
        self.levels_: dict[str, list[str]] = {}
        self.medians_: dict[str, float] = {}
        self.columns_: list[str] = []
        self.column_levels_: list[str | None] = []
        self.notes_: list[str] = []
        for feature in self.features_:
            if feature in spec.categorical:
                self._fit_category(feature, frame[feature])
            else:
                self._fit_number(feature, frame)
        if not self.columns_:
            raise ValueError(
                f"{spec.name}: none of the {len(self.features_)} features varies; there is nothing to learn from"
            )
        return self

    def _fit_category(self, feature: str, values: "pd.Series[Any]") -> None:
        counts = values.dropna().map(_level).value_counts()
        levels = sorted(counts.index, key=lambda level: (-counts[level], level))[:MAX_LEVELS]
        levels = [level for level in levels if counts[level] < len(values)]
        if not levels:
            self.notes_.append(f"feature {feature} left out: it never varies")
            return
        self.levels_[feature] = levels
        self.columns_ += [feature] * len(levels)
        self.column_levels_ += levels

    def _fit_number(self, feature: str, frame: pd.DataFrame) -> None:
        values = self._number(frame, feature)
        known = values[~np.isnan(values)]
        if not len(known):
            self.notes_.append(f"feature {feature} left out: it is NULL in all {len(frame)} rows")
        elif known.min() == known.max() and len(known) == len(values):
            self.notes_.append(f"feature {feature} left out: it is {known[0]:g} in all {len(frame)} rows")
        else:
            self.medians_[feature] = float(np.median(known))
            self.columns_.append(feature)
            self.column_levels_.append(None)

    def _number(self, frame: pd.DataFrame, feature: str) -> Matrix:
        values = finite_numbers(frame, feature, self.specification.name)
        return np.nan_to_num(values, nan=0.0) if feature in self.specification.zero_if_null else values

    def transform(self, frame: pd.DataFrame) -> Matrix:
        """The matrix, C-ordered float64 of shape (rows, columns); NaN where a number is unknown.

        Raises:
            ValueError: A column is missing, infinite or no number.
        """
        check_is_fitted(self, "columns_")
        require_columns(frame, list(self.features_), self.specification.name)
        matrix = np.empty((len(frame), len(self.columns_)))
        texts: dict[str, npt.NDArray[np.object_]] = {}
        for position, (feature, level) in enumerate(zip(self.columns_, self.column_levels_, strict=True)):
            if level is None:
                matrix[:, position] = self._number(frame, feature)
            else:
                if feature not in texts:
                    texts[feature] = (
                        frame[feature].astype(object).map(_level, na_action="ignore").to_numpy(dtype=object)
                    )
                matrix[:, position] = texts[feature] == level
        return matrix

    def to_json(self) -> dict[str, Any]:
        """The fitted state as JSON types."""
        check_is_fitted(self, "columns_")
        names = ("features_", "levels_", "medians_", "columns_", "column_levels_", "notes_")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, specification: Specification, state: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        made = cls(specification)
        for name, value in state.items():
            setattr(made, name, value)
        made.features_ = tuple(made.features_)
        return made


class NormalScores(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Each column by its empirical distribution to a standard normal score within ±3; unknown becomes 0, the middle.

    scikit-learn's QuantileTransformer, with unknowns put in the middle and the tails cut; its state fits in JSON.
    """

    def __init__(self, quantiles: int = 100, seed: int = 0) -> None:
        self.quantiles = quantiles
        self.seed = seed

    def fit(self, matrix: Matrix, y: None = None) -> Self:
        """Learns the distributions of the columns of `matrix`, shape (rows, columns)."""
        transformer = QuantileTransformer(
            n_quantiles=min(self.quantiles, len(matrix)),
            output_distribution="normal",
            subsample=QUANTILE_SAMPLE,
            random_state=self.seed,
        )
        self._keep(np.asarray(transformer.fit(matrix).quantiles_, dtype=np.float64))
        return self

    def _keep(self, quantiles: Matrix) -> None:
        self.quantiles_ = quantiles
        self.transformer_ = QuantileTransformer(n_quantiles=len(quantiles), output_distribution="normal")
        self.transformer_.quantiles_ = quantiles
        self.transformer_.n_quantiles_ = len(quantiles)
        self.transformer_.references_ = np.linspace(0, 1, len(quantiles))
        self.transformer_.n_features_in_ = quantiles.shape[1]

    def transform(self, matrix: Matrix) -> Matrix:
        """Normal scores, C-ordered, of the shape of `matrix`."""
        check_is_fitted(self, "quantiles_")
        scores = np.clip(self.transformer_.transform(matrix), -NORMAL_SCORE_LIMIT, NORMAL_SCORE_LIMIT)
        return np.ascontiguousarray(np.nan_to_num(scores, nan=0.0))

    @classmethod
    def from_quantiles(cls, quantiles: Matrix, seed: int = 0) -> Self:
        """From what `quantiles_` holds, shape (points, columns)."""
        made = cls(len(quantiles), seed)
        made._keep(quantiles)
        return made
