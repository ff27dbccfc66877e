"""Behaviours and the classes told from them against an independent oracle: recomputed in pandas from the landed files.

Written from the definitions (the thresholds in dbt_project.yml, the rules in label_definitions), not from the SQL.
"""

from datetime import date
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from orchestration.settings import DBT_PROJECT_DIR
from tests.integration.test_features_against_pandas import THRESHOLDS, read
from tests.pipeline import HOUSEHOLDS, Home

GROUPS = pd.read_csv(DBT_PROJECT_DIR / "seeds" / "department_groups.csv")
SERVED = set(GROUPS.loc[GROUPS["is_serviced"], "department"])
NUMBERS = (
    *("count_visits", "gap_variation", "discount_share", "private_label_share", "serviced_share", "price_level"),
    *("new_product_share", "count_periods", "count_active_periods"),
)
CLASSES = ("purchase_pattern", "needs_type", "loyalty_tier", "is_key_account", "key_account_driver")


def lines_before(home: Home, as_of_date: date) -> Any:
    """One row per line before the day, money in cents, with what is known of its product."""
    lines = read(home, "transactions").merge(read(home, "products"), on="product_id", how="left")
    local = lines["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert(home.source.time_zone)
    lines["age"] = [(as_of_date - at.date()).days for at in local]
    lines["net"] = (100 * lines["sales_value"]).round()
    lines["discount"] = (100 * (lines["retail_disc"] + lines["coupon_match_disc"])).round()
    lines["gross"] = lines["net"] + lines["discount"]
    lines["is_sale"] = (lines["quantity"] > 0) & (lines["net"] > 0)
    lines["kind"] = lines["product_category"].fillna("unknown") + "/" + lines["product_type"].fillna("unknown")
    lines["product"] = lines["product_id"].where(lines["manufacturer_id"].notna(), -1)
    lines["is_priced"] = lines["is_sale"] & ~lines["product_type"].fillna("").str.startswith("GASOLINE")
    return lines[lines["age"] >= 1]


def behaviours(lines: Any) -> pd.DataFrame:
    """What customer_behaviours says, by household, of all who have ordered."""
    window = lines[lines["age"] <= THRESHOLDS["rfm_window_days"]]
    priced = window[window["is_priced"]]
    by_kind = priced.groupby("kind")[["gross", "quantity"]].sum()
    usual = np.floor(100 * by_kind["gross"] / by_kind["quantity"] + 0.5) / 100
    sales = lines[lines["is_sale"]]
    first = sales.groupby(["household_id", "product"])["age"].max().rename("first_age").reset_index()
    bought = window[window["is_sale"]].merge(first, on=["household_id", "product"])

    total = window.groupby("household_id")["net"].sum()
    total = total.where(total != 0)
    table = pd.DataFrame(index=pd.Index(sorted(lines["household_id"].unique()), name="household_id"))
    by_household = bought.groupby("household_id")
    table["discount_share"] = by_household["discount"].sum() / by_household["gross"].sum()
    for name, chosen in {
        "private_label_share": window["brand"] == "Private",
        "serviced_share": window["department"].isin(SERVED),
    }.items():
        part = window[chosen].groupby("household_id")["net"].sum().reindex(total.index).fillna(0)
        table[name] = part / total
    at_usual = priced.assign(usual=priced["quantity"] * priced["kind"].map(usual)).groupby("household_id")
    table["price_level"] = at_usual["gross"].sum() / at_usual["usual"].sum()
    table["new_product_share"] = (bought["age"] == bought["first_age"]).groupby(bought["household_id"]).mean()

    period, periods = THRESHOLDS["loyalty_period_days"], THRESHOLDS["loyalty_periods"]
    for household, part in lines.groupby("household_id"):
        ages = np.sort(part["age"].unique())[::-1]
        gaps = -np.diff(ages)[ages[1:] <= THRESHOLDS["rfm_window_days"]]
        recent = ages[ages <= THRESHOLDS["rfm_window_days"]]
        gaps = np.append(gaps, recent.min()) if len(recent) else gaps
        table.loc[household, "count_visits"] = len(recent)
        table.loc[household, "gap_variation"] = gaps.std(ddof=1) / gaps.mean() if len(gaps) > 1 else np.nan
        table.loc[household, "count_periods"] = min(periods, -(-ages.max() // period))
        table.loc[household, "count_active_periods"] = len(
            {(age - 1) // period for age in ages if age <= period * periods}
        )
    return table


def mid_rank_share(values: "pd.Series[Any]") -> "pd.Series[float]":
    return (values.rank() - 0.5) / len(values)


def needs(table: pd.DataFrame) -> "pd.Series[str]":
    """The need of each customer with enough visits, told among those with the same frequency score."""
    told = table[table["count_visits"] >= THRESHOLDS["min_visits_for_needs"]]

    def share(values: "pd.Series[Any]") -> "pd.Series[float]":
        # Who has no value is ranked last, behind the others, and is in the middle itself.
        ranks = values.fillna(np.inf).groupby(told["f_score"]).transform(mid_rank_share)
        return ranks.where(values.notna(), 0.5)

    price = share((share(told["discount_share"]) + share(told["private_label_share"])).round(12))
    ranks = pd.DataFrame({"price_sensitive": price})
    for name, column in {
        "quality_seeking": "price_level",
        "service_dependent": "serviced_share",
        "variety_seeking": "new_product_share",
    }.items():
        ranks[name] = share(told[column].round(12))
    stands_out = ranks.max(axis=1) >= 1 - THRESHOLDS["needs_top_share"]
    return ranks.round(12).idxmax(axis=1).where(stands_out, "balanced").reindex(table.index).fillna("balanced")


def expected_classes(home: Home, as_of_date: date, metrics: pd.DataFrame) -> pd.DataFrame:
    """Behaviours and classes by customer, given the order metrics, which another oracle has checked."""
    table = behaviours(lines_before(home, as_of_date))
    table.index = table.index.astype(str)
    table = table.join(metrics)
    value_score = np.minimum(5, 1 + np.floor(5 * mid_rank_share(table["avg_order_value"])))
    ahead = table["f_score"] - value_score
    table["purchase_pattern"] = np.select(
        [
            table["count_visits"] < THRESHOLDS["min_visits_for_pattern"],
            ahead >= THRESHOLDS["pattern_score_gap"],
            -ahead >= THRESHOLDS["pattern_score_gap"],
            table["gap_variation"] <= THRESHOLDS["regular_gap_variation"],
        ],
        ["sporadic", "frequent_low_spend", "infrequent_high_spend", "regular"],
        "sporadic",
    )
    table["needs_type"] = needs(table)
    share = table["count_active_periods"] / table["count_periods"]
    table["loyalty_tier"] = np.select(
        [
            table["count_periods"] < THRESHOLDS["loyalty_min_periods"],
            (share >= THRESHOLDS["loyalty_high_share"]) & (table["f_score"] >= THRESHOLDS["loyalty_high_f_score"]),
            share >= THRESHOLDS["loyalty_medium_share"],
        ],
        ["low", "high", "medium"],
        "low",
    )
    spent = table["monetary"][table["monetary"] > 0].sort_values(ascending=False)
    above = spent.map(lambda amount: spent[spent > amount].sum())
    table["is_key_account"] = (above < THRESHOLDS["key_account_sales_share"] * spent.sum()).reindex(
        table.index, fill_value=False
    )
    in_window = table[table["frequency"] > 0]
    often = np.log(table["frequency"] / in_window["frequency"].median())
    large = np.log(
        (table["monetary"] / table["frequency"]).where(table["monetary"] > 0)
        / (in_window["monetary"] / in_window["frequency"]).median()
    )
    lift = THRESHOLDS["key_account_driver_share"] * (often + large)
    table["key_account_driver"] = np.select(
        [~table["is_key_account"], (often > 0) & (often >= lift), (large > 0) & (large >= lift)],
        ["none", "orders", "order_value"],
        "both",
    )
    return table


@pytest.mark.parametrize("name", ["small_home", "sample_home"])
def test_every_behaviour_and_class_equals_the_oracle(name: str, request: pytest.FixtureRequest) -> None:
    home: Home = request.getfixturevalue(name)
    with duckdb.connect(str(home.settings.warehouse_path), read_only=True) as connection:
        built = connection.execute(
            "select * from features.customer_behaviours"
            " inner join features.customer_behaviour_classes using (customer_id, as_of_date)"
            " inner join features.customer_value_classes using (customer_id, as_of_date)"
            " inner join (select customer_id, f_score from features.customer_classes) using (customer_id)"
            " inner join ("
            "   select customer_id, avg_order_value::double as avg_order_value, frequency, lifetime_count_orders,"
            "     monetary::double as monetary from features.customer_order_metrics"
            " ) using (customer_id)"
        ).df()
    built = built.set_index("customer_id")
    as_of_date = built["as_of_date"].iloc[0].date()
    buyers = built[built["lifetime_count_orders"] > 0]
    expected = expected_classes(home, as_of_date, buyers[["f_score", "avg_order_value", "frequency", "monetary"]])
    assert len(expected) >= HOUSEHOLDS
    assert set(expected.index) == set(buyers.index)
    expected = expected.loc[buyers.index]
    for column in NUMBERS:
        np.testing.assert_allclose(
            buyers[column].astype(float), expected[column].astype(float), rtol=1e-9, atol=1e-12, err_msg=column
        )
    for column in CLASSES:
        differing = buyers.index[buyers[column] != expected[column]]
        assert list(differing) == [], f"{column}: {buyers.loc[differing, column]} {expected.loc[differing, column]}"
    others = built[built["lifetime_count_orders"] == 0]
    assert (others[["purchase_pattern", "needs_type", "loyalty_tier"]] == "no_orders").all(axis=None)
    assert not others["is_key_account"].any()
