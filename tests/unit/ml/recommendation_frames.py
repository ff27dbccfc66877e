"""Shops with known customers: what they buy again, and what goes with it."""

from typing import Any

import numpy as np
import pandas as pd

from ml.recommendation_specification import RecommendationParameters, RecommendationSpecification

FIRST = pd.Timestamp("2024-01-01")
SMALL = RecommendationParameters(
    own_candidates=40,
    new_candidates=10,
    neighbours=10,
    min_buyers=2,
    factors=4,
    factor_rounds=3,
    teaching_customers=120,
    rounds=30,
    learning_rate=0.1,
    num_leaves=7,
    min_rows_in_leaf=20,
    max_bin=63,
)
TASTES, PER_TASTE = 5, 16


def make_recommendation_specification(**changes: Any) -> RecommendationSpecification:
    """Small and quick."""
    settings: dict[str, Any] = {"parameters": SMALL, "min_judged": 30, "max_per_category": 4}
    return RecommendationSpecification(**settings | changes)


def make_products() -> pd.DataFrame:
    """Products of five tastes, each in two departments of four categories; two of fuel, and the unknown one."""
    rows = [
        (
            f"p{taste}{number:02d}",
            f"THING {taste}-{number}",
            "house",
            f"D{number % 2}",
            f"C{number % 4}",
            f"S{number % 8}",
        )
        for taste in range(TASTES)
        for number in range(PER_TASTE)
    ]
    rows += [("fuel1", "PETROL", "house", "FUEL", "FUEL", "FUEL"), ("fuel2", "DIESEL", "house", "FUEL", "FUEL", "FUEL")]
    rows += [("unknown", "unknown", "unknown", "unknown", "unknown", "unknown")]
    return pd.DataFrame(rows, columns=["product_id", "product_name", "brand", "department", "category", "subcategory"])


def make_purchases(customers: int = 120, days: int = 260, seed: int = 0, at_random: bool = False) -> pd.DataFrame:
    """Visits once a week or so; a basket holds some of the customer's staples, now and then something new.

    Each customer has one taste. Staples change in time, so that what was bought lately says more than what was bought
    often; what is new comes from the customer's taste mostly, so that other customers say more than popularity does.

    Args:
        customers: How many.
        days: How long.
        seed: Of everything.
        at_random: Baskets hold any products, and nothing says anything.
    """
    generator = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    products = TASTES * PER_TASTE
    for customer in range(customers):
        taste = customer % TASTES
        staples = list(taste * PER_TASTE + generator.choice(PER_TASTE, 3, replace=False))
        day = int(generator.integers(0, 7))
        while day < days:
            basket = {int(item) for item in staples if generator.random() < 0.7}
            if generator.random() < 0.5:
                new = int(taste * PER_TASTE + generator.integers(PER_TASTE))
                basket.add(new)
                if generator.random() < 0.5:
                    staples = [*staples[1:], new]
            if at_random:
                basket = {int(item) for item in generator.choice(products, 4, replace=False)}
            if generator.random() < 0.2:
                rows.append((f"c{customer:04d}", "fuel1", day, 30.0, 45.0))
            for item in sorted(basket):
                price = 1.0 + item % 5
                product = f"p{item // PER_TASTE}{item % PER_TASTE:02d}"
                rows.append((f"c{customer:04d}", product, day, 1.0, price))
            day += int(generator.integers(4, 11))
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id", "day", "quantity", "net_sales"])
    frame["order_id"] = frame["customer_id"] + "-" + frame["day"].astype(str)
    frame["order_date"] = (FIRST + pd.to_timedelta(frame.pop("day"), unit="D")).dt.date
    return frame


def make_customers(customers: int = 120) -> pd.DataFrame:
    """All of them, by taste; one in seven has no segment."""
    numbers = range(customers)
    segment = [None if number % 7 == 0 else f"taste {number % TASTES}" for number in numbers]
    return pd.DataFrame({"customer_id": [f"c{number:04d}" for number in numbers], "segment": segment})


def bought(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Purchases by hand: customer, product, and day since FIRST; one unit for 2.00 each."""
    frame = pd.DataFrame(list(rows), columns=["customer_id", "product_id", "day"])
    frame["order_id"] = frame["customer_id"] + "-" + frame["day"].astype(str)
    frame["order_date"] = (FIRST + pd.to_timedelta(frame.pop("day").astype(int), unit="D")).dt.date
    return frame.assign(quantity=1.0, net_sales=2.0)
