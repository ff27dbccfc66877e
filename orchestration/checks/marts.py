"""The suites of what analysts read most: customer_360 and kpi_daily, row by row.

Keys, relations, sums and types are dbt's tests; here stands what makes a row sane.
"""

from collections.abc import Sequence

import duckdb
import pandas as pd

from orchestration.checks.expectations import Rule, Suite, between

GATE = "marts"
REMEDY = "Look at these rows in data/warehouse.duckdb, mend the source or the model, then refresh"


def _not_less(name: str, words: str, greater: str, less: str) -> Rule:
    return Rule(
        name,
        words,
        "ExpectColumnPairValuesAToBeGreaterThanB",
        {"column_A": greater, "column_B": less, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
    )


CHURN_SCORES = ("churn_probability", "churn_risk_tier", "churn_reason_1", "churn_reason_2", "churn_reason_3")

CUSTOMER_360 = Suite(
    name="customer_360",
    gate=GATE,
    table_name="marts.customer_360",
    key=("customer_id",),
    remedy=REMEDY,
    # Scores are NULL where no model may score.
    may_be_empty=("average_days_between_orders", *CHURN_SCORES),
    rules=(
        Rule(
            "is_of_one_day",
            "one as_of_date",
            "ExpectColumnUniqueValueCountToBeBetween",
            {"column": "as_of_date", "min_value": 1, "max_value": 1},
        ),
        Rule("customers_are_named", "a customer_id", "ExpectColumnValuesToNotBeNull", {"column": "customer_id"}),
        between("recency_is_positive", "recency_days of at least 1", "recency_days", least=1),
        _not_less("tenure_covers_recency", "tenure_days not below recency_days", "tenure_days", "recency_days"),
        _not_less(
            "frequency_is_within_lifetime",
            "frequency not above lifetime_count_orders",
            "lifetime_count_orders",
            "frequency",
        ),
        between("r_score_is_1_to_5", "r_score from 1 to 5", "r_score", 1, 5),
        between("f_score_is_1_to_5", "f_score from 1 to 5", "f_score", 1, 5),
        between("m_score_is_1_to_5", "m_score from 1 to 5", "m_score", 1, 5),
        Rule("segments_are_given", "an rfm_segment", "ExpectColumnValuesToNotBeNull", {"column": "rfm_segment"}),
        Rule("stages_are_given", "a lifecycle_stage", "ExpectColumnValuesToNotBeNull", {"column": "lifecycle_stage"}),
    ),
)

KPI_DAILY = Suite(
    name="kpi_daily",
    gate=GATE,
    table_name="marts.kpi_daily",
    key=("business_date",),
    remedy=REMEDY,
    rules=(
        Rule("days_are_unique", "one row a day", "ExpectColumnValuesToBeUnique", {"column": "business_date"}),
        between("orders_are_counted", "orders of 0 or more", "orders", least=0),
        _not_less("customers_have_orders", "active_customers not above orders", "orders", "active_customers"),
        _not_less(
            "newcomers_are_active", "new_customers not above active_customers", "active_customers", "new_customers"
        ),
        _not_less("gross_covers_discounts", "discounts not above gross_sales", "gross_sales", "discounts"),
        Rule(
            "some_day_has_sales",
            "net sales above 0 on some day",
            "ExpectColumnMaxToBeBetween",
            {"column": "net_sales", "min_value": 0, "strict_min": True},
        ),
    ),
)

SUITES: Sequence[Suite] = (CUSTOMER_360, KPI_DAILY)


def read_frame(connection: duckdb.DuckDBPyConnection, suite: Suite) -> pd.DataFrame:
    """The table of a suite, as a frame."""
    return connection.execute(f"select * from {suite.table_name}").df()
