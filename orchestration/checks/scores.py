"""Gate 3 on scores: one row for whom one is due, all of them scored or none, and sane as a whole.

Figures of the day's scores, computed by DuckDB. Scores are NULL where no model may score; that is no fault.
"""

from datetime import date

import duckdb
import pandas as pd

from orchestration.checks.expectations import Rule, Suite, between

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
PROFILES = {"demand": profile_demand_scores, "value": profile_value_scores, "segments": profile_segments}


def profile_scores(connection: duckdb.DuckDBPyConnection, model: str, day: date) -> pd.DataFrame:
    """The frame that the suite of a model looks at."""
    if model in PROFILES:
        return PROFILES[model](connection, day)
    return profile_propensity_scores(connection, model, day)
