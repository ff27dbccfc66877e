"""Invented businesses in the contract's shape, drawn from a seed; each has its own rhythm. Nobody in them exists."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pandas as pd

FIRST_DAY = date(2023, 1, 2)
CAMPAIGN_DAYS = 28


@dataclass(frozen=True)
class Shop:
    """How a business's customers buy.

    Attributes:
        customers: How many there are.
        days: History.
        gap_days: Mean pause between orders of a customer who goes on.
        gap_kind: `steady` pauses are nearly all the same (a subscription), `random` ones spread as waiting times do.
        stops: Chance after each order that it was the last.
        joins_within: Customers place their first order within so many days.
        campaigns: Campaigns, each addressed to a third of the customers, of whom every seventh responds.
        seed: Of all draws.
    """

    customers: int
    days: int
    gap_days: float
    gap_kind: Literal["steady", "random"] = "random"
    stops: float = 0.01
    joins_within: int = 60
    campaigns: int = 0
    seed: int = 7


WHOLESALER = Shop(customers=1000, days=365, gap_days=3.5, stops=0.002, joins_within=30)
BUY_ONCE = Shop(customers=6000, days=730, gap_days=70, stops=0.8, joins_within=700)
SUBSCRIPTION = Shop(
    customers=1500, days=730, gap_days=30.4, gap_kind="steady", stops=0.04, joins_within=400, campaigns=12
)
NEWCOMER = Shop(customers=40, days=30, gap_days=9, joins_within=10)


def _orders(shop: Shop, random: np.random.Generator) -> pd.DataFrame:
    """One row per order: customer and day since the first."""
    customers = np.arange(shop.customers)
    day = random.integers(0, shop.joins_within, shop.customers).astype(float)
    parts = []
    while len(customers):
        parts.append(pd.DataFrame({"customer": customers, "day": day}))
        if shop.gap_kind == "steady":
            pause = random.normal(shop.gap_days, 0.5, len(customers)).round()
        else:
            pause = random.exponential(shop.gap_days, len(customers))
        day = day + np.maximum(pause, 1)
        goes_on = (random.random(len(customers)) >= shop.stops) & (day < shop.days)
        customers, day = customers[goes_on], day[goes_on]
    orders = pd.concat(parts, ignore_index=True)
    orders["day"] = orders["day"].astype(int)
    return orders.sort_values(["day", "customer"], kind="stable").reset_index(drop=True)


def tables(shop: Shop) -> dict[str, pd.DataFrame]:
    """The business's tables in the contract's shape."""
    random = np.random.default_rng(shop.seed)
    orders = _orders(shop, random)
    numbers = np.arange(shop.customers)
    minutes = random.integers(8 * 60, 20 * 60, len(orders))
    ordered_at = pd.Timestamp(FIRST_DAY) + pd.to_timedelta(orders["day"], "D") + pd.to_timedelta(minutes, "min")
    products = np.arange(60)
    lines = orders.index.repeat(random.integers(1, 4, len(orders)))
    product = (60 * random.random(len(lines)) ** 2).astype(int)
    quantity = random.integers(1, 5, len(lines))
    made = {
        "customers": pd.DataFrame(
            {
                "customer_id": [f"K{number}" for number in numbers],
                "first_name": [f"CanaryFirst{number}" for number in numbers],
                "email": [f"canary{number}@example.invalid" for number in numbers],
                "region": random.choice(["north", "south"], shop.customers),
            }
        ),
        "orders": pd.DataFrame(
            {
                "order_id": [f"O{number}" for number in orders.index],
                "customer_id": [f"K{number}" for number in orders["customer"]],
                "ordered_at": ordered_at,
                "currency": "EUR",
            }
        ),
        "order_lines": pd.DataFrame(
            {
                "order_id": [f"O{number}" for number in lines],
                "product_id": [f"P{number}" for number in product],
                "quantity": quantity,
                "net_sales": (quantity * (2 + product / 4)).round(2),
            }
        )
        .groupby(["order_id", "product_id"], as_index=False)
        .sum(),
        "products": pd.DataFrame(
            {
                "product_id": [f"P{number}" for number in products],
                "product_name": [f"Product {number}" for number in products],
                "department": [f"Department {number % 4}" for number in products],
                "category": [f"Category {number % 12}" for number in products],
            }
        ),
    }
    return made | (_campaigns(shop, random) if shop.campaigns else {})


def _campaigns(shop: Shop, random: np.random.Generator) -> dict[str, pd.DataFrame]:
    every = shop.days // (shop.campaigns + 1)
    starts = [FIRST_DAY + timedelta(days=every * (number + 1)) for number in range(shop.campaigns)]
    members = pd.DataFrame(
        [
            (f"C{number}", f"K{customer}", start)
            for number, start in enumerate(starts)
            for customer in np.sort(random.choice(shop.customers, shop.customers // 3, replace=False))
        ],
        columns=["campaign_id", "customer_id", "start"],
    )
    responses = members[random.random(len(members)) < 1 / 7]
    answered = pd.to_datetime(responses["start"]) + pd.to_timedelta(random.integers(1, 20, len(responses)), "D")
    return {
        "campaigns": pd.DataFrame(
            {
                "campaign_id": [f"C{number}" for number in range(shop.campaigns)],
                "start_date": starts,
                "end_date": [start + timedelta(days=CAMPAIGN_DAYS - 1) for start in starts],
            }
        ),
        "campaign_members": members[["campaign_id", "customer_id"]],
        "campaign_responses": responses[["campaign_id", "customer_id"]].assign(responded_at=answered),
    }


def write(made: dict[str, pd.DataFrame], folder: Path, kind: Literal["csv", "parquet"] = "parquet") -> Path:
    """Writes tables as files of a folder, one each."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        for name, frame in made.items():
            connection.register("frame", frame)
            options = "header, dateformat '%Y-%m-%d', timestampformat '%Y-%m-%d %H:%M:%S'" if kind == "csv" else ""
            connection.execute(
                f"copy (from frame) to '{folder / name}.{kind}' (format {kind}{', ' if options else ''}{options})"
            )
    return folder
