"""What may be recommended to customers on a day, and what is known of each pair: the rows that the ranker orders.

The user side: computed for a batch of customers from their own purchases and the item side of the day, so that memory
grows with the batch alone, and a customer's rows are the same alone and in a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from ml.recommendation_history import LEVELS, Codes, Flags, Purchases, visit_days
from ml.recommendation_items import HALF_LIVES, LIKING_BY, Items, faded, fold_in, liking, pair_starts, tally
from ml.specification import Scores

SOURCES = ("similar", "together", "in_subcategory", "factors")
RHYTHM_BY = 56
FACTOR_POOL = 5000
GAP_WEIGHT = 2.0
# Customers whose scores of all sources are in memory at a time.
CHUNK = 256

OWN = (
    *("visits_with", "visit_share", "days_since", "days_since_first", "mean_gap", "due", "visits_since", "units"),
    *("faded_7", "faded_28", "faded_56", "faded_112", "faded_share", "share_and_since"),
)
CUSTOMER = ("visits", "faded_visits", "days_since_visit", "tenure", "products_per_visit", "again_rate", "new_rate")
ITEM = (
    *("popularity_7", "popularity_28", "popularity_112", "trend_7", "trend_28", "again_share", "usual_gap"),
    *("age", "idle", "price", "price_now", "price_level", "buyers"),
)
AFFINITY = (
    *(f"{level}_{what}" for level in LEVELS for what in ("share", "lately")),
    *("subcategory_days_since", "subcategory_products", "price_level_difference"),
)
FEATURES = ("is_new", *OWN, *CUSTOMER, *ITEM, *AFFINITY, *SOURCES)


@dataclass(frozen=True)
class Pairs:
    """What each customer bought before: one row per customer and product, in this order.

    Attributes:
        customer: Place in the batch.
        product: Place in the catalogue.
        visits: Days on which it was bought.
        days_since: Since the last of them.
        days_since_first: Since the first.
        units: Quantity per visit.
        faded: Per half-life the faded visits with it.
    """

    customer: Codes
    product: Codes
    visits: Scores
    days_since: Scores
    days_since_first: Scores
    units: Scores
    faded: dict[int, Scores]

    @classmethod
    def of(cls, theirs: Purchases, day: int) -> "Pairs":
        """The pairs of some customers, as of a day."""
        starts = pair_starts(theirs)
        ends = np.r_[starts[1:], len(theirs)] - 1 if len(starts) else starts
        ago = (day - theirs.day).astype(np.float64)
        visits = (ends - starts + 1).astype(np.float64)

        def summed(values: Scores) -> Scores:
            return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)

        return cls(
            customer=theirs.customer[starts],
            product=theirs.product[starts],
            visits=visits,
            days_since=ago[ends],
            days_since_first=ago[starts],
            units=summed(theirs.thousandths / 1000.0) / visits,
            faded={half: summed(faded(ago, half)) for half in (*HALF_LIVES, RHYTHM_BY)},
        )


@dataclass(frozen=True)
class Visits:
    """The days on which customers bought anything: one row per customer and day, in this order."""

    key: Codes
    span: int
    per_customer: Codes

    @classmethod
    def of(cls, theirs: Purchases, day: int) -> "Visits":
        """The visits of some customers."""
        customer, visited = visit_days(theirs)
        return cls(customer * (day + 1) + visited, day + 1, np.bincount(customer, minlength=len(theirs.customer_ids)))

    def since(self, customer: Codes, day: Codes) -> Scores:
        """Visits of a customer from a day on, shape as given."""
        ends = np.cumsum(self.per_customer)[customer]
        return (ends - np.searchsorted(self.key, customer * self.span + day)).astype(np.float64)


@dataclass(frozen=True)
class Candidates:
    """Rows to be ranked, by customer and product, in this order.

    Attributes:
        customer: Place in the batch, shape (rows,).
        product: Place in the catalogue.
        is_new: Whether the customer never bought it.
        scores: What each of SOURCES says, shape (rows, sources).
        pair: Place of what was bought before in the pairs; -1 where it is new.
    """

    customer: Codes
    product: Codes
    is_new: Flags
    scores: npt.NDArray[np.float64]
    pair: Codes

    def __len__(self) -> int:
        return len(self.customer)


class _Sources:
    """What speaks for products, as pairs of sparse matrices: what a customer has, and what that says of products."""

    def __init__(self, items: Items, theirs: Purchases, pairs: Pairs, rules: sp.csr_matrix | None) -> None:
        customers, count = len(theirs.customer_ids), len(items.catalogue)
        group, names = items.catalogue.groups["subcategory"], items.catalogue.group_names["subcategory"]
        total = tally(pairs.customer, pairs.faded[LIKING_BY], customers)

        def had(values: Scores, columns: Codes, width: int) -> sp.csr_matrix:
            return sp.csr_matrix((values, (pairs.customer, columns)), shape=(customers, width))

        share = pairs.faded[LIKING_BY] / np.maximum(total[pairs.customer], 1e-9)
        self.scoring = {
            "similar": (liking(theirs, count, items.day).astype(np.float64), items.affinities.similar),
            "together": (had(pairs.faded[28], pairs.product, count), items.affinities.together),
            "in_subcategory": (had(share, group[pairs.product], len(names)), items.in_subcategory),
        }
        self.proposing = dict(self.scoring)
        if rules is not None:
            self.proposing["rules"] = (had(np.ones(len(pairs.product)), pairs.product, count), rules)

    def by_customer(self, customers: int) -> Iterator[dict[str, tuple[Codes, Scores]]]:
        """For each customer what each source says: products and scores. Some customers are in memory at a time."""
        for first in range(0, customers, CHUNK):
            said = {name: left[first : first + CHUNK] @ right for name, (left, right) in self.proposing.items()}
            for number in range(min(CHUNK, customers - first)):
                place = {name: slice(*matrix.indptr[number : number + 2]) for name, matrix in said.items()}
                yield {name: (matrix.indices[place[name]], matrix.data[place[name]]) for name, matrix in said.items()}


def find_candidates(items: Items, theirs: Purchases, pairs: Pairs, rules: sp.csr_matrix | None = None) -> Candidates:
    """What is ranked for each customer: the own products with the most rhythm, and what each source puts forward.

    Args:
        items: The item side of the day.
        theirs: Purchases of the batch before the day.
        pairs: From them.
        rules: Confidence of rules, row = antecedent, shape (products, products); None where there are none.
    """
    with threadpool_limits(1):
        parts = list(_customer_by_customer(items, theirs, pairs, rules))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Candidates(empty, empty, np.zeros(0, dtype=bool), np.zeros((0, len(SOURCES))), empty)
    product = np.concatenate([part[0] for part in parts])
    pair = np.concatenate([part[1] for part in parts])
    customer = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return Candidates(customer, product, pair < 0, np.concatenate([part[2] for part in parts]), pair)


def _customer_by_customer(
    items: Items, theirs: Purchases, pairs: Pairs, rules: sp.csr_matrix | None
) -> Iterator[tuple[Codes, Codes, npt.NDArray[np.float64]]]:
    """Products, their places among the pairs, and scores of the sources, for each customer of the batch."""
    parameters, count = items.specification.parameters, len(items.catalogue)
    sources, users = _Sources(items, theirs, pairs, rules), fold_in(items, liking(theirs, count, items.day))
    pool = items.order[:FACTOR_POOL]
    pool_factors = np.ascontiguousarray(items.affinities.factors[pool])
    customers = len(theirs.customer_ids)
    bounds = np.searchsorted(pairs.customer, np.arange(customers + 1))
    is_own, pair_of = np.zeros(count, dtype=bool), np.full(count, -1, dtype=np.int64)
    dense = np.zeros(count)
    for number, said in enumerate(sources.by_customer(customers)):
        rows = np.arange(bounds[number], bounds[number + 1])
        own = pairs.product[rows]
        is_own[own], pair_of[own] = True, rows
        kept = rows[items.is_sold[own]]
        kept = kept[np.argsort(-pairs.faded[RHYTHM_BY][kept], kind="stable")[: parameters.own_candidates]]
        found = [pairs.product[kept]]
        for products, values in said.values():
            usable = ~is_own[products] & items.is_sold[products]
            found.append(_highest(products[usable], values[usable], parameters.new_candidates))
        if len(own):
            liked = pool_factors @ users[number]
            usable = ~is_own[pool]
            found.append(_highest(pool[usable], liked[usable], parameters.new_candidates))
        popular = items.order[: parameters.new_candidates + len(own)]
        found.append(popular[~is_own[popular]][: parameters.new_candidates])
        chosen = np.unique(np.concatenate(found))
        scores = np.empty((len(chosen), len(SOURCES)))
        for column, name in enumerate(sources.scoring):
            products, values = said[name]
            dense[products] = values
            scores[:, column] = dense[chosen]
            dense[products] = 0.0
        scores[:, -1] = np.einsum("ij,j->i", items.affinities.factors[chosen], users[number])
        yield chosen, pair_of[chosen], scores
        is_own[own], pair_of[own] = False, -1


def _highest(places: Codes, values: Scores, count: int) -> Codes:
    """The places with the highest values above 0."""
    above = values > 0
    places, values = places[above], values[above]
    if len(places) <= count:
        return places
    return places[np.argpartition(-values, count - 1)[:count]]


def describe(items: Items, theirs: Purchases, pairs: Pairs, rows: Candidates) -> npt.NDArray[np.float32]:
    """The features of candidates, shape (rows, len(FEATURES)); NaN where something is not known.

    Args:
        items: The item side of the day.
        theirs: Purchases of the batch.
        pairs: From them.
        rows: The candidates.
    """
    visits = Visits.of(theirs, items.day)
    columns: dict[str, npt.NDArray[np.generic]] = {"is_new": rows.is_new}
    columns |= _own(items, visits, pairs, rows)
    columns |= _of_customers(items, theirs, visits, pairs, rows.customer)
    columns |= _of_items(items, rows.product)
    columns |= _affinity(items, theirs, pairs, rows)
    columns |= {name: rows.scores[:, place] for place, name in enumerate(SOURCES)}
    table = np.empty((len(rows), len(FEATURES)), dtype=np.float32)
    for place, name in enumerate(FEATURES):
        table[:, place] = columns[name]
    return table


def _own(items: Items, visits: Visits, pairs: Pairs, rows: Candidates) -> dict[str, Scores]:
    """The rhythm of what was bought before; NaN of what is new."""
    customer, product, n = pairs.customer, pairs.product, pairs.visits
    span = pairs.days_since_first - pairs.days_since
    gap = (span + GAP_WEIGHT * items.usual_gap[product]) / (n - 1 + GAP_WEIGHT)
    first = (items.day - pairs.days_since_first).astype(np.int64)
    last = (items.day - pairs.days_since).astype(np.int64)
    total = np.bincount(customer, weights=pairs.faded[RHYTHM_BY], minlength=len(visits.per_customer))
    since = visits.since(customer, last + 1)
    known = {
        "visits_with": n,
        "visit_share": n / visits.since(customer, first),
        "days_since": pairs.days_since,
        "days_since_first": pairs.days_since_first,
        "mean_gap": gap,
        "due": pairs.days_since / gap,
        "visits_since": since,
        "units": pairs.units,
        "faded_share": pairs.faded[RHYTHM_BY] / total[customer],
        "share_and_since": n / (n + since),
    } | {f"faded_{half}": pairs.faded[half] for half in (*HALF_LIVES, RHYTHM_BY)}
    return {name: np.where(rows.is_new, np.nan, np.r_[values, np.nan][rows.pair]) for name, values in known.items()}


def _of_customers(items: Items, theirs: Purchases, visits: Visits, pairs: Pairs, customer: Codes) -> dict[str, Scores]:
    count = len(theirs.customer_ids)
    owner, day = np.divmod(visits.key, visits.span)
    ago = (items.day - day).astype(np.float64)
    last, first = np.full(count, np.nan), np.full(count, np.nan)
    first[owner[::-1]] = ago[::-1]
    last[owner] = ago
    number = visits.per_customer.astype(np.float64)
    distinct = np.bincount(pairs.customer, minlength=count).astype(np.float64)
    again = np.bincount(pairs.customer, weights=pairs.visits > 1, minlength=count)
    lately = np.bincount(pairs.customer, weights=pairs.days_since <= 28, minlength=count)
    new = np.bincount(pairs.customer, weights=pairs.days_since_first <= 28, minlength=count)
    known = {
        "visits": number,
        "faded_visits": np.bincount(owner, weights=faded(ago, 28), minlength=count),
        "days_since_visit": last,
        "tenure": first,
        "products_per_visit": np.bincount(theirs.customer, minlength=count) / np.maximum(number, 1),
        "again_rate": again / np.maximum(distinct, 1),
        "new_rate": new / np.maximum(lately, 1),
    }
    return {name: values[customer] for name, values in known.items()}


def _of_items(items: Items, product: Codes) -> dict[str, Scores]:
    known = {f"popularity_{half}": values for half, values in items.popularity.items()}
    known["trend_7"] = items.popularity[7] / np.maximum(items.popularity[28], 1e-9)
    known["trend_28"] = items.popularity[28] / np.maximum(items.popularity[112], 1e-9)
    known |= {name: getattr(items, name) for name in ITEM[5:]}
    return {name: values[product] for name, values in known.items()}


def _affinity(items: Items, theirs: Purchases, pairs: Pairs, rows: Candidates) -> dict[str, Scores]:
    """How much customers buy of a candidate's groups, and at which level of price."""
    count = len(theirs.customer_ids)
    weight = pairs.faded[LIKING_BY]
    total = np.bincount(pairs.customer, weights=weight, minlength=count)
    found: dict[str, Scores] = {}
    for level in LEVELS:
        group, groups = items.catalogue.groups[level], max(len(items.catalogue.group_names[level]), 1)
        keys = pairs.customer * groups + group[pairs.product]
        distinct, place = np.unique(keys, return_inverse=True)
        wanted = rows.customer * groups + group[rows.product]
        at = np.minimum(np.searchsorted(distinct, wanted), max(len(distinct) - 1, 0))
        hit = distinct[at] == wanted if len(distinct) else np.zeros(len(wanted), dtype=bool)

        def told(values: Scores, none: float, at: Codes = at, hit: Flags = hit) -> Scores:
            return np.where(hit, np.r_[values, none][at], none)

        share = told(tally(place, weight, len(distinct)), 0.0)
        found[f"{level}_share"] = share / np.maximum(total[rows.customer], 1e-9)
        found[f"{level}_lately"] = told(tally(place, pairs.faded[28], len(distinct)), 0.0)
        if level == "subcategory":
            nearest = np.full(len(distinct), np.inf)
            np.minimum.at(nearest, place, pairs.days_since)
            found["subcategory_days_since"] = told(nearest, np.nan)
            found["subcategory_products"] = told(np.bincount(place, minlength=len(distinct)).astype(np.float64), 0.0)
    level_of = np.bincount(pairs.customer, weights=weight * items.price_level[pairs.product], minlength=count)
    mean = np.divide(level_of, total, out=np.full(count, 0.5), where=total > 0)
    found["price_level_difference"] = items.price_level[rows.product] - mean[rows.customer]
    return found
