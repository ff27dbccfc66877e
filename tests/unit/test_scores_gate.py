"""Gate 3 on scores: each rule has a mutant that trips it and it alone; no scores at all are let through."""

from collections.abc import Iterator
from datetime import date

import duckdb
import pytest

from orchestration.checks.scores import SUITES, profile_scores

DAY = date(2018, 1, 1)

# A hundred customers, all eligible but one in ten; a campaign under way; a total of two departments.
MADE = """
    create schema features;
    create schema scores;
    create table features.customer_labels as
        select
            customer::varchar as customer_id, day as as_of_date, customer % 10 != 0 as is_eligible_for_churn,
            day < date '2018-01-01' as is_label_closed, customer % 7 = 1 as has_churned
        from range(100) as customers(customer) cross join (values (date '2017-12-01'), (date '2018-01-01')) as d(day);
    create table scores.churn as
        select date '2018-01-01' as refresh_date, customer_id, (0.05 + customer_id::int / 500)::decimal(9, 6)
            as churn_probability
        from features.customer_labels where as_of_date = date '2018-01-01' and is_eligible_for_churn;
    create table features.campaign_member_features as
        select
            campaign::varchar as campaign_id, member::varchar as customer_id, date '2017-12-01' as start_date,
            if(campaign = 1, date '2017-12-31', date '2018-01-15') as end_date, campaign = 1 as is_label_closed,
            member % 7 = 1 as has_responded
        from range(1, 3) as campaigns(campaign) cross join range(100) as members(member);
    create table features.customer_features as
        select customer_id, as_of_date, 100.0 + customer_id::int as net_sales_84d from features.customer_labels;
    create table scores.value as
        select
            date '2018-01-01' as refresh_date, customer_id, (100 + customer_id::int)::decimal(18, 2) as predicted_clv,
            50.0::decimal(18, 2) as lower_80, 250.0::decimal(18, 2) as upper_80,
            0.1::decimal(9, 6) as key_account_probability
        from features.customer_features where as_of_date = date '2018-01-01';
    create table scores.segments as
        select
            date '2018-01-01' as refresh_date, customer_id, 1 + customer_id::int % 4 as segment_id,
            'segment ' || segment_id as segment_label
        from features.customer_features where as_of_date = date '2018-01-01';
    create table scores.response as
        select
            date '2018-01-01' as refresh_date, campaign_id, customer_id,
            (0.05 + customer_id::int / 500)::decimal(9, 6) as response_probability
        from features.campaign_member_features;
    create table features.weekly_sales as
        select
            level, series_id, date '2017-11-06' + 7 * week::int as period_start, sales as net_sales,
            true as is_complete
        from range(8) as weeks(week)
        cross join (values ('total', 'total', 300.0), ('department', 'A', 100.0), ('department', 'B', 200.0))
            as series(level, series_id, sales);
    create table scores.demand as
        select
            date '2018-01-01' as refresh_date, level, series_id, date '2018-01-01' + 7 * week::int as period_start,
            sales::decimal(18, 2) as forecast, (sales * 0.9)::decimal(18, 2) as lower_80,
            (sales * 1.1)::decimal(18, 2) as upper_80, (sales * 0.8)::decimal(18, 2) as lower_95,
            (sales * 1.2)::decimal(18, 2) as upper_95
        from range(8) as weeks(week)
        cross join (values ('total', 'total', 300.0), ('department', 'A', 100.0), ('department', 'B', 200.0))
            as series(level, series_id, sales);
    create schema core;
    create table features.customer_order_metrics as select customer_id, as_of_date from features.customer_labels;
    create table core.products as
        select 'p' || product as product_id, 'D' as department, 'C' || product // 4 as category
        from range(20) as products(product);
    create table features.order_products as
        select customer_id, product_id, date '2017-12-20' as order_date
        from features.customer_order_metrics cross join core.products
        where as_of_date = date '2018-01-01' and (customer_id::int % 2 = 0) = (product_id[2:]::int % 2 = 0);
    insert into features.order_products values ('1', 'p19', date '2017-12-20');
    create table scores.recommendations as
        with placed as (
            select
                customer_id, row_number() over (partition by customer_id order by product_id[2:]::int) as place,
                product_id, (customer_id::int % 2 = 0) != (product_id[2:]::int % 2 = 0) as is_new
            from (select distinct customer_id from features.customer_order_metrics) cross join core.products
            where product_id[2:]::int < 10
        )
        select
            date '2018-01-01' as refresh_date, customer_id, place as rank, if(is_new, 'discover', 'buy_again') as list,
            row_number() over (partition by customer_id, is_new order by place) as list_rank, product_id,
            1.0 / place as score, 'why' as reason, is_new as is_new_to_customer, 'ranker' as method
        from placed;
"""
FIRST_OF_7 = "where customer_id = '7' and rank = 1"
FIRST_WEEK = "period_start = date '2018-01-01'"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute(MADE)
        yield made


def broken(connection: duckdb.DuckDBPyConnection, model: str) -> set[str]:
    results = SUITES[model].validate(profile_scores(connection, model, DAY), "hash")
    return {result.check_name.removeprefix(f"{model}_scores_") for result in results if not result.passed}


@pytest.mark.parametrize("model", list(SUITES))
def test_good_scores_pass(connection: duckdb.DuckDBPyConnection, model: str) -> None:
    assert broken(connection, model) == set()


@pytest.mark.parametrize(
    "model, nothing",
    [
        ("churn", "update scores.churn set churn_probability = null"),
        ("response", "update scores.response set response_probability = null"),
        (
            "demand",
            "update scores.demand set forecast = null, lower_80 = null, upper_80 = null, lower_95 = null,"
            " upper_95 = null",
        ),
        (
            "value",
            "update scores.value set predicted_clv = null, lower_80 = null, upper_80 = null,"
            " key_account_probability = null",
        ),
        ("segments", "update scores.segments set segment_id = null, segment_label = null"),
    ],
)
def test_nobody_scoring_is_let_through(connection: duckdb.DuckDBPyConnection, model: str, nothing: str) -> None:
    connection.execute(nothing)
    assert broken(connection, model) == set()


def test_no_recommendations_are_let_through_where_nothing_is_sold_any_more(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute(
        "delete from scores.recommendations; update features.order_products set order_date = '2017-01-01'"
    )
    # Not even one row: the suite, which wants rows, looks at one row of figures.
    assert broken(connection, "recommendations") == set()


def test_a_day_without_campaigns_is_let_through(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("delete from scores.response; delete from features.campaign_member_features")
    assert broken(connection, "response") == set()


@pytest.mark.parametrize(
    "model, mutant, tripped",
    [
        ("churn", "delete from scores.churn where customer_id = '7'", "none_missing"),
        ("churn", "delete from scores.churn", "none_missing"),
        ("churn", "update scores.churn set refresh_date = date '2017-12-31'", "none_missing"),
        ("churn", "insert into scores.churn values (date '2018-01-01', '10', 0.1)", "none_extra"),
        ("churn", "insert into scores.churn values (date '2018-01-01', '7', 0.1)", "none_duplicates"),
        ("churn", "update scores.churn set churn_probability = null where customer_id = '7'", "none_partly_scored"),
        ("churn", "update scores.churn set churn_probability = 1.01 where customer_id = '7'", "none_outside"),
        ("churn", "update scores.churn set churn_probability = -0.01 where customer_id = '7'", "none_outside"),
        ("churn", "update scores.churn set churn_probability = 0.14", "scores_differ"),
        ("churn", "update scores.churn set churn_probability = churn_probability / 10", "level_is_sane"),
        ("churn", "update scores.churn set churn_probability = 0.9 + churn_probability / 10", "level_is_sane"),
        ("response", "delete from scores.response where campaign_id = '2' and customer_id = '7'", "none_missing"),
        ("response", "insert into scores.response values (date '2018-01-01', '3', '7', 0.1)", "none_extra"),
        ("response", "insert into scores.response values (date '2018-01-01', '2', '7', 0.1)", "none_duplicates"),
        ("response", "update scores.response set response_probability = 2 where customer_id = '7'", "none_outside"),
        ("demand", "delete from scores.demand where series_id = 'B'", "none_missing"),
        (
            "demand",
            f"insert into scores.demand from scores.demand where level = 'total' and {FIRST_WEEK}",
            "none_duplicates",
        ),
        (
            "demand",
            f"update scores.demand set forecast = null where series_id = 'B' and {FIRST_WEEK}",
            "none_partly_scored",
        ),
        (
            "demand",
            f"update scores.demand set lower_95 = lower_80 + 1 where series_id = 'B' and {FIRST_WEEK}",
            "none_unordered",
        ),
        (
            "demand",
            f"update scores.demand set forecast = forecast + 10 where level = 'total' and {FIRST_WEEK}",
            "none_incoherent",
        ),
        ("demand", "update scores.demand set forecast = -1, lower_80 = -2, lower_95 = -3", "none_negative"),
        (
            "demand",
            "update scores.demand set forecast = 4 * forecast, lower_80 = 4 * lower_80, upper_80 = 4 * upper_80,"
            " lower_95 = 4 * lower_95, upper_95 = 4 * upper_95",
            "level_is_sane",
        ),
        ("value", "delete from scores.value where customer_id = '7'", "none_missing"),
        ("value", "insert into scores.value values (date '2018-01-01', 'x', 1, 1, 1, 0)", "none_extra"),
        ("value", "insert into scores.value from scores.value where customer_id = '7'", "none_duplicates"),
        ("value", "update scores.value set predicted_clv = null where customer_id = '7'", "none_partly_scored"),
        ("value", "update scores.value set lower_80 = predicted_clv + 1 where customer_id = '7'", "none_unordered"),
        ("value", "update scores.value set upper_80 = null where customer_id = '7'", "none_unordered"),
        ("value", "update scores.value set predicted_clv = -1, lower_80 = -2 where customer_id = '7'", "none_negative"),
        ("value", "update scores.value set key_account_probability = 1.1 where customer_id = '7'", "none_outside"),
        (
            "value",
            "update scores.value set key_account_probability = null where customer_id = '7'",
            "none_partly_scored",
        ),
        ("value", "update scores.value set predicted_clv = 60", "scores_differ"),
        ("value", "update scores.value set predicted_clv = 6 * predicted_clv, upper_80 = 9999", "level_is_sane"),
        ("segments", "delete from scores.segments where customer_id = '7'", "none_missing"),
        ("segments", "insert into scores.segments values (date '2018-01-01', 'x', 1, 'segment 1')", "none_extra"),
        ("segments", "insert into scores.segments from scores.segments where customer_id = '7'", "none_duplicates"),
        ("segments", "update scores.segments set segment_id = null where customer_id = '7'", "none_partly_scored"),
        ("segments", "update scores.segments set segment_label = null where customer_id = '7'", "none_unnamed"),
        ("segments", "update scores.segments set segment_label = 'x' where customer_id = '7'", "none_unnamed"),
        ("segments", "update scores.segments set segment_id = 1, segment_label = 'a'", "segments_differ"),
        (
            "segments",
            "update scores.segments set segment_id = 1, segment_label = 'a' where customer_id != '7'",
            "no_segment_is_everybody",
        ),
        ("recommendations", "delete from scores.recommendations where customer_id = '7'", "none_missing"),
        ("recommendations", f"update scores.recommendations set customer_id = 'x' {FIRST_OF_7}", "none_extra"),
        (
            "recommendations",
            f"insert into scores.recommendations from scores.recommendations {FIRST_OF_7}",
            "none_duplicates",
        ),
        (
            "recommendations",
            "update scores.recommendations set product_id = 'p1' where customer_id = '7' and rank = 4",
            "none_duplicates",
        ),
        ("recommendations", f"update scores.recommendations set product_id = 'x' {FIRST_OF_7}", "none_unknown"),
        (
            "recommendations",
            "update features.order_products set order_date = date '2017-10-07' where product_id = 'p1'",
            "none_unsold",
        ),
        (
            "recommendations",
            f"update scores.recommendations set is_new_to_customer = not is_new_to_customer {FIRST_OF_7}",
            "none_misplaced",
        ),
        ("recommendations", f"update scores.recommendations set list = 'buy_again' {FIRST_OF_7}", "none_misplaced"),
        ("recommendations", f"update scores.recommendations set score = 0.1 {FIRST_OF_7}", "none_out_of_order"),
        ("recommendations", f"delete from scores.recommendations {FIRST_OF_7}", "none_out_of_order"),
        ("recommendations", f"update scores.recommendations set list_rank = 9 {FIRST_OF_7}", "none_out_of_order"),
        ("recommendations", "update core.products set category = 'C0'", "none_crowded"),
    ],
)
def test_the_smallest_corruption_trips_its_rule(
    connection: duckdb.DuckDBPyConnection, model: str, mutant: str, tripped: str
) -> None:
    connection.execute(mutant)
    assert tripped in broken(connection, model)
