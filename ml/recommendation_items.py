"""The products as they stand on a day: how popular, how dear, bought again when, similar to which.

Prepared once per day from all purchases before it; nothing here is about one customer, and its size grows with the
products alone. `implicit` (Ben Frederickson) finds neighbours and factors.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from ml.recommendation_history import Catalogue, Codes, Flags, Purchases, visit_days
from ml.recommendation_specification import RecommendationSpecification
from ml.specification import Scores

HALF_LIVES = (7, 28, 112)
POPULAR_BY = 28
LIKING_BY = 112
PRICE_DAYS = 112
PRICE_NOW_DAYS = 14
GAP_PRIOR_DAYS, GAP_PRIOR_WEIGHT = 35.0, 3.0
PER_SUBCATEGORY = 15
UNSEEN_DAYS = 9999.0
_CSR = ("data", "indices", "indptr")


def faded(days_ago: npt.NDArray[Any], half_life: float) -> Scores:
    """Weights that halve every `half_life` days."""
    return np.asarray(np.exp2(-np.asarray(days_ago, dtype=np.float64) / half_life))


def tally(groups: Codes, weights: Scores, count: int) -> Scores:
    """Sum of the weights by group, shape (count,)."""
    return np.asarray(np.bincount(groups, weights=weights, minlength=count), dtype=np.float64)


def pair_starts(purchases: Purchases) -> Codes:
    """First row of each pair of customer and product."""
    if not len(purchases):
        return np.zeros(0, dtype=np.int64)
    changes = (np.diff(purchases.customer) != 0) | (np.diff(purchases.product) != 0)
    return np.flatnonzero(np.r_[True, changes])


def liking(purchases: Purchases, products: int, day: int) -> sp.csr_matrix:
    """How much each customer buys each product, shape (customers, products): 1 + log2 of 1 + faded visits with it.

    Single precision, as `implicit` takes it.
    """
    starts = pair_starts(purchases)
    weights = faded(day - purchases.day, LIKING_BY)
    sums = np.add.reduceat(weights, starts) if len(starts) else np.zeros(0)
    rows, columns = purchases.customer[starts], purchases.product[starts]
    shape = (len(purchases.customer_ids), products)
    return sp.csr_matrix(((0.1 + np.log2(1 + sums)).astype(np.float32), (rows, columns)), shape=shape)


@dataclass(frozen=True)
class Affinities:
    """Which products go together, by the customers who bought them: what of the item side takes time.

    Attributes:
        similar: Cosine of the products' customers, nearest neighbours only, row = what was bought.
        together: Cosine of the products' baskets, nearest neighbours only, row = what was bought.
        factors: Of the matrix factorisation, shape (products, factors), single precision; of what is not sold zero.
    """

    similar: sp.csr_matrix
    together: sp.csr_matrix
    factors: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, specification: RecommendationSpecification, known: Purchases, is_sold: Flags, buyers: Scores, day: int
    ) -> Self:
        """Finds neighbours and factors.

        Args:
            specification: The model.
            known: Purchases before the day; where there are none, products have nothing in common.
            is_sold: Which products may be recommended.
            buyers: Customers who ever bought each.
            day: Days since 1970-01-01.
        """
        with threadpool_limits(1):
            return cls(
                _similar(specification, known, is_sold, buyers, day),
                _together(specification, known, is_sold, day),
                _factorise(specification, known, is_sold, day),
            )

    def content(self) -> bytes:
        """As the bytes of a file of arrays: the same affinities, the same bytes."""
        arrays: dict[str, Any] = {"factors": self.factors}
        for name, matrix in (("similar", self.similar), ("together", self.together)):
            arrays |= {f"{name}_{part}": getattr(matrix, part) for part in _CSR}
        file = BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_content(cls, content: bytes) -> Self:
        """From what `content` gave."""
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            count = len(arrays["factors"])
            similar, together = (
                sp.csr_matrix(tuple(arrays[f"{name}_{part}"] for part in _CSR), shape=(count, count))
                for name in ("similar", "together")
            )
            return cls(similar, together, arrays["factors"])


@dataclass(frozen=True)
class Items:
    """The item side of a day.

    Attributes:
        specification: The model.
        catalogue: All products; arrays below have one row for each.
        day: Days since 1970-01-01; only purchases before it are in here.
        is_sold: May be recommended: allowed, and somebody bought it lately.
        visits: Faded visits of all customers, by POPULAR_BY.
        popularity: Per half-life of HALF_LIVES the faded visits with it.
        buyers: Customers who ever bought it.
        again_share: Share of them who bought it on more than one day, shrunk to the mean of all.
        usual_gap: Days between purchases by one customer, the mean of all, shrunk.
        age: Days since it was first sold.
        idle: Days since it was last sold.
        price: Net sales per unit of the last PRICE_DAYS; NaN where there is none.
        price_now: Price of the last PRICE_NOW_DAYS over that; NaN where there is none.
        price_level: Rank of the price among those sold of its subcategory, 0 the cheapest, 1 the dearest.
        order: Products that are sold, the most popular first.
        in_subcategory: Share of a subcategory's faded visits, the most popular products of each only.
        affinities: Which of them go together.
    """

    specification: RecommendationSpecification
    catalogue: Catalogue
    day: int
    is_sold: Flags
    visits: float
    popularity: dict[int, Scores]
    buyers: Scores
    again_share: Scores
    usual_gap: Scores
    age: Scores
    idle: Scores
    price: Scores
    price_now: Scores
    price_level: Scores
    order: Codes
    in_subcategory: sp.csr_matrix
    affinities: Affinities

    @classmethod
    def of(
        cls,
        specification: RecommendationSpecification,
        catalogue: Catalogue,
        purchases: Purchases,
        day: int,
        has_ranker: bool = True,
        affinities: Affinities | None = None,
    ) -> Self:
        """Prepares the item side of a day.

        Args:
            specification: The model.
            catalogue: All products.
            purchases: Of all customers; those from the day on are not looked at.
            day: Days since 1970-01-01.
            has_ranker: Whether there is one to ask for affinities, which take most of the time; without it there are
                none.
            affinities: As found before, from the same purchases for the same day; None to find them.
        """
        known, count = purchases.before(day), len(catalogue)
        ago = (day - known.day).astype(np.float64)
        first, last = np.full(count, UNSEEN_DAYS), np.full(count, UNSEEN_DAYS)
        np.minimum.at(last, known.product, ago)
        oldest = np.zeros(count)
        np.maximum.at(oldest, known.product, ago)
        first = np.where(last < UNSEEN_DAYS, oldest, UNSEEN_DAYS)
        is_sold = catalogue.is_allowed & (last <= specification.sold_within_days)
        popularity = {half: tally(known.product, faded(ago, half), count) for half in HALF_LIVES}
        _, visited = visit_days(known)
        starts = pair_starts(known)
        ends = np.r_[starts[1:], len(known)] - 1 if len(starts) else starts
        item, visits = known.product[starts], (ends - starts + 1).astype(np.float64)
        buyers = np.bincount(item, minlength=count).astype(np.float64)
        again = np.bincount(item, weights=visits > 1, minlength=count)
        mean_again = again.sum() / max(buyers.sum(), 1.0)
        gaps = np.bincount(item, weights=visits - 1, minlength=count)
        spans = np.bincount(item, weights=(known.day[ends] - known.day[starts]).astype(np.float64), minlength=count)
        price, price_now = _prices(known, ago, count)
        order = np.flatnonzero(is_sold)
        order = order[np.lexsort((order, -np.round(popularity[POPULAR_BY][order], 9)))]
        if affinities is None:
            told = known if has_ranker else known.before(0)
            affinities = Affinities.of(specification, told, is_sold, buyers, day)
        return cls(
            specification=specification,
            catalogue=catalogue,
            day=day,
            is_sold=is_sold,
            visits=float(faded(day - visited, POPULAR_BY).sum()),
            popularity=popularity,
            buyers=buyers,
            again_share=(again + 5 * mean_again) / (buyers + 5),
            usual_gap=(spans + GAP_PRIOR_DAYS * GAP_PRIOR_WEIGHT) / (gaps + GAP_PRIOR_WEIGHT),
            age=first,
            idle=last,
            price=price,
            price_now=price_now,
            price_level=_price_level(price, catalogue.groups["subcategory"], is_sold),
            order=order,
            in_subcategory=_in_subcategory(catalogue, popularity[POPULAR_BY], order),
            affinities=affinities,
        )


def _prices(known: Purchases, ago: Scores, count: int) -> tuple[Scores, Scores]:
    """Net sales per unit of the longer past, and the price of the last days over it."""
    priced = (known.thousandths > 0) & (known.cents > 0)
    found = []
    for days in (PRICE_DAYS, PRICE_NOW_DAYS):
        rows = priced & (ago <= days)
        cents = np.bincount(known.product[rows], weights=known.cents[rows], minlength=count)
        units = np.bincount(known.product[rows], weights=known.thousandths[rows], minlength=count)
        found.append(np.divide(10 * cents, units, out=np.full(count, np.nan), where=units > 0))
    return found[0], found[1] / found[0]


def _price_level(price: Scores, subcategory: Codes, is_sold: Flags) -> Scores:
    rows = np.flatnonzero(is_sold & np.isfinite(price))
    rows = rows[np.lexsort((rows, price[rows], subcategory[rows]))]
    level = np.full(len(price), 0.5)
    if len(rows):
        group = subcategory[rows]
        starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
        sizes = np.diff(np.r_[starts, len(rows)])
        place = np.arange(len(rows)) - np.repeat(starts, sizes)
        level[rows] = np.divide(
            place, np.repeat(sizes - 1, sizes), out=np.full(len(rows), 0.5), where=np.repeat(sizes, sizes) > 1
        )
    return level


def _in_subcategory(catalogue: Catalogue, popularity: Scores, order: Codes) -> sp.csr_matrix:
    group = catalogue.groups["subcategory"]
    by_group = order[np.argsort(group[order], kind="stable")]
    groups = group[by_group]
    starts = np.flatnonzero(np.r_[True, np.diff(groups) != 0]) if len(groups) else np.zeros(0, dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(groups)])
    place = np.arange(len(groups)) - np.repeat(starts, sizes)
    total = np.bincount(groups, weights=popularity[by_group], minlength=len(catalogue.group_names["subcategory"]))
    rows, items = groups[place < PER_SUBCATEGORY], by_group[place < PER_SUBCATEGORY]
    shape = (len(total), len(catalogue))
    return sp.csr_matrix((popularity[items] / np.maximum(total[rows], 1e-9), (rows, items)), shape=shape)


def _similar(
    specification: RecommendationSpecification, known: Purchases, is_sold: Flags, buyers: Scores, day: int
) -> sp.csr_matrix:
    """Nearest neighbours by the customers who bought; what too few bought has none."""
    parameters = specification.parameters
    weights = liking(known, len(is_sold), day)
    told = np.flatnonzero(is_sold & (buyers >= parameters.min_buyers))
    return _neighbours(parameters.neighbours, weights[:, told], told, len(is_sold))


def _together(specification: RecommendationSpecification, known: Purchases, is_sold: Flags, day: int) -> sp.csr_matrix:
    """Nearest neighbours by lately shared baskets."""
    parameters = specification.parameters
    lately = (known.day >= day - parameters.basket_days) & is_sold[known.product]
    item = known.product[lately]
    _, basket = np.unique(known.customer[lately] * (day + 1) + known.day[lately], return_inverse=True)
    often = np.bincount(item, minlength=len(is_sold)) >= parameters.min_buyers
    told = np.flatnonzero(often)
    kept, place = often[item], np.cumsum(often) - 1
    shape = (int(basket.max()) + 1 if len(basket) else 0, len(told))
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    matrix = sp.csr_matrix((ones, (basket[kept], place[item[kept]])), shape=shape)
    return _neighbours(parameters.neighbours, matrix, told, len(is_sold))


def _neighbours(neighbours: int, matrix: sp.csr_matrix, told: Codes, count: int) -> sp.csr_matrix:
    """Neighbours by cosine of the products `told`, which are the columns of `matrix`; a product is not its own."""
    from implicit.nearest_neighbours import ItemItemRecommender

    if not matrix.nnz:
        return sp.csr_matrix((count, count))
    recommender = ItemItemRecommender(K=neighbours + 1, num_threads=1)
    recommender.fit(normalize(matrix.astype(np.float64), axis=0).tocsr(), show_progress=False)
    found = recommender.similarity.tocoo()
    other = found.row != found.col
    data = np.asarray(found.data[other], dtype=np.float64)
    return sp.csr_matrix((data, (told[found.row[other]], told[found.col[other]])), shape=(count, count))


def _factorise(
    specification: RecommendationSpecification, known: Purchases, is_sold: Flags, day: int
) -> npt.NDArray[np.float32]:
    """Factors of what is sold (Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets")."""
    factors = np.zeros((len(is_sold), specification.parameters.factors), dtype=np.float32)
    weights = liking(known, len(is_sold), day)[:, np.flatnonzero(is_sold)]
    if weights.nnz:
        factorisation = _factorisation(specification)
        factorisation.fit(weights, show_progress=False)
        factors[is_sold] = factorisation.item_factors
    return factors


def fold_in(items: Items, liked: sp.csr_matrix) -> npt.NDArray[np.float32]:
    """Factors of customers by what they like, as from `liking`, shape (customers, factors); zeros where there are none.

    Args:
        items: The item side.
        liked: Shape (customers, products).
    """
    factors = items.affinities.factors
    if not liked.shape[0] or not factors.any():
        return np.zeros((liked.shape[0], factors.shape[1]), dtype=np.float32)
    factorisation = _factorisation(items.specification)
    factorisation.item_factors = factors[items.is_sold]
    found = factorisation.recalculate_user(np.arange(liked.shape[0]), liked[:, np.flatnonzero(items.is_sold)].tocsr())
    return np.asarray(found, dtype=np.float32)


def _factorisation(specification: RecommendationSpecification) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    parameters = specification.parameters
    return AlternatingLeastSquares(
        factors=parameters.factors,
        regularization=parameters.factor_l2,
        alpha=parameters.factor_confidence,
        iterations=parameters.factor_rounds,
        num_threads=1,
        random_state=specification.seed,
    )
