"""Closed cut-offs as examples: candidates as of a day beside what was bought in the window from it on.

They teach the ranker and judge it. Nothing of the window is in the features: the item side and the candidates are made
from purchases before the cut-off alone.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.recommendation_candidates import Candidates, Pairs, describe, find_candidates
from ml.recommendation_history import Catalogue, Codes, Flags, Purchases, day_number
from ml.recommendation_items import Items
from ml.recommendation_specification import RecommendationSpecification
from ml.specification import Scores


@dataclass(frozen=True)
class Examples:
    """The candidates of some customers as of a cut-off, each customer with a purchase in the window.

    Attributes:
        time: The cut-off.
        items: The item side of that day.
        theirs: Purchases of the customers before it.
        pairs: From them.
        rows: The candidates.
        features: Shape (rows, features).
        was_bought: Whether the candidate was bought in the window.
        turn: In which turn each customer was drawn, from 0.
        bought: Distinct products bought in the window, by customer.
        bought_new: Of them never bought before.
    """

    time: pd.Timestamp
    items: Items
    theirs: Purchases
    pairs: Pairs
    rows: Candidates
    features: npt.NDArray[np.float32]
    was_bought: Flags
    turn: Codes
    bought: Codes
    bought_new: Codes

    @classmethod
    def of(
        cls,
        specification: RecommendationSpecification,
        catalogue: Catalogue,
        purchases: Purchases,
        time: pd.Timestamp,
        customers: int,
    ) -> Self:
        """The examples of a cut-off.

        Args:
            specification: The model.
            catalogue: All products.
            purchases: Of all customers; those of the window tell what was bought, later ones nothing.
            time: The cut-off.
            customers: How many are drawn of those with a purchase in the window, at most. Fewer are some of more.
        """
        day, products = day_number(time), len(catalogue)
        coming = purchases.between(day, day + specification.window_days)
        active = np.unique(coming.customer)
        drawn = np.random.default_rng((specification.seed, day)).permutation(len(active))[:customers]
        place = np.argsort(drawn, kind="stable")
        who = active[drawn[place]]
        items = Items.of(specification, catalogue, purchases, day)
        theirs, coming = purchases.before(day).of_customers(who), coming.of_customers(who)
        pairs = Pairs.of(theirs, day)
        rows = find_candidates(items, theirs, pairs)
        truth = np.unique(coming.customer * products + coming.product)
        is_new = ~np.isin(truth, pairs.customer * products + pairs.product)
        return cls(
            time=time,
            items=items,
            theirs=theirs,
            pairs=pairs,
            rows=rows,
            features=describe(items, theirs, pairs, rows),
            was_bought=np.isin(rows.customer * products + rows.product, truth),
            turn=place,
            bought=np.bincount(truth // max(products, 1), minlength=len(who)),
            bought_new=np.bincount(truth[is_new] // max(products, 1), minlength=len(who)),
        )


@dataclass(frozen=True)
class Lesson:
    """What a cut-off teaches: the candidates of some customers, by customer.

    Attributes:
        features: Shape (rows, features).
        was_bought: Shape (rows,).
        is_new: Whether the customer never bought it before.
        customer: A number; rises.
    """

    features: npt.NDArray[np.float32]
    was_bought: Flags
    is_new: Flags
    customer: Codes

    @classmethod
    def of(cls, specification: RecommendationSpecification, examples: Examples) -> Self:
        """The candidates of those who were drawn first, a bounded number of customers."""
        rows = examples.rows
        kept = (examples.turn < specification.parameters.teaching_customers)[rows.customer]
        return cls(examples.features[kept], examples.was_bought[kept], rows.is_new[kept], rows.customer[kept])

    def only_new(self) -> Self:
        """Of them what was never bought before."""
        new = self.is_new
        return type(self)(self.features[new], self.was_bought[new], new[new], self.customer[new])


def place_within(groups: Codes) -> Codes:
    """Place of each row within its group, from 0; the rows of a group stand together."""
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, np.diff(groups) != 0])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))


def best_first(rows: Candidates, scores: Scores) -> Codes:
    """The order of rows by customer, the highest score first; equal scores as the products are ordered."""
    return np.lexsort((rows.product, -np.round(scores, 12), rows.customer))
