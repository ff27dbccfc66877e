"""Every data test of the dbt project can fail: the smallest corruption of a good warehouse makes it return rows.

The tests run as they were compiled by a refresh, on a copy in which each table and view is a plain table, so that a
corruption is one statement without constraints in its way.
"""

import re
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
    "core_orders_without_lines": (
        "update {table} set line_count = 0 where rowid <= (select 0.01 * count(*) from {table})",
    ),
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
    "campaign_member_features_past_is_counted_once": tuple(
        f"update {{table}} set {mutant} where rowid = 0"
        for mutant in (
            "past_count_campaigns = -1",
            "past_count_closed = past_count_campaigns + 1",
            "past_count_same_type = past_count_campaigns + 1",
            "past_count_responded_open = past_count_responded_open + 1",
            "past_count_responses = past_count_responded - 1",
        )
    ),
    "campaign_member_features_observed_days_are_of_the_campaign": (
        "update {table} set observed_days = -1 where rowid = 0",
        "update {table} set observed_days = campaign_days + 1 where rowid = 0",
        "update {table} set is_label_closed = not is_label_closed where rowid = 0",
    ),
    "campaign_member_features_responded_means_a_response": (
        "update {table} set has_responded = not has_responded where rowid = 0",
    ),
    "campaign_member_features_nothing_is_answered_on_the_first_day": (
        "update {table} set observed_days = 0, has_responded = true where rowid = 0",
    ),
    "customer_features_recency_is_within_tenure": (
        "update {table} set recency_days = 0 where rowid = 0",
        "update {table} set recency_days = tenure_days + 8 where count_visits_7d = 0",
        "update {table} set count_visits_7d = 0 where recency_days <= 7",
    ),
    "customer_features_gaps_fill_the_tenure": (
        "update {table} set mean_gap_days = mean_gap_days + 0.1 where count_visits > 1",
        "update {table} set mean_gap_days = mean_gap_days - 0.1 where count_visits > 1",
    ),
    "customer_days_first_visit_has_no_gap": (
        "update {table} set gap_days = 1 where visit_number = 1",
        "update {table} set gap_days = null where visit_number = 2",
    ),
    "customer_days_groups_add_up_to_net_sales": ("update {table} set net_sales = net_sales + 0.01 where rowid = 0",),
    "customer_days_hours_are_of_a_day": (
        "update {table} set sum_of_hours = -1 where rowid = 0",
        "update {table} set sum_of_hours = 23 * count_orders + 1 where rowid = 0",
    ),
    "customer_labels_are_there_where_the_window_is_closed": (
        "update {table} set net_sales_next_window = null where is_label_closed",
        "update {table} set count_orders_next_window = null where is_label_closed",
        "update {table} set has_churned = null where is_label_closed and is_eligible_for_churn",
        "update {table} set has_churned = true where not is_label_closed",
    ),
    "customer_labels_churned_means_no_order": ("update {table} set has_churned = not has_churned where has_churned",),
    "customer_behaviours_shares_are_shares": tuple(
        f"update {{table}} set {share} = {value} where rowid = 0"
        for share in ("season_share", "discount_share", "new_product_share")
        for value in (-0.01, 1.01)
    ),
    "customer_value_classes_margin_tells_profit": (
        "update {table} set contribution_margin = 1, is_unprofitable = true where rowid = 0",
        "update {table} set contribution_margin = 1 where rowid = 0",
        "update {table} set is_unprofitable = false where rowid = 0",
    ),
    "customer_value_labels_are_there_where_the_window_is_closed": (
        "update {table} set net_sales_value_window = null where is_label_closed",
        "update {table} set becomes_key_account = null where is_label_closed",
        "update {table} set net_sales_value_window = 1 where not is_label_closed",
    ),
    "business_rule_agreement_counts_add_up": ("update {table} set customers = customers + 1 where rowid = 0",),
    "business_rule_differences_are_differences": (
        "update {table} set is_by_rule = is_by_model",
        "update {table} set is_by_rule = null",
        "update {table} set is_by_model = null",
    ),
    "segment_transitions_look_back": ("update {table} set previous_as_of_date = as_of_date where rowid = 0",),
    "customer_360_history_value_is_whole": tuple(
        f"update {{table}} set {mutant} where rowid = 0"
        for mutant in (
            "predicted_clv = null",
            "total_clv = null",
            "segment_id = null",
            "segment_label = null",
            "predicted_clv_lower_80 = predicted_clv + 1",
            "predicted_clv_upper_80 = predicted_clv - 1",
            "key_account_probability = -0.1",
            "key_account_probability = 1.1",
        )
    ),
    "feature_cut_offs_have_a_reason": (
        "update {table} set is_on_grid = false, is_campaign_start = false, is_refreshed_day = false where rowid = 0",
    ),
    **{
        f"{table}_churn_is_of_the_eligible": (
            "update {table} set churn_probability = 0.5, churn_risk_tier = 'high' where not is_eligible_for_churn",
            "update {table} set churn_probability = 1.5, churn_risk_tier = 'high' where is_eligible_for_churn",
            "update {table} set churn_probability = -0.1, churn_risk_tier = 'low' where is_eligible_for_churn",
            "update {table} set churn_probability = 0.5, churn_risk_tier = null where is_eligible_for_churn",
            "update {table} set churn_probability = null, churn_risk_tier = 'low' where is_eligible_for_churn",
        )
        for table in ("customer_360", "customer_360_history")
    },
    "campaign_member_scores_are_whole": (
        "update {table} set response_probability = 0.5, response_decile = null where rowid = 0",
        "update {table} set response_probability = null, response_decile = 1 where rowid = 0",
        "update {table} set response_probability = 1.5, response_decile = 1 where rowid = 0",
        "update {table} set response_probability = 0.5, response_decile = 11 where rowid = 0",
    ),
    **{
        f"{table}_intervals_are_nested": tuple(
            f"update {{table}} set {mutant} where rowid = 0"
            for mutant in (
                "lower_95 = lower_80 + 1",
                "lower_80 = forecast + 1, lower_95 = 0",
                "upper_80 = forecast - 1",
                "upper_95 = upper_80 - 1",
                "upper_95 = null",
            )
        )
        for table in ("demand_forecast", "demand_forecast_history")
    },
    "product_affinity_offers_are_tried": (
        "update {table} set purchase_probability = null where unit = 'customer_window' and not is_trivial",
        "update {table} set purchase_probability = 0.5 where unit = 'order'",
    ),
    "demand_hot_spots_grow": ("update {table} set is_hot_spot = true, growth = growth_of_all where rowid = 0",),
    "product_recommendations_lists_are_recent": (
        "update {table} set listed_on = as_of_date + 1 where rowid = 0",
        "update {table} set listed_on = as_of_date - 7 where rowid = 0",
    ),
    **{
        f"{table}_new_is_discovered": (
            "update {table} set is_new_to_customer = not is_new_to_customer where rowid = 0",
        )
        for table in ("product_recommendations", "product_recommendations_history")
    },
    "reconcile_cross_sell_opportunities": (
        "update marts.cross_sell_opportunities as offers set product_id = order_lines.product_id"
        " from marts.order_lines as order_lines where offers.customer_id = order_lines.customer_id"
        " and order_lines.line_type = 'sale' and order_lines.product_id != 'unknown'",
        "update marts.cross_sell_opportunities set product_id ="
        " (select min(product_id) from marts.products where department = 'MISCELLANEOUS')",
    ),
    "reconcile_demand_hot_spots": (
        "update marts.demand_hot_spots set net_sales = net_sales + 0.01 where rowid = 0",
        "delete from marts.demand_hot_spots where dimension = 'region' and rowid ="
        " (select min(rowid) from marts.demand_hot_spots where dimension = 'region')",
    ),
    "reconcile_customer_features": (
        "delete from features.customer_features where rowid = 0",
        "update features.customer_features set lifetime_net_sales = lifetime_net_sales + 0.01 where rowid = 0",
        "update features.customer_features set lifetime_count_orders = lifetime_count_orders + 1 where rowid = 0",
        "delete from features.customer_labels where rowid = 0",
    ),
    "reconcile_campaign_member_features": ("delete from features.campaign_member_features where rowid = 0",),
    "reconcile_weekly_sales": tuple(
        f"update features.{table} set net_sales = net_sales + 0.01 where level = '{level}'"
        for table in ("weekly_sales", "daily_sales")
        for level in ("total", "department")
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
    "reconcile_campaigns": (
        "delete from marts.campaigns where rowid = 0",
        "delete from marts.campaign_performance where rowid = 0",
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

# The tests of the contract's own staging; the layers above are the same for every source.
CONTRACT_MUTANTS: dict[str, tuple[str, ...]] = {
    "orders_are_in_one_currency": ("update {table} set currency = 'EUR' where rowid = 0",),
    "stg_contract__customers_are_described": (
        "update {table} set is_described = false where rowid <= (select 0.01 * count(*) from {table})",
    ),
    "stg_contract__customer_identities_mailboxes_are_not_shared": (
        "update {table} set count_sharing = 6 where rowid = 0",
    ),
    "stg_contract__row_accounting_every_row_is_accounted_for": tuple(
        f"update {{table}} set {column} = {column} + 1 where rowid = 0"
        for column in ("rows_landed", "rows_accepted", "rows_quarantined", "rows_duplicate")
    ),
    "stg_contract__row_accounting_quarantine_is_small": (
        "update {table} set rows_quarantined = floor(0.005 * rows_landed) + 1 where rowid = 0",
    ),
    "stg_contract__row_accounting_duplicates_are_few": (
        "update {table} set rows_duplicate = floor(0.05 * rows_landed) + 1 where rowid = 0",
    ),
}


# A few households have no scores; some that a refresh of more would give.
SCORED = (
    "insert into marts.model_performance by name select 'churn' as model, '1' as version, 'challenger' as role,"
    " 'hold_out' as split, date '2017-11-05' as split_start, date '2017-12-30' as split_end, 'roc_auc' as metric,"
    " 0.85 as value, 0.83 as lower, 0.87 as upper, date '2018-01-01' as as_of_date",
    "insert into marts.model_monitoring by name select 'churn' as model, 'feature_drift' as kind,"
    " 'recency_days' as metric, 0.1 as value, 0.25 as warn_limit, 1 as block_limit, 'ok' as status, 60 as row_count,"
    " date '2017-12-31' as compared_with, date '2018-01-01' as as_of_date",
    "insert into marts.business_rule_differences by name select 'at_risk' as comparison, customer_id, as_of_date,"
    " true as is_by_rule, false as is_by_model from marts.customer_360 limit 1",
    "update marts.customer_360_history set predicted_clv = 10, predicted_clv_lower_80 = 5, predicted_clv_upper_80 = 20,"
    " total_clv = lifetime_net_sales + 10, key_account_probability = 0.1, segment_id = 1, segment_label = 'Often'",
    *(
        f"update marts.{table} set forecast = 100, lower_80 = 90, upper_80 = 110, lower_95 = 80, upper_95 = 120"
        for table in ("demand_forecast", "demand_forecast_history")
    ),
)


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
                *(() if arguments.get("may_have_no_rows") else ("delete from {table}",)),
                *(f"update {{table}} set {column} = null where rowid = 0" for column in arguments["required"]),
                *(f"update {{table}} set {column} = null" for column in with_values),
            )
        case "is_true":
            return mutants_of_clauses(arguments["expression"])
    return ()


def mutants_of_clauses(expression: str) -> tuple[str, ...]:
    """A corruption for each part of a conjunction of plain comparisons; none where a part is not plain."""
    mutants: list[str] = []
    for clause in re.split(r" and (?![\d.]+\b)", expression):
        if found := re.fullmatch(r"(\w+) is not null", clause):
            broken = f"{found[1]} = null"
        elif found := re.fullmatch(r"(\w+) between ([\d.]+) and ([\d.]+)", clause):
            mutants.append(_one_row(found[1], f"{found[1]} = {found[2]} - 0.5"))
            broken = f"{found[1]} = {found[3]} + 0.5"
        elif found := re.fullmatch(r"(\w+) (<=|<|>=|>) (\w+)", clause):
            step = {"<=": " + 1", "<": "", ">=": " - 1", ">": ""}[found[2]]
            broken = f"{found[1]} = {found[3]}{step}"
        else:
            return ()
        mutants.append(_one_row(found[1], broken))
    return tuple(mutants)


def _one_row(column: str, broken: str) -> str:
    """The statement that breaks one row with a value; beside the column, what it is compared with has one too."""
    needed = [column, *re.findall(r"= ([a-z]\w*)", broken)]
    filled = " and ".join(f"{name} is not null" for name in needed if name != "null")
    return f"update {{table}} set {broken} where rowid = (select min(rowid) from {{table}} where {filled})"


@pytest.fixture(scope="module", params=["small_home", "contract_home"])
def home(request: pytest.FixtureRequest) -> Home:
    """A refreshed home of each source."""
    made: Home = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def warehouse(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of a refreshed warehouse; what tests look at has become plain tables."""
    # The name is part of the compiled SQL.
    copy = tmp_path_factory.mktemp("mutants") / home.settings.warehouse_path.name
    shutil.copyfile(home.settings.warehouse_path, copy)
    manifest = home.manifest
    nodes = {**manifest["nodes"], **manifest["sources"]}
    looked_at = {relation_name(nodes[parent]) for test in data_tests(home) for parent in test["depends_on"]["nodes"]}
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
        for statement in SCORED if home.source_name == "complete_journey" else ():
            connection.execute(statement)
        yield connection


def data_tests(home: Home) -> list[dict[str, Any]]:
    """The data tests in the manifest of a home; of another source than the sample's those of its staging."""
    tests = [node for node in home.manifest["nodes"].values() if node["resource_type"] == "test"]
    if home.source_name == "complete_journey":
        return tests
    folder = f"models/staging/{home.source_name}/"
    return [test for test in tests if str(test["original_file_path"]).startswith(folder)]


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


def test_every_data_test_passes_on_good_data(home: Home, warehouse: duckdb.DuckDBPyConnection) -> None:
    broken = [test["name"] for test in data_tests(home) if fails(warehouse, compiled(home, test))]
    assert broken == []


def test_every_data_test_has_mutants_and_fails_on_each(home: Home, warehouse: duckdb.DuckDBPyConnection) -> None:
    tests = data_tests(home)
    declared = CONTRACT_MUTANTS if home.source_name == "contract" else MUTANTS
    assert tests
    offenders = []
    for test in tests:
        query, table = compiled(home, test), table_of(home, test)
        columns = warehouse.execute(f"describe {table}").fetchall() if table else []
        mutants = declared.get(test["name"]) or mutants_of_kind(test, [name for name, *_ in columns])
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
    offenders += [f"{name}: no such test" for name in declared.keys() - {test["name"] for test in tests}]
    assert offenders == []
