"""Gate 2: are the features of a day sane, and like those of the cut-off before? Profiles that DuckDB computes.

Keys, ranges, sums and lost rows are dbt's tests; here stands what only a comparison with the previous cut-off shows.
"""

from datetime import date

import duckdb
import pandas as pd

from ml.monitoring import LEAST_SHARE
from orchestration.checks.expectations import Rule, Suite, between
from orchestration.content_hash import quote_identifier
from orchestration.settings import Settings
from orchestration.sources import type_family

GATE = "features"
REMEDY = "Look at the raw tables of the newest days and at the model's SQL; mend the source, then refresh"
BINS = 10
# These advance with the calendar or with the plan of campaigns, not with what customers do: over closed days nobody
# orders, and everybody's recency grows. That orders are missing is seen by landing and by the sales of the week.
ADVANCING = (
    *("tenure_days", "recency_days", "count_active_"),
    *("count_campaigns", "count_open_campaigns", "days_since_campaign"),
)
# Before so many days windows are still filling, and what compares two of them moves fast.
HISTORY_DAYS = 182


def profile_features(
    connection: duckdb.DuckDBPyConnection, relation: str, keys: tuple[str, ...], time_column: str, day: date
) -> pd.DataFrame:
    """The numeric and yes-or-no columns of a cut-off beside those of the cut-off before.

    Args:
        connection: The warehouse.
        relation: A table with a cut-off column.
        keys: Columns that are no features.
        time_column: The cut-off.
        day: The cut-off looked at; the newest earlier one is what it is compared with, none where there is none.

    Returns:
        One row per feature: `feature`, `rows` and `previous_rows`, `not_finite` values, `null_share` and
        `previous_null_share`, and `drift`: the population stability index over tenths of the previous cut-off and
        NULL, sum of (p - q) ln(p / q) (Siddiqi 2006, Credit Risk Scorecards, ch. 10), less three times what chance
        alone gives it, (bins - 1)(1 / rows + 1 / previous_rows) (Yurdakul 2018, ch. 3), at least 0. A bin counts half a
        row at least, and LEAST_SHARE.
    """
    features = [
        name
        for name, dtype, *_ in connection.execute(f"describe {relation}").fetchall()
        if name not in (*keys, time_column) and type_family(dtype) in ("integer", "number", "boolean")
    ]
    columns = ", ".join(f"{quote_identifier(name)}::double as {quote_identifier(name)}" for name in features)
    names = ", ".join(map(quote_identifier, features))
    return connection.execute(
        f"""
        with cut_offs as (
            select $day::date as current_day, max({time_column}) as previous_day from {relation}
            where {time_column} < $day::date
        ),
        wide as (
            select {time_column} = current_day as is_current, {columns}
            from {relation} cross join cut_offs where {time_column} in (current_day, previous_day)
        ),
        long as (
            select is_current, feature, value
            from wide unpivot include nulls (value for feature in ({names}))
        ),
        edges as (
            select
                feature,
                count_if(is_current) as current_rows,
                count_if(not is_current) as previous_rows,
                count(*) filter (where is_current and not isfinite(value)) as not_finite,
                count_if(is_current and value is null) / nullif(count_if(is_current), 0) as null_share,
                count_if(not is_current and value is null) / nullif(count_if(not is_current), 0) as previous_null_share,
                list_distinct(
                    quantile_disc(value, [{", ".join(str(step / BINS) for step in range(1, BINS))}])
                        filter (where not is_current and isfinite(value))
                ) as edges
            from long group by feature
        ),
        binned as (
            select
                feature,
                current_rows,
                previous_rows,
                -- NULL is a bin of its own.
                len(list_filter(edges, lambda edge: value > edge)) as bin,
                greatest(count_if(is_current), 0.5, {LEAST_SHARE} * current_rows) / nullif(current_rows, 0) as p,
                greatest(count_if(not is_current), 0.5, {LEAST_SHARE} * previous_rows) / nullif(previous_rows, 0) as q
            from long inner join edges using (feature)
            group by feature, current_rows, previous_rows, bin
        ),
        drifts as (
            select
                feature,
                sum((p - q) * ln(p / q)) as index,
                (count(*) - 1) * (1 / any_value(current_rows) + 1 / any_value(previous_rows)) as chance,
                greatest(0, index - 3 * chance) as drift
            from binned group by feature
        )
        select
            edges.feature, edges.current_rows as rows, edges.previous_rows, edges.not_finite, edges.null_share,
            coalesce(edges.previous_null_share, edges.null_share) as previous_null_share,
            coalesce(drifts.drift, 0) as drift
        from edges inner join drifts using (feature) order by edges.feature
        """,
        {"day": day},
    ).df()


def profile_weekly_sales(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """The newest week of each department and of the total beside the eight weeks before it.

    Returns:
        One row per series: `level`, `series_id`, `weeks`, `newest` whole week, `usual`: the median of the eight before,
        and their `ratio`; 1 where there are fewer than four, or the median is small change.
    """
    return connection.execute(
        """
        with recent as (
            select *, row_number() over (partition by level, series_id order by period_start desc) as age
            from features.weekly_sales where is_complete and level in ('total', 'department')
        )
        select
            level, series_id, count(*) as weeks, max(net_sales) filter (where age = 1)::double as newest,
            median(net_sales) filter (where age between 2 and 9)::double as usual,
            case when weeks < 5 or usual < 100 then 1.0 else newest / usual end as ratio
        from recent group by level, series_id order by level, series_id
        """
    ).df()


def features_suites(settings: Settings) -> tuple[Suite, Suite]:
    """The suites of `profile_features` on customer_features, and of `profile_weekly_sales`."""
    customers = Suite(
        name="customer_features",
        gate=GATE,
        table_name="features.customer_features",
        key=("feature",),
        remedy=REMEDY,
        rules=(
            between("values_are_finite", "no infinite value", "not_finite", most=0),
            Rule(
                "no_customer_is_lost",
                "no fewer customers than at the cut-off before",
                "ExpectColumnPairValuesAToBeGreaterThanB",
                {"column_A": "rows", "column_B": "previous_rows", "or_equal": True},
            ),
            between(
                "values_stay_known",
                f"at most {settings.max_null_share_rise:.0%} more customers with NULL than at the cut-off before",
                "null_share_rise",
                most=settings.max_null_share_rise,
            ),
            between(
                "values_have_not_drifted",
                f"a population stability index of at most {settings.max_feature_drift} against the cut-off before",
                "drift",
                most=settings.max_feature_drift,
            ),
        ),
    )
    weeks = Suite(
        name="weekly_sales",
        gate=GATE,
        table_name="features.weekly_sales",
        key=("level", "series_id"),
        remedy=REMEDY,
        rules=(
            Rule(
                "total_is_there",
                "a series of the total",
                "ExpectColumnDistinctValuesToContainSet",
                {"column": "level", "value_set": ["total"]},
            ),
            between(
                "total_is_as_usual",
                f"net sales of the newest week within {settings.max_sales_change:g} times the usual, up or down",
                "total_ratio",
                1 / settings.max_sales_change,
                settings.max_sales_change,
            ),
        ),
        # Nothing is usual in the first week.
        may_be_empty=("usual",),
    )
    return customers, weeks


def read_profiles(connection: duckdb.DuckDBPyConnection, day: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames of `features_suites`, in their order."""
    customers = profile_features(
        connection, "features.customer_features", ("customer_id", "as_of_at", "input_fingerprint"), "as_of_date", day
    )
    (history_days,) = connection.execute(
        "select max(tenure_days) from features.customer_features where as_of_date = ?", [day]
    ).fetchall()[0]
    is_filling = history_days is None or history_days < HISTORY_DAYS
    is_advancing = customers["feature"].str.startswith(ADVANCING)
    customers["drift"] = customers["drift"].where(~(is_advancing | is_filling), 0.0)
    customers["null_share_rise"] = customers["null_share"] - customers["previous_null_share"]
    weeks = profile_weekly_sales(connection)
    # One department may well change; the rule is about all of them together.
    weeks["total_ratio"] = weeks["ratio"].where(weeks["level"] == "total", 1.0)
    return customers, weeks
