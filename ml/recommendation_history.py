"""Purchases and products as arrays of numbers: what all parts of recommending read. No learning here.

Sums are of whole numbers (cents, thousandths of a unit), so that the order of the rows makes no difference.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.recommendation_specification import RecommendationSpecification
from ml.specification import Moment, require_columns

Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

PURCHASE_COLUMNS = ("customer_id", "product_id", "order_date", "quantity", "net_sales")
LEVELS = ("subcategory", "category", "department", "brand")
PRODUCT_COLUMNS = ("product_id", "product_name", *LEVELS)
UNKNOWN = "unknown"


def day_number(moment: Moment) -> int:
    """Days since 1970-01-01."""
    return int(np.datetime64(pd.Timestamp(moment).date(), "D").astype(np.int64))


@dataclass(frozen=True)
class Catalogue:
    """All products, in the order of their identity.

    Attributes:
        ids: Product identities, sorted.
        names: For people.
        groups: Per level of LEVELS the code of each product's group, shape (products,).
        group_names: Per level the names, by code.
        is_allowed: Whether it may be recommended, if it is sold.
    """

    ids: "pd.Index[str]"
    names: npt.NDArray[Any]
    groups: dict[str, Codes]
    group_names: dict[str, npt.NDArray[Any]]
    is_allowed: Flags

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kinds(self) -> Codes:
        """The code of each product's category; what is of an unknown one is a kind of its own."""
        codes, names = self.groups["category"], self.group_names["category"]
        return np.where(names[codes] == UNKNOWN, len(names) + np.arange(len(self)), codes)

    @classmethod
    def of(cls, specification: RecommendationSpecification, products: pd.DataFrame) -> Self:
        """The catalogue of a frame of products; NULL is `unknown`.

        Raises:
            ValueError: A column is missing, or a product is there twice.
        """
        require_columns(products, list(PRODUCT_COLUMNS), specification.name)
        table = products[list(PRODUCT_COLUMNS)].astype(object).where(products[list(PRODUCT_COLUMNS)].notna(), UNKNOWN)
        table = table.astype(str).sort_values("product_id", kind="stable")
        double = table["product_id"].duplicated()
        if double.any():
            raise ValueError(
                f"{specification.name}: product_id must name one row of the products;"
                f" {table.loc[double, 'product_id'].iloc[0]!r} names several"
            )
        names = table["product_name"].where(table["product_name"] != UNKNOWN, "product " + table["product_id"])
        coded = {level: pd.factorize(table[level], sort=True) for level in LEVELS}
        is_allowed = ~(
            table["department"].isin(specification.excluded_departments)
            | table["category"].isin(specification.excluded_categories)
            | table["product_id"].isin(specification.excluded_products)
        )
        return cls(
            ids=pd.Index(table["product_id"]),
            names=names.to_numpy(dtype=object),
            groups={level: np.asarray(codes, dtype=np.int64) for level, (codes, _) in coded.items()},
            group_names={level: np.asarray(names, dtype=object) for level, (_, names) in coded.items()},
            is_allowed=is_allowed.to_numpy(dtype=bool),
        )


@dataclass(frozen=True)
class Purchases:
    """One row per customer, product and day, in this order.

    Attributes:
        customer_ids: Customer identities, sorted; `customer` is the place in it.
        customer: Shape (rows,).
        product: Place in the catalogue, shape (rows,).
        day: Days since 1970-01-01, shape (rows,).
        thousandths: Quantity, in thousandths.
        cents: Net sales, in hundredths of the currency.
    """

    customer_ids: "pd.Index[str]"
    customer: Codes
    product: Codes
    day: Codes
    thousandths: Codes
    cents: Codes

    def __len__(self) -> int:
        return len(self.customer)

    @classmethod
    def of(
        cls,
        specification: RecommendationSpecification,
        catalogue: Catalogue,
        frame: pd.DataFrame,
        before: Moment,
        customer_ids: "pd.Index[str] | None" = None,
    ) -> Self:
        """Purchases of products that may be recommended, before a day.

        Args:
            specification: The model.
            catalogue: Rows of products that are not in it, or may not be recommended, are left out.
            frame: Columns PURCHASE_COLUMNS, in any order of rows.
            before: Rows from this day on are not looked at.
            customer_ids: Whose; rows of others are left out. None for all in the frame.

        Raises:
            ValueError: A column is missing, or a number is NULL or infinite.
        """
        require_columns(frame, list(PURCHASE_COLUMNS), specification.name)
        product = _places(frame["product_id"], catalogue.ids)
        days = pd.to_datetime(frame["order_date"]).to_numpy(dtype="datetime64[D]").astype(np.int64)
        kept = (product >= 0) & (days < day_number(before))
        kept &= catalogue.is_allowed[product]
        frame, product, days = frame[kept], product[kept], days[kept]
        if customer_ids is None:
            distinct = frame["customer_id"].astype(str).drop_duplicates()
            customer_ids = pd.Index(np.unique(distinct.to_numpy(dtype=object)))
        customer = _places(frame["customer_id"], customer_ids)
        quantity, sales = (
            _scaled(specification, frame, *column) for column in (("quantity", 1000), ("net_sales", 100))
        )
        known = customer >= 0
        first = int(days.min()) if len(days) else 0
        span = int(days.max()) - first + 1 if len(days) else 1
        keys = ((customer * len(catalogue) + product) * span + days - first)[known]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.r_[True, np.diff(keys) != 0]) if len(keys) else np.zeros(0, dtype=np.int64)
        keys = keys[starts]

        def summed(values: Codes) -> Codes:
            sums = np.add.reduceat(values[known][order], starts) if len(starts) else np.zeros(0)
            return np.asarray(sums, dtype=np.int64)

        pair, day = np.divmod(keys, span)
        owner, item = np.divmod(pair, max(len(catalogue), 1))
        return cls(customer_ids, owner, item, day + first, summed(quantity), summed(sales))

    def before(self, day: int) -> Self:
        """Those before a day; the customers stay."""
        return self._rows(self.day < day)

    def between(self, first: int, end: int) -> Self:
        """Those from a day on, before another; the customers stay."""
        return self._rows((self.day >= first) & (self.day < end))

    def of_customers(self, places: Codes) -> Self:
        """Those of some customers, in their order: `places` rise."""
        renumbered = np.full(len(self.customer_ids), -1, dtype=np.int64)
        renumbered[places] = np.arange(len(places))
        found = self._rows(renumbered[self.customer] >= 0)
        return type(self)(
            self.customer_ids[places],
            renumbered[found.customer],
            found.product,
            found.day,
            found.thousandths,
            found.cents,
        )

    def _rows(self, kept: Flags) -> Self:
        return type(self)(
            self.customer_ids,
            self.customer[kept],
            self.product[kept],
            self.day[kept],
            self.thousandths[kept],
            self.cents[kept],
        )


def _places(names: "pd.Series[str]", ids: "pd.Index[str]") -> Codes:
    """Places of names among identities, -1 of what is none of them. Names repeat, so each is looked up once."""
    codes, distinct = pd.factorize(names.astype(str))
    return np.append(ids.get_indexer(pd.Index(distinct)), -1)[codes].astype(np.int64)


def visit_days(purchases: Purchases) -> tuple[Codes, Codes]:
    """Visits: customer and day, once each, in this order."""
    span = int(purchases.day.max()) + 1 if len(purchases) else 1
    customer, day = np.divmod(np.unique(purchases.customer * span + purchases.day), span)
    return customer, day


def count_visits(purchases: Purchases) -> Codes:
    """Visits by customer, shape (customers,)."""
    return np.bincount(visit_days(purchases)[0], minlength=len(purchases.customer_ids))


def _scaled(specification: RecommendationSpecification, frame: pd.DataFrame, column: str, scale: int) -> Codes:
    numbers = pd.to_numeric(frame[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"{specification.name}: {int((~np.isfinite(numbers)).sum())} of {len(numbers)} values of {column} are NULL"
            " or infinite; each purchase needs one"
        )
    return np.asarray(np.rint(numbers * scale), dtype=np.int64)
