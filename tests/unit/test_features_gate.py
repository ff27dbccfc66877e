"""Gate 2: a profile of features against the cut-off before; each rule has a mutant that trips it and it alone."""

from collections.abc import Iterator
from datetime import date

import duckdb
import pytest

from orchestration.checks.features import GATE, features_suites, profile_features, read_profiles
from orchestration.settings import load_settings

DAY = date(2018, 1, 7)

# Two cut-offs of 400 customers whose features move a little, and a year of weeks.
MADE = """
    create schema features;
    create table features.customer_features as
        select
            customer::varchar as customer_id,
            cut_off as as_of_date,
            cut_off::timestamp as as_of_at,
            (cut_off - date '2017-01-01' - customer % 50)::bigint as tenure_days,
            (1 + (hash(customer, cut_off) % 60))::bigint as recency_days,
            100 + 50 * sin(customer) + (hash(cut_off, customer) % 7) as net_sales_84d,
            if(customer % 10 = 0, null, customer % 5) as mean_gap_days,
            customer % 2 = 0 as has_card,
            'hash' as input_fingerprint
        from range(400) as customers(customer)
        cross join (values (date '2017-12-31'), (date '2018-01-07')) as c(cut_off);
    create table features.weekly_sales as
        select
            level, series_id, date '2017-01-02' + 7 * week::int as period_start,
            (1000 + 100 * sin(week))::decimal(18, 2) as net_sales, true as is_complete
        from range(52) as weeks(week)
        cross join (values ('total', 'total'), ('department', 'GROCERY')) as series(level, series_id);
"""
CURRENT = "where as_of_date = date '2018-01-07'"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute(MADE)
        yield made


def broken(connection: duckdb.DuckDBPyConnection, day: date = DAY) -> set[str]:
    """Names of the rules that the features of the day break."""
    suites = features_suites(load_settings())
    frames = read_profiles(connection, day)
    return {
        result.check_name
        for suite, frame in zip(suites, frames, strict=True)
        for result in suite.validate(frame, "hash")
        if not result.passed
    }


def test_features_like_those_before_pass(connection: duckdb.DuckDBPyConnection) -> None:
    assert broken(connection) == set()


def test_in_the_first_week_nothing_is_usual_yet(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("delete from features.weekly_sales where period_start > date '2017-01-02'")
    assert broken(connection) == set()


def test_the_first_cut_off_has_nothing_to_be_compared_with(connection: duckdb.DuckDBPyConnection) -> None:
    assert broken(connection, date(2017, 12, 31)) == set()


@pytest.mark.parametrize(
    "mutant, tripped",
    [
        (
            f"update features.customer_features set net_sales_84d = 'inf' {CURRENT} and customer_id = '7'",
            "customer_features_values_are_finite",
        ),
        (
            f"update features.customer_features set net_sales_84d = 'nan' {CURRENT} and customer_id = '7'",
            "customer_features_values_are_finite",
        ),
        (
            f"delete from features.customer_features {CURRENT} and customer_id = '7'",
            "customer_features_no_customer_is_lost",
        ),
        (
            f"update features.customer_features set mean_gap_days = null {CURRENT} and customer_id::int % 3 = 0",
            "customer_features_values_stay_known",
        ),
        (
            f"update features.customer_features set net_sales_84d = 2 * net_sales_84d {CURRENT}",
            "customer_features_values_have_not_drifted",
        ),
        (
            "update features.weekly_sales set net_sales = net_sales / 4"
            " where level = 'total' and period_start = (select max(period_start) from features.weekly_sales)",
            "weekly_sales_total_is_as_usual",
        ),
        (
            "update features.weekly_sales set net_sales = net_sales * 4"
            " where level = 'total' and period_start = (select max(period_start) from features.weekly_sales)",
            "weekly_sales_total_is_as_usual",
        ),
        ("delete from features.weekly_sales where level = 'total'", "weekly_sales_total_is_there"),
    ],
)
def test_the_smallest_corruption_trips_its_rule_alone(
    connection: duckdb.DuckDBPyConnection, mutant: str, tripped: str
) -> None:
    connection.execute(mutant)
    assert broken(connection) == {tripped}


@pytest.mark.parametrize(
    "mutant",
    [
        f"delete from features.customer_features {CURRENT}",
        "delete from features.customer_features",
        "delete from features.weekly_sales",
        f"update features.customer_features set net_sales_84d = null, mean_gap_days = null {CURRENT}",
    ],
)
def test_nothing_at_all_blocks(connection: duckdb.DuckDBPyConnection, mutant: str) -> None:
    connection.execute(mutant)
    assert broken(connection)


def test_a_feature_that_is_gone_blocks(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("alter table features.customer_features drop tenure_days")
    with pytest.raises(duckdb.Error):
        broken(connection)


def test_the_index_is_the_textbook_one_less_what_chance_gives(connection: duckdb.DuckDBPyConnection) -> None:
    """By hand: a feature of two values that moves from half and half to a quarter and three quarters."""
    from math import log

    connection.execute(
        "create table features.two as select n % 2 as value, date '2017-12-31' as day from range(400) as t(n)"
        " union all select if(n % 4 = 0, 0, 1), date '2018-01-07' from range(400) as t(n)"
    )
    (row,) = profile_features(connection, "features.two", (), "day", DAY).itertuples()
    index = (0.25 - 0.5) * log(0.25 / 0.5) + (0.75 - 0.5) * log(0.75 / 0.5)
    assert row.drift == pytest.approx(index - 3 * 1 * (1 / 400 + 1 / 400))
    assert (row.rows, row.previous_rows, row.null_share) == (400, 400, 0)


def test_an_empty_bin_counts_the_same_however_many_customers_there_are(connection: duckdb.DuckDBPyConnection) -> None:
    """A day on which all shops are closed leaves nobody with so many days since, in a small company and a large one."""

    def drift(customers: int) -> float:
        connection.execute(
            "create or replace table features.closed as select n % 10 as value, date '2017-12-31' as day"
            f" from range({customers}) as t(n)"
            f" union all select if(n % 10 = 7, 8, n % 10), date '2018-01-07' from range({customers}) as t(n)"
        )
        (found,) = profile_features(connection, "features.closed", (), "day", DAY)["drift"]
        return float(found)

    assert drift(2_000_000) == pytest.approx(drift(20_000), rel=0.02)
    assert drift(2_000_000) > 0.25


def test_messages_name_the_gate_the_feature_and_what_to_do(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"update features.customer_features set net_sales_84d = 2 * net_sales_84d {CURRENT}")
    customers, _ = features_suites(load_settings())
    results = customers.validate(read_profiles(connection, DAY)[0], "hash")
    (said,) = [result.describe_failure() for result in results if not result.passed]
    assert said.startswith(f"gate {GATE}: customer_features_values_have_not_drifted on features.customer_features")
    assert "feature=net_sales_84d" in said and "mend the source, then refresh" in said
