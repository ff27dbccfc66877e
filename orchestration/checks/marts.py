"""The suites of what analysts read most, customer_360 and kpi_daily, row by row, and of how many customers move.

Keys, relations, sums and types are dbt's tests; here stands what makes a row sane.
"""

from collections.abc import Sequence

import duckdb
import pandas as pd

from orchestration.checks.expectations import Rule, Suite, between
from orchestration.settings import Settings

GATE = "marts"
REMEDY = "Look at these rows in data/warehouse.duckdb, mend the source or the model, then refresh"


def _not_less(name: str, words: str, greater: str, less: str) -> Rule:
    return Rule(
        name,
        words,
        "ExpectColumnPairValuesAToBeGreaterThanB",
        {"column_A": greater, "column_B": less, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
    )


SCORES = (
    *("churn_probability", "churn_risk_tier", "churn_reason_1", "churn_reason_2", "churn_reason_3"),
    *("predicted_clv", "predicted_clv_lower_80", "predicted_clv_upper_80", "total_clv", "key_account_probability"),
    *("segment_id", "segment_label", "next_product_id", "next_category", "next_order_expected_at"),
)
# Not every source tells them, and without a key there are no hashes.
PERSONAL = ("has_marketing_consent", "email_key", "phone_key")
COSTS = ("contribution_margin", "is_unprofitable")

CUSTOMER_360 = Suite(
    name="customer_360",
    gate=GATE,
    table_name="marts.customer_360",
    key=("customer_id",),
    remedy=REMEDY,
    # Scores are NULL where no model may score, margins where no costs are known, stores where the source names none.
    may_be_empty=("average_days_between_orders", "gap_variation", "preferred_store_id", *PERSONAL, *COSTS, *SCORES),
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
        between("values_are_positive", "predicted_clv of 0 or more", "predicted_clv", least=0),
        _not_less("intervals_hold", "predicted_clv not above its upper_80", "predicted_clv_upper_80", "predicted_clv"),
        between("key_account_is_likely_or_not", "a probability from 0 to 1", "key_account_probability", 0, 1),
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

# The share of customers whose label changed since the day before in the history, beside that of earlier pairs of days
# about as far apart. Shares below a hundredth count as one: a few customers more are no jump.
CLASS_CHANGES = """
    with moves as (
        select
            as_of_date, classification, as_of_date - previous_as_of_date as days,
            coalesce(
                sum(customers) filter (where from_label != to_label and from_label != 'not_known')
                / sum(customers) filter (where from_label != 'not_known'), 0
            )::double as changed_share
        from marts.segment_transitions group by all
    ),
    beside_earlier as (
        select
            refreshed.classification, any_value(refreshed.changed_share) as share, count(earlier.days) as count_earlier,
            median(earlier.changed_share) as usual_share
        from moves as refreshed
        inner join control.refresh using (as_of_date)
        left join moves as earlier
            on refreshed.classification = earlier.classification and refreshed.as_of_date > earlier.as_of_date
                and earlier.days between refreshed.days / 2 and 2 * refreshed.days
        group by refreshed.classification
    )
    select
        *,
        case when count_earlier < 4 then 1 else greatest(share, 0.01) / greatest(usual_share, 0.01) end
            as times_the_usual
    from beside_earlier order by classification
"""
FRAMES = {"marts.segment_transitions": CLASS_CHANGES}


def marts_suites(settings: Settings) -> Sequence[Suite]:
    """All of them; those that warn do not stop publication."""
    class_changes = Suite(
        name="class_changes",
        gate=GATE,
        table_name="marts.segment_transitions",
        key=("classification",),
        remedy="Look at the picture on marts/segment_transitions: either customers changed, or a rule or model decays",
        rules=(
            between(
                "are_as_usual",
                f"at most {settings.max_class_change:g} times as many customers change class as usual",
                "times_the_usual",
                most=settings.max_class_change,
            ),
        ),
        may_be_empty=("usual_share",),
        severity="warn",
    )
    return (CUSTOMER_360, KPI_DAILY, class_changes)


def read_frame(connection: duckdb.DuckDBPyConnection, suite: Suite) -> pd.DataFrame:
    """What a suite looks at: its table, or figures of it."""
    return connection.execute(FRAMES.get(suite.table_name, f"select * from {suite.table_name}")).df()
