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
    """The day's scores of churn or response in one row.

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


def _none(column: str, words: str) -> Rule:
    return between(f"none_{column}", words, column, 0, 0)


def _level(words: str, times: float) -> Rule:
    return between("level_is_sane", words, "level", 1 / times, times)


def _propensity_suite(model: str, due: str) -> Suite:
    return Suite(
        name=f"{model}_scores",
        gate=GATE,
        table_name=f"scores.{model}",
        key=("rows",),
        remedy=REMEDY,
        rules=(
            _none("missing", f"a row for each {due}"),
            _none("extra", f"rows for no others than {due}"),
            _none("duplicates", "one row each"),
            _none("partly_scored", "all scored, or none"),
            _none("outside", "probabilities from 0 to 1"),
            between("scores_differ", "scores that are not all alike", "spread", 2),
            _level("a mean score within five times the usual rate, up or down", 5),
        ),
    )


SUITES = {
    "churn": _propensity_suite("churn", "eligible customer"),
    "response": _propensity_suite("response", "member of a campaign under way"),
    "demand": Suite(
        name="demand_scores",
        gate=GATE,
        table_name="scores.demand",
        key=("rows",),
        remedy=REMEDY,
        rules=(
            _none("missing", "a row for each series"),
            _none("duplicates", "one row each"),
            _none("partly_scored", "all forecast, or none"),
            _none("unordered", "intervals that hold each other"),
            _none("negative", "no negative forecast"),
            _none("incoherent", "departments that add up to the total"),
            _level("a total within three times the last weeks', up or down", 3),
        ),
    ),
}


def profile_scores(connection: duckdb.DuckDBPyConnection, model: str, day: date) -> pd.DataFrame:
    """The frame that the suite of a model looks at."""
    if model == "demand":
        return profile_demand_scores(connection, day)
    return profile_propensity_scores(connection, model, day)
