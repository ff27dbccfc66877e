"""Every data test of the dbt project can fail: the smallest corruption of a good warehouse makes it return rows.

The tests run as they were compiled by a refresh, on a copy in which each table and view is a plain table, so that a
corruption is one statement without constraints in its way.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.checks.dbt_tests import relation_name
from orchestration.dbt_project import run_folder
from tests.pipeline import Home

# What the kind of a test does not tell: for each part of its rule the statement that breaks it, and nothing else of it.
# `{table}` is the table that the test is written at.
MUTANTS: dict[str, tuple[str, ...]] = {
    "customer_order_metrics_orders_are_before_the_day": (
        "update {table} set last_order_at = as_of_at where rowid = 0",
    ),
    "customer_order_metrics_first_is_not_after_last": (
        "update {table} set first_order_at = last_order_at + interval 1 second where rowid = 0",
        "update {table} set tenure_days = recency_days - 1 where rowid = 0",
    ),
    "customer_order_metrics_window_is_within_lifetime": (
        "update {table} set frequency = lifetime_count_orders + 1 where rowid = 0",
    ),
    "customer_order_metrics_recency_is_positive": ("update {table} set recency_days = 0 where rowid = 0",),
    "customer_classes_scores_are_1_to_5": tuple(
        f"update {{table}} set {score}_score = {value} where rowid = 0" for score in "rfm" for value in (0, 6)
    ),
    "kpi_daily_amounts_add_up": ("update {table} set returns = returns + 0.01 where rowid = 0",),
    "kpi_daily_counts_are_nested": (
        "update {table} set new_customers = active_customers + 1 where rowid = 0",
        "update {table} set active_customers = orders + 1 where rowid = 0",
        "update {table} set orders = order_lines + 1 where rowid = 0",
    ),
    "kpi_daily_days_have_no_gaps": (
        "delete from {table} where business_date = (select min(business_date) + 1 from {table})",
    ),
    "campaign_performance_counts_are_nested": (
        "update {table} set count_members = count_responders - 1, count_buyers = 0"
        " where campaign_id = (select max_by(campaign_id, count_responders) from {table})",
        "update {table} set count_buyers = count_members + 1 where rowid = 0",
        "update {table} set count_responses = count_responders - 1 where rowid = 0",
    ),
    "campaign_performance_rate_is_a_share": (
        "update {table} set response_rate = 1.000001 where rowid = 0",
        "update {table} set response_rate = -0.000001 where rowid = 0",
    ),
    "stg_complete_journey__row_accounting_every_row_is_accounted_for": tuple(
        f"update {{table}} set {column} = {column} + 1 where rowid = 0"
        for column in ("rows_landed", "rows_accepted", "rows_quarantined", "rows_duplicate")
    ),
    "stg_complete_journey__row_accounting_quarantine_is_small": (
        "update {table} set rows_quarantined = floor(0.005 * rows_landed) + 1 where rowid = 0",
    ),
    "core_product_promotions_ends_after_it_starts": (
        "update {table} set period_end = period_start - 1 where rowid = 0",
    ),
    "core_orders_amounts_add_up": ("update {table} set returns = returns + 0.01 where rowid = 0",),
    "core_orders_has_lines": ("update {table} set line_count = 0 where rowid = 0",),
    "core_orders_cohort_is_not_later": (
        "update {table} set cohort_month = order_date + 1 where rowid = 0",
        "update {table} set cohort_month_number = -1 where rowid = 0",
    ),
    "core_campaigns_ends_after_it_starts": ("update {table} set end_date = start_date - 1 where rowid = 0",),
    "core_order_lines_amounts_add_up": ("update {table} set net_sales = net_sales + 0.01 where rowid = 0",),
    "core_order_lines_discounts_are_not_negative": (
        "update {table} set discounts = -0.01 where rowid = 0",
        "update {table} set coupon_discounts = -0.01 where rowid = 0",
    ),
    "core_order_lines_unknown_products": (
        "update {table} set product_id = 'unknown' where rowid <= (select 0.01 * count(*) from {table})",
    ),
    "core_products_has_the_unknown_member": ("delete from {table} where product_id = 'unknown'",),
    "rfm_grid_scores_are_1_to_5": tuple(
        f"update {{table}} set {score}_score = {value} where rowid = 0" for score in ("r", "fm") for value in (0, 6)
    ),
    "reconcile_order_lines": (
        "insert into marts.order_lines by name (select * replace (0 as net_sales) from marts.order_lines limit 1)",
        "update marts.order_lines set net_sales = net_sales + 0.01 where rowid = 0",
    ),
    "reconcile_orders": (
        "update marts.order_lines set net_sales = net_sales + 0.01 where rowid = 0",
        "update marts.kpi_daily set net_sales = net_sales + 0.01 where rowid = 0",
        "update marts.customer_360 set lifetime_net_sales = lifetime_net_sales + 0.01 where rowid = 0",
        "update marts.kpi_daily set orders = orders + 1 where rowid = 0",
        "update marts.customer_360 set lifetime_count_orders = lifetime_count_orders + 1 where rowid = 0",
        "update marts.orders set net_sales = net_sales + 0.01 where rowid = 0",
    ),
    "reconcile_campaign_members": (
        "insert into marts.campaign_members by name"
        " (select * replace (0 as count_responses) from marts.campaign_members limit 1)",
        "update marts.campaign_members set count_responses = count_responses + 1 where rowid = 0",
    ),
    "reconcile_history": (
        "delete from marts.customer_360_history where rowid = 0",
        "update marts.customer_360_history set rfm_segment = 'other' where rowid = 0",
        "update marts.customer_360_history set lifecycle_stage = 'other' where rowid = 0",
        "update marts.customer_360_history set lifetime_net_sales = lifetime_net_sales + 0.01 where rowid = 0",
    ),
}


def mutants_of_kind(node: Mapping[str, Any], columns: list[str]) -> tuple[str, ...]:
    """The corruptions that follow from what a test checks; none where its rule is its own."""
    metadata: dict[str, Any] = node.get("test_metadata") or {"name": "singular", "kwargs": {}}
    arguments = metadata["kwargs"]
    match metadata["name"]:
        case "unique" | "unique_combination":
            return ("insert into {table} from {table} where rowid = 0",)
        case "accepted_values" | "relationships":
            return (f"update {{table}} set {arguments['column_name']} = 'not there' where rowid = 0",)
        case "filled":
            with_values = [column for column in columns if column not in arguments.get("may_be_empty", [])]
            return (
                "delete from {table}",
                *(f"update {{table}} set {column} = null where rowid = 0" for column in arguments["required"]),
                *(f"update {{table}} set {column} = null" for column in with_values),
            )
    return ()


@pytest.fixture(scope="module")
def warehouse(small_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of a refreshed warehouse; what tests look at has become plain tables."""
    # The name is part of the compiled SQL.
    copy = tmp_path_factory.mktemp("mutants") / small_home.settings.warehouse_path.name
    shutil.copyfile(small_home.settings.warehouse_path, copy)
    manifest = small_home.manifest
    nodes = {**manifest["nodes"], **manifest["sources"]}
    looked_at = {
        relation_name(nodes[parent]) for test in data_tests(small_home) for parent in test["depends_on"]["nodes"]
    }
    with duckdb.connect(str(copy)) as connection:
        kinds = dict(
            connection.execute(
                "select schema_name || '.' || view_name, 'view' from duckdb_views() union all"
                " select schema_name || '.' || table_name, 'table' from duckdb_tables()"
            ).fetchall()
        )
        # All are read before the first is replaced, as views read each other.
        for relation in looked_at:
            connection.execute(f'create temp table "{relation}" as from {relation}')
        for relation in looked_at:
            connection.execute(f'drop {kinds[relation]} {relation}; create table {relation} as from temp."{relation}"')
            connection.execute(f'drop table temp."{relation}"')
        yield connection


def data_tests(home: Home) -> list[dict[str, Any]]:
    """The data tests in the manifest of a home."""
    return [node for node in home.manifest["nodes"].values() if node["resource_type"] == "test"]


def compiled(home: Home, node: Mapping[str, Any]) -> str:
    """A test's query as the refresh ran it."""
    file = Path(str(node["original_file_path"]))
    if file.suffix != ".sql":  # written at a model: dbt makes a file for it
        file /= str(node["path"])
    return (run_folder(home.settings) / "compiled" / str(node["package_name"]) / file).read_text()


def table_of(home: Home, node: Mapping[str, Any]) -> str | None:
    """The table that a test is written at; a singular test has none."""
    attached = node.get("attached_node")
    return relation_name(home.manifest["nodes"][attached]) if attached else None


def fails(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Whether a test's query returns rows."""
    return connection.execute(f"select count(*) from ({query})").fetchall() != [(0,)]


def test_every_data_test_passes_on_good_data(small_home: Home, warehouse: duckdb.DuckDBPyConnection) -> None:
    broken = [test["name"] for test in data_tests(small_home) if fails(warehouse, compiled(small_home, test))]
    assert broken == []


def test_every_data_test_has_mutants_and_fails_on_each(small_home: Home, warehouse: duckdb.DuckDBPyConnection) -> None:
    tests = data_tests(small_home)
    assert tests
    offenders = []
    for test in tests:
        query, table = compiled(small_home, test), table_of(small_home, test)
        columns = warehouse.execute(f"describe {table}").fetchall() if table else []
        mutants = MUTANTS.get(test["name"]) or mutants_of_kind(test, [name for name, *_ in columns])
        if not mutants:
            offenders.append(f"{test['name']}: no mutant; declare one in MUTANTS")
        for mutant in mutants:
            statement = mutant.format(table=table)
            warehouse.execute("begin")
            changed = warehouse.execute(statement).fetchall()[0][0]
            if changed == 0:
                offenders.append(f"{test['name']}: changes nothing: {statement}")
            elif not fails(warehouse, query):
                offenders.append(f"{test['name']}: passes in spite of: {statement}")
            warehouse.execute("rollback")
    offenders += [f"{name}: no such test" for name in MUTANTS.keys() - {test["name"] for test in tests}]
    assert offenders == []
