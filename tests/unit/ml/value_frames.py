"""Shops with known customers: days of purchases, and feature rows computed from them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.key_accounts import list_threshold
from ml.value_specification import ValueParameters, ValueSpecification

FIRST = pd.Timestamp("2024-01-01")
WINDOW = 28
SMALL = ValueParameters(
    kernel_points=40, rounds=25, learning_rate=0.1, num_leaves=4, min_rows_in_leaf=20, feature_fraction=0.8, max_bin=63
)
FEATURES = ("net_sales_14d", "net_sales_28d", "net_sales_all", "count_visits", "recency_days", "tenure_days")
Days = npt.NDArray[np.float64]


def make_value_specification(**changes: Any) -> ValueSpecification:
    """A window of 28 days; small and quick."""
    settings: dict[str, Any] = {
        "window_days": WINDOW,
        "last_window_column": "net_sales_28d",
        "features": (*FEATURES, "hint"),
        "money_features": (*FEATURES, "hint"),
        "min_rows": 200,
        "min_buyers": 50,
        "min_history_days": 28,
        "parameters": SMALL,
    }
    return ValueSpecification(**settings | changes)


def make_days(customers: int = 300, days: int = 196, seed: int = 0, same: bool = False) -> tuple[Days, Days]:
    """Net sales by customer and day, and the rate of purchase per day behind it, both of shape (customers, days).

    Each purchase is about 20. Rates are drawn anew every 28 days, so that the last ones say little and a hint of them
    says much; `same`: all customers have the same rate at all times, and nothing says anything.
    """
    generator = np.random.default_rng(seed)
    levels = generator.gamma(1.0, 0.12, (customers, days // WINDOW + 1)).clip(0.005, 0.9)
    rates = np.full((customers, days), 0.1) if same else np.repeat(levels, WINDOW, axis=1)[:, :days]
    bought = generator.random((customers, days)) < rates
    return bought * generator.gamma(4.0, 5.0, (customers, days)), rates


def make_value_rows(sales: Days, rates: Days | None = None, every: int = 7, window: int = WINDOW) -> pd.DataFrame:
    """Feature rows on every seventh day of customers who had bought by then, labelled where the window is over.

    Args:
        sales: Net sales, shape (customers, days); a purchase is what is not 0.
        rates: For `hint`, the expected net sales of the coming window; 0 where None.
        every: Days between cut-offs.
        window: Days.
    """
    customers, days = sales.shape
    visits = sales != 0
    frames: list[pd.DataFrame] = []
    for day in range(every, days + 1, every):
        past, count = visits[:, :day], visits[:, :day].sum(axis=1)
        first, last = past.argmax(axis=1), day - 1 - past[:, ::-1].argmax(axis=1)
        total, coming = sales[:, :day].sum(axis=1), sales[:, day : day + window].sum(axis=1)
        hint = np.zeros(customers) if rates is None else rates[:, day : day + window].sum(axis=1) * 20
        frame = pd.DataFrame(
            {
                "customer_id": [f"c{number:04d}" for number in range(customers)],
                "as_of_date": FIRST + pd.Timedelta(days=day),
                "net_sales_14d": sales[:, max(day - 14, 0) : day].sum(axis=1),
                "net_sales_28d": sales[:, max(day - 28, 0) : day].sum(axis=1),
                "net_sales_all": total,
                "count_visits": count,
                "recency_days": day - last,
                "tenure_days": day - first,
                "mean_visit_net_sales": np.where(count > 0, total / np.maximum(count, 1), np.nan),
                "hint": hint,
                "net_sales_value_window": coming if day + window <= days else np.nan,
                "becomes_key_account": (coming >= list_threshold(coming, 0.33)) if day + window <= days else np.nan,
            }
        )
        frames.append(frame[count > 0])
    return pd.concat(frames, ignore_index=True)
