"""From scores to two lists per customer, and why each product is in them, in plain words.

No product that the customer bought before is in `discover`, none that they did not in `buy_again`. Reasons name
products and groups of products, never a person.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ml.recommendation_candidates import SOURCES, Candidates, Pairs
from ml.recommendation_examples import best_first, place_within
from ml.recommendation_history import UNKNOWN, Codes
from ml.recommendation_items import Items
from ml.recommendation_specification import RecommendationSpecification
from ml.specification import Scores

BUY_AGAIN, DISCOVER = "buy_again", "discover"
# A source that says at least this of a product, over the highest that it says of any that is new, is a reason.
MUCH = 0.5


@dataclass(frozen=True)
class Lists:
    """Rows that are recommended, by customer and rank.

    Attributes:
        row: Which of the candidates.
        rank: Over both lists of a customer, from 1.
        list_rank: Within the list, from 1.
    """

    row: Codes
    rank: Codes
    list_rank: Codes


def make_lists(
    specification: RecommendationSpecification, rows: Candidates, scores: Scores, kinds: Codes, capped: bool = True
) -> Lists:
    """The best of each list, by score.

    Args:
        specification: With the length of the lists, and how many of a category may be in one.
        rows: Candidates.
        scores: Of them, comparable within a customer.
        kinds: The category of each product of the catalogue; see `Catalogue.kinds`.
        capped: False to leave out the limit per category.
    """
    order = best_first(rows, scores)
    group = rows.customer[order] * 2 + rows.is_new[order]
    if capped and specification.max_per_category is not None:
        kind = group * (int(kinds.max(initial=0)) + 1) + kinds[rows.product[order]]
        by_kind = np.argsort(kind, kind="stable")
        nth = np.empty(len(order), dtype=np.int64)
        nth[by_kind] = place_within(kind[by_kind])
        kept = nth < specification.max_per_category
        order, group = order[kept], group[kept]
    by_group = np.argsort(group, kind="stable")
    nth = np.empty(len(order), dtype=np.int64)
    nth[by_group] = place_within(group[by_group])
    kept = nth < specification.list_length
    order, nth = order[kept], nth[kept]
    return Lists(order, place_within(rows.customer[order]) + 1, nth + 1)


def due_reasons(pairs: Pairs, visits: Codes, pair: Codes, day: int) -> list[str]:
    """Why something is in `buy_again`: how often, in which rhythm, when last. True on later days as well.

    Args:
        pairs: What the customers bought before.
        visits: Of each customer.
        pair: Rows of `pairs`.
        day: As of which the pairs are, in days since 1970-01-01.
    """
    found = []
    for row in pair:
        times, total = int(pairs.visits[row]), int(visits[pairs.customer[row]])
        last = np.datetime64(day - int(pairs.days_since[row]), "D")
        if times == 1:
            found.append(f"bought on 1 of {_count(total, 'visit')}, on {last}")
        else:
            gap = (pairs.days_since_first[row] - pairs.days_since[row]) / (times - 1)
            found.append(f"bought on {times} of {total} visits, usually every {_days(gap)}, last on {last}")
    return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _days(number: float) -> str:
    return _count(max(round(float(number)), 1), "day")


class DiscoveryReasons:
    """Why something is in `discover`: what it goes with, or where it is popular."""

    def __init__(self, items: Items, rules: sp.csr_matrix | None) -> None:
        self.items = items
        self.columns = {name: getattr(items.affinities, name).tocsc() for name in ("similar", "together")}
        self.rules = None if rules is None else rules.tocsc()

    def __call__(self, rows: Candidates, pairs: Pairs, chosen: Codes) -> list[str]:
        """A reason per row: a rule, if there is one, else the first source that says much of it, else popularity.

        Args:
            rows: Candidates.
            pairs: What the customers bought before.
            chosen: Of the candidates those that are recommended, none of them bought before.
        """
        if not len(chosen):
            return []
        strength = self._strength(rows, chosen)
        bounds = np.searchsorted(pairs.customer, [rows.customer[chosen], rows.customer[chosen] + 1])
        return [
            self._reason(int(rows.product[row]), pairs, slice(start, end), strength[place])
            for place, (row, start, end) in enumerate(zip(chosen, *bounds, strict=True))
        ]

    def _strength(self, rows: Candidates, chosen: Codes) -> npt.NDArray[np.float64]:
        """What each source says of a row, over the highest that it says of what is new to the customer."""
        said = np.where(rows.is_new[:, None], np.maximum(rows.scores, 0.0), 0.0)
        customers, starts = np.unique(rows.customer, return_index=True)
        highest = np.maximum.reduceat(said, starts, axis=0)[np.searchsorted(customers, rows.customer[chosen])]
        return np.asarray(np.round(said[chosen] / np.maximum(highest, 1e-9), 9))

    def _reason(self, product: int, pairs: Pairs, own: slice, strength: Scores) -> str:
        ruled = None if self.rules is None else self._strongest(self.rules, product, pairs, own)
        if ruled is not None:
            return f"customers who buy {ruled} often buy this"
        much = strength >= MUCH
        source = SOURCES[int(np.argmax(much))] if much.any() else "popular"
        if source in self.columns:
            with_this = self._strongest(self.columns[source], product, pairs, own)
            if with_this is not None:
                return (
                    f"customers who buy {with_this} often buy this"
                    if source == "similar"
                    else f"often bought together with {with_this}"
                )
        if source == "in_subcategory":
            catalogue = self.items.catalogue
            group = catalogue.group_names["subcategory"][catalogue.groups["subcategory"][product]]
            if group != UNKNOWN:
                return f"popular among {group}, which the customer buys"
        if source == "factors":
            return "bought by customers with similar purchases"
        return "popular with all customers"

    def _strongest(self, columns: Any, product: int, pairs: Pairs, own: slice) -> str | None:
        """Name of what the customer bought that speaks for a product most."""
        place = slice(columns.indptr[product], columns.indptr[product + 1])
        bought = pairs.product[own]
        at = np.minimum(np.searchsorted(bought, columns.indices[place]), max(len(bought) - 1, 0))
        hit = bought[at] == columns.indices[place] if len(bought) else np.zeros(place.stop - place.start, dtype=bool)
        if not hit.any():
            return None
        weight = columns.data[place][hit] * (1 + np.log2(1 + pairs.visits[own][at[hit]]))
        return str(self.items.catalogue.names[bought[at[hit][np.argmax(np.round(weight, 9))]]])
