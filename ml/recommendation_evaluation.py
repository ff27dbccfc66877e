"""How good lists are: what of them was bought in the window held out, how much of the catalogue they show.

Recall@10, hits over the lesser of 10 and the distinct products bought, so that a perfect list reaches 1; nDCG@10
(Järvelin & Kekäläinen 2002); hit rate. For all products and, as `_new`, for those never bought before. Coverage: share
of the products sold that are in anybody's first ten. Novelty: mean of -log2 of a product's share in all purchases (Zhou
et al. 2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.evaluation import DRAWS, Interval, Matrix, bootstrap_weights
from ml.recommendation_candidates import Candidates
from ml.recommendation_examples import Examples, best_first, place_within
from ml.recommendation_history import Codes
from ml.recommendation_items import LIKING_BY, Items
from ml.specification import Scores

TOP = 10
RECALL, NDCG, HIT_RATE = "recall_10", "ndcg_10", "hit_rate_10"
NEW = "_new"
PER_CUSTOMER = tuple(f"{metric}{which}" for which in ("", NEW) for metric in (RECALL, NDCG, HIT_RATE))
COVERAGE, NOVELTY = "coverage_10", "novelty_10"
LEVEL = 0.95


def top_rows(rows: Candidates, scores: Scores, only_new: bool = False) -> tuple[Codes, Codes]:
    """The first TOP candidates of each customer that have a score, and their rank from 1."""
    order = best_first(rows, scores)
    order = order[np.isfinite(scores[order])]
    if only_new:
        order = order[rows.is_new[order]]
    place = place_within(rows.customer[order])
    return order[place < TOP], place[place < TOP] + 1


def per_customer(examples: Examples, row: Codes, rank: Codes, only_new: bool = False) -> dict[str, Scores]:
    """Recall, nDCG and hit rate of each customer, shape (customers,); NaN where nothing (new) was bought.

    Args:
        examples: With what was bought.
        row: Candidates that are recommended; ranks beyond TOP are not looked at.
        rank: Of each within the customer, from 1.
        only_new: The list is of what is new to the customers.
    """
    bought = examples.bought_new if only_new else examples.bought
    row, rank = row[rank <= TOP], rank[rank <= TOP]
    customer, hit = examples.rows.customer[row], examples.was_bought[row].astype(np.float64)
    discount = 1 / np.log2(np.arange(TOP) + 2)
    hits = np.bincount(customer, weights=hit, minlength=len(bought))
    gain = np.bincount(customer, weights=hit * discount[rank - 1], minlength=len(bought))
    most = np.minimum(bought, TOP)
    best = np.r_[0.0, np.cumsum(discount)][most]
    with np.errstate(invalid="ignore"):
        values = (hits / most, gain / best, np.where(most > 0, hits > 0, np.nan))
    names = (RECALL, NDCG, HIT_RATE)
    return {name + NEW * only_new: np.asarray(value) for name, value in zip(names, values, strict=True)}


def variety(items: Items, rows: Candidates, row: Codes, rank: Codes) -> dict[str, float]:
    """Coverage and novelty of the first TOP of all customers; NaN where there is nothing."""
    product = rows.product[row[rank <= TOP]]
    sold, popularity = int(items.is_sold.sum()), items.popularity[LIKING_BY]
    if not len(product) or not sold:
        return {COVERAGE: float("nan"), NOVELTY: float("nan")}
    share = popularity[product] / popularity.sum()
    return {COVERAGE: len(np.unique(product)) / sold, NOVELTY: float(-np.log2(share).mean())}


@dataclass(frozen=True)
class Judged:
    """What was measured on the held-out windows.

    Attributes:
        customer: A row per customer and cut-off: who.
        time: The cut-off of the row.
        values: By name of the ranking a column per metric of PER_CUSTOMER, shape (rows,) each.
        variety: By name coverage and novelty, mean of the cut-offs.
        seed: Of the bootstrap.
    """

    customer: npt.NDArray[np.object_]
    time: npt.NDArray[np.object_]
    values: Mapping[str, Mapping[str, Scores]]
    variety: Mapping[str, Mapping[str, float]]
    seed: int

    @classmethod
    def of(cls, parts: Sequence["Judged"]) -> "Judged":
        """Several cut-offs as one."""
        values = {
            name: {metric: np.concatenate([part.values[name][metric] for part in parts]) for metric in columns}
            for name, columns in parts[0].values.items()
        }
        spread = {
            name: {metric: float(np.mean([part.variety[name][metric] for part in parts])) for metric in columns}
            for name, columns in parts[0].variety.items()
        }
        customer, time = (np.concatenate([getattr(part, name) for part in parts]) for name in ("customer", "time"))
        return cls(customer, time, values, spread, parts[0].seed)

    def mean(self, name: str, metric: str, draws: int = DRAWS) -> Interval:
        """Mean over the rows where it is defined, with a bootstrap interval over customers."""
        return self._interval(self.values[name][metric], draws)

    def advantage(self, over: str, metric: str, ours: str, draws: int = DRAWS) -> Interval:
        """By how much the mean of one ranking is above that of another on the same rows: paired bootstrap."""
        return self._interval(self.values[ours][metric] - self.values[over][metric], draws)

    def _interval(self, values: Scores, draws: int) -> Interval:
        known = np.isfinite(values)
        if not known.any():
            return Interval(float("nan"), float("nan"), float("nan"))
        values, customer = values[known], self.customer[known]
        means: list[Matrix] = [
            weights @ values / np.maximum(weights.sum(axis=1), 1e-9)
            for weights in bootstrap_weights(len(values), customer, draws, self.seed)
        ]
        lower, upper = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(values.mean()), float(lower), float(upper))

    def by_time(self, name: str, metric: str) -> "pd.Series[float]":
        """Mean per cut-off, oldest first."""
        return pd.Series(self.values[name][metric]).groupby(self.time).mean()
