"""The daily refresh on the whole real sample: control totals, completeness, and what a reader sees."""

from decimal import Decimal

import pytest

from tests.pipeline import Home

CONTRACT_TABLES = {
    "customer_360",
    "customer_360_history",
    "segment_transitions",
    "segment_profiles",
    "business_rule_agreement",
    "business_rule_differences",
    "label_definitions",
    "orders",
    "order_lines",
    "products",
    "campaigns",
    "campaign_members",
    "kpi_daily",
    "campaign_performance",
    "campaign_member_scores",
    "demand_forecast",
    "demand_forecast_history",
    "product_affinity",
    "product_affinity_searches",
    "cross_sell_opportunities",
    "demand_hot_spots",
    "product_recommendations",
    "product_recommendations_history",
    "model_performance",
    "model_monitoring",
    "data_quality_results",
    "publication",
}


def test_control_totals_hold_in_the_published_file(sample_home: Home) -> None:
    assert sample_home.query("select count(*), sum(net_sales) from marts.order_lines") == [
        (1_469_307, Decimal("4596039.58"))
    ]
    assert sample_home.query("select count(*) from marts.orders") == [(155_848,)]
    assert sample_home.query("select count(*), min(as_of_date)::varchar from marts.customer_360") == [
        (2_469, "2018-01-01")
    ]
    assert sample_home.query("select count(*) from marts.order_lines where product_id = 'unknown'") == [(4_836,)]


def test_every_table_of_the_contract_is_published_and_described(sample_home: Home) -> None:
    tables = {name for (name,) in sample_home.query("select table_name from duckdb_tables()")}
    assert tables == CONTRACT_TABLES
    undescribed = sample_home.query(
        "select table_name, column_name from duckdb_columns() where not internal and coalesce(comment, '') = ''"
        " union all select table_name, '' from duckdb_tables() where coalesce(comment, '') = ''"
    )
    assert undescribed == []


def test_every_landed_row_is_accounted_for(sample_home: Home) -> None:
    import duckdb

    with duckdb.connect(str(sample_home.settings.warehouse_path), read_only=True) as connection:
        rows = connection.execute(
            "select table_name, rows_landed, rows_duplicate, rows_quarantined"
            " from staging.stg_complete_journey__row_accounting"
        ).fetchall()
    by_table = {row[0]: row[1:] for row in rows}
    assert by_table["promotions"] == (20_940_529, 0, 0)
    assert by_table["transactions"] == (1_469_307, 0, 0)
    assert by_table["coupons"] == (116_204, 4_872, 0)


def test_the_publication_table_names_every_table_of_the_version(sample_home: Home) -> None:
    publication = sample_home.store.current()
    assert publication is not None
    rows = sample_home.query("select table_name, row_count, version from marts.publication")
    assert {row[0] for row in rows} == CONTRACT_TABLES - {"publication"}
    assert {row[2] for row in rows} == {publication.version}
    assert (2_469,) in sample_home.query("select row_count from marts.publication where table_name = 'customer_360'")


@pytest.mark.parametrize("line_type", ["sale", "free_item", "adjustment", "coupon_slip"])
def test_lines_are_named_for_what_they_are(sample_home: Home, line_type: str) -> None:
    (count,) = sample_home.query(f"select count(*) from marts.order_lines where line_type = '{line_type}'")[0]
    assert count > 0
