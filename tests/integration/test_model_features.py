"""Features and labels against an independent recomputation in pandas, and what must not change them.

The oracle reads the input files alone: no SQL of the project, and its own arithmetic.
"""

import itertools
import math
import shutil
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from orchestration.content_hash import table_content
from tests.pipeline import Home, rewrite

ZONE = "America/New_York"
REFRESHED = date(2018, 1, 1)
# On the grid (the first, one in summer, a late one), the start of a campaign, and the refreshed day.
CUT_OFFS = [date(2017, 2, 12), date(2017, 7, 16), date(2017, 11, 12), date(2017, 9, 20), REFRESHED]
FEATURE_TABLES = [
    "customer_days",
    "feature_cut_offs",
    "customer_features",
    "customer_labels",
    "campaign_inputs",
    "campaign_member_fits",
    "campaign_member_features",
    "weekly_sales",
    "weekly_promotions",
    "daily_sales",
]


def warehouse(home: Home) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(home.settings.warehouse_path), read_only=True)


def rows(home: Home, sql: str) -> list[tuple[Any, ...]]:
    with warehouse(home) as connection:
        return connection.execute(sql).fetchall()


def frame(home: Home, sql: str) -> pd.DataFrame:
    with warehouse(home) as connection:
        return connection.execute(sql).df()


def refreshed(home: Home, as_of: str | None = None) -> Home:
    outcome = home.refresh(as_of)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return home


class Oracle:
    """The input files as a person would read them."""

    def __init__(self, folder: Path) -> None:
        def read(table: str) -> pd.DataFrame:
            data = pd.read_parquet(folder / f"{table}.parquet")
            return data.rename(columns={"household_id": "customer_id", "basket_id": "order_id"})

        lines = read("transactions").drop_duplicates()
        local = lines.transaction_timestamp.dt.tz_localize("UTC").dt.tz_convert(ZONE)
        lines["day"] = local.dt.date
        lines["cents"] = (lines.sales_value * 100).round().astype(int)
        lines["discount_cents"] = (lines.retail_disc * 100).round().astype(int)
        lines["discount_cents"] += (lines.coupon_match_disc * 100).round().astype(int)
        lines = lines.merge(read("products"), on="product_id", how="left", validate="m:1")
        self.lines = lines
        self.campaigns = read("campaign_descriptions").assign(
            start=lambda c: pd.to_datetime(c.start_date).dt.date, end=lambda c: pd.to_datetime(c.end_date).dt.date
        )
        self.members = read("campaigns").merge(self.campaigns, on="campaign_id")
        self.responses = read("coupon_redemptions").assign(day=lambda r: pd.to_datetime(r.redemption_date).dt.date)
        self.offers = read("coupons").drop_duplicates().merge(read("products")[["product_id"]], on="product_id")
        self.demographics = read("demographics").set_index("customer_id")

    def customer(self, customer_id: int, cut_off: date) -> dict[str, Any]:
        """The features of a customer, from the definition of each."""
        lines = self.lines[(self.lines.customer_id == customer_id) & (self.lines.day < cut_off)]
        days = sorted(set(lines.day))
        ages = [(cut_off - day).days for day in days]
        gaps = [(later - earlier).days for earlier, later in itertools.pairwise(days)]
        recency, tenure = ages[-1], ages[0]
        recent = lines[[(cut_off - day).days <= 56 for day in lines.day]]
        longer = [gap for gap in gaps if gap > recency]
        members = self.members[(self.members.customer_id == customer_id) & (self.members.start < cut_off)]
        responses = self.responses[(self.responses.customer_id == customer_id) & (self.responses.day < cut_off)]
        silent = sum(max(gap - 14, 0) for gap in [*gaps, recency])
        sales = int(lines.cents.sum())
        by_day = lines.groupby("day").cents.sum()
        told = self.demographics.income.get(customer_id)
        return {
            "recency_days": recency,
            "tenure_days": tenure,
            "count_visits": len(days),
            "lifetime_count_orders": lines.order_id.nunique(),
            "count_visits_28d": sum(age <= 28 for age in ages),
            "lifetime_net_sales": sales / 100,
            "net_sales_56d": recent.cents.sum() / 100,
            "faded_visits_28d": sum(math.exp(-age / 28) for age in ages),
            "mean_gap_days": np.mean(gaps) if gaps else None,
            "sd_gap_days": np.std(gaps, ddof=1) if len(gaps) > 1 else None,
            "median_gap_days": np.median(gaps) if gaps else None,
            "p90_gap_days": np.quantile(gaps, 0.9) if gaps else None,
            "longest_gap_days_last_5": max(gaps[-5:]) if gaps else None,
            "recency_to_mean_gap": recency / (np.mean(gaps) + 1) if gaps else None,
            "own_hazard_28d": (sum(gap > recency + 28 for gap in longer) + 0.2) / (len(longer) + 2),
            "silent_share_14d": silent / tenure,
            "count_active_weeks_12w": len({(age - 1) // 7 for age in ages if age <= 84}),
            "count_active_months": len({(age - 1) // 28 for age in ages}),
            "sd_visit_net_sales": np.std(by_day / 100, ddof=1) if len(by_day) > 1 else None,
            "discount_share": lines.discount_cents.sum() / (lines.discount_cents.sum() + sales + 100),
            "private_label_share": lines.cents[lines.brand == "Private"].sum() / (sales + 100),
            "fuel_share": lines.cents[lines.department == "FUEL"].sum() / (sales + 100),
            "coupon_visit_share": (lines.groupby("day").coupon_disc.sum() > 0).mean(),
            "weekend_share": np.mean([day.weekday() >= 5 for day in days]),
            "count_campaigns": len(members),
            "count_open_campaigns": int((members.end >= cut_off).sum()),
            "days_since_campaign": (cut_off - members.start.max()).days if len(members) else None,
            "count_responses": len(responses),
            "days_since_response": (cut_off - responses.day.max()).days if len(responses) else None,
            "income_band": told if isinstance(told, str) else "unknown",
        }

    def label(self, customer_id: int, cut_off: date) -> dict[str, Any]:
        """What followed a cut-off within 28 days, where they lie before the refreshed day."""
        days = self.lines[self.lines.customer_id == customer_id]
        window = days[(days.day >= cut_off) & (days.day < cut_off + timedelta(days=28))]
        recency = (cut_off - days[days.day < cut_off].day.max()).days
        closed, eligible = cut_off + timedelta(days=28) <= REFRESHED, recency <= 56
        return {
            "is_label_closed": closed,
            "is_eligible_for_churn": eligible,
            "has_churned": window.empty if closed and eligible else None,
            "net_sales_next_window": window.cents.sum() / 100 if closed else None,
        }

    def member(self, campaign_id: int, customer_id: int) -> dict[str, Any]:
        """A campaign member on the campaign's first midnight, and the label of the refreshed day."""
        campaign: Any = self.campaigns.set_index("campaign_id").loc[campaign_id]
        lines = self.lines[(self.lines.customer_id == customer_id) & (self.lines.day < campaign.start)]
        offers = self.offers[self.offers.campaign_id == campaign_id]
        fit = lines[lines.product_id.isin(offers.product_id)]
        past = self.members[(self.members.customer_id == customer_id) & (self.members.start < campaign.start)]
        responses = self.responses[self.responses.customer_id == customer_id]
        earlier = responses[(responses.day < campaign.start) & responses.campaign_id.isin(past.campaign_id)]
        own = responses[(responses.campaign_id == campaign_id) & (responses.day < REFRESHED)]
        responded = earlier.campaign_id.nunique()
        coupons = lines[lines.coupon_disc > 0]
        return {
            "count_offers": offers.coupon_upc.nunique(),
            "count_members": int((self.members.campaign_id == campaign_id).sum()),
            "past_count_campaigns": len(past),
            "past_count_closed": int((past.end < campaign.start).sum()),
            "past_count_responded": responded,
            "past_count_responses": len(earlier),
            "past_response_rate": (responded + 0.3) / (len(past) + 3),
            "fit_net_sales": fit.cents.sum() / 100,
            "fit_count_products": fit.product_id.nunique(),
            "fit_days_since_order": (campaign.start - fit.day.max()).days if len(fit) else None,
            "fit_faded_lines_56d": sum(math.exp(-(campaign.start - day).days / 56) for day in fit.day),
            "offer_count_bought": offers[offers.product_id.isin(fit.product_id)].coupon_upc.nunique(),
            "coupon_count_orders": coupons.order_id.nunique(),
            "has_responded": len(own) > 0,
            "is_label_closed": campaign.end < REFRESHED,
            "observed_days": (min(campaign.end + timedelta(days=1), REFRESHED) - campaign.start).days,
        }


@pytest.fixture(scope="module")
def oracle(small_home: Home) -> Oracle:
    assert small_home.input is not None
    return Oracle(small_home.input)


def differences(expected: Mapping[str, Any], found: Mapping[Any, Any]) -> list[str]:
    """Columns that differ: numbers up to the millionths that faded weights are kept in, NULLs exactly."""
    wrong = []
    for name, value in expected.items():
        other = found[name]
        other = None if pd.isna(other) else other
        if value is None or other is None or isinstance(value, str):
            same = value == other
        else:
            same = math.isclose(float(value), float(other), rel_tol=1e-6, abs_tol=1e-4)
        if not same:
            wrong.append(f"{name}: expected {value}, found {other}")
    return wrong


@pytest.mark.parametrize("cut_off", CUT_OFFS, ids=str)
def test_customer_features_are_what_pandas_finds(small_home: Home, oracle: Oracle, cut_off: date) -> None:
    found = frame(small_home, f"select * from features.customer_features where as_of_date = date '{cut_off}'")
    customers = set(oracle.lines[oracle.lines.day < cut_off].customer_id)
    assert set(found.customer_id.astype(int)) == customers and len(found) == len(customers)
    for row in found.to_dict("records"):
        wrong = differences(oracle.customer(int(row["customer_id"]), cut_off), row)
        assert not wrong, f"customer {row['customer_id']}: {wrong}"


@pytest.mark.parametrize("cut_off", [date(2017, 7, 16), date(2017, 12, 3), date(2017, 12, 6), REFRESHED], ids=str)
def test_customer_labels_are_what_pandas_finds(small_home: Home, oracle: Oracle, cut_off: date) -> None:
    """28 days from 3 December end on the eve of the refreshed day; from 6 December they do not."""
    found = frame(small_home, f"select * from features.customer_labels where as_of_date = date '{cut_off}'")
    assert set(found.customer_id.astype(int)) == set(oracle.lines[oracle.lines.day < cut_off].customer_id)
    for row in found.to_dict("records"):
        wrong = differences(oracle.label(int(row["customer_id"]), cut_off), row)
        assert not wrong, f"customer {row['customer_id']}: {wrong}"


def test_campaign_member_features_are_what_pandas_finds(small_home: Home, oracle: Oracle) -> None:
    found = frame(small_home, "select * from features.campaign_member_features")
    assert len(found) == len(oracle.members[oracle.members.start <= REFRESHED])
    for row in found.to_dict("records"):
        wrong = differences(oracle.member(int(row["campaign_id"]), int(row["customer_id"])), row)
        assert not wrong, f"campaign {row['campaign_id']}, customer {row['customer_id']}: {wrong}"


def test_weekly_sales_are_what_pandas_finds(small_home: Home, oracle: Oracle) -> None:
    day = pd.to_datetime(oracle.lines.day)
    monday = (day - pd.to_timedelta(day.dt.weekday, unit="D")).dt.date
    lines = oracle.lines.assign(monday=monday, department=oracle.lines.department.fillna("unknown"))
    found = frame(small_home, "select * from features.weekly_sales")
    found["period_start"] = found.period_start.dt.date
    weeks = pd.date_range(lines.monday.min(), "2017-12-25", freq="7D").date

    total = found[found.level == "total"].set_index("period_start")["net_sales"]
    expected: Any = (lines.groupby("monday").cents.sum() / 100).reindex(weeks, fill_value=0)
    pd.testing.assert_series_equal(total.sort_index(), expected, check_names=False, check_index_type=False)
    assert set(found[~found.is_complete].period_start) == {date(2016, 12, 26)}, "1 January 2017 was a Sunday"

    for department, own in lines.groupby("department"):
        rows_of_it = found[(found.level == "department") & (found.series_id == department)]
        series = rows_of_it.set_index("period_start").net_sales.sort_index()
        weekly = own.groupby("monday").cents.sum() / 100
        expected = weekly.reindex([week for week in weeks if week >= weekly.index.min()], fill_value=0)
        pd.testing.assert_series_equal(series, expected, check_names=False, check_index_type=False)
    sizes = found[["level", "series_id"]].drop_duplicates().groupby("level").size()
    assert sizes["category"] == 40 and sizes["product"] == 50 and sizes["store"] <= 20


def test_tables_are_of_the_types_that_are_described(small_home: Home) -> None:
    for node in small_home.manifest["nodes"].values():
        if node["resource_type"] == "model" and node["name"] in FEATURE_TABLES:
            described = [(column["name"], column["data_type"]) for column in node["columns"].values()]
            built = [(name, dtype.lower()) for name, dtype, *_ in rows(small_home, f"describe features.{node['name']}")]
            assert built == described, node["name"]


def test_rows_from_a_day_on_change_nothing_of_that_day(small_home: Home, new_home: Callable[[], Home]) -> None:
    """A home of 30 October, whose input is scrambled from then on, against one that knows the whole year.

    Campaign 18 starts on that very day: its members are scored with no response seen.
    """
    as_of = "2017-10-30"
    midnight = "timestamp '2017-10-30 04:00:00'"
    other = new_home()
    assert other.input is not None
    rewrite(
        other.input,
        "transactions",
        f"""
        select * replace (
            case when transaction_timestamp < {midnight} then household_id else min(household_id) over () end
            as household_id,
            case when transaction_timestamp < {midnight} then sales_value else sales_value * 7 end as sales_value
        )
        from rows
        where transaction_timestamp < {midnight} or hash(basket_id) % 2 = 0
        """,
    )
    rewrite(other.input, "coupon_redemptions", f"select * from rows where redemption_date < date '{as_of}'")
    rewrite(
        other.input,
        "campaign_descriptions",
        f"""
        select * replace (case when start_date > date '{as_of}' then 'Type A' else campaign_type end as campaign_type)
        from rows
        """,
    )
    refreshed(other, as_of)

    with warehouse(small_home) as whole, warehouse(other) as cut:
        for table, condition in {
            "customer_days": f"order_date < date '{as_of}'",
            "customer_features": f"as_of_date <= date '{as_of}'",
            "campaign_member_fits": f"start_date <= date '{as_of}'",
            "daily_sales": f"business_date < date '{as_of}'",
            "weekly_sales": f"level in ('total', 'department') and period_start < date '{as_of}'",
        }.items():
            query = f"(select * from features.{table} where {condition})"
            assert table_content(cut, query) == table_content(whole, query), table
        assert cut.execute("select max(as_of_date) from features.customer_features").fetchone() == (
            date.fromisoformat(as_of),
        )
        labels = "is_label_closed, observed_days, has_responded, first_responded_at"
        past = (
            f"(select * exclude ({labels}) from features.campaign_member_features where start_date <= date '{as_of}')"
        )
        assert table_content(cut, past) == table_content(whole, past)
        first_day = (
            "select count(*) > 0, count_if(has_responded), max(observed_days)"
            f" from features.campaign_member_features where start_date = date '{as_of}'"
        )
        assert cut.execute(first_day).fetchone() == (True, 0, 0)
        closed = f"(select * from features.customer_labels where window_end_date <= date '{as_of}')"
        assert table_content(cut, closed) == table_content(whole, closed)
        is_open = (
            "select count(*) > 0, count(has_churned), count(net_sales_next_window), count(count_orders_next_window)"
            f" from features.customer_labels where window_end_date > date '{as_of}'"
        )
        assert cut.execute(is_open).fetchone() == (True, 0, 0, 0)


@pytest.mark.exhaustive
def test_late_rows_rebuild_the_cut_offs_that_they_touch_and_no_others(
    copied_home: Home, new_home: Callable[[], Home]
) -> None:
    """Back to December, then late and missing rows, then on: the same as from nothing, and what is older is kept."""
    home = copied_home
    assert home.input is not None
    refreshed(home, "2017-12-20")
    assert rows(home, "select max(as_of_date) from features.customer_features") == [(date(2017, 12, 20),)]
    before = dict(rows(home, "select distinct as_of_date, input_fingerprint from features.customer_features"))
    fits = dict(rows(home, "select distinct start_date, input_fingerprint from features.campaign_member_fits"))

    # One line more on 10 August, another basket of September gone.
    rewrite(
        home.input,
        "transactions",
        """
        select * from rows
        where basket_id != (select min(basket_id) from rows where transaction_timestamp >= timestamp '2017-09-15')
        union all by name
        select * replace (
            99999999999 as basket_id, timestamp '2017-08-10 15:00:00' as transaction_timestamp, 12.34 as sales_value
        )
        from (from rows order by all limit 1)
        """,
    )
    # A mark that no rule looks at tells what was kept from what was built again.
    mark = "update features.customer_features set income_band = 'a mark' where customer_id = ?"
    first_cut_off = "from features.customer_features where as_of_date = '2017-02-12'"
    ((customer,),) = rows(home, f"select min(customer_id) {first_cut_off}")
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        connection.execute(mark, [customer])
    refreshed(home)

    after = dict(rows(home, "select distinct as_of_date, input_fingerprint from features.customer_features"))
    late = date(2017, 8, 10)
    assert {day for day in before if after.get(day) != before[day]} == {
        day for day in before if day > late or day == date(2017, 12, 20)
    }
    marked = rows(home, "select distinct as_of_date from features.customer_features where income_band = 'a mark'")
    assert {day for (day,) in marked} == {day for day in after if day <= late}
    fits_after = dict(rows(home, "select distinct start_date, input_fingerprint from features.campaign_member_fits"))
    assert {start for start in fits if fits[start] != fits_after[start]} == {start for start in fits if start > late}

    fresh = new_home()
    assert fresh.input is not None
    shutil.copy(home.input / "transactions.parquet", fresh.input / "transactions.parquet")
    refreshed(fresh)
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        connection.execute(
            "update features.customer_features set income_band = customers.income_band from core.customers as customers"
            " where customers.customer_id = customer_features.customer_id and customer_features.income_band = 'a mark'"
        )
    contents = {}
    for name, one in {"incremental": home, "full": fresh}.items():
        with warehouse(one) as connection:
            contents[name] = {table: table_content(connection, f"features.{table}") for table in FEATURE_TABLES}
    assert contents["incremental"] == contents["full"]
