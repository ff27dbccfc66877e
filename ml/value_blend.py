"""The shape of customer value: who is worth more than whom, no level yet.

Trees with lines in their leaves (Shi et al. 2019) and a kernel regression, both in square roots of money.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import lightgbm as lgb
import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from ml.preprocessing import Matrix, Preprocessor
from ml.specification import Scores
from ml.value_specification import ValueParameters, ValueSpecification

CHUNK_ROWS = 10_000
# Directions of the kernel that carry less than this share of the strongest are rounding.
SMALLEST_EIGENVALUE = 1e-10


def _signed_root(values: Matrix) -> Matrix:
    return np.asarray(np.nan_to_num(np.sign(values) * np.sqrt(np.abs(values))), dtype=np.float64)


class _Kernel:
    """Ridge regression on a Gaussian kernel, for which some rows stand (Nystroem; Williams & Seeger 2001)."""

    centre: Scores
    scale: Scores
    points: Matrix
    weights: Scores
    intercept: float
    gamma: float

    def fit(self, columns: Matrix, target: Scores, parameters: ValueParameters, seed: int) -> Self:
        columns = _signed_root(columns)
        self.centre, self.scale = columns.mean(axis=0), columns.std(axis=0)
        self.scale[self.scale < 1e-9] = 1.0
        self.gamma = parameters.kernel_gamma / columns.shape[1]
        standard = (columns - self.centre) / self.scale
        drawn = np.random.default_rng(seed).choice(len(columns), min(parameters.kernel_points, len(columns)), False)
        self.points = standard[np.sort(drawn)]
        values, vectors = np.linalg.eigh(self._near(self.points))
        kept = values > SMALLEST_EIGENVALUE * values.max()
        basis = vectors[:, kept] / np.sqrt(values[kept])
        size = basis.shape[1]
        squares, products, sums = np.zeros((size, size)), np.zeros(size), np.zeros(size)
        for first in range(0, len(standard), CHUNK_ROWS):
            part = self._near(standard[first : first + CHUNK_ROWS]) @ basis
            squares += part.T @ part
            products += part.T @ target[first : first + CHUNK_ROWS]
            sums += part.sum(axis=0)
        mean, middle = sums / len(target), float(target.mean())
        squares += parameters.kernel_ridge * np.eye(size) - len(target) * np.outer(mean, mean)
        slopes = np.linalg.solve(squares, products - len(target) * middle * mean)
        self.weights, self.intercept = basis @ slopes, middle - float(mean @ slopes)
        return self

    def _near(self, standard: Matrix) -> Matrix:
        return np.asarray(np.exp(-self.gamma * cdist(standard, self.points, "sqeuclidean")), dtype=np.float64)

    def predict(self, columns: Matrix) -> Scores:
        # No matrix product: summed row by row in a fixed order, a row gives the same alone and in a batch.
        standard = (_signed_root(columns) - self.centre) / self.scale
        parts = [
            (self._near(standard[first : first + CHUNK_ROWS]) * self.weights).sum(axis=1)
            for first in range(0, len(standard), CHUNK_ROWS)
        ]
        return np.concatenate([np.zeros(0), *parts]) + self.intercept

    def to_json(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in ("centre", "scale", "points", "weights")}
        return arrays | {"intercept": self.intercept, "gamma": self.gamma}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        made = cls()
        for name in ("centre", "scale", "points", "weights"):
            setattr(made, name, np.array(state[name], dtype=np.float64))
        made.intercept, made.gamma = float(state["intercept"]), float(state["gamma"])
        if made.points.shape != (len(made.weights), len(made.centre)) or made.scale.shape != made.centre.shape:
            raise ValueError(f"a kernel of shapes {made.points.shape}, {made.weights.shape}, {made.centre.shape}")
        return made


class Blend:
    """Trees with lines in their leaves and the kernel regression, both in square roots of money; no level yet."""

    def __init__(self, specification: ValueSpecification, threads: int) -> None:
        self.specification = specification
        self.threads = threads

    def fit(self, rows: pd.DataFrame) -> Self:
        """Learns from rows in the order of their identity, the label a float."""
        spec, parameters = self.specification, self.specification.parameters
        self.preprocessor = Preprocessor(spec.for_preprocessing()).fit(rows)
        matrix = self.preprocessor.transform(rows)
        # What is bought is skewed to the right, and its spread grows with it: in square roots both are milder.
        target = np.sqrt(np.maximum(rows[spec.label].to_numpy(dtype=np.float64), 0.0))
        self.texts: list[str] = []
        self.kernel: _Kernel | None = None
        if parameters.kernel_weight > 0 and self._money_columns:
            self.kernel = _Kernel().fit(matrix[:, self._money_columns], target, parameters, spec.seed)
        if parameters.kernel_weight < 1 or self.kernel is None:
            self.texts = self._fit_trees(matrix, target)
        self._read_trees()
        return self

    @property
    def _money_columns(self) -> list[int]:
        wanted = set(self.specification.money_features)
        return [place for place, feature in enumerate(self.preprocessor.columns_) if feature in wanted]

    def _fit_trees(self, matrix: Matrix, target: Scores) -> list[str]:
        parameters, seed = self.specification.parameters, self.specification.seed
        # Lines in leaves are summed by thread: with one thread each, the number of threads makes no difference.
        shared: dict[str, Any] = {"max_bin": parameters.max_bin, "verbosity": -1, "num_threads": 1}
        shared |= {"deterministic": True, "force_row_wise": True, "min_data_in_leaf": parameters.min_rows_in_leaf}
        shared |= {"linear_tree": True, "data_random_seed": seed}
        settings = shared | {
            "objective": "l2",
            "learning_rate": parameters.learning_rate,
            "num_leaves": parameters.num_leaves,
            "feature_fraction": parameters.feature_fraction,
            "bagging_fraction": parameters.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": parameters.l2,
        }

        def one(number: int) -> str:
            drawn = dict.fromkeys(("seed", "bagging_seed", "feature_fraction_seed"), number)
            data = lgb.Dataset(matrix, target, params=shared)
            return str(lgb.train(settings | drawn, data, parameters.rounds).model_to_string())

        with ThreadPoolExecutor(self.threads or os.cpu_count() or 1) as pool:
            return list(pool.map(one, range(seed, seed + parameters.seeds)))

    def _read_trees(self) -> None:
        # From the text also right after training, so that what is kept predicts what was measured.
        self.boosters = [lgb.Booster(model_str=text) for text in self.texts]

    def predict(self, rows: pd.DataFrame) -> Scores:
        """Money without a level, shape (rows,), never below 0."""
        if rows.empty:
            return np.zeros(0)
        matrix = self.preprocessor.transform(rows)
        weight = self.specification.parameters.kernel_weight if self.kernel is not None else 0.0
        if not self.boosters:
            weight = 1.0
        root = np.zeros(len(matrix))
        for booster in self.boosters:
            made = np.asarray(booster.predict(matrix, num_threads=self.threads), dtype=np.float64)
            root += (1 - weight) / len(self.boosters) * np.maximum(made, 0.0)
        if self.kernel is not None:
            root += weight * np.maximum(self.kernel.predict(matrix[:, self._money_columns]), 0.0)
        return root**2

    def to_json(self) -> dict[str, Any]:
        """The fitted state as JSON types."""
        kernel = None if self.kernel is None else self.kernel.to_json()
        return {"preprocessor": self.preprocessor.to_json(), "lightgbm": self.texts, "kernel": kernel}

    @classmethod
    def from_json(cls, specification: ValueSpecification, threads: int, state: dict[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: The state fits together with nothing that `fit` makes.
        """
        made = cls(specification, threads)
        made.preprocessor = Preprocessor.from_json(specification.for_preprocessing(), state["preprocessor"])
        made.texts = list(state["lightgbm"])
        made.kernel = None if state["kernel"] is None else _Kernel.from_json(state["kernel"])
        if made.kernel is None and not made.texts:
            raise ValueError("neither trees nor a kernel")
        made._read_trees()
        return made
