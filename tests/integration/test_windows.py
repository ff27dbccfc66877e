"""Windows that a company sets: labels follow them, and without any the project's own hold."""

from datetime import timedelta

import duckdb
import pytest

from orchestration.dbt_project import thresholds
from orchestration.model_requirements import OrderDays
from orchestration.purchase_rhythm import make_order_days
from tests.pipeline import Home

SHORTER = {"CUSTOMER360_ACTIVITY_WINDOW_DAYS": "28", "CUSTOMER360_PREDICTION_WINDOW_DAYS": "14"}
LABELS = (
    "select count(*), count_if(is_eligible_for_churn), count_if(has_churned), max(window_end_date - labels.as_of_date),"
    " max(recency_days) filter (where is_eligible_for_churn)"
    " from features.customer_labels as labels inner join features.customer_features using (customer_id, as_of_date)"
)


@pytest.mark.exhaustive
def test_other_windows_make_other_labels_and_back_again(copied_home: Home) -> None:
    (before,), published = copied_home.warehouse(LABELS), copied_home.published_hashes()

    outcome = copied_home.refresh(**SHORTER)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (shorter,) = copied_home.warehouse(LABELS)
    assert shorter[3:] == (14, 28)
    assert shorter[0] == before[0] and shorter[1] < before[1] and shorter[2] != before[2]
    assert copied_home.query(
        "select threshold from marts.label_definitions where classification = 'lifecycle_stage' and label = 'dormant'"
    ) == [("dormant_after_days = 28",)]

    outcome = copied_home.refresh()
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert copied_home.warehouse(LABELS) == [before]
    assert copied_home.published_hashes() == published


def test_what_a_model_would_find_is_counted_as_the_features_have_it(small_home: Home) -> None:
    """Eligible and churned rows, rows and buyers of the value window, complete weeks: without building them."""
    variables = thresholds()
    with duckdb.connect(str(small_home.settings.warehouse_path), read_only=True) as connection:
        ((as_of_date,),) = connection.execute("select as_of_date from control.refresh").fetchall()
        make_order_days(connection, "select customer_id, order_date from features.customer_days", as_of_date)
        orders = OrderDays(connection, as_of_date, variables)
        for activity, window in ((56, 28), (14, 70)):
            for first in (orders.first_cut_off, as_of_date - timedelta(days=200)):
                last = as_of_date - timedelta(days=window)
                expected = connection.execute(
                    "with cut_offs as ("
                    "  select customer_id, as_of_date, recency_days from features.customer_features"
                    "  inner join features.feature_cut_offs using (as_of_date)"
                    "  where is_on_grid and as_of_date between $first and $last and recency_days <= $activity"
                    ") select count(*), count_if(not exists (select * from features.customer_days as days"
                    "  where days.customer_id = cut_offs.customer_id and days.order_date >= cut_offs.as_of_date"
                    "  and days.order_date < cut_offs.as_of_date + $window::int)) from cut_offs",
                    {"first": first, "last": last, "activity": activity, "window": window},
                ).fetchone()
                assert orders.churn_rows(first, last, activity, window) == expected
        days = variables["value_window_days"]
        last = as_of_date - timedelta(days=days)
        rows, buyers, cut_offs = connection.execute(
            "with cut_offs as (select customer_id, as_of_date from features.customer_features"
            " inner join features.feature_cut_offs using (as_of_date) where is_on_grid and as_of_date <= $last)"
            " select count(*), count_if(exists (select * from features.customer_days as days"
            "  where days.customer_id = cut_offs.customer_id and days.order_date >= cut_offs.as_of_date"
            "  and days.order_date < cut_offs.as_of_date + $days::int)), count(distinct as_of_date) from cut_offs",
            {"last": last, "days": days},
        ).fetchall()[0]
        assert orders.value_rows(orders.first_cut_off, last, days) == (rows, buyers)
        assert orders.cut_offs(orders.first_cut_off, last) == cut_offs
        ((weeks,),) = connection.execute(
            "select count(distinct period_start) from features.weekly_sales where is_complete and level = 'total'"
        ).fetchall()
        assert orders.complete_weeks() == weeks
