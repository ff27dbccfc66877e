"""Features and classes against an independent oracle: recomputed in pandas from the landed files, for every customer.

Written from the definitions (the thresholds in dbt_project.yml, the rules in label_definitions), not from the SQL.
Money is counted in whole cents.
"""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import pandas as pd
import pytest
import yaml

from orchestration.settings import DBT_PROJECT_DIR
from tests.pipeline import HOUSEHOLDS, Home

THRESHOLDS = yaml.safe_load((DBT_PROJECT_DIR / "dbt_project.yml").read_text())["vars"]
RFM_GRID = DBT_PROJECT_DIR / "seeds" / "rfm_grid.csv"


def money(cents: int) -> Decimal:
    return Decimal(int(cents)) / 100


def quotient(numerator: int | Decimal, denominator: int) -> Decimal:
    return (Decimal(numerator) / denominator).quantize(Decimal("0.01"), ROUND_HALF_UP)


def read(home: Home, table: str) -> Any:
    """A landed file as a data frame, without exact copies."""
    return pd.read_parquet(home.source.input_dir(home.input) / f"{table}.parquet").drop_duplicates()


def orders_before(home: Home, as_of_date: date) -> Any:
    """One row per basket bought before the day, oldest first."""
    lines = read(home, "transactions")
    lines["cents"] = (lines["sales_value"] * 100).round().astype("int64")
    orders = lines.groupby(["household_id", "store_id", "basket_id", "transaction_timestamp"], as_index=False)[
        "cents"
    ].sum()
    local = orders["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert(home.source.time_zone)
    orders["days_ago"] = [(as_of_date - at.date()).days for at in local]
    return orders[orders["days_ago"] >= 1].sort_values(["transaction_timestamp", "basket_id"])


def known_households(home: Home, as_of_date: date, orders: Any) -> set[int]:
    """Who has bought, was sent a campaign that has begun, or told about itself."""
    campaigns = read(home, "campaign_descriptions")
    begun = campaigns.loc[campaigns["start_date"] <= pd.Timestamp(as_of_date), "campaign_id"]
    members = read(home, "campaigns")
    sent = members.loc[members["campaign_id"].isin(begun), "household_id"]
    return {*orders["household_id"], *sent, *read(home, "demographics")["household_id"]}


def metrics_of(orders: Any) -> dict[str, Any]:
    """What customer_order_metrics says of a customer with these orders, oldest first."""
    days_ago, cents = orders["days_ago"], orders["cents"]
    in_year = days_ago <= THRESHOLDS["rfm_window_days"]
    window = THRESHOLDS["growth_window_days"]
    count, lifetime = len(orders), int(cents.sum())
    pauses = (-days_ago.diff())[days_ago <= THRESHOLDS["dormant_after_days"]]
    stores = orders["store_id"].astype(str).value_counts()
    tenure, recency = int(days_ago.max()), int(days_ago.min())
    return {
        "first_order_at": orders["transaction_timestamp"].iloc[0].to_pydatetime(),
        "last_order_at": orders["transaction_timestamp"].iloc[-1].to_pydatetime(),
        "tenure_days": tenure,
        "recency_days": recency,
        "longest_ended_gap_days": None if pauses.dropna().empty else int(pauses.max()),
        "lifetime_count_orders": count,
        "lifetime_net_sales": money(lifetime),
        "avg_order_value": quotient(money(lifetime), count),
        "average_days_between_orders": quotient(tenure - recency, count - 1) if count > 1 else None,
        "frequency": int(in_year.sum()),
        "monetary": money(cents[in_year].sum()),
        "net_sales_current_window": money(cents[days_ago <= window].sum()),
        "net_sales_previous_window": money(cents[(days_ago > window) & (days_ago <= 2 * window)].sum()),
        "preferred_store_id": min(stores[stores == stores.max()].index),
    }


COUNTS_AND_SUMS = (
    *("lifetime_count_orders", "lifetime_net_sales", "frequency", "monetary"),
    *("net_sales_current_window", "net_sales_previous_window"),
)
OF_ORDERS_ALONE = (
    *("first_order_at", "last_order_at", "tenure_days", "recency_days", "longest_ended_gap_days"),
    *("avg_order_value", "average_days_between_orders", "preferred_store_id", "r_score", "f_score", "m_score"),
)
NOTHING_BOUGHT: dict[str, Any] = {**dict.fromkeys(COUNTS_AND_SUMS, 0), **dict.fromkeys(OF_ORDERS_ALONE)}


def scores(values: dict[str, Any]) -> dict[str, int]:
    """1 to 5 by customer: the fifth of all customers in which the middle of a value's ranks lies."""
    ranks = pd.Series(values, dtype="float64").rank(method="average")
    return {
        str(name): min(5, 1 + 5 * (int(2 * rank) - 1) // (2 * len(values))) for name, rank in ranks.to_dict().items()
    }


def lifecycle_stage(customer: dict[str, Any]) -> str:
    """The first rule of label_definitions that holds, in the order in which it lists them."""
    if customer["lifetime_count_orders"] == 0:
        return "prospect"
    if customer["recency_days"] > THRESHOLDS["churned_after_days"]:
        return "churned"
    if customer["recency_days"] > THRESHOLDS["dormant_after_days"]:
        return "dormant"
    if customer["tenure_days"] <= THRESHOLDS["new_customer_days"]:
        return "new"
    if (customer["longest_ended_gap_days"] or 0) > THRESHOLDS["dormant_after_days"]:
        return "reactivated"
    current, previous = customer["net_sales_current_window"], customer["net_sales_previous_window"]
    ratio = Decimal(str(THRESHOLDS["growth_ratio"]))
    if current != previous and current >= ratio * previous:
        return "growing"
    if current != previous and previous >= ratio * current:
        return "declining"
    return "mature"


def expected_customers(home: Home, as_of_date: date) -> dict[str, dict[str, Any]]:
    """Every known customer with all features and classes."""
    orders = orders_before(home, as_of_date)
    customers = {str(household): {**NOTHING_BOUGHT} for household in known_households(home, as_of_date, orders)}
    for household, of_household in orders.groupby("household_id"):
        customers[str(household)] = metrics_of(of_household)

    buyers = {name: customer for name, customer in customers.items() if customer["lifetime_count_orders"] > 0}
    r_scores = scores({name: -customer["recency_days"] for name, customer in buyers.items()})
    f_scores = scores({name: customer["frequency"] for name, customer in buyers.items()})
    m_scores = scores({name: customer["monetary"] for name, customer in buyers.items()})
    grid = {(r, fm): segment for r, fm, segment in pd.read_csv(RFM_GRID).itertuples(index=False)}
    for name, customer in customers.items():
        customer["lifecycle_stage"] = lifecycle_stage(customer)
        customer["rfm_segment"] = "prospects"
        if name in buyers:
            r, f, m = r_scores[name], f_scores[name], m_scores[name]
            is_new = customer["tenure_days"] <= THRESHOLDS["new_customer_days"]
            customer |= {"r_score": r, "f_score": f, "m_score": m}
            customer["rfm_segment"] = "new" if is_new else grid[r, (f + m + 1) // 2]
    return customers


def built_customers(home: Home) -> pd.DataFrame:
    """Features and classes as the refresh built them, by customer."""
    with duckdb.connect(str(home.settings.warehouse_path), read_only=True) as connection:
        result = connection.execute(
            "select * exclude (as_of_at) from features.customer_order_metrics"
            " inner join features.customer_classes using (customer_id, as_of_date)"
        )
        columns = [name for name, *_ in result.description or ()]
        return pd.DataFrame(result.fetchall(), columns=columns, dtype=object).set_index("customer_id")


@pytest.mark.parametrize("name", ["small_home", "sample_home"])
def test_every_feature_and_class_equals_the_oracle(name: str, request: pytest.FixtureRequest) -> None:
    home: Home = request.getfixturevalue(name)
    built = built_customers(home)
    (as_of_date,) = built.pop("as_of_date").unique()
    expected = expected_customers(home, as_of_date)
    assert len(expected) >= HOUSEHOLDS
    assert set(built.index) == set(expected)
    assert set(built.columns) == set(expected[built.index[0]])
    differences = [
        f"customer {customer}, {column}: expected {values[column]}, built {built.at[customer, column]!r}"
        for customer, values in expected.items()
        for column in built.columns
        if values[column] != built.at[customer, column]
    ]
    assert differences == []
