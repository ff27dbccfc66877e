"""Gate 3 on scores: one row for whom one is due, all of them scored or none, and sane as a whole.

Figures of the day's scores, computed by DuckDB. Scores are NULL where no model may score; that is no fault.
"""

from datetime import date

import duckdb
import pandas as pd

from orchestration.checks.expectations import Rule, Suite, between
from orchestration.dbt_project import newest_on_grid, thresholds

GATE = "models"
REMEDY = (
    "Materialize the model and its scores again; if it stays, the model file or the features are not what they were"
)

FIGURES = {
    "churn": """
        with due as (
            select customer_id from features.customer_labels where as_of_date = $day and is_eligible_for_churn
        ),
        scores as (
            select *, churn_probability as score, customer_id as key from scores.churn where refresh_date = $day
        ),
        missing as (select count(*) as missing from due anti join scores using (customer_id)),
        extra as (select count(*) as extra from scores anti join due using (customer_id)),
        usual as (
            select avg(has_churned::int) as usual from features.customer_labels
            where is_label_closed and is_eligible_for_churn and as_of_date < $day
        )
    """,
    "response": """
        with due as (
            select campaign_id, customer_id from features.campaign_member_features
            where start_date <= $day and end_date >= $day
        ),
        scores as (
            select *, response_probability as score, campaign_id || ' ' || customer_id as key
            from scores.response where refresh_date = $day
        ),
        missing as (select count(*) as missing from due anti join scores using (campaign_id, customer_id)),
        extra as (
            select count(*) as extra
            from scores anti join features.campaign_member_features using (campaign_id, customer_id)
        ),
        usual as (
            select avg(has_responded::int) as usual from features.campaign_member_features where is_label_closed
        )
    """,
}


def profile_propensity_scores(connection: duckdb.DuckDBPyConnection, model: str, day: date) -> pd.DataFrame:
    """The day's probabilities of a model in one row.

    Returns:
        `rows`; `missing` and `extra` rows against those due; `duplicates` of the key; `unscored` rows, none or all of
        them; `partly_scored`; `outside` of 0 to 1; `spread`: distinct scores, 2 where a spread cannot be expected;
        `level`: mean score over the usual rate, 1 where either is unknown.
    """
    return connection.execute(
        f"""
        {FIGURES[model]}
        select
            count(scores.key) as rows,
            any_value(missing) as missing,
            any_value(extra) as extra,
            count(scores.key) - count(distinct scores.key) as duplicates,
            count(*) filter (where scores.key is not null and score is null) as unscored,
            case when unscored in (0, count(scores.key)) then 0 else unscored end as partly_scored,
            count(*) filter (where score < 0 or score > 1) as outside,
            case when count(score) < 30 then 2 else count(distinct score) end as spread,
            coalesce(avg(score) / nullif(any_value(usual), 0), 1) as level
        from missing cross join extra cross join usual left join scores on true
        """,
        {"day": day},
    ).df()


def profile_demand_scores(connection: duckdb.DuckDBPyConnection, day: date) -> pd.DataFrame:
    """The day's forecast in one row.

    Returns:
        `rows`; `missing`: series without a row; `duplicates` of the key; `partly_scored` as for propensities;
        `unordered`: intervals that do not hold each other; `negative` forecasts; `incoherent`: weeks in which the
        departments do not add up to the total; `level`: mean forecast of the total over the mean of its last 8 weeks.
    """
    return connection.execute(
        """
        with scores as (select * from scores.demand where refresh_date = $day),
        series as (select distinct level, series_id from features.weekly_sales),
        missing as (select count(*) as missing from series anti join scores using (level, series_id)),
        keys as (select count(*) - count(distinct (level, series_id, period_start)) as duplicates from scores),
        sums as (
            select
                period_start,
                sum(forecast) filter (where level = 'department') as departments,
                sum(forecast) filter (where level = 'total') as total
            from scores group by period_start
        ),
        coherence as (
            select count(*) filter (where abs(departments - total) > 0.01 * total + 1) as incoherent from sums
        ),
        recent as (
            select net_sales from features.weekly_sales
            where level = 'total' and is_complete order by period_start desc limit 8
        )
        select
            count(*) as rows,
            (select missing from missing) as missing,
            (select duplicates from keys) as duplicates,
            case when count(forecast) in (0, count(*)) then 0 else count(*) - count(forecast) end as partly_scored,
            count(*) filter (
                where not coalesce(
                    lower_95 <= lower_80 and lower_80 <= forecast and forecast <= upper_80 and upper_80 <= upper_95,
                    forecast is null
                )
            ) as unordered,
            count(*) filter (where forecast < 0) as negative,
            (select incoherent from coherence) as incoherent,
            coalesce(
                avg(forecast) filter (where level = 'total') / nullif((select avg(net_sales) from recent), 0), 1
            )::double as level
        from scores
        """,
        {"day": day},
    ).df()


def profile_value_scores(connection: duckdb.DuckDBPyConnection, day: date) -> pd.DataFrame:
    """The day's predicted values in one row.

    Returns:
        `rows`; `missing`, `extra`, `duplicates` and `partly_scored` as for propensities; `unordered`: intervals that do
        not hold their prediction; `negative` predictions; `outside`: probabilities not
        from 0 to 1; `spread`: distinct predictions, 2 where a spread cannot be
        expected; `level`: all predictions over what the same customers spent in a window before, 1 where either is 0.
    """
    return connection.execute(
        """
        with due as (select customer_id, net_sales_84d from features.customer_features where as_of_date = $day),
        scores as (select * from scores.value where refresh_date = $day)
        select
            count(*) as rows,
            (select count(*) from due anti join scores using (customer_id)) as missing,
            (select count(*) from scores anti join due using (customer_id)) as extra,
            count(*) - count(distinct customer_id) as duplicates,
            count(*) - count(predicted_clv) as unscored,
            count(*) - count(key_account_probability) as without_odds,
            case when unscored in (0, count(*)) then 0 else unscored end
                + case when without_odds in (0, count(*)) then 0 else without_odds end as partly_scored,
            count(*) filter (
                where not coalesce(lower_80 <= predicted_clv and predicted_clv <= upper_80, predicted_clv is null)
            ) as unordered,
            count(*) filter (where predicted_clv < 0 or lower_80 < 0) as negative,
            count(*) filter (where key_account_probability not between 0 and 1) as outside,
            case when count(predicted_clv) < 30 then 2 else count(distinct predicted_clv) end as spread,
            coalesce(nullif(sum(predicted_clv) / nullif((select sum(net_sales_84d) from due), 0), 0), 1)::double
                as level
        from scores
        """,
        {"day": day},
    ).df()


def profile_segments(connection: duckdb.DuckDBPyConnection, day: date) -> pd.DataFrame:
    """The day's segments in one row.

    Returns:
        `rows`; `missing`, `extra`, `duplicates` and `partly_scored` as for propensities; `unnamed` rows with a segment
        but no label, or another label than the rest of the segment; `segments`, 2 where there is no model;
        `largest_share`: of the customers in the largest segment, 0 where there is none.
    """
    return connection.execute(
        """
        with due as (select customer_id from features.customer_features where as_of_date = $day),
        scores as (select * from scores.segments where refresh_date = $day),
        sizes as (
            select segment_id, count(*) as customers, count(distinct coalesce(segment_label, '')) as labels
            from scores where segment_id is not null group by segment_id
        )
        select
            count(*) as rows,
            (select count(*) from due anti join scores using (customer_id)) as missing,
            (select count(*) from scores anti join due using (customer_id)) as extra,
            count(*) - count(distinct customer_id) as duplicates,
            case when count(segment_id) in (0, count(*)) then 0 else count(*) - count(segment_id) end as partly_scored,
            count(*) filter (where segment_id is not null and segment_label is null)
                + (select count(*) from sizes where labels > 1) as unnamed,
            case when count(segment_id) < 30 then 2 else count(distinct segment_id) end as segments,
            coalesce((select max(customers) / sum(customers) from sizes), 0)::double as largest_share
        from scores
        """,
        {"day": day},
    ).df()


def profile_recommendations(connection: duckdb.DuckDBPyConnection, day: date) -> pd.DataFrame:
    """The day's recommendations in one row.

    Returns:
        `rows`; `missing` customers without a row, where anything may be recommended; `extra` rows of others;
        `duplicates` of customer and rank or product; `unknown` products, or such as may not be offered; `unsold` ones,
        which nobody had bought for too long when products were looked at; `misplaced` rows that are in the other list;
        `out_of_order` ranks that leave one out, or do not follow the score; `crowded` categories, with more products in
        a list than allowed.
    """
    limits = thresholds()
    return connection.execute(
        """
        with due as (select customer_id from features.customer_order_metrics where as_of_date = $day),
        scores as (select * from scores.recommendations where refresh_date = $day),
        bought as (select * from features.order_products where order_date < $day),
        offered as (
            select product_id, max(order_date) as sold_date from bought group by product_id
        ),
        placed as (
            select
                scores.*, categories.department, categories.category, offered.sold_date,
                bought.product_id is not null as was_bought,
                row_number() over (partition by customer_id order by rank) as place,
                row_number() over (partition by customer_id, list order by list_rank) as list_place,
                score > lag(score) over (partition by customer_id, method order by rank) as is_above
            from scores
            left join core.products as categories using (product_id)
            left join offered using (product_id)
            left join (
                select distinct customer_id, product_id from bought semi join scores using (customer_id, product_id)
            ) as bought using (customer_id, product_id)
        ),
        categories as (
            select count(*) as products from placed where category != 'unknown'
            group by customer_id, list, department, category
        )
        select
            count(*) as rows,
            case when exists (
                from bought where order_date >= $looked_at - $sold_within_days::int and order_date < $looked_at
            )
                then (select count(*) from due anti join scores using (customer_id)) else 0 end as missing,
            count(*) filter (where customer_id not in (select customer_id from due)) as extra,
            2 * count(*) - count(distinct (customer_id, rank)) - count(distinct (customer_id, product_id))
                as duplicates,
            count(*) filter (where sold_date is null) as unknown,
            count(*) filter (where sold_date < $looked_at - $sold_within_days::int) as unsold,
            count(*) filter (
                where is_new_to_customer = was_bought or is_new_to_customer != (list = 'discover')
            ) as misplaced,
            count(*) filter (where rank != place or list_rank != list_place or is_above) as out_of_order,
            (select count(*) from categories where products > $max_per_category) as crowded
        from placed
        """,
        {
            "day": day,
            "looked_at": newest_on_grid(day, limits),
            "sold_within_days": limits["sold_within_days"],
            "max_per_category": limits["recommendations_max_per_category"],
        },
    ).df()


def _none(column: str, words: str) -> Rule:
    return between(f"none_{column}", words, column, 0, 0)


def _level(words: str, times: float) -> Rule:
    return between("level_is_sane", words, "level", 1 / times, times)


def _suite(model: str, *rules: Rule) -> Suite:
    return Suite(
        name=f"{model}_scores", gate=GATE, table_name=f"scores.{model}", key=("rows",), remedy=REMEDY, rules=rules
    )


def _for_whom_it_is_due(due: str) -> tuple[Rule, ...]:
    return (
        _none("missing", f"a row for each {due}"),
        _none("extra", f"rows for no others than {due}"),
        _none("duplicates", "one row each"),
        _none("partly_scored", "all scored, or none"),
    )


def _propensity_suite(model: str, due: str) -> Suite:
    return _suite(
        model,
        *_for_whom_it_is_due(due),
        _none("outside", "probabilities from 0 to 1"),
        between("scores_differ", "scores that are not all alike", "spread", 2),
        _level("a mean score within five times the usual rate, up or down", 5),
    )


SUITES = {
    "churn": _propensity_suite("churn", "eligible customer"),
    "response": _propensity_suite("response", "member of a campaign under way"),
    "value": _suite(
        "value",
        *_for_whom_it_is_due("customer with an order"),
        _none("unordered", "intervals that hold their prediction"),
        _none("negative", "no negative value"),
        _none("outside", "probabilities from 0 to 1"),
        between("scores_differ", "values that are not all alike", "spread", 2),
        _level("a total within five times the last window's, up or down", 5),
    ),
    "segments": _suite(
        "segments",
        *_for_whom_it_is_due("customer with an order"),
        _none("unnamed", "one label for each segment"),
        between("segments_differ", "at least two segments", "segments", 2),
        between("no_segment_is_everybody", "no segment with nearly all customers", "largest_share", 0, 0.98),
    ),
    "recommendations": _suite(
        "recommendations",
        _none("missing", "a list for each customer"),
        _none("extra", "lists for no others than customers"),
        _none("duplicates", "one product at a rank, and each product once"),
        _none("unknown", "no product that may not be offered"),
        _none("unsold", "no product that is not sold any more"),
        _none("misplaced", "in buy_again what was bought before, in discover what was not"),
        _none("out_of_order", "ranks that follow the score"),
        _none("crowded", "no more products of a category in a list than recommendations_max_per_category"),
    ),
    "demand": _suite(
        "demand",
        _none("missing", "a row for each series"),
        _none("duplicates", "one row each"),
        _none("partly_scored", "all forecast, or none"),
        _none("unordered", "intervals that hold each other"),
        _none("negative", "no negative forecast"),
        _none("incoherent", "departments that add up to the total"),
        _level("a total within three times the last weeks', up or down", 3),
    ),
}
PROFILES = {
    "demand": profile_demand_scores,
    "value": profile_value_scores,
    "segments": profile_segments,
    "recommendations": profile_recommendations,
}


def profile_scores(connection: duckdb.DuckDBPyConnection, model: str, day: date) -> pd.DataFrame:
    """The frame that the suite of a model looks at."""
    if model in PROFILES:
        return PROFILES[model](connection, day)
    return profile_propensity_scores(connection, model, day)
